use castle_core::handover::SeedPart;
use castle_core::step::Verdict;
use castle_core::{ErrorKind, GitOps, Handover, SecretText};
use castle_lab::runtime;
use serde_json::json;
use std::sync::Arc;

use crate::house::{House, kustomizations, project};

#[test]
fn a_root_of_another_path_is_not_planted_over() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        house.plant(&house.open()).await;
        let mut other = project();
        other.gitops.as_mut().unwrap().repository.path = "clusters/green".into();
        let mut house = house;
        house.project = Arc::new(other);
        let handover: Arc<dyn Handover> = house.open();
        let verdict = handover.stands(&house.cx, SeedPart::Flux).await.unwrap();
        assert!(matches!(&verdict, Verdict::Never(why) if why.contains("clusters/green")), "{verdict:?}");
        let before = house.find(&kustomizations(), "flux-system", "flux-system");
        let error = handover.plant(&house.cx, SeedPart::Flux).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignOwner, "{}", error.chain());
        assert_eq!(house.find(&kustomizations(), "flux-system", "flux-system"), before);
    });
}

#[test]
fn what_a_project_lacks_is_told_before_anybody_is_asked() {
    runtime::run_virtual(|| async {
        let mut bare = project();
        bare.gitops = None;
        let house = House::start(7).await;
        let kubeconfig = SecretText::new(String::new());
        let error = house.gitops.open(&house.cx, &Arc::new(bare), &kubeconfig).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::InvalidSpec, "there is nothing to hand over")
        );
        let mut options = house.options.clone();
        options.identity = None;
        let env = house.lab.env(house.lab.new_run());
        let gitops = castle_gitops::FluxGitOps::new(&options, &env, house.kubernetes.clone(), ".");
        let error = gitops.open(&house.cx, &house.project, &kubeconfig).unwrap_err();
        assert!(error.advice().unwrap().contains("`identity`"), "{}", error.chain());
        assert!(house.lab.journal().is_empty());
    });
}

#[test]
fn nothing_of_a_handover_shows_a_secret() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        let handover = house.open();
        house.plant(&handover).await;
        let state = handover.observe(&house.cx).await.unwrap();
        let shown = format!("{:?} {handover:?} {state:?}", house.gitops);
        let access = house.options.git.as_ref().unwrap();
        let identity = house.options.identity.as_ref().unwrap();
        for secret in [access.password.expose(), identity.client_secret.expose(), identity.client_id.expose()] {
            assert!(!shown.contains(secret.as_str()), "{shown}");
        }
    });
}

#[test]
fn flux_that_another_tool_looks_after_is_left_to_it() {
    runtime::run_virtual(|| async {
        let house = House::start(7).await;
        house.lab.with_world(|world| {
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "fluxinstances.fluxcd.controlplane.io"},
                "spec": {
                    "group": "fluxcd.controlplane.io", "scope": "Namespaced",
                    "names": {"kind": "FluxInstance", "listKind": "FluxInstanceList", "plural": "fluxinstances",
                        "singular": "fluxinstance"},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
                },
            });
            world.kubernetes.put(definition).unwrap();
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}});
            world.kubernetes.put(namespace).unwrap();
            let instance = json!({
                "apiVersion": "fluxcd.controlplane.io/v1", "kind": "FluxInstance",
                "metadata": {"name": "flux", "namespace": "flux-system"},
            });
            world.kubernetes.put(instance).unwrap();
        });
        let error = house.open().plant(&house.cx, SeedPart::Flux).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignOwner);
        assert!(error.chain().contains("FluxInstance flux-system/flux"), "{}", error.chain());
        assert!(house.writes().is_empty());
    });
}

#[test]
fn a_repository_that_is_not_as_castle_needs_it_is_told_with_the_file() {
    let home = "clusters/blue/flux-system";
    let check = |file: &'static str, content: Option<&'static str>, kind: ErrorKind, told: &'static str| {
        runtime::run_virtual(move || async move {
            let house = House::start_with(7, project(), |world| {
                let mut files = world.git.repositories[crate::house::PATH].head("main").unwrap().files.clone();
                let path = format!("{home}/{file}");
                match content {
                    Some(content) => drop(files.insert(path, content.as_bytes().to_vec())),
                    None => drop(files.remove(&path)),
                }
                world.commit_files(crate::house::PATH, "main", files, "A change");
            })
            .await;
            let error = house.open().plant(&house.cx, SeedPart::Flux).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{}", error.chain());
            assert!(error.chain().contains(told), "{}", error.chain());
            assert!(house.writes().is_empty());
        });
    };
    check("gotk-sync.yaml", None, ErrorKind::NotFound, "has no clusters/blue/flux-system/gotk-sync.yaml");
    check("gotk-components.yaml", None, ErrorKind::NotFound, "has no clusters/blue/flux-system/gotk-components.yaml");
    check("kustomization.yaml", Some("patches: []\n"), ErrorKind::Unsupported, "has the key `patches`");
    check("gotk-sync.yaml", Some("a: [\n"), ErrorKind::InvalidSpec, "is not YAML that can be read");
}
