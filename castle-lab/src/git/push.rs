//! Pushes: what a repository takes, and what its rules refuse.

use std::collections::BTreeSet;
use std::time::Duration;

use super::object::{ObjectId, ObjectKind, Objects};
use super::{BRANCHES, Repository, pack};

/// What the host of a repository refuses, beside what git itself does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Branches that nobody pushes to.
    pub protected: BTreeSet<String>,
    /// What the hook before every push says when it declines. `None`: it agrees.
    pub hook_declines: Option<String>,
    /// Whether a branch may go elsewhere than forward, or away.
    pub accepts_force: bool,
}

/// A wish to move a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Its full name: `refs/heads/main`.
    pub reference: String,
    /// Where the client believes that it stands.
    pub old: ObjectId,
    /// Where it shall stand; [`ObjectId::ZERO`] to remove it.
    pub new: ObjectId,
}

/// A push, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Push {
    /// The account.
    pub by: String,
    /// What shall move.
    pub updates: Vec<Update>,
    /// The objects; empty where only references go away.
    pub pack: Vec<u8>,
    /// Whether all of it is done or nothing.
    pub is_atomic: bool,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Why the pack could not be taken.
    pub unpack: Option<String>,
    /// Each reference, with the reason if it did not move.
    pub results: Vec<(String, Option<String>)>,
    /// Lines for whoever pushed.
    pub messages: Vec<String>,
}

impl Receipt {
    /// Whether everything moved.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.unpack.is_none() && self.results.iter().all(|(_, reason)| reason.is_none())
    }
}

impl Repository {
    /// Takes a push: its objects are kept if something of it moves. `at` is the
    /// world's time.
    pub fn receive(&mut self, push: &Push, at: Duration) -> Receipt {
        let mut receipt = Receipt::default();
        let needs_pack = push.updates.iter().any(|update| update.new != ObjectId::ZERO);
        let objects = if needs_pack {
            match pack::read(&push.pack, |id| self.objects().get(id).cloned()) {
                Ok(objects) => objects,
                Err(error) => {
                    receipt.unpack = Some(error.to_string());
                    let refused = |update: &Update| (update.reference.clone(), Some("unpacker error".to_owned()));
                    receipt.results = push.updates.iter().map(refused).collect();
                    return receipt;
                }
            }
        } else {
            Vec::new()
        };
        // In quarantine until something of the push is accepted.
        let mut quarantine = Objects::clone(&self.objects);
        for object in &objects {
            quarantine.insert(object.clone());
        }
        let reasons: Vec<_> =
            push.updates.iter().map(|update| self.why_not(update, &quarantine, &mut receipt.messages)).collect();
        let fails = push.is_atomic && reasons.iter().any(Option::is_some);
        let mut objects = Some(objects);
        for (update, reason) in push.updates.iter().zip(reasons) {
            let reason = reason.or_else(|| fails.then(|| "atomic push failure".to_owned()));
            let reason = reason.or_else(|| {
                self.keep(objects.take().unwrap_or_default());
                let moved = self.move_reference(&update.reference, update.new, at, &push.by);
                moved.err().map(|error| error.to_string())
            });
            receipt.results.push((update.reference.clone(), reason));
        }
        receipt
    }

    /// Why an update is refused, in the words of the protocol.
    fn why_not(&self, update: &Update, objects: &Objects, messages: &mut Vec<String>) -> Option<String> {
        let Update { reference, old, new } = update;
        let stands = self.references().get(reference).copied().unwrap_or(ObjectId::ZERO);
        let branch = reference.strip_prefix(BRANCHES);
        let is_removal = *new == ObjectId::ZERO;
        if !is_well_named(reference) {
            return Some("funny refname".to_owned());
        }
        if !is_removal {
            // What the repository had before is whole.
            let before: Vec<_> = self.references().values().copied().collect();
            if objects.check_whole(*new, &before).is_err() {
                return Some("missing necessary objects".to_owned());
            }
            if branch.is_some() && objects.get(*new).is_none_or(|object| object.kind != ObjectKind::Commit) {
                return Some("failed to update ref".to_owned());
            }
        }
        if let Some(words) = &self.rules.hook_declines {
            messages.extend(words.lines().map(str::to_owned));
            return Some("pre-receive hook declined".to_owned());
        }
        if let Some(branch) = branch.filter(|branch| self.rules.protected.contains(*branch)) {
            messages.push(format!("error: branch {branch} is protected; changes come by a pull request"));
            return Some("protected branch hook declined".to_owned());
        }
        if stands != *old {
            messages.push(format!("error: cannot lock ref '{reference}': is at {stands} but expected {old}"));
            return Some("failed to update ref".to_owned());
        }
        if self.rules.accepts_force || stands == ObjectId::ZERO {
            return None;
        }
        if is_removal {
            let is_current = branch == Some(self.default_branch());
            let reason = if is_current { "deletion of the current branch prohibited" } else { "deletion prohibited" };
            return Some(reason.to_owned());
        }
        if branch.is_some() && !objects.is_ancestor(stands, *new) {
            messages.push(format!("error: denying non-fast-forward {reference} (you should pull first)"));
            return Some("non-fast-forward".to_owned());
        }
        None
    }
}

/// As far as git's rules for names matter to a lab.
fn is_well_named(reference: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with(".lock")
            && !part.contains("..")
            && !part.contains(|c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c))
    };
    reference.starts_with("refs/") && reference.split('/').count() > 2 && reference.split('/').all(is_part)
}
