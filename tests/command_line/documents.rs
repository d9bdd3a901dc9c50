//! Documents that castle cannot read, and what it knows about those that it can.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::program::{BLUE, folder, run, write};

/// Three control planes without a VIP: valid, and worth a word.
fn without_vip() -> String {
    let one = "  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}\n";
    assert!(BLUE.contains(one) && BLUE.contains(", vip: 192.168.1.210"));
    let three: String = (1..=3)
        .map(|n| format!("  - {{name: blue-cp-0{n}, vmid: 42{n}, address: 192.168.1.21{n}, host: pve}}\n"))
        .collect();
    BLUE.replace(one, &three).replace(", vip: 192.168.1.210", "").replace("memory: 8GiB", "memory: 4GiB")
}

#[test]
fn every_verb_tells_what_the_declaration_is_warned_of() {
    let home = folder(&without_vip());
    let story = "note[no-vip]: network.vip: 3 control planes without a VIP";
    for (verb, code) in [("plan", 0), ("create --until machines-running", 0), ("status", 0), ("kubeconfig", 0)] {
        let told = run(home.path(), &format!("--lab {verb}")).exits(code);
        assert_eq!(told.err.matches(story).count(), 1, "{verb}\n{told}");
        assert!(!told.out.contains(story), "{verb}: results stay clean\n{told}");
        assert!(told.err.contains("--> ./castle.yaml:") || told.err.contains("castle.yaml:"), "{verb}\n{told}");
        assert!(told.err.contains("      = declare a free address of the subnet as `vip`"), "{verb}\n{told}");
    }
    let told = run(home.path(), "--lab check").exits(0);
    assert_eq!((told.out.matches(story).count(), told.err.matches(story).count()), (1, 0), "{told}");
    assert!(told.out.contains("1 finding") && !told.out.contains("nothing stands in the way"), "{told}");
    // The declaration alone tells it; what is explained needs none.
    assert!(!run(home.path(), "explain no-vip").exits(0).err.contains(story));
}

#[test]
fn scripts_read_warnings_as_problems_and_in_the_report() {
    let home = folder(&without_vip());
    for verb in ["check", "plan", "create --until machines-running"] {
        let told = run(home.path(), &format!("--lab --json {verb}")).exits(0);
        let problems: Vec<_> = told.lines().into_iter().filter(|line| line["type"] == "problem").collect();
        let codes: Vec<_> = problems.iter().map(|problem| problem["code"].as_str()).collect();
        assert_eq!(codes, [Some("no-vip")], "{verb}\n{told}");
        assert!(problems[0]["span"]["line"].is_u64(), "{told}");
    }
    let told = run(home.path(), "--lab --json create --until machines-running --report page.html").exits(0);
    assert_eq!(told.report()["problems"][0]["code"], "no-vip", "{told}");
    let page = std::fs::read_to_string(home.path().join("page.html")).expect("it was written");
    assert!(page.contains("3 control planes without a VIP"), "{page}");
}

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn what_is_no_text_is_told_with_its_own_way_out() {
    let home = folder(BLUE);
    let path = home.path().join("castle.yaml");
    let latin = b"apiVersion: castle/v1alpha1\nproject: caf\xe9\n".to_vec();
    for (bytes, words) in [
        (latin, "is not UTF-8 text: byte 0xE9 in line 2"),
        (utf16(BLUE), "is not UTF-8 text: it is UTF-16"),
        (vec![0x7F, b'E', b'L', b'F', 0x80, 0], "is not UTF-8 text: byte 0x80 in line 1"),
    ] {
        std::fs::write(&path, bytes).expect("the folder is ours");
        let told = run(home.path(), "--lab check").exits(64);
        assert!(told.err.contains("error[invalid_spec]: ") && told.err.contains(words), "{told}");
        assert!(told.err.contains("save it as UTF-8") && !told.err.contains("--project"), "{told}");
    }
    std::fs::remove_file(&path).expect("it is ours");
    std::fs::create_dir(&path).expect("the folder is ours");
    let told = run(home.path(), "--project . --lab check").exits(64);
    assert!(told.err.contains("castle.yaml is a folder") && told.err.contains("error[invalid_spec]"), "{told}");
    let told = run(home.path(), "--project nowhere --lab check").exits(64);
    assert!(told.err.contains("error[not_found]") && told.err.contains("`--project DIR`"), "{told}");
}

