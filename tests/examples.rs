//! The short examples are run, and end as they say.

use std::path::Path;
use std::process::Command;

use built::{built, check_freshness, program};

#[path = "command_line/built.rs"]
mod built;
/// The proofs are an example, and hold no tests themselves.
#[path = "proofs/table.rs"]
mod table;

/// The short examples. They are built together, before the first of them runs.
const EXAMPLES: [&str; 6] =
    ["ghosts", "rebirth", "high_availability", "destroy_a_dead_cluster", "custom_machine_provider", "lab_in_your_test"];

/// Runs an example's program and gives its last line.
fn last_line_of(name: &str) -> String {
    assert!(EXAMPLES.contains(&name), "{name} is not among the examples that are built");
    let program = program(built(&EXAMPLES), name);
    let ended = Command::new(program).output().expect("the program starts");
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{}: {told}{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    told.lines().last().unwrap_or_default().to_owned()
}

/// The number that stands between two pieces of a line.
#[track_caller]
fn figure(line: &str, before: &str, after: &str) -> f64 {
    let found = line.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(number, _)| number);
    found.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no `{before}..{after}` in: {line}"))
}

#[test]
fn the_ghosts_of_a_former_life_are_named_and_cured() {
    let line = last_line_of("ghosts");
    assert!(figure(&line, "ghosts: ", " with an old identity") > 0.0, "{line}");
    assert!(line.ends_with(" with an old identity, 0 with a new one; all nodes are ready"), "{line}");
}

#[test]
fn a_standing_castle_falls_and_rises() {
    let line = last_line_of("rebirth");
    let (took, ideal) = (figure(&line, "rebirth: ", " s, ideal"), figure(&line, "ideal ", " s;"));
    assert!(ideal <= took && took < ideal * 1.1, "{line}");
    assert!(line.ends_with("; 3 of 3 machines are new; the stranger beside them was not touched"), "{line}");
}

#[test]
fn a_lost_control_plane_is_replaced_while_the_others_serve() {
    let expected = "quorum 2 of 3: 2 and 2 were left; etcd has 3 members, 2 of them from its birth; the API never left";
    assert_eq!(last_line_of("high_availability"), expected);
}

#[test]
fn a_dead_cluster_is_destroyed_and_nothing_else() {
    let expected =
        "destroyed: 0 machines and 0 disks are left; asked were only: proxmox, secrets; the neighbour runs on";
    assert_eq!(last_line_of("destroy_a_dead_cluster"), expected);
}

#[test]
fn a_provider_of_ones_own_keeps_every_rule() {
    let rules = castle_core::conformance::machines::RULES.len();
    let expected = format!("a provider of one's own: {rules} of {rules} rules hold");
    assert_eq!(last_line_of("custom_machine_provider"), expected);
}

/// Its tests are run by `cargo test` as well: the manifest says so.
#[test]
fn the_lab_tells_the_same_story_on_one_thread_and_on_many() {
    let line = last_line_of("lab_in_your_test");
    assert!(figure(&line, "lab in your test: ", " s and") > 0.0, "{line}");
    assert!(line.ends_with(" of virtual time; the same story, to the nanosecond"), "{line}");
}

#[test]
fn the_examples_that_run_are_those_of_today() {
    check_freshness(built(&EXAMPLES), &EXAMPLES);
}

/// What a newcomer opens first stays short, and every one of them is run above.
#[test]
fn the_examples_are_short_and_all_of_them_are_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let own = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file!())).expect("this file");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of the examples") {
        let path = entry.expect("an entry of the folder").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name in UTF-8");
        let lines = std::fs::read_to_string(&path).expect("an example").lines().count();
        assert!(lines < 120, "examples/{name}.rs has {lines} lines");
        assert!(own.contains(&format!("last_line_of(\"{name}\")")), "no test runs examples/{name}.rs");
        seen += 1;
    }
    assert!(seen >= 6, "{seen} examples were seen");
}
