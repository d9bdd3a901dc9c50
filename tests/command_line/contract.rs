//! Lines, keys and exit codes of every verb on the embedded lab.

use serde_json::Value;

use crate::program::{BLUE, Told, folder, run};

/// What the report of every verb holds on a lab.
const KEYS: [&str; 9] = [
    "goal",
    "outcome",
    "simulated_seconds",
    "ideal_seconds",
    "wall_seconds",
    "requests",
    "milestones",
    "steps",
    "critical_path",
];

fn lab(arguments: &str) -> Told {
    run(folder(BLUE).path(), &format!("--lab --json {arguments}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

/// Every line is an object with a type, the first is the version, the last a
/// report with every key in its form.
fn check(told: &Told, goal: &str) -> Value {
    let lines = told.lines();
    assert_eq!((&lines[0]["type"], &lines[0]["version"]), (&"version".into(), &1.into()), "{told}");
    assert!(lines[0]["castle"].is_string(), "{told}");
    assert!(lines.iter().all(|line| line["type"].is_string()), "{told}");
    let report = told.report();
    for key in KEYS {
        assert!(!report[key].is_null(), "the report has no `{key}`\n{told}");
    }
    assert_eq!((&report["goal"], &report["outcome"]), (&goal.into(), &"ok".into()), "{told}");
    for key in ["simulated_seconds", "ideal_seconds", "wall_seconds"] {
        assert!(report[key].as_f64().is_some_and(|seconds| seconds >= 0.0), "{key}\n{told}");
    }
    assert!(report["requests"]["proxmox"]["read"].as_u64() > Some(0), "{told}");
    assert!(report["requests"]["proxmox"]["write"].is_u64(), "{told}");
    report
}

/// A report of a run that changed something.
fn check_run(told: &Told, goal: &str, milestone: &str) {
    let report = check(told, goal);
    let seconds = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number\n{told}"));
    let (simulated, ideal) = (seconds(&report["simulated_seconds"]), seconds(&report["ideal_seconds"]));
    assert!(ideal > 1.0 && ideal < simulated, "{ideal} {simulated}\n{told}");
    assert!(report["requests"]["proxmox"]["write"].as_u64() > Some(3), "{told}");
    assert!(seconds(&report["milestones"][milestone]) <= simulated, "{told}");
    let steps = report["steps"].as_array().expect("a list");
    assert!(steps.len() >= 4, "{told}");
    for step in steps {
        assert!(step["id"].is_string() && step["outcome"] == "done", "{told}");
        let (start, end) = (seconds(&step["start"]), seconds(&step["end"]));
        assert!(0.0 <= start && start <= end && end <= simulated, "{told}");
    }
    let path = texts(&report["critical_path"]);
    let ids: Vec<&str> = steps.iter().filter_map(|step| step["id"].as_str()).collect();
    assert!(!path.is_empty() && path.iter().all(|id| ids.contains(id)), "{told}");
    // Each step ends where the next one of the path can begin.
    let ends = path.iter().map(|id| {
        let step = steps.iter().find(|step| step["id"] == **id).expect("it was found above");
        (seconds(&step["start"]), seconds(&step["end"]))
    });
    let ends: Vec<_> = ends.collect();
    assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{told}");
}

#[test]
fn looking_verbs_report_and_write_nothing() {
    for (arguments, goal) in [("check", "check"), ("plan", "plan"), ("status", "status"), ("plan --destroy", "plan")] {
        let told = lab(arguments).exits(0);
        let report = check(&told, goal);
        assert_eq!(told.writes(), 0, "a look writes nothing, and what was raised before it is not its own\n{told}");
        assert_eq!((&report["steps"], &report["ideal_seconds"]), (&Value::Array(vec![]), &0.0.into()), "{told}");
        assert!(report["simulated_seconds"].as_f64() > Some(0.0), "a look takes its time\n{told}");
    }
}

#[test]
fn create_and_destroy_report_steps_milestones_and_the_critical_path() {
    check_run(&lab("create").exits(0), "create", "machines_running");
    check_run(&lab("destroy").exits(0), "destroy", "machines_gone");
}

#[test]
fn the_demo_creates_looks_and_destroys() {
    let told = lab("demo").exits(0);
    check_run(&told, "destroy", "machines_gone");
    let of_type = |kind: &str| told.lines().into_iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    let goals: Vec<Value> = of_type("report").iter().map(|report| report["goal"].clone()).collect();
    assert_eq!(goals, ["create", "status", "destroy"], "{told}");
    let status = of_type("status");
    let machines = status[0]["machines"].as_array().expect("a list");
    let ids: Vec<_> = machines.iter().map(|machine| (machine["id"].as_u64(), machine["state"].as_str())).collect();
    assert_eq!(ids, [421, 431, 432].map(|id| (Some(id), Some("running"))), "{told}");
}

#[test]
fn a_plan_says_what_is_pending_by_its_exit_code_if_asked() {
    let told = lab("plan --detailed-exitcode").exits(2);
    let plan = told.lines().into_iter().find(|line| line["type"] == "plan").expect("a plan");
    let changes = plan["changes"].as_array().expect("a list");
    let told_of = |symbol: &str| -> Vec<&str> {
        let of_symbol = changes.iter().filter(|change| change["symbol"] == symbol);
        of_symbol.map(|change| change["subject"].as_str().expect("a text")).collect()
    };
    // Machines are made; credentials and the handover change what stands then.
    let machines = ["blue-cp-01 (421 on pve)", "blue-wk-01 (431 on pve)", "blue-wk-02 (432 on pve)"];
    assert_eq!(told_of("add"), machines.map(|machine| format!("machine {machine}")), "{told}");
    assert_eq!(told_of("update"), ["secret KUBECONFIG_CONTENT", "secret TALOSCONFIG_CONTENT", "handover"], "{told}");
    assert_eq!(changes.len(), 6, "{told}");
    lab("plan").exits(0);
    lab("plan --destroy --detailed-exitcode").exits(2);
}

#[test]
fn one_seed_is_one_run_and_another_seed_another() {
    let durations = |seed: u32| {
        let mut report = lab(&format!("create --seed {seed}")).exits(0).report();
        report.as_object_mut().expect("an object").remove("wall_seconds");
        report
    };
    assert_eq!(durations(7), durations(7));
    assert_ne!(durations(7)["steps"], durations(8)["steps"]);
}

#[test]
fn an_embedded_lab_runs_at_other_paces() {
    let told = lab("create --pace 100x --until machines-running").exits(0);
    check_run(&told, "create", "machines_running");
    let report = told.report();
    let seconds = |key: &str| report[key].as_f64().expect("a number");
    assert!(seconds("wall_seconds") * 100.0 > seconds("ideal_seconds"), "time ran at most 100 times as fast\n{told}");
}
