//! How far a create goes, and what its progress is measured by.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{Error, ErrorKind};

/// A point on the way to a standing cluster. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// Every declared machine runs.
    MachinesRunning,
    /// The Kubernetes API answers at the cluster's endpoint, which one control plane
    /// is enough for. That every declared one votes in etcd is part of
    /// [`Milestone::NodesReady`].
    ApiServing,
    /// The pods that carry the network are ready.
    CniReady,
    /// Every declared node is Ready, and every declared control plane votes in etcd.
    NodesReady,
    /// Flux holds the cluster: its root is at the branch's head, everything that is
    /// reachable from it is ready, and every webhook answers.
    HandoverReady,
    /// The declared probes are answered.
    AppsReady,
}

impl Milestone {
    /// All of them, first to last.
    pub const ALL: [Self; 6] = [
        Self::MachinesRunning,
        Self::ApiServing,
        Self::CniReady,
        Self::NodesReady,
        Self::HandoverReady,
        Self::AppsReady,
    ];

    /// Its name in events and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MachinesRunning => "machines_running",
            Self::ApiServing => "api_serving",
            Self::CniReady => "cni_ready",
            Self::NodesReady => "nodes_ready",
            Self::HandoverReady => "handover_ready",
            Self::AppsReady => "apps_ready",
        }
    }
}

/// The milestones that a round works for, told in their order.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    missing: BTreeSet<Milestone>,
    /// Those that were reached while one below them is missing.
    held: BTreeSet<Milestone>,
}

impl Ladder {
    /// The ladder to these milestones.
    pub(crate) fn to(missing: impl IntoIterator<Item = Milestone>) -> Self {
        Self { missing: missing.into_iter().collect(), held: BTreeSet::new() }
    }

    /// A milestone was reached. Returns what is to be told now: each includes those
    /// before it, so nothing is told while something below it is missing.
    pub(crate) fn reach(&mut self, milestone: Milestone) -> BTreeSet<Milestone> {
        self.missing.remove(&milestone);
        self.held.insert(milestone);
        match self.missing.first() {
            None => std::mem::take(&mut self.held),
            Some(lowest) => {
                let above = self.held.split_off(lowest);
                std::mem::replace(&mut self.held, above)
            }
        }
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Milestone {
    type Err = Error;

    /// Reads `api-serving` or `api_serving`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wanted = text.replace('-', "_");
        Self::ALL.into_iter().find(|milestone| milestone.name() == wanted).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|milestone| milestone.name().replace('_', "-")).collect();
            Error::new(ErrorKind::InvalidSpec, format!("`{text}` is no milestone"))
                .hint(format!("use one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_milestone_is_told_after_those_below_it() {
        use Milestone::{AppsReady, CniReady, HandoverReady, NodesReady};
        let mut ladder = Ladder::to([CniReady, NodesReady, HandoverReady]);
        let mut check = |reached: Milestone, told: &[Milestone]| {
            assert_eq!(ladder.reach(reached).into_iter().collect::<Vec<_>>(), told, "{reached}");
        };
        check(HandoverReady, &[]);
        check(CniReady, &[CniReady]);
        check(CniReady, &[CniReady]);
        check(NodesReady, &[NodesReady, HandoverReady]);
        check(AppsReady, &[AppsReady]);
    }
}
