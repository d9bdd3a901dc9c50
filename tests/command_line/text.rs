//! What a person sees: text that fits a terminal.

use std::path::Path;

use crate::program::{BLUE, folder, run};

const FORTRESS: &str = include_str!("../../examples/projects/fortress/proxmox/castle.yaml");
const WIDTH: usize = 80;

fn fits(out: &str) {
    for line in out.lines() {
        assert!(line.chars().count() <= WIDTH, "{} columns: {line}\n{out}", line.chars().count());
    }
}

#[test]
fn the_demo_shows_plan_status_and_timeline_in_80_columns() {
    for project in [BLUE, FORTRESS] {
        let told = run(folder(project).path(), "demo").exits(0);
        for words in ["== create ==", "to add, 0 to change", "timeline", "critical path", "STANDING", "== destroy =="] {
            assert!(told.out.contains(words), "{words}\n{told}");
        }
        assert!(told.out.contains("create done: ") && told.out.contains(", ideal "), "{told}");
        fits(&told.out);
    }
}

#[test]
fn long_names_are_shortened_in_the_picture_and_told_apart() {
    let long = "blue-worker-in-the-cupboard-under-the-stairs";
    let project = BLUE.replace("blue-wk-0", &format!("{long}-0"));
    let told = run(folder(&project).path(), "--lab create --until machines-running").exits(0);
    let bars: Vec<&str> = told.out.lines().filter(|line| line.contains('█') || line.contains('░')).collect();
    assert_eq!(bars.len(), 8, "{told}");
    fits(&bars.join("\n"));
    for end in ["1/create", "1/start", "2/create", "2/start"] {
        let of_worker = |line: &&&str| line.contains('…') && line.contains(end);
        assert_eq!(bars.iter().filter(of_worker).count(), 1, "{end}\n{told}");
    }
}

#[test]
fn a_failed_run_shows_where_it_failed_and_what_to_do_next() {
    let project = BLUE.replace("import: 15m", "import: 2s");
    let told = run(folder(&project).path(), "--lab create").exits(4);
    assert!(told.out.contains(" failed\n"), "{told}");
    assert!(told.out.contains("left to do: machine/blue-cp-01/create"), "{told}");
    assert!(told.out.contains("run `castle create` again"), "{told}");
    assert!(told.err.contains("error[deadline_exceeded]"), "{told}");
    fits(&told.out);
}

#[test]
fn a_check_prints_each_finding_with_its_command() {
    let told = run(folder(BLUE).path(), "--lab check").exits(0);
    assert!(told.out.contains("nothing stands in the way of a create"), "{told}");
    // Disks beside the images: thin, and larger than what is free.
    let project = BLUE.replace("storage: local-lvm", "storage: local");
    let told = run(folder(&project).path(), "--lab check").exits(0);
    assert!(told.out.contains("note[storage-tight]: pve/local") && told.out.contains("`pvesm list local`"), "{told}");
    let project = BLUE.replace("vmid: 431", "vmid: 100");
    let told = run(folder(&project).path(), "--lab check").exits(3);
    assert!(told.out.contains("error[") && told.out.contains("1 finding"), "{told}");
}

#[test]
fn the_readme_shows_the_run_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let told = run(root, "rebirth --lab --project examples/projects/blue/proxmox").exits(0);
    let readme = include_str!("../../README.md");
    let (_, after) = readme.split_once("```text\ncastle rebirth").expect("it shows a rebirth");
    let (shown, _) = after.split_once("```\n").expect("the block ends");
    assert_eq!(told.out, format!("castle rebirth{shown}"), "put what is printed into README.md");
}
