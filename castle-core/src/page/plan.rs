//! A plan as HTML.

use super::markup::Markup;
use super::report::problems;
use crate::Plan;
use crate::plan::Symbol;

pub(super) fn plan(plan: &Plan) -> Markup {
    let mut page = Markup::default();
    let refused = plan.is_refused();
    page.raw("<section class=\"summary ").raw(if refused { "refused" } else { "ok" }).raw("\">\n<h1>");
    page.text(format!("plan to {}", plan.goal)).raw("</h1>\n<p class=\"outcome\">");
    page.text(if plan.is_done() && plan.changes.is_empty() && !refused {
        "No changes.".into()
    } else {
        plan.summary()
    });
    page.raw("</p>\n</section>\n");
    if !plan.problems.is_empty() {
        page.part(&problems(&plan.problems));
    }
    if !plan.changes.is_empty() {
        page.raw("<section>\n<h2>Changes</h2>\n<ul class=\"changes\">\n");
        for change in &plan.changes {
            let class = match change.symbol {
                Symbol::Add => "<li class=\"add\">",
                Symbol::Update => "<li class=\"update\">",
                Symbol::Remove => "<li class=\"remove\">",
                Symbol::Replace => "<li class=\"replace\">",
            };
            page.raw(class).raw("<span class=\"symbol\">").text(change.symbol.to_string()).raw("</span> <strong>");
            page.text(&change.subject).raw("</strong>: ").text(&change.detail).raw("</li>\n");
        }
        page.raw("</ul>\n</section>\n");
    }
    if !plan.steps.is_empty() {
        page.raw("<section>\n<details>\n<summary>").text(format!("{} steps", plan.steps.len()));
        page.raw("</summary>\n<ol class=\"plain\">\n");
        for step in &plan.steps {
            page.raw("<li><code>").text(&step.id).raw("</code>");
            if !step.because.is_empty() {
                page.raw(": ").text(&step.because);
            }
            if !step.needs.is_empty() {
                page.raw(" <span class=\"quiet\">after ").text(step.needs.join(", ")).raw("</span>");
            }
            page.raw("</li>\n");
        }
        page.raw("</ol>\n</details>\n</section>\n");
    }
    page
}
