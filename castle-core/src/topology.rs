//! Roles of nodes, and how many of them may die.

use std::fmt;

use serde::Serialize;

use crate::{Error, ErrorKind, Result};

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// Runs etcd and the Kubernetes control plane.
    ControlPlane,
    /// Runs workloads.
    Worker,
}

impl NodeRole {
    /// The short form used in tags: `cp` or `wk`.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::ControlPlane => "cp",
            Self::Worker => "wk",
        }
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ControlPlane => "control plane",
            Self::Worker => "worker",
        })
    }
}

/// How many control-plane members must agree before etcd accepts a write.
///
/// A cluster of `members` survives `members - size` losses. An even number
/// survives no more than the odd number below it and has one more member to
/// lose, which is why [`Quorum::of`] refuses it.
///
/// ```
/// use castle_core::Quorum;
///
/// let quorum = Quorum::of(3).unwrap();
/// assert_eq!((quorum.size(), quorum.tolerance()), (2, 1));
/// assert!(Quorum::of(2).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    members: usize, // odd, so at least 1
}

impl Quorum {
    /// Derives the quorum of a control plane with `members` members.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] if `members` is zero or even.
    pub fn of(members: usize) -> Result<Self> {
        if members == 0 {
            return Err(Error::new(ErrorKind::InvalidSpec, "a cluster needs a control plane")
                .hint("declare 1 control plane, or 3 to survive the loss of one"));
        }
        if members.is_multiple_of(2) {
            return Err(Error::new(
                ErrorKind::InvalidSpec,
                format!(
                    "{members} control planes survive the loss of {}, no more than {} do, and are one more to lose",
                    members - (members / 2 + 1),
                    members - 1
                ),
            )
            .hint(format!("declare {} or {}", members - 1, members + 1)));
        }
        Ok(Self { members })
    }

    /// How many members must agree.
    #[must_use]
    pub fn size(self) -> usize {
        self.members / 2 + 1
    }

    /// How many members may be lost.
    #[must_use]
    pub fn tolerance(self) -> usize {
        self.members - self.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_majority_rule() {
        for (members, size, tolerance) in [(1, 1, 0), (3, 2, 1), (5, 3, 2), (7, 4, 3)] {
            let quorum = Quorum::of(members).expect("odd");
            assert_eq!((quorum.size(), quorum.tolerance()), (size, tolerance), "{members}");
        }
    }

    #[test]
    fn an_even_control_plane_is_refused_with_both_ways_out() {
        let error = Quorum::of(4).expect_err("even");
        assert_eq!(
            error.to_string(),
            "4 control planes survive the loss of 1, no more than 3 do, and are one more to lose"
        );
        assert_eq!(error.advice(), Some("declare 3 or 5"));
    }
}
