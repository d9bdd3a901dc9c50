//! Calls that come to nothing: what they say, and the exit codes they end with.

use std::net::TcpListener;
use std::path::Path;

use crate::program::{BLUE, Told, folder, names, run, write};

const BROKEN: &str = r#"apiVersion: castle/v1alpha1
project: blue
platform: proxmox
cluster: {name: Blue_, talos: v1.13.9, kubernetes: v1.36.3, contract: "1.13"}
image: {extensions: [], storage: local}
network: {subnet: 192.168.1.0/24, gateway: 192.168.1.1, dns: [192.168.1.1], bridge: vmbr0, vip: 192.168.1.211}
hosts: {pve: {memory: 8GiB, reserve: 4GiB}}
defaults: {pool: blue, storage: local-lvm, cores: 4, memory: 8GiB, disk: 40GiB}
control_planes:
  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}
  - {name: blue-cp-02, vmid: 421, address: 10.0.0.1, host: pve}
workers:
  - {name: blue-wk-01, vmid: 431, address: 192.168.1.214, host: pve}
  - {name: blue-wk-02, vmid: 432, address: 192.168.1.214, host: pve}
"#;

/// Each problem of `BROKEN` by its code and line.
const PROBLEMS: [(&str, u64); 7] = [
    ("invalid-name", 4),
    ("host-memory", 7),
    ("even-control-plane", 10),
    ("vip-among-nodes", 10),
    ("duplicate-id", 11),
    ("address-outside-subnet", 11),
    ("address-overlap", 14),
];

#[test]
fn an_invalid_declaration_is_told_whole_with_its_lines() {
    let folder = folder(BROKEN);
    for verb in ["check", "plan", "create", "status", "destroy --yes", "demo", "lab serve --dir lab"] {
        let told = run(folder.path(), &format!("--lab {verb}")).exits(64);
        for (code, line) in PROBLEMS {
            assert!(told.err.contains(&format!("error[{code}]")), "{verb}: {code}\n{told}");
            let source = BROKEN.lines().nth(line as usize - 1).expect("a line");
            let shown = format!("castle.yaml:{line}:");
            assert!(told.err.contains(&shown) && told.err.contains(&format!("{line:>5} | {source}")), "{verb}\n{told}");
        }
    }
    let told = run(folder.path(), "--lab --json create").exits(64);
    let problems: Vec<_> = told.lines().into_iter().filter(|line| line["type"] == "problem").collect();
    let found = problems.iter().map(|problem| (problem["code"].as_str(), problem["span"]["line"].as_u64()));
    assert_eq!(found.collect::<Vec<_>>(), PROBLEMS.map(|(code, line)| (Some(code), Some(line))), "{told}");
    assert!(problems.iter().all(|problem| problem["hint"].is_string()), "{told}");
    let report = told.report();
    assert_eq!((&report["outcome"], &report["error"]["code"]), (&"failed".into(), &"invalid_spec".into()), "{told}");
    assert_eq!(told.writes(), 0);
    assert_eq!(names(folder.path()), ["castle.yaml"], "nothing was made");
}

#[test]
fn an_unknown_key_comes_with_the_nearest_name() {
    let declaration = BLUE.replace("bridge:", "brigde:");
    let line = 1 + declaration.lines().position(|line| line.contains("brigde:")).expect("it is declared");
    let told = run(folder(&declaration).path(), "--lab create").exits(64);
    let place = format!("castle.yaml:{line}:");
    assert!(told.err.contains("brigde") && told.err.contains("`bridge`") && told.err.contains(&place), "{told}");
}

#[test]
fn mistakes_in_the_call_end_with_64() {
    let blue = folder(BLUE);
    for (arguments, words) in [
        ("", "Usage"),
        ("--lab conjure", "unrecognized subcommand 'conjure'"),
        ("--lab create --force", "unexpected argument '--force'"),
        ("create", "`--lab` for the embedded lab, `--endpoints FILE`"),
        ("--lab --endpoints lab.yaml create", "cannot be used with"),
        ("--endpoints nowhere.yaml create", "nowhere.yaml cannot be read"),
        ("--lab create --pace fast", "invalid value 'fast'"),
        ("--lab create --new-life --continue", "cannot be used with"),
        ("--lab destroy --waive-ownership 421", "invalid value '421'"),
        ("--project nowhere --lab create", "castle.yaml cannot be read"),
        ("lab serve --dir lab --pace virtual", "virtual time cannot be served: other processes keep their own"),
    ] {
        let told = run(blue.path(), arguments).exits(64);
        assert!(told.err.contains(words), "{arguments}: {words}\n{told}");
    }
    assert_eq!(names(blue.path()), ["castle.yaml"], "nothing was made");
    let nothing = tempfile::tempdir().expect("a folder");
    let told = run(nothing.path(), "--lab create").exits(64);
    assert!(told.err.contains("no castle.yaml here or in a folder above"), "{told}");
}

#[test]
fn help_and_version_are_answers() {
    let nothing = tempfile::tempdir().expect("a folder");
    assert!(run(nothing.path(), "--help").exits(0).out.contains("Usage: castle"));
    assert!(run(nothing.path(), "--version").exits(0).out.starts_with("castle "));
}

#[test]
fn a_declaration_is_found_from_the_folders_below() {
    let blue = folder(BLUE);
    let below = blue.path().join("docs/notes");
    std::fs::create_dir_all(&below).expect("the folder is ours");
    run(&below, "--lab check").exits(0);
}

