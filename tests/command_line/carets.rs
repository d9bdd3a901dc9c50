//! The mark below a line: it stands under what is meant, whatever stands before it.

use crate::program::{BLUE, folder, program, run};

/// What is changed in the declaration, the code that it is found by, and the line and
/// its mark as they are shown.
const CASES: [(&str, &str, &str, &str, &str); 14] = [
    // A tab is as wide as it is shown.
    (
        "deadlines: {import: 15m,",
        "deadlines: {import:\t15,",
        "invalid-duration",
        "deadlines: {import: 15, start",
        "                    ^^",
    ),
    // Letters that take two columns, and some that take none.
    (
        "{name: blue-wk-02, vmid: 432,",
        "{name: 青い城, vmid: 99,",
        "invalid-id",
        "  - {name: 青い城, vmid: 99, ",
        "                         ^^",
    ),
    (
        "{name: blue-wk-02, vmid: 432,",
        "{name: \"🏰\", vmid: 99,",
        "invalid-id",
        "  - {name: \"🏰\", vmid: 99, ",
        "                       ^^",
    ),
    (
        "{name: blue-wk-02, vmid: 432,",
        "{name: e\u{301}, vmid: 99,",
        "invalid-id",
        "  - {name: e\u{301}, vmid: 99, ",
        "                    ^^",
    ),
    ("name: blue-wk-02", "name: 青い城", "invalid-name", "  - {name: 青い城, ", "           ^^^^^^"),
    // The whole of a value, with its quotes, colons and blanks, and nothing behind it.
    (
        "contract: \"1.13\"",
        "contract: \"1.14\"",
        "contract-too-new",
        "contract: \"1.14\"}",
        "                                                                     ^^^^^^",
    ),
    (
        "192.168.1.215",
        "fd00::1",
        "address-outside-subnet",
        "address: fd00::1, ",
        "                                           ^^^^^^^",
    ),
    (
        "url: https://git.castle.internal/tazlab-k8s.git",
        "url: http://git.castle.internal/a.git",
        "invalid-url",
        "{url: http://git.castle.internal/a.git, ",
        "                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    (
        "storage: local-lvm",
        "storage: local lvm",
        "invalid-storage",
        "storage: local lvm, ",
        "                                ^^^^^^^^^",
    ),
    (
        "platform: proxmox",
        "platform: prox mox  # a comment",
        "unknown-platform",
        "platform: prox mox  # a comment",
        "          ^^^^^^^^",
    ),
    (
        "platform: proxmox",
        "platform: 'it''s: #1'",
        "unknown-platform",
        "platform: 'it''s: #1'",
        "          ^^^^^^^^^^^",
    ),
    // A key ends before its colon.
    (
        "limits: {imports_per_storage: 2}",
        "limits: {imports_per_storag: 2}",
        "unknown-key",
        "limits: {imports_per_storag: 2}",
        "         ^^^^^^^^^^^^^^^^^^",
    ),
    // What would move the cursor or change colours is replaced.
    (
        "platform: proxmox",
        "platform: vmware # \u{1b}[31mred\u{7}",
        "yaml",
        "platform: vmware # \u{fffd}[31mred\u{fffd}",
        "                   ^^^^^^^^^",
    ),
    (
        "platform: proxmox",
        "platform: vmware # \u{202e}turned",
        "unknown-platform",
        "platform: vmware # \u{fffd}turned",
        "          ^^^^^^",
    ),
];

#[test]
fn the_mark_stands_below_what_is_meant() {
    for (from, to, code, line, mark) in CASES {
        assert!(BLUE.contains(from), "{from}");
        let told = run(folder(&BLUE.replacen(from, to, 1)).path(), "--lab check").exits(64);
        let (_, story) = told.err.split_once(&format!("error[{code}]: ")).unwrap_or_else(|| panic!("{code}\n{told}"));
        let mut shown = story.lines().skip(3).map(|shown| shown.split_once('|').expect("a frame").1);
        let (text, below) = (shown.next().expect("the line"), shown.next().expect("the mark"));
        assert!(text.contains(line), "{code}: {line}\n{told}");
        assert_eq!(below, format!(" {mark}"), "{code}\n{told}");
        assert!(!told.err.contains(['\u{1b}', '\u{7}', '\t']), "{told}");
    }
}

#[test]
fn a_long_line_is_shown_around_its_place() {
    let names = (0..60).map(|n| format!("a{n}/b{n}")).collect::<Vec<_>>().join(", ");
    let declaration = BLUE.replace("siderolabs/iscsi-tools,", &format!("{names}, nobody, {names},"));
    assert!(declaration != BLUE);
    let told = run(folder(&declaration).path(), "--lab check").exits(64);
    let (_, story) = told.err.split_once("error[invalid-extension]: ").unwrap_or_else(|| panic!("{told}"));
    let lines: Vec<&str> = story.lines().skip(3).take(2).collect();
    let column = lines[1].find('^').expect("a mark");
    let meant: String = lines[0].chars().skip(column).take(6).collect();
    assert_eq!((meant.as_str(), lines[1].matches('^').count()), ("nobody", 6), "{told}");
    assert!(lines[0].contains("| …") && lines[0].ends_with('…'), "{told}");
}

/// A line without what colours it and moves the cursor.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).get(1..).unwrap_or_default();
    }
    text.trim_end_matches('\r').to_owned()
}

#[test]
fn a_narrow_terminal_gets_narrow_pictures_and_whole_words() {
    let home = folder(BLUE);
    let call = format!("stty cols 60 rows 24; exec {} --lab create", program().display());
    let told = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &call, "typescript"])
        .current_dir(home.path())
        .stdin(std::process::Stdio::null())
        .env("TERM", "dumb")
        .env("NO_COLOR", "1")
        .output();
    let Ok(output) = told else {
        println!("skipped: a terminal, for which there is no `script` here");
        return;
    };
    let sent = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = sent.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(" timeline 0 s ") && words.contains(" is asked to go on: "), "{sent}");
    for line in sent.lines().map(plain) {
        let is_one_word = line.split_whitespace().count() <= 1;
        assert!(line.chars().count() <= 60 || is_one_word, "{} columns: {line}\n{sent}", line.chars().count());
    }
}
