//! One lab for several processes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::program::{BLUE, Served, Told, folder, names, run, start};

const LAB: &str = "--endpoints lab/lab.yaml --json";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn states(told: &Told) -> Vec<String> {
    let status = told.lines().into_iter().find(|line| line["type"] == "status").expect("a status");
    let machines = status["machines"].as_array().expect("a list");
    machines.iter().map(|machine| machine["state"].as_str().expect("a text").to_owned()).collect()
}

/// The story that castle is for: nothing but the declaration and the way to the
/// house is needed, in any folder, by any process, any number of times.
#[test]
fn separate_processes_from_separate_folders_share_one_home() {
    let first = folder(BLUE);
    let lab = Served::start(first.path(), "60x");
    let told = run(first.path(), &format!("{LAB} plan --detailed-exitcode")).exits(2);
    assert_eq!(told.writes(), 0, "{told}");
    let told = run(first.path(), &format!("{LAB} create")).exits(0);
    assert!(told.writes() > 9, "{told}");
    let told = run(first.path(), &format!("{LAB} create")).exits(0);
    assert_eq!(told.writes(), 0, "{told}");

    // Another folder, with nothing but the declaration and the option document.
    let second = folder(BLUE);
    std::fs::copy(first.path().join("lab/lab.yaml"), second.path().join("lab.yaml")).expect("it is there");
    let again = "--endpoints lab.yaml --json";
    let told = run(second.path(), &format!("{again} plan --detailed-exitcode")).exits(0);
    assert_eq!(told.writes(), 0, "{told}");
    assert_eq!(states(&run(second.path(), &format!("{again} status")).exits(0)), ["running"; 3]);
    let told = run(second.path(), &format!("{again} destroy")).exits(3);
    assert_eq!(told.writes(), 0, "nobody said `--yes`\n{told}");
    let told = run(second.path(), &format!("{again} destroy --yes")).exits(0);
    assert!(told.writes() >= 9, "{told}");
    let told = run(second.path(), &format!("{again} destroy --yes")).exits(0);
    assert_eq!(told.writes(), 0, "{told}");
    assert_eq!(states(&run(second.path(), &format!("{again} status")).exits(0)), ["absent"; 3]);
    assert_eq!(names(second.path()), ["castle.yaml", "lab.yaml"], "it keeps no state");
    // And a life after that, begun from there, is ended from the first folder.
    run(second.path(), &format!("{again} create")).exits(0);
    run(first.path(), &format!("{LAB} destroy --confirm blue")).exits(0);
    assert_eq!(lab.stop(), Some(0));
}

#[test]
fn what_a_lab_leaves_in_its_folder_is_for_its_operator_alone() {
    let home = folder(BLUE);
    let lab = Served::start(home.path(), "60x");
    run(home.path(), &format!("{LAB} create")).exits(0);
    let dir = home.path().join("lab");
    assert_eq!(names(&dir), ["administrator.txt", "ca.pem", "lab.yaml", "secrets"]);
    for (name, wanted) in [("", 0o700), ("secrets", 0o700), ("lab.yaml", 0o600), ("administrator.txt", 0o600)] {
        assert_eq!(mode(&dir.join(name)), wanted, "{name}");
    }
    drop(lab);
}

/// Other clients dial what they read; the store keeps the addresses of the house.
#[test]
fn a_served_lab_s_credentials_name_the_addresses_at_which_it_listens() {
    let home = folder(BLUE);
    let lab = Served::start(home.path(), "60x");
    run(home.path(), &format!("{LAB} create --until machines-running")).exits(0);
    for (verb, house, place) in
        [("kubeconfig", "https://192.168.1.210:6443", "server: "), ("talosconfig", "192.168.1.211", "endpoints:\n")]
    {
        let told = run(home.path(), &format!("{LAB} {verb}")).exits(0);
        let line = told.lines().into_iter().find(|line| line["type"] == verb).expect("a credential");
        let text = line["text"].as_str().expect("a text").to_owned();
        let (_, after) = text.split_once(place).expect("an address has its place");
        assert!(after.lines().next().is_some_and(|line| line.contains("127.")), "{verb}\n{told}");
        assert!(!text.contains(house), "{verb}\n{told}");
        let kept = home.path().join(format!("lab/secrets/blue.d/blue.d/talos.d/1.{verb}.secret"));
        let kept = std::fs::read_to_string(&kept).expect("the store keeps it");
        assert!(kept.contains(house) && !kept.contains("127."), "{verb}");
    }
    drop(lab);
}

#[test]
fn two_labs_at_once_do_not_meet() {
    let (one, other) = (folder(BLUE), folder(BLUE));
    let labs = [Served::start(one.path(), "60x"), Served::start(other.path(), "60x")];
    let creates = [one.path(), other.path()].map(|home| start(home, format!("{LAB} create").split_whitespace()));
    for create in creates {
        let told = create.finish().exits(0);
        assert!(told.writes() > 9, "{told}");
    }
    run(one.path(), &format!("{LAB} destroy --yes")).exits(0);
    assert_eq!(states(&run(one.path(), &format!("{LAB} status")).exits(0)), ["absent"; 3]);
    assert_eq!(states(&run(other.path(), &format!("{LAB} status")).exits(0)), ["running"; 3]);
    drop(labs);
}

#[test]
fn an_interrupt_stops_after_the_current_request_and_says_what_is_left() {
    let home = folder(BLUE);
    let _lab = Served::start(home.path(), "10x");
    let waits_for_an_import = |line: &Value| {
        line["type"] == "step_waiting" && line["why"].as_str().is_some_and(|why| why.starts_with("the import of"))
    };
    let create = start(home.path(), format!("{LAB} create").split_whitespace());
    let told = create.interrupted_at(waits_for_an_import).exits(130);
    let report = told.report();
    assert_eq!((&report["outcome"], &report["goal"]), (&"cancelled".into(), &"create".into()), "{told}");
    let left = report["left"].as_array().expect("a list");
    for step in ["machine/blue-cp-01/create", "machine/blue-wk-02/start", "life/1/complete"] {
        assert!(left.contains(&step.into()), "{step}\n{told}");
    }
    // The imports that were under way are taken up by the next run.
    run(home.path(), &format!("{LAB} create")).exits(0);
    let told = run(home.path(), &format!("{LAB} create")).exits(0);
    assert_eq!(told.writes(), 0, "{told}");
}