/// An option document of a house whose API is at `at`.
fn house(folder: &Path, at: &TcpListener, more: &str) {
    let at = at.local_addr().expect("an address");
    let print = ["AB"; 32].join(":");
    write(
        folder,
        "house.yaml",
        &format!(
            "proxmox: {{url: 'https://{at}', token: 'castle@pve!main=6c8cd3b1-0c5e-4a0e-8a0e-3a3c5b1f7d11', \
             fingerprints: ['{print}']}}\nsecrets: {{files: secrets}}\n{more}"
        ),
    );
}

#[test]
fn a_house_is_not_destroyed_without_the_cluster_s_name() {
    let blue = folder(BLUE);
    let at = TcpListener::bind("127.0.0.1:0").expect("a free port");
    at.set_nonblocking(true).expect("a listening socket");
    house(blue.path(), &at, "lab: false\n");
    for confirmation in ["", "--yes", "--yes --confirm green", "--confirm BLUE"] {
        let told = run(blue.path(), &format!("--endpoints house.yaml destroy {confirmation}")).exits(3);
        assert!(told.err.contains("`--confirm blue`") && told.err.contains("castle plan --destroy"), "{told}");
        let told = run(blue.path(), &format!("--endpoints house.yaml --json destroy {confirmation}")).exits(3);
        let report = told.report();
        assert_eq!((&report["outcome"], &report["goal"]), (&"refused".into(), &"destroy".into()), "{told}");
        assert_eq!(report["requests"]["proxmox"], serde_json::json!({"read": 0, "write": 0}), "{told}");
    }
    let met = at.accept().expect_err("nobody came");
    assert_eq!(met.kind(), std::io::ErrorKind::WouldBlock, "{met}");
}

#[test]
fn a_house_runs_at_its_own_pace_and_a_lab_of_another_process_never_in_virtual_time() {
    let blue = folder(BLUE);
    let at = TcpListener::bind("127.0.0.1:0").expect("a free port");
    house(blue.path(), &at, "");
    let told = run(blue.path(), "--endpoints house.yaml --pace 60x status").exits(64);
    assert!(told.err.contains("only a lab can be faster than the clock"), "{told}");
    house(blue.path(), &at, "lab: true\npace: 60x\n");
    let told = run(blue.path(), "--endpoints house.yaml --pace virtual status").exits(64);
    assert!(told.err.contains("endpoints cannot run in virtual time"), "{told}");
}

#[test]
fn a_wrong_option_document_is_told_without_its_secrets() {
    let blue = folder(BLUE);
    write(blue.path(), "house.yaml", "proxmox: {url: 'http://pve', token: 'c@pve!m=geheim'}\nsecrets: {files: s}\n");
    let told = run(blue.path(), "--endpoints house.yaml create").exits(64);
    for words in ["house.yaml:1:16", "proxmox.url", "proxmox.token", "fingerprints"] {
        assert!(told.err.contains(words), "{words}\n{told}");
    }
    assert!(!told.err.contains("geheim"), "{told}");
}

#[test]
fn a_host_that_does_not_answer_ends_with_1() {
    let blue = folder(BLUE);
    // It takes no connection out of its queue, and is closed before it is asked.
    let at = TcpListener::bind("127.0.0.1:0").expect("a free port");
    house(blue.path(), &at, "lab: true\npace: 600x\n");
    drop(at);
    let told = run(blue.path(), "--endpoints house.yaml --json create").exits(1);
    let report = told.report();
    assert_eq!((&report["outcome"], &report["error"]["code"]), (&"failed".into(), &"unreachable".into()), "{told}");
    assert_eq!(told.writes(), 0, "{told}");
    assert!(report["ideal_seconds"].is_null(), "only the embedded lab knows its physics\n{told}");
    let told = run(blue.path(), "--endpoints house.yaml status").exits(1);
    assert!(told.out.contains("machines: not known"), "{told}");
}

#[test]
fn a_guard_that_refuses_ends_with_3() {
    // The number of the machine that every lab holds and nobody may touch.
    let blue = folder(&BLUE.replace("vmid: 431", "vmid: 100"));
    for verb in ["check", "plan", "create"] {
        let told = run(blue.path(), &format!("--lab --json {verb}")).exits(3);
        assert_eq!(told.report()["outcome"], "refused", "{told}");
        assert_eq!(told.writes(), 0, "{told}");
        let told = run(blue.path(), &format!("--lab {verb}")).exits(3);
        assert!(told.out.contains("blue-wk-01 (100)"), "{told}");
    }
}

fn late() -> Told {
    run(folder(&BLUE.replace("import: 15m", "import: 2s")).path(), "--lab --json create").exits(4)
}

#[test]
fn a_deadline_ends_with_4_and_says_what_was_waited_for_and_what_is_left() {
    let told = late();
    let report = told.report();
    assert_eq!(
        (&report["outcome"], &report["error"]["code"]),
        (&"failed".into(), &"deadline_exceeded".into()),
        "{told}"
    );
    let message = report["error"]["message"].as_str().expect("a text");
    assert!(message.contains("machine/blue-cp-01/create") && message.contains("the import of"), "{told}");
    let left = report["left"].as_array().expect("a list");
    assert!(left.contains(&"machine/blue-wk-02/start".into()), "{told}");
}
