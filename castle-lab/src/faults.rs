//! What shall go wrong, said as data.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use castle_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::front::Act;
use crate::run::RunId;
use crate::server::proxmox;

/// The servers that a lab has by itself, as the journal names them.
pub const BACKENDS: [&str; 7] = ["git", "infisical", "kubernetes", "proxmox", "secrets", "talos", "web"];

/// What asks the secret store.
const SECRET_KINDS: [&str; 4] = ["create", "get", "list", "put"];

/// What HTTP asks with, and `WATCH`, by which the API of Kubernetes is followed.
const METHODS: [&str; 8] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "WATCH"];

/// A rule: which requests are hit, how often, and by what.
///
/// Every condition that is absent matches everything. Rules are asked in their
/// order; the first that has something left to do hits the request.
///
/// ```
/// use castle_lab::faults::{Fault, FaultEffect};
///
/// // The second create loses its answer after the machine was made.
/// let fault = Fault { kind: Some("POST qemu".into()), skip: 1, ..Fault::of(FaultEffect::AnswerLost) };
/// let text = serde_json::to_string(&fault).unwrap();
/// assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only requests to this server, for example `proxmox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Only requests of this kind; a `*` at the end matches every kind that
    /// begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only requests about this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Only requests that may change the world, or only those that cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<bool>,
    /// Only requests of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Only the request with this place among its run's requests, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many are hit then.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens to them.
    pub effect: FaultEffect,
}

/// What happens to a request that a fault hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultEffect {
    /// This answer instead of the server's.
    Status {
        /// The status code.
        status: u16,
        /// The reason phrase.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The body.
        #[serde(default)]
        body: String,
        /// Whether the request has its effect all the same: Proxmox answers 596
        /// for an operation that goes on.
        #[serde(default)]
        after: bool,
    },
    /// It takes longer.
    Delay {
        /// Seconds of the lab's time.
        seconds: f64,
    },
    /// It is accepted and never answered, and has no effect.
    Stall,
    /// The connection is reset before the effect.
    ResetBefore,
    /// The connection is reset after the effect.
    ResetAfter,
    /// It has its effect; then the connection ends without an answer.
    AnswerLost,
    /// A power cut: the run's process dies here, all its connections are reset,
    /// and nothing it has sent reaches the world any more.
    Cut {
        /// Whether the request still has its effect.
        after: bool,
    },
}

impl Fault {
    /// A rule that hits the first request of all. Narrow it with the fields.
    #[must_use]
    pub fn of(effect: FaultEffect) -> Self {
        Self {
            backend: None,
            kind: None,
            entity: None,
            write: None,
            run: None,
            index: None,
            skip: 0,
            times: once(),
            effect,
        }
    }

    /// A rule that hits the request with the given place among those of `run`,
    /// from 0, in the order of the journal.
    #[must_use]
    pub fn at_request(run: RunId, index: u64, effect: FaultEffect) -> Self {
        Self { run: Some(run), index: Some(index), ..Self::of(effect) }
    }

    /// Whether a request can be hit by it at all, and the effect can be had.
    ///
    /// The lab takes every rule: a test may have servers of its own. For rules that a
    /// person wrote, a slip in a name would be a fault that silently never strikes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] with what is wrong and what is known: a server that no
    /// lab has by itself, a kind that its requests never have, a status that is none, a
    /// delay that is no time.
    pub fn check(&self) -> Result<()> {
        let wrong = |told: String, hint: String| Err(Error::new(ErrorKind::InvalidSpec, told).hint(hint));
        if let Some(backend) = self.backend.as_deref().filter(|backend| !BACKENDS.contains(backend)) {
            return wrong(format!("backend: no lab has a server `{backend}`"), one_of(&BACKENDS));
        }
        let among = self.backend.as_deref().map_or(&BACKENDS[..], |_| &[]);
        let mut backends = among.iter().copied().chain(self.backend.as_deref());
        if let Some(kind) = self.kind.as_deref().filter(|kind| !backends.any(|backend| occurs(backend, kind))) {
            let whose = self.backend.as_deref().unwrap_or("any server");
            return wrong(format!("kind: no request to {whose} is of the kind `{kind}`"), kinds_of(whose));
        }
        match self.effect {
            FaultEffect::Status { status, .. } if !(100..=599).contains(&status) => {
                wrong(format!("status: {status} is no status of HTTP"), "use one from 100 to 599".into())
            }
            FaultEffect::Delay { seconds } if Duration::try_from_secs_f64(seconds).is_err() => {
                let told = format!("delay: {seconds:?} is no number of seconds");
                wrong(told, "use a number that is not negative, such as `30` or `0.5`".into())
            }
            _ => Ok(()),
        }
    }

