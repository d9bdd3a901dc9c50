//! The report of a run as HTML.

use std::time::Duration;

use super::markup::Markup;
use super::{Setting, timeline};
use crate::{Error, EventKind, Outcome, Problem, Report};

/// `create of blue: done`.
pub(super) fn title(report: &Report, setting: &Setting<'_>) -> String {
    let of = setting.cluster.map_or_else(String::new, |cluster| format!(" of {cluster}"));
    format!("{}{of}: {}", report.goal, ended(report.outcome))
}

pub(super) fn report(report: &Report, setting: &Setting<'_>) -> Markup {
    let mut page = Markup::default();
    summary(&mut page, report, setting);
    if let Some(error) = &report.error {
        page.part(&failure(error));
    }
    if !report.left.is_empty() && report.outcome != Outcome::Ok {
        page.raw("<section>\n<h2>Left to do</h2>\n<ul class=\"plain left\">\n");
        for step in &report.left {
            page.raw("<li><code>").text(step).raw("</code></li>\n");
        }
        page.raw("</ul>\n<p>Run <code>castle ").text(report.goal.name());
        page.raw("</code> again: it goes on from here.</p>\n</section>\n");
    }
    if !report.problems.is_empty() {
        page.part(&problems(&report.problems));
    }
    let mut reached: Vec<_> = report.milestones.iter().map(|(name, at)| (*at, name.as_str())).collect();
    reached.sort_by_key(|(at, name)| (*at, place(name)));
    page.part(&timeline::timeline(&report.timeline, &reached, setting.events));
    page.raw("<div class=\"pair\">\n");
    milestones(&mut page, &reached);
    requests(&mut page, report);
    page.raw("</div>\n");
    story(&mut page, setting);
    page
}

fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "done",
        Outcome::Failed => "failed",
        Outcome::Refused => "refused",
        Outcome::Cancelled => "stopped",
    }
}

fn summary(page: &mut Markup, report: &Report, setting: &Setting<'_>) {
    page.raw(match report.outcome {
        Outcome::Ok => "<section class=\"summary ok\">\n",
        Outcome::Failed => "<section class=\"summary failed\">\n",
        Outcome::Refused => "<section class=\"summary refused\">\n",
        Outcome::Cancelled => "<section class=\"summary stopped\">\n",
    });
    page.raw("<h1>").text(title(report, setting)).raw("</h1>\n");
    if let Some(place) = setting.place {
        page.raw("<p class=\"quiet\">on ").text(place).raw("</p>\n");
    }
    let writes: u64 = report.requests.values().map(|count| count.write).sum();
    let reads: u64 = report.requests.values().map(|count| count.read).sum();
    let figures = [
        ("took", Some(super::seconds(report.took))),
        ("shortest possible", setting.ideal.map(super::seconds)),
        ("on the wall", setting.wall.map(super::seconds)),
        ("steps", Some(report.timeline.steps.len().to_string())),
        ("rounds", Some(report.rounds.to_string())),
        ("reads", Some(reads.to_string())),
        ("writes", Some(writes.to_string())),
    ];
    page.raw("<dl class=\"figures\">\n");
    for (name, value) in figures {
        if let Some(value) = value {
            page.raw("<div><dt>").text(name).raw("</dt><dd>").text(value).raw("</dd></div>\n");
        }
    }
    page.raw("</dl>\n</section>\n");
}

fn failure(error: &Error) -> Markup {
    let mut page = Markup::default();
    page.raw("<section class=\"error\">\n<h2>Why it ended</h2>\n<p><span class=\"code\">").text(error.kind().code());
    page.raw("</span> ").prose(&error.chain()).raw("</p>\n");
    let context: Vec<_> = error.context().collect();
    if !context.is_empty() {
        page.raw("<dl class=\"context\">\n");
        for (key, value) in context {
            page.raw("<dt>").text(key).raw("</dt><dd>").text(value).raw("</dd>\n");
        }
        page.raw("</dl>\n");
    }
    if let Some(hint) = error.advice() {
        page.raw("<p class=\"hint\">").prose(hint).raw("</p>\n");
    }
    page.raw("</section>\n");
    page
}

/// Findings, those that refuse first.
pub(super) fn problems(problems: &[Problem]) -> Markup {
    let mut page = Markup::default();
    page.raw("<section>\n<h2>Findings</h2>\n<ul class=\"problems\">\n");
    let (errors, notes): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.is_error());
    for problem in errors.into_iter().chain(notes) {
        let (class, weight) = if problem.is_error() { ("<li class=\"refuses\">", "error") } else { ("<li>", "note") };
        page.raw(class).raw("<span class=\"code\">").text(format!("{weight} {}", problem.code)).raw("</span> <strong>");
        page.text(&problem.subject).raw("</strong>: ").prose(&problem.message);
        if let Some(span) = problem.span {
            page.raw(" <span class=\"quiet\">").text(format!("line {}", span.line)).raw("</span>");
        }
        if let Some(hint) = &problem.hint {
            page.raw("<p class=\"hint\">").prose(hint).raw("</p>");
        }
        page.raw("</li>\n");
    }
    page.raw("</ul>\n</section>\n");
    page
}

fn milestones(page: &mut Markup, reached: &[(Duration, &str)]) {
    if reached.is_empty() {
        return;
    }
    page.raw("<section>\n<h2>Milestones</h2>\n<table>\n<thead><tr><th>milestone</th><th class=\"number\">reached");
    page.raw("</th></tr></thead>\n<tbody>\n");
    for (at, name) in reached {
        page.raw("<tr><td>").text(name.replace('_', " ")).raw("</td><td class=\"number\">").text(super::seconds(*at));
        page.raw("</td></tr>\n");
    }
    page.raw("</tbody>\n</table>\n</section>\n");
}

/// Where a milestone stands among those that were reached at the same moment.
fn place(name: &str) -> usize {
    let known = |milestone: &crate::Milestone| milestone.name() == name;
    crate::Milestone::ALL.iter().position(known).unwrap_or(crate::Milestone::ALL.len())
}

fn requests(page: &mut Markup, report: &Report) {
    page.raw("<section>\n<h2>Requests</h2>\n<table>\n<thead><tr><th>backend</th><th class=\"number\">read</th>");
    page.raw("<th class=\"number\">written</th></tr></thead>\n<tbody>\n");
    for (name, count) in &report.requests {
        page.raw("<tr><td>").text(name).raw("</td><td class=\"number\">").text(count.read.to_string());
        page.raw("</td><td class=\"number\">").text(count.write.to_string()).raw("</td></tr>\n");
    }
    page.raw("</tbody>\n</table>\n</section>\n");
}

/// What concerns no single step: rounds that failed, nudges, notices.
fn story(page: &mut Markup, setting: &Setting<'_>) {
    let told: Vec<_> = setting
        .events
        .iter()
        .filter_map(|event| {
            let text = match &event.kind {
                EventKind::RoundFailed { why } => why.clone(),
                EventKind::Nudged { item, reason } => format!("{item} is asked to go on: {reason}"),
                EventKind::Notice { text } => text.clone(),
                _ => return None,
            };
            Some((event.at(), text))
        })
        .collect();
    if told.is_empty() {
        return;
    }
    page.raw("<section>\n<h2>On the way</h2>\n<ul class=\"notes\">\n");
    for (at, text) in told {
        page.raw("<li><span class=\"at\">").text(super::seconds(at)).raw("</span> ").prose(&text).raw("</li>\n");
    }
    page.raw("</ul>\n</section>\n");
}
