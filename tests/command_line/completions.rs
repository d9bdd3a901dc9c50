//! Completions, and what a mistyped value of the call is answered with.

use crate::program::{BLUE, folder, run};

#[test]
fn every_shell_gets_a_script_that_knows_the_verbs() {
    let nothing = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let told = run(nothing.path(), &format!("completions {shell}")).exits(0);
        for word in ["rebirth", "handover", "explain", "--until", "--report"] {
            // Fish and its kin write options without their dashes.
            let bare = word.trim_start_matches('-');
            assert!(told.out.contains(bare), "{shell}: {word}\n{told}");
        }
        // The other two complete options, and no values.
        let values = ["bash", "zsh", "fish"].contains(&shell);
        assert!(!values || told.out.contains("nodes-ready"), "{shell}: the milestones are values\n{told}");
        assert!(told.err.is_empty(), "{told}");
    }
    run(nothing.path(), "completions tcsh").exits(64);
}

#[test]
fn a_shell_reads_its_completions() {
    let nothing = tempfile::tempdir().expect("a folder");
    let script = run(nothing.path(), "completions bash").exits(0).out;
    crate::program::write(nothing.path(), "castle.bash", &script);
    let call = "source ./castle.bash && COMP_WORDS=(castle crea) && COMP_CWORD=1 && _castle castle crea castle \
                && echo \"${COMPREPLY[@]}\"";
    let Ok(output) = std::process::Command::new("bash").args(["-c", call]).current_dir(nothing.path()).output() else {
        println!("skipped: bash, which is not installed");
        return;
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told.trim(), "create", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_milestone_that_does_not_exist_is_answered_with_all_that_do() {
    let home = folder(BLUE);
    for verb in ["create", "rebirth"] {
        let told = run(home.path(), &format!("--lab {verb} --until nonsense")).exits(64);
        let all = "machines-running, api-serving, cni-ready, nodes-ready, handover-ready, apps-ready";
        assert!(told.err.contains("`nonsense` is no milestone") && told.err.contains(all), "{told}");
        assert!(!told.err.contains("did you mean"), "{told}");
        let told = run(home.path(), &format!("--lab {verb} --until node-ready")).exits(64);
        assert!(told.err.contains("did you mean `nodes-ready`?"), "{told}");
    }
    // Both ways to write it are understood.
    run(home.path(), "--lab create --until machines_running").exits(0);
}

#[test]
fn a_value_that_cannot_be_read_comes_with_its_way_out() {
    let home = folder(BLUE);
    for (arguments, words) in [
        ("--lab --pace fast plan", "60x"),
        ("--lab destroy --waive-ownership 431", "ID=UUID"),
        ("--lab destroy --waive-data Blue_", "try `blue"),
        ("--lab members --remove xyz", "`castle members` prints them"),
    ] {
        let told = run(home.path(), arguments).exits(64);
        assert!(told.err.contains(words), "{arguments}: {words}\n{told}");
    }
}

#[test]
fn a_living_member_is_not_removed_and_an_absent_one_is_gone_already() {
    let home = folder(BLUE);
    let lines = run(home.path(), "--lab --json members").exits(0).lines();
    let listed = lines.iter().find(|line| line["type"] == "members").expect("a list");
    let id = listed["members"][0]["id"].as_str().expect("an id");
    let told = run(home.path(), &format!("--lab --json members --remove {id}")).exits(3);
    let report = told.report();
    assert_eq!((&report["goal"], &report["outcome"]), (&"members".into(), &"refused".into()), "{told}");
    assert_eq!(report["error"]["code"], "evidence_missing", "{told}");
    let told = run(home.path(), "--lab --json members --remove 00000000deadbeef").exits(0);
    let removed = told.lines().into_iter().find(|line| line["type"] == "member_removed").expect("it is told");
    assert_eq!((&removed["id"], &removed["through"]), (&"00000000deadbeef".into(), &"blue-cp-01".into()), "{told}");
}
