//! What a page shows, and what it never lets through.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::timeline::StepLinks;
use crate::{Error, ErrorKind, EventKind, Goal, Outcome, Problem, Requests, StepOutcome};

const HOSTILE: &str = "<script>alert('x')</script>\" onload=\"y&amp;";

fn events() -> Vec<Event> {
    let step = || "machine/blue-cp-01/create".to_owned();
    [
        (0, EventKind::StepStarted { step: step(), because: "it is absent".into() }),
        (1_000, EventKind::StepWaiting { step: step(), why: format!("the import {HOSTILE}") }),
        (2_000, EventKind::Nudged { item: "Kustomization/flux-system/apps".into(), reason: "it may go on".into() }),
        (4_000, EventKind::StepEnded { step: step(), outcome: StepOutcome::Failed, error: Some("no room".into()) }),
    ]
    .into_iter()
    .zip(0..)
    .map(|((at_ms, kind), seq)| Event { seq, at_ms, kind })
    .collect()
}

fn failed(events: &[Event]) -> Report {
    Report {
        goal: Goal::Create,
        outcome: Outcome::Failed,
        error: Some(
            Error::new(ErrorKind::Exhausted, format!("no room for {HOSTILE}")).with("node", HOSTILE).hint("free `x`"),
        ),
        problems: vec![Problem::warning("storage-tight", HOSTILE, HOSTILE).hint(HOSTILE)],
        took: Duration::from_millis(4_000),
        requests: [("proxmox", Requests { read: 11, write: 7 })].into(),
        milestones: [("machines_running".to_owned(), Duration::from_secs(2))].into(),
        timeline: Timeline::fold(events, &BTreeMap::<String, StepLinks>::new()),
        left: vec![HOSTILE.to_owned()],
        rounds: 1,
    }
}

fn count(page: &str, text: &str) -> usize {
    page.matches(text).count()
}

#[test]
fn what_is_said_by_others_never_becomes_markup() {
    let events = events();
    let setting = Setting { cluster: Some(HOSTILE), place: Some(HOSTILE), events: &events, ..Setting::default() };
    let page = document(&failed(&events), &setting);
    assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
    // Title twice, place, chain, context, left, finding three times, wait.
    assert_eq!(count(&page, "&lt;script&gt;"), 10, "{page}");
}

#[test]
fn a_page_fetches_nothing_and_runs_nothing() {
    let page = document(&failed(&[]), &Setting::default());
    assert!(page.contains("default-src 'none'"), "{page}");
    for loads in ["src=", "href=", "url(", "@import", "<script", "<link", "http://", "https://"] {
        assert!(!page.contains(loads), "{loads}\n{page}");
    }
}

#[test]
fn a_report_tells_how_it_ended_and_why() {
    let events = events();
    let setting = Setting {
        ideal: Some(Duration::from_millis(3_500)),
        wall: Some(Duration::from_millis(100)),
        events: &events,
        ..Setting::default()
    };
    let page = report(&failed(&events), &setting);
    for told in [
        "class=\"summary failed\"",
        "create: failed",
        "4.0 s",
        "3.5 s",
        "0.1 s",
        "exhausted",
        "free <code>x</code>",
        "machines running",
        "<td class=\"number\">11</td><td class=\"number\">7</td>",
        "begins: it is absent",
        "Kustomization/flux-system/apps is asked to go on",
        "castle create",
    ] {
        assert!(page.contains(told), "{told}\n{page}");
    }
    assert!(!page.contains("<!doctype"), "a fragment is no document");
}

#[test]
fn bars_lie_within_their_track() {
    let page = timeline(&failed(&events()).timeline);
    assert!(page.contains("left:0.00%;width:100.00%") && page.contains("step failed"), "{page}");
    // Without events the waits are told all the same.
    assert!(page.contains("waits: the import"), "{page}");
    assert!(timeline(&Timeline::default()).contains("No step ran"));
}

#[test]
fn what_cannot_be_seen_is_shown_in_the_plan_and_in_the_status() {
    let project = crate::memory::example_project();
    let owner = crate::Owner::new(project.project.clone(), project.cluster.name.clone(), None, []);
    let unknown = || HOSTILE.to_owned();
    let observation = Observation::begun(
        owner,
        crate::Part::Unknown(unknown()),
        crate::Part::Unknown(unknown()),
        crate::Part::Unknown(unknown()),
    );
    let decisions = crate::Decisions::default();
    let plan = Plan::of(&project, &observation, Goal::Create, &decisions, crate::Milestone::MachinesRunning);
    let page = super::plan(&plan);
    assert!(page.contains("error not-known") && page.contains("summary refused"), "{page}");
    let seen = status(&project, &observation);
    assert!(seen.contains("which machines there are: not known"), "{seen}");
    for page in [page, seen] {
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    }
}
