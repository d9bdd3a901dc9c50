//! Which engine run is at the other end of a connection.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One run of an engine against the lab, told by its source address.
///
/// A process that dies leaves requests in flight. Each run has a source address
/// of its own, so that the lab can tell a dead run's bytes from its successor's
/// and keep them from the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u32);

impl RunId {
    /// Everybody whose source address was not allotted: foreign clients.
    pub const FOREIGN: Self = Self(0);
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FOREIGN => f.write_str("foreign"),
            Self(number) => write!(f, "run {number}"),
        }
    }
}