    fn matches(&self, backend: &str, act: &Act, run: RunId, index: u64) -> bool {
        let kind_matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => act.kind.starts_with(prefix),
            None => *pattern == act.kind,
        };
        self.backend.as_deref().is_none_or(|wanted| wanted == backend)
            && self.kind.as_ref().is_none_or(kind_matches)
            && self.entity.as_deref().is_none_or(|wanted| wanted == act.entity)
            && self.write.is_none_or(|wanted| wanted == act.write)
            && self.run.is_none_or(|wanted| wanted == run)
            && self.index.is_none_or(|wanted| wanted == index)
    }
}

impl FaultEffect {
    /// The stable name, for the journal.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Delay { .. } => "delay",
            Self::Stall => "stall",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::AnswerLost => "answer_lost",
            Self::Cut { after: false } => "cut_before",
            Self::Cut { after: true } => "cut_after",
        }
    }
}

/// The lab's table of faults. Clones share it, so a test can add a fault while
/// the lab runs.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Fault>>>,
}

impl Faults {
    /// A table with these rules.
    #[must_use]
    pub fn new(rules: Vec<Fault>) -> Self {
        Self { rules: Arc::new(Mutex::new(rules)) }
    }

    /// Adds a rule behind the others.
    pub fn add(&self, fault: Fault) {
        self.locked(|rules| rules.push(fault));
    }

    /// Adds [`Fault::at_request`].
    pub fn at_request(&self, run: RunId, index: u64, effect: FaultEffect) {
        self.add(Fault::at_request(run, index, effect));
    }

    /// The rules as they stand: `skip` and `times` say what is left of them. A
    /// test that wants to be sure that its fault struck looks for `times: 0`.
    #[must_use]
    pub fn left(&self) -> Vec<Fault> {
        self.locked(|rules| rules.clone())
    }

