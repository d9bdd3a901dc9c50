//! The handover as text: the graph of Flux, who holds the rest, the webhooks.

use std::fmt::Write;

use castle_core::handover::{FluxItem, HandoverState, Health};
use castle_core::{Observation, Part};

/// How far the handover is; nothing where nobody asked.
pub fn handover(observation: &Observation) -> Option<String> {
    let state = match observation.handover.as_ref()? {
        Part::Known(state) => state,
        Part::Unknown(why) => return Some(format!("handover: not known: {why}")),
    };
    let mut text = match state.why_not() {
        None => format!("handed over: Flux holds {}", state.head.as_deref().map_or_else(|| "it".into(), revision)),
        Some(why) => format!("not handed over: {why}"),
    };
    if let (Some(head), applied) = (&state.head, &state.applied)
        && applied.as_ref() != Some(head)
    {
        let applied = applied.as_deref().map_or_else(|| "nothing".to_owned(), revision);
        let _ = write!(text, "\nthe branch stands at {}, the root has applied {applied}", revision(head));
    }
    for item in &state.items {
        text.push_str(&line(state, item));
    }
    for webhook in &state.webhooks {
        let _ = write!(text, "\n  {} webhook {}{}", sign(&webhook.health), webhook.name, why(&webhook.health));
    }
    for service in &state.without_address {
        let _ = write!(text, "\n  … load balancer {service}: no address yet");
    }
    Some(text)
}

fn line(state: &HandoverState, item: &FluxItem) -> String {
    let depth = depth(state, item, state.items.len());
    let holds = state.holder().is_some_and(|holder| holder.id() == item.id());
    let mut line =
        format!("\n  {}{} {} {}", "  ".repeat(depth), sign(&item.health), item.kind.to_lowercase(), item.name);
    if holds {
        line.push_str(" HOLDS THE REST");
    }
    if item.suspended {
        line.push_str(" suspended");
    }
    line.push_str(&why(&item.health));
    line
}

/// How many others come before it, one after the other.
fn depth(state: &HandoverState, item: &FluxItem, most: usize) -> usize {
    if most == 0 {
        // A circle of dependencies has no depth; Flux itself tells of it.
        return 0;
    }
    let before = state.items.iter().filter(|other| item.depends_on.contains(&other.id()));
    before.map(|other| 1 + depth(state, other, most - 1)).max().unwrap_or(0)
}

fn sign(health: &Health) -> char {
    match health {
        Health::Ready => '✓',
        Health::Waiting(_) => '…',
        Health::Failed(_) => '✗',
    }
}

fn why(health: &Health) -> String {
    match health {
        Health::Ready => String::new(),
        Health::Waiting(why) | Health::Failed(why) => format!(": {why}"),
    }
}

/// `main@sha1:0123456789ab..` as `main@0123456789ab`.
fn revision(text: &str) -> String {
    match text.split_once("@sha1:") {
        Some((branch, commit)) => format!("{branch}@{}", commit.get(..12).unwrap_or(commit)),
        None => text.to_owned(),
    }
}
