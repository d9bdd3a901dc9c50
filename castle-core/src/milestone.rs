//! How far a create goes, and what its progress is measured by.

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
    /// The Kubernetes API answers at the cluster's endpoint, and every declared
    /// control plane votes in etcd.
    ApiServing,
    /// The pods that carry the network are ready.
    CniReady,
    /// Every declared node is Ready.
    NodesReady,
}

impl Milestone {
    /// All of them, first to last.
    pub const ALL: [Self; 4] = [Self::MachinesRunning, Self::ApiServing, Self::CniReady, Self::NodesReady];

    /// Its name in events and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MachinesRunning => "machines_running",
            Self::ApiServing => "api_serving",
            Self::CniReady => "cni_ready",
            Self::NodesReady => "nodes_ready",
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
