//! What a call is answered with: names that confirm, help that fits, objects for scripts.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;

use serde_json::Value;

use crate::program::{BLUE, Served, folder, run, run_in};

#[test]
fn another_cluster_s_name_confirms_nothing_anywhere() {
    let home = folder(BLUE);
    let _lab = Served::start(home.path(), "300x");
    run(home.path(), "--endpoints lab/lab.yaml create --until machines-running").exits(0);
    for call in [
        "--lab destroy --confirm red",
        "--endpoints lab/lab.yaml destroy --confirm red",
        "--endpoints lab/lab.yaml destroy --confirm red --yes",
        "--endpoints lab/lab.yaml rebirth --confirm red --yes",
    ] {
        let told = run(home.path(), &format!("{call} --json")).exits(3);
        assert_eq!(told.writes(), 0, "{call}\n{told}");
        let error = &told.report()["error"];
        assert_eq!(error["code"], "evidence_missing", "{told}");
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains("`red`") && text.contains("blue")),
            "{told}"
        );
        let look = if call.contains("rebirth") { "`castle plan --rebirth`" } else { "`castle plan --destroy`" };
        let hint = error["hint"].as_str().expect("a way out");
        assert!(hint.contains(look) && hint.contains("`--confirm blue`"), "{told}");
    }
    let told = run(home.path(), "--endpoints lab/lab.yaml rebirth").exits(3);
    assert!(told.err.contains("look at `castle plan --rebirth`, then add `--yes`"), "{told}");
    run(home.path(), "--endpoints lab/lab.yaml destroy --confirm blue").exits(0);
}

#[test]
fn a_lost_key_leaves_what_vouches_for_a_machine_in_the_status() {
    let home = folder(BLUE);
    let _lab = Served::start(home.path(), "300x");
    run(home.path(), "--endpoints lab/lab.yaml create --until machines-running").exits(0);
    let told = run(home.path(), "--endpoints lab/lab.yaml status").exits(0);
    assert!(!told.out.contains("421="), "what is proved ours needs no voucher\n{told}");
    std::fs::remove_dir_all(home.path().join("lab/secrets")).expect("it is ours");
    std::fs::DirBuilder::new().mode(0o700).create(home.path().join("lab/secrets")).expect("it is ours");
    let told = run(home.path(), "--endpoints lab/lab.yaml status").exits(0);
    let vouchers: Vec<&str> =
        told.out.split_whitespace().filter(|word| word.starts_with("4") && word.contains('=')).collect();
    assert_eq!(vouchers.len(), 3, "{told}");
    // As they are printed, they are taken.
    let waivers: String = vouchers.iter().map(|voucher| format!(" --waive-ownership {voucher}")).collect();
    let told = run(home.path(), &format!("--endpoints lab/lab.yaml --json destroy --yes{waivers}")).exits(0);
    assert!(told.writes() > 5, "{told}");
}

#[test]
fn help_fits_and_offers_what_the_verb_uses() {
    let nothing = tempfile::tempdir().expect("a folder");
    let help = |call: &str| run(nothing.path(), &format!("{call} --help")).exits(0).out;
    let verbs = ["check", "plan", "create", "handover", "rebirth", "destroy", "status", "explain", "lab serve"];
    for verb in verbs.into_iter().chain([""]) {
        // A wide terminal does not make it wider.
        let wide = run_in(nothing.path(), &format!("{verb} --help"), &[("COLUMNS", "200")]).exits(0).out;
        for text in [help(verb), wide] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{verb}: {line}");
            }
            let (own, every) = text.split_once("Options of every verb:").unwrap_or_else(|| panic!("{verb}\n{text}"));
            for option in ["--project", "--lab", "--endpoints", "--pace", "--seed", "--json", "--yes"] {
                assert!(every.contains(&format!("  {option}")) && !own.contains(&format!("  {option} ")), "{text}");
            }
            assert!(!text.contains("Do not ask"), "it never asks\n{text}");
        }
    }
    for (verb, option) in
        [("destroy", "--new-life"), ("destroy", "--continue"), ("handover", "--new-life"), ("handover", "--waive-data")]
    {
        assert!(!help(verb).contains(option), "{verb} {option}");
        run(nothing.path(), &format!("--lab {verb} {option}")).exits(64);
    }
    for (verb, option) in [
        ("plan", "--new-life"),
        ("create", "--continue"),
        ("rebirth", "--new-life"),
        ("destroy", "--waive-data"),
        ("create", "--waive-data"),
        ("handover", "--waive-ownership"),
    ] {
        assert!(help(verb).contains(option), "{verb} {option}");
    }
}

