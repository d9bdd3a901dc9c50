//! What the cases about nodes know: somebody else's cluster, what is secret in
//! ours, and whether the world itself calls every node ready.

use std::sync::{Arc, LazyLock};

use castle_core::{Env, Identity, NodeSite, NodeTarget, Project};
use castle_lab::kube::{Resource, Selection};
use castle_lab::{Lab, World};
use castle_talos::TalosIdentity;

use crate::case::blue;

/// The control plane of the project that the cases use.
pub const PLANE: u32 = 421;
/// Its name.
pub const PLANE_NAME: &str = "blue-cp-01";
/// Its address.
pub const PLANE_ADDRESS: &str = "192.168.1.211";
/// A worker.
pub const WORKER: u32 = 431;
/// Its name.
pub const WORKER_NAME: &str = "blue-wk-01";

/// What makes a bundle's lines too short to be searched for: words of YAML.
const SHORT: usize = 16;

/// The configuration of a control plane of another cluster, with its own
/// authorities and the same address.
pub fn of_another_cluster() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let project = blue();
        let spec = project.machines.iter().find(|spec| spec.id.get() == PLANE).expect("blue has it").clone();
        let bundle = TalosIdentity.generate(&Env::real()).expect("keys can be made");
        let site = NodeSite { project: Arc::new(project), bundle };
        let target = NodeTarget { spec, uuid: uuid::Uuid::nil() };
        let text = castle_talos::config::render(&site, &target).expect("blue can be configured");
        String::from_utf8(text.expose().clone()).expect("YAML")
    });
    &TEXT
}

/// Every secret of every life in the store.
pub async fn secrets_of(lab: &Lab) -> Vec<String> {
    let store = lab.secrets(lab.new_run());
    let mut found = Vec::new();
    for key in store.list("").await.expect("the store answers") {
        let value = store.get(&key).await.expect("the store answers").expect("it was listed");
        let text = String::from_utf8_lossy(value.expose()).into_owned();
        let Ok(id) = TalosIdentity.cluster_id(&value) else { continue };
        let words = text.lines().filter_map(|line| line.split_once(": ").map(|(_, word)| word.trim_matches('"')));
        found.extend(words.filter(|word| word.len() > SHORT && *word != id).map(str::to_owned));
        assert!(found.len() > 9, "a bundle holds secrets");
    }
    found
}

/// The declared nodes that the world does not call ready, asked past every server.
pub fn not_ready(world: &World, project: &Project) -> Vec<String> {
    let all = Selection::default();
    let ready: Vec<&str> = world
        .kubernetes
        .list(&Resource::NODES, &all)
        .filter(|node| {
            let conditions = node["status"]["conditions"].as_array();
            conditions.is_some_and(|list| list.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        })
        .filter_map(|node| node["metadata"]["name"].as_str())
        .collect();
    let names = project.machines.iter().map(|spec| spec.node.to_string());
    names.filter(|name| !ready.contains(&name.as_str())).collect()
}
