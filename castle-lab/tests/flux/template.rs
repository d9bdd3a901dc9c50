//! The template: complete, and for any project.

use std::path::Path;

use castle_lab::flux::{NodesReady, ideal};
use castle_lab::git::template;
use castle_lab::git::template::template_with_chain;

use crate::house::{House, files, project};

#[test]
fn every_file_of_the_tree_is_embedded() {
    fn walk(folder: &Path, found: &mut Vec<String>, root: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found, root);
            } else {
                found.push(
                    path.strip_prefix(root).unwrap().to_str().unwrap().replace("clusters/CLUSTER", "clusters/blue"),
                );
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/gitops-template");
    let mut found = Vec::new();
    walk(&root, &mut found, &root);
    found.sort();
    assert_eq!(files().into_keys().collect::<Vec<_>>(), found);
}

#[test]
fn a_cluster_s_own_folder_has_its_values() {
    let text = |path: &str| String::from_utf8(files()[path].clone()).unwrap();
    let variables = text("clusters/blue/cluster-vars.yaml");
    assert!(variables.contains("load_balancer_addresses: 192.168.1.230-192.168.1.239\n"), "{variables}");
    assert!(variables.contains("blog_host: blog.blue.castle.internal\n"), "{variables}");
    assert!(text("clusters/blue/flux-system/gotk-sync.yaml").contains("path: ./clusters/blue\n"));
    for (path, bytes) in files().iter().filter(|(path, _)| path.starts_with("clusters/")) {
        assert!(!std::str::from_utf8(bytes).unwrap().contains("${"), "{path} has a value that is not filled in");
    }
}

#[test]
fn the_ideal_of_a_chain_grows_with_its_links() {
    let mut house = House::new(7);
    let draws = house.world.draws();
    let mut times = Vec::new();
    for links in [0, 1, 6] {
        let files = template_with_chain(&project(), links);
        assert_eq!(files.len() - template(&project()).len(), if links == 0 { 0 } else { links + 1 });
        house.world.commit_files(crate::house::PATH, "main", files, "A chain");
        let ideal = ideal(&house.project, &house.branch(), draws, Default::default(), &NodesReady::default()).unwrap();
        times.push((links, ideal.kustomizations.get(&format!("link-{links}")).copied(), ideal.flux_ready));
    }
    let (one, six) = (times[1].1.unwrap(), times[2].1.unwrap());
    assert!(six > one && one > times[0].2, "{times:?}");
}

#[test]
fn a_graph_that_waits_for_itself_has_no_ideal() {
    let mut house = House::new(7);
    let apps = String::from_utf8(files()["clusters/blue/apps.yaml"].clone()).unwrap();
    house.push(&[("clusters/blue/apps.yaml", Some(&apps.replace("- name: ingress", "- name: blog")))]);
    let zero = Default::default();
    let why = ideal(&house.project, &house.branch(), house.world.draws(), zero, &NodesReady::at(zero)).unwrap_err();
    assert_eq!(why, "these Kustomizations wait for each other or for none: blog");
}
