//! Where the time went.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Event, EventKind, StepOutcome};

/// One step as it ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineStep {
    /// Its name. A step that ran in several rounds appears once for each.
    pub id: String,
    /// When it began, in milliseconds since the run began.
    pub start_ms: u64,
    /// When it ended.
    pub end_ms: u64,
    /// How.
    pub outcome: StepOutcome,
    /// What it waited for, in order.
    pub waits: Vec<String>,
    /// Whether it lies on the critical path.
    pub critical: bool,
}

/// What the critical path needs to know of a planned step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StepLinks {
    /// The steps it needed.
    pub needs: Vec<String>,
    /// The limit it took a share of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// All steps of a run with their times, and the chain that decided its length.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Timeline {
    /// The steps in the order they began.
    pub steps: Vec<TimelineStep>,
    /// The names on the critical path, first to last.
    pub critical_path: Vec<String>,
}

impl Timeline {
    /// Folds the events of a run. `links` says what each step needed.
    ///
    /// The critical path is walked back from the step that ended last: to the
    /// need that ended last or, if the step began later than that, to the step
    /// whose end freed the limit it was waiting for.
    #[must_use]
    pub fn fold(events: &[Event], links: &BTreeMap<String, StepLinks>) -> Self {
        let mut steps: Vec<TimelineStep> = Vec::new();
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        let mut last = 0;
        for event in events {
            last = event.at_ms;
            match &event.kind {
                EventKind::StepStarted { step, .. } => {
                    open.insert(step, steps.len());
                    steps.push(TimelineStep {
                        id: step.clone(),
                        start_ms: event.at_ms,
                        end_ms: event.at_ms,
                        outcome: StepOutcome::Cancelled,
                        waits: Vec::new(),
                        critical: false,
                    });
                }
                EventKind::StepWaiting { step, why } => {
                    if let Some(&index) = open.get(step.as_str()) {
                        steps[index].waits.push(why.clone());
                    }
                }
                EventKind::StepEnded { step, outcome, .. } => {
                    if let Some(index) = open.remove(step.as_str()) {
                        steps[index].end_ms = event.at_ms;
                        steps[index].outcome = *outcome;
                    }
                }
                _ => {}
            }
        }
        for index in open.into_values() {
            steps[index].end_ms = last;
        }
        let mut timeline = Self { steps, critical_path: Vec::new() };
        timeline.trace(links);
        timeline
    }

    fn trace(&mut self, links: &BTreeMap<String, StepLinks>) {
        let none = StepLinks::default();
        let mut at = (0..self.steps.len()).max_by_key(|&index| (self.steps[index].end_ms, index));
        while let Some(index) = at {
            self.steps[index].critical = true;
            self.critical_path.push(self.steps[index].id.clone());
            let step = &self.steps[index];
            let link = links.get(&step.id).unwrap_or(&none);
            let before = |other: &TimelineStep| !other.critical && other.end_ms <= step.start_ms;
            let latest = |wanted: &dyn Fn(&TimelineStep) -> bool| {
                (0..self.steps.len())
                    .filter(|&other| before(&self.steps[other]) && wanted(&self.steps[other]))
                    .max_by_key(|&other| (self.steps[other].end_ms, other))
            };
            let need = latest(&|other| link.needs.contains(&other.id));
            let freed = link.limit.as_ref().and_then(|limit| {
                latest(&|other| links.get(&other.id).is_some_and(|link| link.limit.as_ref() == Some(limit)))
            });
            let end_of = |index: Option<usize>| index.map(|index| self.steps[index].end_ms);
            at = if end_of(freed) > end_of(need) { freed } else { need };
        }
        self.critical_path.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(steps: &[(&str, u64, u64)]) -> Vec<Event> {
        let mut moments: Vec<(u64, u8, EventKind)> = Vec::new();
        for &(id, start, end) in steps {
            moments.push((start, 1, EventKind::StepStarted { step: id.into(), because: String::new() }));
            let ended = EventKind::StepEnded { step: id.into(), outcome: StepOutcome::Done, error: None };
            moments.push((end, 0, ended));
        }
        moments.sort_by_key(|(at, order, _)| (*at, *order));
        moments.into_iter().enumerate().map(|(seq, (at_ms, _, kind))| Event { seq: seq as u64, at_ms, kind }).collect()
    }

    fn links(all: &[(&str, &[&str], Option<&str>)]) -> BTreeMap<String, StepLinks> {
        all.iter()
            .map(|(id, needs, limit)| {
                let needs = needs.iter().map(ToString::to_string).collect();
                (id.to_string(), StepLinks { needs, limit: limit.map(str::to_owned) })
            })
            .collect()
    }

    #[test]
    fn the_longest_chain_of_needs_is_critical() {
        let timeline = Timeline::fold(
            &events(&[("a", 0, 10), ("b", 0, 30), ("a2", 10, 40), ("b2", 30, 35)]),
            &links(&[("a", &[], None), ("b", &[], None), ("a2", &["a"], None), ("b2", &["b"], None)]),
        );
        assert_eq!(timeline.critical_path, ["a", "a2"]);
    }

    #[test]
    fn a_step_that_waited_for_a_limit_blames_the_one_that_held_it() {
        let import = Some("import");
        let timeline = Timeline::fold(
            &events(&[("life", 0, 1), ("a", 1, 20), ("b", 20, 50)]),
            &links(&[("life", &[], None), ("a", &["life"], import), ("b", &["life"], import)]),
        );
        assert_eq!(timeline.critical_path, ["life", "a", "b"]);
    }

    #[test]
    fn a_step_without_an_end_lasts_until_the_last_event() {
        let mut all = events(&[("a", 0, 10), ("b", 5, 90)]);
        all.pop();
        all.push(Event { seq: 9, at_ms: 70, kind: EventKind::Notice { text: "cut".into() } });
        let timeline = Timeline::fold(&all, &BTreeMap::new());
        assert_eq!((timeline.steps[1].end_ms, timeline.steps[1].outcome), (70, StepOutcome::Cancelled));
    }
}
