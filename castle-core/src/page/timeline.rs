//! The steps of a run as bars over time.

use std::time::Duration;

use super::markup::Markup;
use crate::timeline::TimelineStep;
use crate::{Event, EventKind, StepOutcome, Timeline};

/// Lines of time across the picture, at most.
const TICKS: u64 = 6;
/// Distances between them that people read easily, in seconds.
const DISTANCES: [u64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/// `milestones` are marked above the bars, by name and moment.
pub(super) fn timeline(timeline: &Timeline, milestones: &[(Duration, &str)], events: &[Event]) -> Markup {
    let mut page = Markup::default();
    page.raw("<section class=\"timeline\">\n<h2>Timeline</h2>\n");
    let Some(end) = timeline.steps.iter().map(|step| step.end_ms).max().filter(|end| *end > 0) else {
        page.raw("<p>No step ran.</p>\n</section>\n");
        return page;
    };
    page.raw("<p class=\"legend\"><span class=\"key critical\"></span> critical path ");
    page.raw("<span class=\"key\"></span> beside it");
    if timeline.steps.iter().any(|step| step.outcome == StepOutcome::Failed) {
        page.raw(" <span class=\"key failed\"></span> failed");
    }
    if timeline.steps.iter().any(|step| step.outcome == StepOutcome::Cancelled) {
        page.raw(" <span class=\"key stopped\"></span> stopped");
    }
    if !milestones.is_empty() {
        page.raw(" <span class=\"key mark\"></span> milestone");
    }
    page.raw("</p>\n");
    axis(&mut page, milestones, end);
    page.raw("<ol class=\"steps\">\n");
    for step in &timeline.steps {
        row(&mut page, step, end, events);
    }
    page.raw("</ol>\n<p class=\"path\"><strong>Critical path:</strong> ");
    for (index, id) in timeline.critical_path.iter().enumerate() {
        if index > 0 {
            page.raw(" &rarr; ");
        }
        page.raw("<code>").text(id).raw("</code>");
    }
    page.raw("</p>\n</section>\n");
    page
}

/// The moments above the bars.
fn axis(page: &mut Markup, milestones: &[(Duration, &str)], end: u64) {
    let total = Duration::from_millis(end).as_secs();
    let distance = DISTANCES.into_iter().find(|distance| total / distance <= TICKS).unwrap_or(total / TICKS).max(1);
    page.raw("<div class=\"axis\" aria-hidden=\"true\"><span class=\"track\">");
    // The last one stays away from the edge, where it would be cut.
    for at in (0..).map(|tick| tick * distance).take_while(|at| at * 1000 * 100 <= end * 90) {
        page.raw("<span class=\"tick\" style=\"left:").text(percent(at * 1000, end)).raw("\">");
        page.text(format!("{at} s")).raw("</span>");
    }
    for (at, name) in milestones {
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX).min(end);
        page.raw("<span class=\"mark\" style=\"left:").text(percent(at_ms, end)).raw("\" title=\"");
        page.text(format!("{}: {}", name.replace('_', " "), super::seconds(*at))).raw("\"></span>");
    }
    page.raw("</span></div>\n");
}

fn row(page: &mut Markup, step: &TimelineStep, end: u64, events: &[Event]) {
    let (class, sign) = match (step.outcome, step.critical) {
        (StepOutcome::Failed, _) => ("<li class=\"step failed\">", " failed"),
        (StepOutcome::Cancelled, _) => ("<li class=\"step stopped\">", " stopped"),
        (_, true) => ("<li class=\"step critical\">", ""),
        (_, false) => ("<li class=\"step\">", ""),
    };
    let notes = notes(step, events);
    page.raw(class);
    page.raw(if notes.is_empty() { "<div class=\"row\">" } else { "<details><summary class=\"row\">" });
    page.raw("<span class=\"name\">").text(&step.id).raw("</span>");
    // One that begins at the end would be drawn beyond it.
    let last = step.start_ms == end;
    page.raw("<span class=\"track\">").raw(if last { "<span class=\"bar last\"" } else { "<span class=\"bar\"" });
    page.raw(" style=\"left:").text(percent(step.start_ms, end));
    page.raw(";width:").text(percent(step.end_ms.saturating_sub(step.start_ms), end)).raw("\"></span></span>");
    let took = Duration::from_millis(step.end_ms.saturating_sub(step.start_ms));
    page.raw("<span class=\"took\">").text(super::seconds(took)).raw(sign).raw("</span>");
    if notes.is_empty() {
        page.raw("</div></li>\n");
        return;
    }
    page.raw("</summary>\n<ul class=\"notes\">\n");
    for (at, text) in notes {
        match at {
            Some(at) => page.raw("<li><span class=\"at\">").text(super::seconds(at)).raw("</span> "),
            None => page.raw("<li class=\"plain-note\">"),
        };
        page.prose(&text).raw("</li>\n");
    }
    page.raw("</ul></details></li>\n");
}

/// Why the step began, what it waited for, whom it nudged, how it failed.
fn notes(step: &TimelineStep, events: &[Event]) -> Vec<(Option<Duration>, String)> {
    let mut notes = Vec::new();
    let within = |event: &&Event| (step.start_ms..=step.end_ms).contains(&event.at_ms);
    for event in events.iter().filter(within) {
        let at = Some(event.at());
        match &event.kind {
            EventKind::StepStarted { step: id, because } if *id == step.id => {
                notes.push((at, format!("begins: {because}")));
            }
            EventKind::StepWaiting { step: id, why } if *id == step.id => notes.push((at, format!("waits: {why}"))),
            EventKind::StepEnded { step: id, error: Some(error), .. } if *id == step.id => {
                notes.push((at, error.clone()))
            }
            EventKind::Nudged { item, reason } if step.id == HANDOVER => {
                notes.push((at, format!("nudges {item}: {reason}")));
            }
            _ => {}
        }
    }
    if events.is_empty() {
        notes.extend(step.waits.iter().map(|why| (None, format!("waits: {why}"))));
    }
    notes
}

/// The step that nudges; the event itself names the item only.
const HANDOVER: &str = "handover/flux";

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", 100.0 * part as f64 / whole as f64)
}