/// Whether this process may read everything, whatever its mode.
fn reads_everything(folder: &Path) -> bool {
    let probe = folder.join("probe");
    std::fs::write(&probe, "").expect("the folder is ours");
    std::fs::set_permissions(&probe, PermissionsExt::from_mode(0o000)).expect("it is ours");
    let read = std::fs::read(&probe).is_ok();
    std::fs::remove_file(&probe).expect("it is ours");
    read
}

#[test]
fn a_document_that_may_not_be_read_is_told_as_such() {
    let home = folder(BLUE);
    if reads_everything(home.path()) {
        println!("skipped: a file without permission, which root reads all the same");
        return;
    }
    let path = home.path().join("castle.yaml");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).expect("it is ours");
    let told = run(home.path(), "--lab check").exits(64);
    assert!(told.err.contains("error[permission_denied]") && !told.err.contains("--project"), "{told}");
}

#[test]
fn an_option_document_is_read_as_carefully() {
    let home = folder(BLUE);
    std::fs::write(home.path().join("house.yaml"), b"proxmox: \xff\n").expect("the folder is ours");
    let told = run(home.path(), "--endpoints house.yaml plan").exits(64);
    assert!(told.err.contains("house.yaml is not UTF-8 text: byte 0xFF in line 1"), "{told}");
    std::fs::create_dir(home.path().join("lab")).expect("the folder is ours");
    let told = run(home.path(), "--endpoints lab plan").exits(64);
    assert!(told.err.contains("lab is a folder") && told.err.contains("`lab.yaml`"), "{told}");
}

#[test]
fn every_wrong_option_is_a_story_of_its_own_and_shows_no_value() {
    let home = folder(BLUE);
    let text = "proxmox:\n  url: http://geheim\n  token: geheim\n  fingerprints: [geheim]\nsecrets: {files: s}\npace: geheim\n";
    write(home.path(), "house.yaml", text);
    let told = run(home.path(), "--endpoints house.yaml create").exits(64);
    for story in [
        "error[invalid-option]: proxmox.url: is not the address of an API\n  --> house.yaml:2:8\n      |\n    2 |   url: …\n      |        ^\n      = write `https://host:8006`",
        "error[invalid-option]: proxmox.token: is not an API token\n  --> house.yaml:3:10\n      |\n    3 |   token: …\n      |          ^\n      = write it as `user@realm!name=uuid`",
        "error[invalid-option]: proxmox.fingerprints: is not the SHA-256 of a certificate\n  --> house.yaml:4:18\n      |\n    4 |   fingerprints: …\n      |                 ^\n      = write 32 bytes",
        "error[invalid-option]: pace: is not a pace\n  --> house.yaml:6:7\n      |\n    6 | pace: …\n      |       ^\n      = use `virtual`",
        "error[invalid_spec]: house.yaml is not a valid option document",
    ] {
        assert!(told.err.contains(story), "{story}\n{told}");
    }
    assert!(!told.err.contains("geheim") && !told.out.contains("geheim"), "{told}");
    // Whatever is no known key is hidden, and a place in brackets is found all the same.
    write(home.path(), "house.yaml", "proxmox: {geheim: 1, token: 'geheim, {url: x'}\n");
    let told = run(home.path(), "--endpoints house.yaml create").exits(64);
    let story = "error[unknown-key]: proxmox: unknown key\n  --> house.yaml:1:11\n      |\n    1 | proxmox: … token: …";
    assert!(told.err.contains(story) && !told.err.contains("geheim"), "{told}");
    let told = run(home.path(), "--endpoints house.yaml --json create").exits(64);
    let problem = told.lines().into_iter().find(|line| line["type"] == "problem").expect("a problem");
    assert_eq!((&problem["code"], &problem["span"]["column"]), (&"unknown-key".into(), &11.into()), "{told}");
    assert!(!told.out.contains("geheim"), "{told}");
}

#[test]
fn an_option_document_that_is_no_yaml_names_the_key_and_what_was_expected() {
    let home = folder(BLUE);
    for (text, words) in [
        ("proxmox:\n\turl: x\n", "indent with blanks"),
        ("dial: {from: a, to: b}\n", "dial: is not a list"),
        ("proxmox: {token: [a]}\n", "proxmox.token: is not a text"),
        ("lab: perhaps\n", "lab: is not `true` or `false`"),
        ("secrets: files\n", "secrets: is not a mapping"),
        ("proxmox: {url: 'x\n", "quote or a bracket is left open"),
    ] {
        write(home.path(), "house.yaml", text);
        let told = run(home.path(), "--endpoints house.yaml plan").exits(64);
        assert!(told.err.contains(words) && told.err.contains("--> house.yaml:"), "{text}: {words}\n{told}");
    }
}