    /// Asks what hits this request, and counts it.
    pub(crate) fn strike(&self, backend: &str, act: &Act, run: RunId, index: u64) -> Option<FaultEffect> {
        self.locked(|rules| {
            for rule in rules.iter_mut().filter(|rule| rule.matches(backend, act, run, index)) {
                if rule.skip > 0 {
                    rule.skip -= 1;
                } else if rule.times > 0 {
                    rule.times -= 1;
                    return Some(rule.effect.clone());
                }
            }
            None
        })
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Vec<Fault>) -> T) -> T {
        look(&mut self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn once() -> u32 {
    1
}

fn one_of(words: &[&str]) -> String {
    format!("use one of {}", words.join(", "))
}

/// Whether requests to a server can be of this kind, or begin so if it ends in `*`.
/// Known in full for Proxmox and the secret store; for the others it is their form.
fn occurs(backend: &str, kind: &str) -> bool {
    let is_among = |mut known: &mut dyn Iterator<Item = &str>| match kind.strip_suffix('*') {
        Some(prefix) => (&mut known).any(|known| known.starts_with(prefix)),
        None => (&mut known).any(|known| known == kind),
    };
    let begins = |first: &str, mark: char| match kind.split_once(mark) {
        Some((word, rest)) => (first.is_empty() || word == first) && !word.is_empty() && !rest.is_empty(),
        // Nothing of what follows the mark is said.
        None => kind.strip_suffix('*').is_some_and(|prefix| first.is_empty() || first.starts_with(prefix)),
    };
    match backend {
        "proxmox" => is_among(&mut proxmox::kinds()),
        "secrets" => is_among(&mut SECRET_KINDS.into_iter()),
        "talos" => begins("", '.'),
        _ => METHODS.iter().any(|method| begins(method, ' ')),
    }
}

/// How the kinds of a server's requests are written.
fn kinds_of(backend: &str) -> String {
    match backend {
        "proxmox" => one_of(&std::collections::BTreeSet::from_iter(proxmox::kinds()).into_iter().collect::<Vec<_>>()),
        "secrets" => one_of(&SECRET_KINDS),
        "talos" => "write `package.Method`, such as `machine.Bootstrap`".into(),
        _ => "write it as the journal does: a method and what it is about, such as `POST qemu` or `PATCH pods*`".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latency;

    fn act(kind: &str, entity: &str, write: bool) -> Act {
        Act { kind: kind.into(), entity: entity.into(), write, latency: Latency::ZERO, detail: String::new() }
    }

    /// Sends the requests (kind, entity, write) of run 1 and names what hits each.
    fn check(rule: Fault, requests: &[(&str, &str, bool)], expected: &[&str]) {
        let faults = Faults::new(vec![rule]);
        let hits: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(index, (kind, entity, write))| {
                let hit = faults.strike("proxmox", &act(kind, entity, *write), RunId(1), index as u64);
                hit.map_or("-", |effect| effect.name())
            })
            .collect();
        assert_eq!(hits, expected);
    }

    const CREATES: [(&str, &str, bool); 4] = [
        ("GET version", "pve", false),
        ("POST qemu", "421", true),
        ("POST qemu", "431", true),
        ("POST qemu/status/start", "421", true),
    ];

    #[test]
    fn a_rule_lets_some_pass_and_hits_the_rest() {
        let rule = Fault { kind: Some("POST qemu".into()), skip: 1, times: 9, ..Fault::of(FaultEffect::Stall) };
        check(rule, &CREATES, &["-", "-", "stall", "-"]);
    }

    #[test]
    fn a_star_matches_what_begins_so() {
        let rule = Fault { kind: Some("POST qemu*".into()), times: 2, ..Fault::of(FaultEffect::ResetBefore) };
        check(rule, &CREATES, &["-", "reset_before", "reset_before", "-"]);
    }

    #[test]
    fn every_condition_must_hold() {
        let rule = Fault {
            backend: Some("proxmox".into()),
            entity: Some("421".into()),
            write: Some(true),
            times: 9,
            ..Fault::of(FaultEffect::AnswerLost)
        };
        check(rule.clone(), &CREATES, &["-", "answer_lost", "-", "answer_lost"]);
        check(Fault { backend: Some("talos".into()), ..rule.clone() }, &CREATES, &["-", "-", "-", "-"]);
        check(Fault { run: Some(RunId(2)), ..rule }, &CREATES, &["-", "-", "-", "-"]);
    }

    #[test]
    fn the_nth_request_of_a_run_is_hit_once() {
        check(
            Fault::at_request(RunId(1), 2, FaultEffect::Cut { after: true }),
            &CREATES,
            &["-", "-", "cut_after", "-"],
        );
    }

    #[test]
    fn a_misspelt_condition_is_refused() {
        let error = serde_json::from_str::<Fault>(r#"{"knd": "POST qemu", "effect": "stall"}"#).expect_err("a typo");
        assert!(error.to_string().contains("knd"), "{error}");
        let text = r#"{"effect": {"status": {"status": 500, "atfer": true}}}"#;
        let error = serde_json::from_str::<Fault>(text).expect_err("a typo in the effect");
        assert!(error.to_string().contains("atfer"), "{error}");
    }

    /// The error of a rule with these conditions, or nothing.
    fn told(backend: Option<&str>, kind: Option<&str>, effect: FaultEffect) -> String {
        let rule = Fault { backend: backend.map(Into::into), kind: kind.map(Into::into), ..Fault::of(effect) };
        rule.check().err().map(|error| format!("{error}; {}", error.advice().unwrap_or_default())).unwrap_or_default()
    }

    #[test]
    fn a_rule_that_can_never_strike_is_refused() {
        let check = |backend, kind, expected: &str| {
            let found = told(backend, kind, FaultEffect::Stall);
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{kind:?}: {found}");
        };
        for good in ["POST qemu", "POST qemu*", "POST*", "*", "GET version"] {
            check(Some("proxmox"), Some(good), "");
        }
        for (backend, good) in [
            ("talos", "machine.Bootstrap"),
            ("talos", "cosi.*"),
            ("talos", "machine*"),
            ("kubernetes", "PATCH helmreleases.helm.toolkit.fluxcd.io/status"),
            ("kubernetes", "WATCH *"),
            ("kubernetes", "PA*"),
            ("secrets", "put"),
            ("git", "GET git-upload-pack refs"),
            ("infisical", "PATCH secret*"),
            ("web", "GET page"),
        ] {
            check(Some(backend), Some(good), "");
            check(None, Some(good), "");
        }
        check(Some("proxmoxx"), None, "no lab has a server `proxmoxx`; use one of git, infisical");
        check(Some("proxmox"), Some("POST qmeu"), "no request to proxmox is of the kind `POST qmeu`; use one of");
        check(Some("proxmox"), Some(""), "of the kind ``");
        check(Some("secrets"), Some("GET x"), "use one of create, get, list, put");
        check(Some("talos"), Some("POST qemu"), "machine.Bootstrap");
        check(Some("kubernetes"), Some("PSOT pods"), "such as `POST qemu`");
        check(None, Some("PSOT pods"), "no request to any server");
    }

    #[test]
    fn an_effect_that_cannot_be_had_is_refused() {
        for status in [100, 404, 599] {
            let effect = FaultEffect::Status { status, reason: None, body: String::new(), after: false };
            assert_eq!(told(None, None, effect), "");
        }
        for status in [0, 77, 600, 1000] {
            let effect = FaultEffect::Status { status, reason: None, body: String::new(), after: false };
            assert!(told(None, None, effect).contains("use one from 100 to 599"), "{status}");
        }
        assert_eq!(told(None, None, FaultEffect::Delay { seconds: 0.5 }), "");
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            let found = told(None, None, FaultEffect::Delay { seconds });
            assert!(found.contains("is no number of seconds; use a number"), "{found}");
        }
    }
}
