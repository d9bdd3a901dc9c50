//! The lab in a test of one's own: two tests as they could stand in any crate.
//!
//! `cargo run --example lab_in_your_test`, or `cargo test --example lab_in_your_test`
#![allow(clippy::print_stdout)]

mod lab_castle;

use std::time::Duration;

use castle_core::{Goal, Milestone, Outcome, Result};
use castle_lab::faults::{Fault, FaultEffect};
use castle_lab::{Lab, runtime};

const BLUE: &str = include_str!("projects/blue/proxmox/castle.yaml");

/// What a program's own code does with castle, and what its tests are about.
async fn three_machines_whatever_the_weather(lab: &Lab) -> Result<Duration> {
    let project = lab_castle::project(BLUE);
    let castle = lab_castle::castle(&project, lab)?.build()?;
    let report = lab_castle::run(&castle, Goal::Create, Milestone::MachinesRunning).await;
    assert_eq!(report.outcome, Outcome::Ok, "{:?}", report.error);
    assert_eq!(lab.with_world(|world| world.machines_of_castle()), [421, 431, 432]);
    Ok(report.took)
}

/// In a plain test: the lab brings its own runtime, whose clock does not wait.
fn in_a_plain_test() -> Result<Duration> {
    runtime::run_virtual(|| async {
        // The answer to the first create is lost after the machine was made.
        let lost = Fault { kind: Some("POST qemu".into()), ..Fault::of(FaultEffect::AnswerLost) };
        let lab = Lab::builder(&lab_castle::project(BLUE)).seed(7).faults(vec![lost]).start().await?;
        three_machines_whatever_the_weather(&lab).await
    })
}

/// In a test that runs on many threads, as a program does that has a runtime
/// already. Virtual time needs a thread of its own: `spawn_blocking` lends one, and
/// the program's other work goes on meanwhile.
async fn on_a_runtime_of_many_threads() -> Result<Duration> {
    tokio::task::spawn_blocking(in_a_plain_test).await.expect("the test in there does not panic")
}

#[test]
fn three_machines_are_born_although_an_answer_is_lost() {
    in_a_plain_test().expect("the lab starts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_beside_other_work() {
    let (lab, other) = futures::join!(on_a_runtime_of_many_threads(), async { 6 * 7 });
    assert_eq!((lab.expect("the lab starts") < Duration::from_secs(60), other), (true, 42));
}

fn main() -> Result<()> {
    println!("In a plain test, with an answer lost on the way:");
    let plain = in_a_plain_test()?;
    println!("On a runtime of four threads:");
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let many = many.expect("the system gives four threads").block_on(on_a_runtime_of_many_threads())?;
    let same = if plain == many { "the same story, to the nanosecond" } else { "NOT the same story" };
    println!(
        "\nlab in your test: {:.1} s and {:.1} s of virtual time; {same}",
        plain.as_secs_f64(),
        many.as_secs_f64()
    );
    Ok(())
}
