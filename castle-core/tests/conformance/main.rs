//! The suites run on the ports in memory, and each rule catches an
//! implementation that breaks it: a suite that cannot fail proves nothing.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod broken_gitops;
mod broken_machines;
mod broken_secrets;

/// Runs on one thread with time that jumps to the next timer.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing of the system").block_on(future)
}

/// Runs a rule on a broken implementation. It must panic, in its own name, with
/// a message that holds `complaint`.
fn catches(rule: &str, broken: &str, complaint: &str, future: impl Future<Output = ()>) {
    let panic = catch_unwind(AssertUnwindSafe(|| run(future))).expect_err(&format!("rule {rule} let `{broken}` pass"));
    let message = panic.downcast_ref::<String>().map_or("a panic without a text", String::as_str);
    assert!(message.contains(rule) && message.contains(complaint), "rule {rule} on `{broken}` said: {message}");
}

/// The tests that a port's table names, in its order.
fn table(source: &str) -> Vec<&str> {
    let rows = source.lines().filter(|line| line.starts_with("/// | ") && line.ends_with("` |"));
    rows.filter_map(|row| row.trim_end_matches("` |").rsplit_once('`')).map(|(_, name)| name).collect()
}

#[test]
fn every_rule_of_the_tables_has_its_test() {
    use castle_core::conformance::{gitops, machines, secrets};
    assert_eq!(table(include_str!("../../src/port/secrets.rs")), secrets::RULES);
    assert_eq!(table(include_str!("../../src/port/machines.rs")), machines::RULES);
    assert_eq!(table(include_str!("../../src/port/gitops.rs")), gitops::RULES);
}

/// Every rule must be seen failing, so the broken implementations of a port
/// name all of its rules.
fn all_rules_are_broken<'a>(rules: &[&'a str], broken: impl IntoIterator<Item = &'a str>) {
    let broken: BTreeSet<_> = broken.into_iter().collect();
    let unbroken: Vec<_> = rules.iter().filter(|rule| !broken.contains(*rule)).collect();
    assert!(unbroken.is_empty(), "no broken implementation shows that these rules can fail: {unbroken:?}");
}
