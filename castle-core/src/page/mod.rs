//! Runs, plans and observations as HTML: for the report of the command line and
//! for what a notebook shows.
//!
//! It is here because both need the same picture and both know castle-core alone;
//! it draws text from values and touches no file, so the core stays without I/O.
//!
//! Each function but [`document`] gives a fragment that brings its own style, shows
//! itself in the reader's theme, light or dark, and fits a telephone as well as a
//! wide screen. Nothing is fetched and no script is needed. Whatever was said by a
//! run or found in the world is escaped.

mod markup;
mod plan;
mod report;
mod status;
#[cfg(test)]
mod tests;
mod timeline;

use std::time::Duration;

use markup::Markup;

use crate::{Event, Observation, Plan, Project, Report, Timeline};

/// What surrounds a run and is no part of its [`Report`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Setting<'a> {
    /// The cluster's name.
    pub cluster: Option<&'a str>,
    /// Where it ran, in words: `the lab (virtual time, seed 1)`.
    pub place: Option<&'a str>,
    /// The shortest possible time, where it is known.
    pub ideal: Option<Duration>,
    /// How long the reader's own clock ran.
    pub wall: Option<Duration>,
    /// The events of the run: they say when a step waited for what, and which nudges
    /// there were. Without them the waits of the timeline are told without times.
    pub events: &'a [Event],
}

/// A whole file: the report of a run, to be kept and passed on.
///
/// ```
/// use castle_core::page::{self, Setting};
/// # use castle_core::{Goal, Outcome, Report};
/// # let report = Report::of(Goal::Create, Outcome::Ok);
/// let html = page::document(&report, &Setting { cluster: Some("blue"), ..Setting::default() });
/// assert!(html.starts_with("<!doctype html>") && html.contains("create of blue"));
/// ```
#[must_use]
pub fn document(report: &Report, setting: &Setting<'_>) -> String {
    let title = report::title(report, setting);
    let mut page = Markup::default();
    page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    // Should anything ever slip through the escaping, the browser refuses to run or fetch it.
    page.raw(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    page.raw("<title>").text(&title).raw("</title>\n<style>").raw(include_str!("document.css")).raw("</style>\n");
    page.raw("</head>\n<body>\n<main>\n").part(&framed(&report::report(report, setting))).raw("\n</main>\n");
    page.raw("<footer>castle ").text(env!("CARGO_PKG_VERSION")).raw("</footer>\n</body>\n</html>\n");
    page.done()
}

/// The report of a run: how it ended, what it cost, where the time went, what was
/// found.
#[must_use]
pub fn report(report: &Report, setting: &Setting<'_>) -> String {
    framed(&report::report(report, setting)).done()
}

/// Where the time went: the steps as bars, those of the critical path marked.
#[must_use]
pub fn timeline(timeline: &Timeline) -> String {
    framed(&timeline::timeline(timeline, &[], &[])).done()
}

/// What would be done, and what stands in its way.
#[must_use]
pub fn plan(plan: &Plan) -> String {
    framed(&plan::plan(plan)).done()
}

/// What is there, as last seen.
#[must_use]
pub fn status(project: &Project, observation: &Observation) -> String {
    framed(&status::status(project, observation)).done()
}

/// A part with the style that it needs.
fn framed(part: &Markup) -> Markup {
    let mut page = Markup::default();
    page.raw("<div class=\"castle-page\">\n<style>").raw(include_str!("part.css")).raw("</style>\n");
    page.part(part).raw("</div>");
    page
}

/// Seconds to a tenth, as every picture of castle has them.
fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
