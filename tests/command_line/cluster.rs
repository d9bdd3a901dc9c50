//! What the command line tells about nodes, etcd and access to them.

use serde_json::Value;

use crate::program::{BLUE, Told, folder, names, run};

const NODES: [&str; 3] = ["blue-cp-01", "blue-wk-01", "blue-wk-02"];

fn lab(arguments: &str) -> Told {
    let home = folder(BLUE);
    let told = run(home.path(), &format!("--lab {arguments}")).exits(0);
    assert_eq!(names(home.path()), ["castle.yaml"], "it keeps no state\n{told}");
    told
}

fn line(told: &Told, kind: &str) -> Value {
    told.lines().into_iter().find(|line| line["type"] == kind).unwrap_or_else(|| panic!("no line `{kind}`\n{told}"))
}

#[test]
fn a_create_goes_as_far_as_it_is_told() {
    let wanted = [
        ("machines-running", &["machines_running"][..]),
        ("api-serving", &["api_serving", "machines_running"]),
        ("nodes-ready", &["api_serving", "cni_ready", "machines_running", "nodes_ready"]),
    ];
    for (until, milestones) in wanted {
        let told = lab(&format!("--json create --until {until}"));
        let report = told.report();
        let reached: Vec<&String> = report["milestones"].as_object().expect("an object").keys().collect();
        assert_eq!(reached, milestones, "{told}");
        let asked = |backend: &str| report["requests"][backend]["write"].as_u64();
        let births = told.lines().iter().filter(|line| line["step"] == "cluster/bootstrap").count();
        assert_eq!(births > 0, until != "machines-running", "{told}");
        assert_eq!(asked("talos").unwrap_or(0) > 3, until != "machines-running", "{told}");
        assert_eq!(asked("kubernetes").unwrap_or(0), 0, "this slice only reads it\n{told}");
    }
}

#[test]
fn a_milestone_that_does_not_exist_is_refused_by_its_name() {
    let home = folder(BLUE);
    let told = run(home.path(), "--lab create --until nodes-redy").exits(64);
    assert!(told.err.contains("--until") && told.err.contains("`nodes-redy` is no milestone"), "{told}");
}

#[test]
fn the_status_tells_the_stage_of_every_node() {
    let status = line(&lab("--json status"), "status");
    let machines = status["machines"].as_array().expect("a list");
    let stages: Vec<_> = machines.iter().map(|one| (one["node"].as_str(), one["stage"].is_string())).collect();
    assert_eq!(stages, NODES.map(|node| (Some(node), true)), "{status}");
    assert_eq!(machines[0]["stage"], "running", "{status}");
    let told = lab("status");
    assert!(NODES.iter().all(|node| told.out.contains(node)) && told.out.contains("running"), "{told}");
}

#[test]
fn members_are_the_control_planes_that_vote() {
    let told = lab("--json members");
    let members = line(&told, "members");
    assert_eq!(members["node"], "blue-cp-01", "{told}");
    let list = members["members"].as_array().expect("a list");
    assert_eq!(list.len(), 1, "{told}");
    assert_eq!((&list[0]["name"], &list[0]["learner"]), (&"blue-cp-01".into(), &false.into()), "{told}");
    assert_eq!(list[0]["addresses"], serde_json::json!(["192.168.1.211"]), "{told}");
    assert_eq!(told.writes(), 0, "{told}");
    assert!(lab("members").out.contains("blue-cp-01"));
}

#[test]
fn credentials_are_minted_offline_and_go_to_standard_output_only() {
    for (verb, first, place) in [
        ("kubeconfig", "apiVersion: v1\n", "https://192.168.1.210:6443"),
        ("talosconfig", "context: blue\n", "192.168.1.211"),
    ] {
        let told = lab(verb);
        assert!(told.out.contains(first) && told.out.contains(place), "{verb}: its beginning or its place");
        assert!(!told.err.contains("PRIVATE") && !told.err.contains("LS0tLS1"), "{verb}: a key on standard error");
        let told = lab(&format!("--json {verb}"));
        let report = told.report();
        assert_eq!((&report["goal"], &report["outcome"]), (&verb.into(), &"ok".into()));
        for backend in ["proxmox", "talos", "kubernetes"] {
            assert_eq!(report["requests"][backend], serde_json::json!({"read": 0, "write": 0}), "{verb}: {backend}");
        }
        let text = line(&told, verb)["text"].as_str().expect("a text").to_owned();
        assert!(text.starts_with(first) && text.contains(place), "{verb}: its beginning or its place");
    }
}
