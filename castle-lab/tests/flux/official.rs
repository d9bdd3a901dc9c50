//! The graph with definitions that nobody here wrote: what the models write about
//! their objects has to fit them. Without their folder this test skips by name.

use std::path::PathBuf;

use serde_json::Value;

use crate::house::{ESO, House};

fn official(file: &str) -> Option<String> {
    let folder = std::env::var_os("CASTLE_SHARED_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    std::fs::read_to_string(folder.join("crds").join(file)).ok()
}

/// A file of the template with its definitions replaced by official ones.
fn replaced(house: &House, path: &str, files: &[&str]) -> Option<String> {
    let own: Vec<Value> = house.documents(path);
    let mut texts = files.iter().map(|file| official(file)).collect::<Option<Vec<_>>>()?;
    let kept = own.iter().filter(|object| object["kind"] != "CustomResourceDefinition");
    texts.extend(kept.map(Value::to_string));
    Some(texts.join("\n---\n"))
}

#[test]
fn the_graph_stands_on_the_official_definitions() {
    let mut house = House::new(7);
    let metallb = "infrastructure/metallb/controller/metallb.yaml";
    let pair = |folder: &str, names: [&str; 2]| names.map(|name| format!("{folder}/{name}.yaml"));
    let secrets =
        pair("external-secrets", ["external-secrets.io_clustersecretstores", "external-secrets.io_externalsecrets"]);
    let pools = pair("metallb", ["metallb.io_ipaddresspools", "metallb.io_l2advertisements"]);
    let texts = || {
        Some((
            official("flux/gotk-components-v2.9.4.yaml")?,
            replaced(&house, ESO, &secrets.each_ref().map(String::as_str))?,
            replaced(&house, metallb, &pools.each_ref().map(String::as_str))?,
        ))
    };
    let Some((flux, secrets, pools)) = texts() else {
        println!("skipped: the_graph_stands_on_the_official_definitions (the definitions are absent)");
        return;
    };
    house.push(&[
        ("clusters/blue/flux-system/gotk-components.yaml", Some(&flux)),
        (ESO, Some(&secrets)),
        (metallb, Some(&pools)),
    ]);
    house.plant();
    house.nudging_until("everything ready", House::all_ready);
    let complaints: Vec<_> = house.world.trace().iter().filter(|(_, line)| line.contains("could not write")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}