#[test]
fn a_call_that_is_none_has_a_version_and_a_report_for_scripts() {
    let nothing = tempfile::tempdir().expect("a folder");
    for (call, words) in [
        ("--json conjure", "unrecognized subcommand 'conjure'"),
        ("--lab --json create --force", "unexpected argument '--force'"),
        ("--json", "requires a subcommand"),
    ] {
        let told = run(nothing.path(), call).exits(64);
        assert_eq!(told.lines()[0]["type"], "version", "{told}");
        let report = told.report();
        assert_eq!(
            (&report["outcome"], &report["error"]["code"]),
            (&"failed".into(), &"invalid_spec".into()),
            "{told}"
        );
        assert!(report["error"]["message"].as_str().is_some_and(|text| text.contains(words)), "{told}");
        assert!(told.err.contains(words) && told.err.contains("Usage"), "people read it as well\n{told}");
    }
    assert_eq!(run(nothing.path(), "conjure").exits(64).out, "");
    // People read a help, which is no message.
    for (call, message) in [
        ("--json explain", "`explain` needs a code, `--all` or `--variables`"),
        ("--json --project explain lab", "`lab` needs a subcommand"),
    ] {
        let told = run(nothing.path(), call).exits(64);
        assert_eq!(told.report()["error"]["message"], message, "{told}");
        assert!(told.err.contains("Usage"), "{told}");
    }
}

#[test]
fn a_served_lab_tells_scripts_where_it_is_and_reports_at_its_end() {
    let home = folder(BLUE);
    let mut child = std::process::Command::new(crate::program::program())
        .args(["--json", "lab", "serve", "--dir", "lab", "--pace", "60x"])
        .current_dir(home.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let id = child.id().to_string();
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line.expect("text")))));
    let mut next = || -> Value {
        let line = receiver.recv_timeout(std::time::Duration::from_secs(120));
        let line = line.unwrap_or_else(|_| {
            child.kill().expect("it was started");
            panic!("it said no more")
        });
        serde_json::from_str(&line).expect("an object a line")
    };
    assert_eq!(next()["type"], "version");
    let serving = next();
    assert_eq!((&serving["type"], &serving["cluster"]), (&"serving".into(), &"blue".into()), "{serving}");
    let document = serving["endpoints"].as_str().expect("a path");
    assert!(document.ends_with("lab/lab.yaml") && std::path::Path::new(document).is_file(), "{serving}");
    let interrupted = std::process::Command::new("kill").args(["-INT", &id]).status();
    assert!(interrupted.expect("there is a `kill`").success());
    let report = next();
    assert_eq!((&report["type"], &report["goal"], &report["outcome"]), (&"report".into(), &"lab".into(), &"ok".into()));
    assert_eq!(child.wait().expect("it was started").code(), Some(0));
    reader.join().expect("its output has ended");
}

#[test]
fn one_empty_line_parts_the_plan_from_the_timeline() {
    let told = run(folder(BLUE).path(), "--lab create --until machines-running").exits(0);
    assert!(told.out.contains("to destroy.\n\ntimeline"), "{told}");
    assert!(!told.out.contains("\n\n\n"), "{told}");
}

#[test]
fn a_code_is_found_however_it_was_copied_and_proposed_by_its_parts() {
    let nothing = tempfile::tempdir().expect("a folder");
    for (call, code) in [
        ("error[unknown-key]:", "unknown-key"),
        ("note[no-vip]:", "no-vip"),
        ("Unknown_Key", "unknown-key"),
        ("NOT-FOUND", "not_found"),
        ("[deadline_exceeded]", "deadline_exceeded"),
    ] {
        let told = run(nothing.path(), &format!("explain {call}")).exits(0);
        assert!(told.out.starts_with(&format!("{code}\n")), "{call}\n{told}");
    }
    for (call, codes) in [
        ("key", &["`unknown-key`", "`missing-key`", "`duplicate-key`"][..]),
        ("unknwn", &["`unknown-key`", "`unknown-host`"]),
        ("storage", &["`storage-full`"]),
        ("unknown-kez", &["`unknown-key`"]),
    ] {
        let told = run(nothing.path(), &format!("explain {call}")).exits(64);
        for code in codes {
            assert!(told.err.contains("did you mean ") && told.err.contains(code), "{call}: {code}\n{told}");
        }
    }
    let told = run(nothing.path(), "explain xyzzy").exits(64);
    assert!(told.err.contains("`castle explain --all` prints every code"), "{told}");
}
