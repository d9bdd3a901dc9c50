//! The short examples are run, and end as they say.

use std::process::Command;

/// Runs an example's program and gives its last line.
fn last_line_of(name: &str) -> String {
    // Where cargo puts examples: beside the folder of this test's own program.
    let own = std::env::current_exe().expect("a running program has a path");
    let profile = own.ancestors().nth(2).expect("cargo runs tests in target/<profile>/deps");
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: run `cargo build --examples`", program.display());
    let ended = Command::new(program).output().expect("the program starts");
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{}: {told}{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    told.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_ghosts_of_a_former_life_are_named_and_cured() {
    let line = last_line_of("ghosts");
    let (old, new) = line.split_once(" with an old identity, ").unwrap_or_else(|| panic!("{line}"));
    let count: usize = old.trim_start_matches("ghosts: ").parse().unwrap_or_else(|_| panic!("{line}"));
    assert!(count > 0, "{line}");
    assert_eq!(new, "0 with a new one; all nodes are ready");
}
