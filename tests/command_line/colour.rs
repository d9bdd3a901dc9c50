//! Colours, and what is drawn where somebody looks.

use std::path::Path;

use crate::program::{BLUE, folder, on_a_terminal, run, run_in};

const ESCAPE: char = '\u{1b}';
/// What moves the cursor up and removes what stood there.
const ERASES: &str = "A\u{1b}[J";

fn coloured(folder: &Path, environment: &[(&str, &str)]) -> bool {
    let told = run_in(folder, "--lab create --until machines-running", environment).exits(0);
    let (out, err) = (told.out.contains(ESCAPE), told.err.contains(ESCAPE));
    assert_eq!(out, err, "{told}");
    assert!(!told.err.contains(ERASES), "nothing is drawn where nobody looks\n{told}");
    out
}

#[test]
fn without_a_terminal_there_are_colours_only_where_they_are_forced() {
    let home = folder(BLUE);
    for (environment, wanted) in [
        (&[][..], false),
        (&[("TERM", "xterm-256color")], false),
        (&[("CLICOLOR", "1")], false),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("CLICOLOR_FORCE", "0")], false),
        (&[("CLICOLOR_FORCE", "")], false),
        (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], true),
    ] {
        assert_eq!(coloured(home.path(), environment), wanted, "{environment:?}");
    }
}

#[test]
fn objects_for_scripts_are_never_coloured() {
    let told = run_in(folder(BLUE).path(), "--lab --json plan", &[("CLICOLOR_FORCE", "1")]).exits(0);
    assert!(!told.out.contains(ESCAPE) && !told.err.contains(ESCAPE), "{told}");
    assert_eq!(told.report()["outcome"], "ok");
}

#[test]
fn errors_are_coloured_as_well() {
    let wrong = folder(&BLUE.replace("bridge:", "brigde:"));
    let told = run_in(wrong.path(), "--lab plan", &[("CLICOLOR_FORCE", "1")]).exits(64);
    assert!(told.err.contains("\u{1b}[1;31merror[unknown-key]\u{1b}[0m: "), "{told}");
    let plain = run(wrong.path(), "--lab plan").exits(64);
    assert!(!plain.err.contains(ESCAPE), "{plain}");
}

#[test]
fn progress_without_a_terminal_is_quiet_lines() {
    let told = run(folder(BLUE).path(), "--lab create").exits(0);
    let lines: Vec<&str> = told.err.lines().collect();
    assert!(lines.iter().any(|line| line.contains("cluster/bootstrap begins: ")), "{told}");
    assert!(lines.iter().any(|line| line.contains("* nodes_ready")), "{told}");
    // A step that goes on waiting says so now and then, not whenever a number in its reason changes.
    let (steps, mut waits) = (27, lines.iter().filter(|line| line.contains(" waits: ")).collect::<Vec<_>>());
    assert!(waits.len() <= 3 * steps, "{} waits\n{told}", waits.len());
    waits.sort();
    waits.dedup();
    assert!(!waits.is_empty(), "{told}");
}

#[test]
fn a_terminal_gets_a_picture_that_stays_at_its_bottom_and_goes() {
    let home = folder(BLUE);
    let arguments = "--lab --pace 200x create --until machines-running";
    let Some(sent) = on_a_terminal(home.path(), arguments, &[]) else {
        println!("skipped: a terminal, for which there is no `script` here");
        return;
    };
    assert!(sent.contains(ERASES), "the picture is renewed in its place\n{sent}");
    assert!(sent.contains(" of 8 steps"), "{sent}");
    assert!(sent.contains("\u{1b}[32mdone\u{1b}[0m"), "{sent}");
    assert!(!sent.contains(" begins: "), "what runs is in the picture, and not told beside it\n{sent}");
    // What is drawn last is removed before the results.
    let (progress, results) = sent.split_once("timeline").expect("the results follow");
    let (drawn, erased) = (progress.rfind(" of 8 steps"), progress.rfind(ERASES));
    assert!(erased > drawn && !results.contains(ERASES), "{sent}");
    assert_eq!(progress.matches("\u{1b}[?7l").count(), progress.matches("\u{1b}[?7h").count(), "{sent}");
}

#[test]
fn a_terminal_that_can_do_nothing_is_sent_nothing_but_lines() {
    let home = folder(BLUE);
    for (environment, coloured) in
        [(&[("TERM", "dumb")][..], false), (&[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], true)]
    {
        let Some(sent) = on_a_terminal(home.path(), "--lab create --until machines-running", environment) else {
            println!("skipped: a terminal, for which there is no `script` here");
            return;
        };
        assert!(sent.contains("machine/blue-cp-01/create begins: ") && !sent.contains(ERASES), "{sent}");
        assert_eq!(sent.contains(ESCAPE), coloured, "{sent}");
    }
    let Some(sent) = on_a_terminal(home.path(), "--lab create --until machines-running", &[("NO_COLOR", "1")]) else {
        return;
    };
    // Whatever it is told begins with what moves the cursor, never with a colour.
    let ends = |part: &str| part.chars().find(char::is_ascii_alphabetic);
    assert!(sent.split(ESCAPE).skip(1).all(|part| ends(part) != Some('m')), "no colours\n{sent}");
    assert!(sent.contains(ERASES), "and yet a picture\n{sent}");
}
