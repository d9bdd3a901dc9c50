//! Whose a machine is, and the proof.
//!
//! A number is handed on, a name is not unique, a tag is copied by a clone. So
//! every machine carries a [`Mark`]: one line of text, written in the very call
//! that creates it, signed with the project's key over the machine's number and
//! its uuid. A copy on another machine has another number or another uuid and
//! is foreign; a forgery lacks the key; a deleted mark makes castle refuse.

use std::collections::BTreeSet;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use uuid::Uuid;

use crate::{Birth, Env, Error, ErrorKind, MachineId, MachineSpec, Name, Result, Retry, Secret, SecretBytes};

const GRAMMAR: &str = "castle/1";

/// The 32 bytes that sign every mark of a project. They live in the secret
/// store and outlive every life of the cluster.
#[derive(Clone)]
pub struct ProjectKey(SecretBytes);

impl ProjectKey {
    /// Draws a new key.
    #[must_use]
    pub fn generate(env: &Env) -> Self {
        Self(Secret::new(env.random32().to_vec()))
    }

    /// Reads a key as the secret store holds it. `None` unless it has 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: SecretBytes) -> Option<Self> {
        (bytes.expose().len() == 32).then_some(Self(bytes))
    }

    /// The bytes, for the secret store.
    #[must_use]
    pub fn to_bytes(&self) -> SecretBytes {
        self.0.clone()
    }

    fn sign(&self, text: &str, uuid: Uuid) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        mac.update(b" uuid=");
        mac.update(uuid.as_bytes());
        mac
    }
}

impl fmt::Debug for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProjectKey(..)")
    }
}

/// What a mark says: which node of which life of which cluster a machine is.
///
/// As text it is one line:
/// `castle/1 project=blue cluster=blue life=1 node=blue-cp-01 gen=1 vmid=421 mac=<64 hex digits>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// The project.
    pub project: Name,
    /// The cluster.
    pub cluster: Name,
    /// The life.
    pub life: u32,
    /// The node.
    pub node: Name,
    /// The node's generation within the life.
    pub generation: u32,
    /// The machine it was written for.
    pub id: MachineId,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, cluster, life, node, generation, id } = self;
        write!(f, "{GRAMMAR} project={project} cluster={cluster} life={life} node={node} gen={generation} vmid={id}")
    }
}

impl Mark {
    /// The line that goes onto the machine with this uuid.
    #[must_use]
    pub fn signed(&self, key: &ProjectKey, uuid: Uuid) -> String {
        let text = self.to_string();
        let mac = hex::encode(key.sign(&text, uuid).finalize().into_bytes());
        format!("{text} mac={mac}")
    }

    /// Reads the first line of a description. `None`: it holds no mark of this
    /// grammar.
    #[must_use]
    pub fn parse(description: &str) -> Option<(Self, String)> {
        let line = description.lines().find(|line| !line.trim().is_empty())?.trim();
        let mut words = line.split(' ');
        if words.next() != Some(GRAMMAR) {
            return None;
        }
        let mut field = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        let mark = Self {
            project: field("project")?.parse().ok()?,
            cluster: field("cluster")?.parse().ok()?,
            life: field("life")?.parse().ok()?,
            node: field("node")?.parse().ok()?,
            generation: field("gen")?.parse().ok()?,
            id: MachineId::try_from(field("vmid")?.parse::<u32>().ok()?).ok()?,
        };
        let mac = field("mac")?;
        words.next().is_none().then_some((mark, mac))
    }

    fn is_signed_by(&self, key: &ProjectKey, uuid: Uuid, mac: &str) -> bool {
        // `verify_slice` compares in constant time.
        hex::decode(mac).is_ok_and(|mac| key.sign(&self.to_string(), uuid).verify_slice(&mac).is_ok())
    }
}

/// What a provider read from a machine, to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The machine's number.
    pub id: MachineId,
    /// Its SMBIOS uuid.
    pub uuid: Option<Uuid>,
    /// The text that may hold a mark.
    pub description: &'a str,
}

/// Whose a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Ours, proved, and declared.
    Ours(Mark),
    /// Ours, proved, but its number is not declared any more. Reported only.
    Undeclared(Mark),
    /// Not ours, or not provably ours. Never touched.
    Foreign(String),
    /// A creation of ours that is still under way on the host: it carries the
    /// number and nothing else yet.
    InCreation,
    /// The remains of a creation that nobody continues. Castle may not remove
    /// it; the text says what the administrator can do.
    Stub(String),
}

impl Standing {
    /// The mark, if the machine is provably ours and declared.
    #[must_use]
    pub fn ours(&self) -> Option<&Mark> {
        match self {
            Self::Ours(mark) => Some(mark),
            _ => None,
        }
    }

    /// Whether it bears a mark of this cluster that the project key alone could prove,
    /// and nobody had the key.
    #[must_use]
    pub fn waits_for_the_key(&self) -> bool {
        matches!(self, Self::Foreign(why) if why == KEYLESS)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(mark) => write!(f, "ours (life {}, {})", mark.life, mark.node),
            Self::Undeclared(mark) => write!(f, "ours but undeclared (life {}, {})", mark.life, mark.node),
            Self::Foreign(why) => write!(f, "foreign: {why}"),
            Self::InCreation => f.write_str("in creation"),
            Self::Stub(what) => write!(f, "half made: {what}"),
        }
    }
}

/// A waiver of the proof of ownership for one machine, typed by a person who
/// lost the secret store: it names number and uuid, so it fits this machine
/// and no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiver {
    /// The machine's number.
    pub id: MachineId,
    /// The machine's uuid.
    pub uuid: Uuid,
}

impl std::str::FromStr for Waiver {
    type Err = Error;

    /// Reads `421=6f1c2d3e-....`.
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('=').and_then(|(id, uuid)| {
            Some(Self { id: MachineId::try_from(id.parse::<u32>().ok()?).ok()?, uuid: uuid.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            Error::new(ErrorKind::InvalidSpec, format!("waiver `{text}` names no machine"))
                .hint("write `ID=UUID`, as `castle status` prints them")
        })
    }
}

/// What is said of a mark that nobody could check.
const KEYLESS: &str = "the project key is not at hand, so its mark cannot be checked";

/// Who is acting: the one that machines are proved to belong to.
#[derive(Debug, Clone)]
pub struct Owner {
    project: Name,
    cluster: Name,
    key: Option<ProjectKey>,
    reserved: BTreeSet<MachineId>,
    waivers: BTreeSet<Waiver>,
    spared: Option<u32>,
}

impl Owner {
    /// The owner of `cluster`, with the numbers that its declaration reserves.
    /// Without a `key` (the secret store is silent) nothing can be proved, and
    /// only a [`Waiver`] makes a machine ours.
    #[must_use]
    pub fn new(
        project: Name,
        cluster: Name,
        key: Option<ProjectKey>,
        reserved: impl IntoIterator<Item = MachineId>,
    ) -> Self {
        Self { project, cluster, key, reserved: reserved.into_iter().collect(), waivers: BTreeSet::new(), spared: None }
    }

    /// The same owner with the project key.
    #[must_use]
    pub fn with_key(self, key: ProjectKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Accepts machines on a person's word.
    #[must_use]
    pub fn with_waivers(mut self, waivers: impl IntoIterator<Item = Waiver>) -> Self {
        self.waivers.extend(waivers);
        self
    }

    /// The same owner for removals that were decided before `life` began, or for the
    /// sake of it: machines of that life and of younger ones are left alone.
    ///
    /// A number is handed on from life to life, and a removal may come late: its
    /// plan saw a machine of the old life, and another operator has made the new
    /// one under the same number since. The number and the mark's key are the
    /// same; the life is not.
    #[must_use]
    pub fn sparing(self, life: u32) -> Self {
        Self { spared: Some(life), ..self }
    }

    /// Refuses the removal of a machine of ours that [`Owner::sparing`] leaves
    /// alone. `dying`: its removal had begun already, so one of the spared life
    /// itself may go on dying.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`], which another try does not mend.
    pub fn may_remove(&self, mark: &Mark, dying: bool) -> Result<()> {
        match self.spared {
            Some(spared) if mark.life > spared || (mark.life == spared && !dying) => {
                let message =
                    format!("machine {} is of life {}: it was born since this removal was decided", mark.id, mark.life);
                Err(Error::new(ErrorKind::Conflict, message)
                    .with("node", &mark.node)
                    .retry(Retry::Never)
                    .hint("another operator was faster; look again (`castle status`) before anything is removed"))
            }
            _ => Ok(()),
        }
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &Name {
        &self.project
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Name {
        &self.cluster
    }

    /// The reserved numbers.
    #[must_use]
    pub fn reserved(&self) -> &BTreeSet<MachineId> {
        &self.reserved
    }

    /// The signed line for a machine that is about to be born. `None` without a
    /// key: an unmarked machine must never be made.
    #[must_use]
    pub fn mark(&self, spec: &MachineSpec, birth: &Birth) -> Option<String> {
        let mark = Mark {
            project: self.project.clone(),
            cluster: self.cluster.clone(),
            life: birth.life,
            node: spec.node.clone(),
            generation: birth.generation,
            id: spec.id,
        };
        Some(mark.signed(self.key.as_ref()?, birth.uuid))
    }

    /// Judges what was read from a machine.
    ///
    /// Ours means: the number is reserved, the mark is signed with our key for
    /// this number and this uuid, and it names our cluster.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence<'_>) -> Standing {
        let foreign = |why: String| Standing::Foreign(why);
        let Some((mark, mac)) = Mark::parse(evidence.description) else {
            return foreign("it carries no mark of castle".into());
        };
        let Some(uuid) = evidence.uuid else {
            return foreign("it has no uuid that its mark could be bound to".into());
        };
        let waived = self.waivers.contains(&Waiver { id: evidence.id, uuid });
        if mark.id != evidence.id {
            return foreign(format!("its mark was written for machine {}: a copy", mark.id));
        }
        if mark.project != self.project || mark.cluster != self.cluster {
            return foreign(format!("it belongs to cluster {} of project {}", mark.cluster, mark.project));
        }
        match &self.key {
            _ if waived => {}
            None => return foreign(KEYLESS.into()),
            Some(key) if mark.is_signed_by(key, uuid, &mac) => {}
            Some(_) => {
                return foreign("its mark is not signed by this project's key for this number and uuid".into());
            }
        }
        if self.reserved.contains(&evidence.id) { Standing::Ours(mark) } else { Standing::Undeclared(mark) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> MachineId {
        MachineId::try_from(number).expect("in range")
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn key(byte: u8) -> ProjectKey {
        ProjectKey::from_bytes(Secret::new(vec![byte; 32])).expect("32 bytes")
    }

    fn mark() -> Mark {
        Mark {
            project: name("blue"),
            cluster: name("blue"),
            life: 2,
            node: name("blue-cp-01"),
            generation: 1,
            id: id(421),
        }
    }

    const UUID: Uuid = Uuid::from_u128(0x6f1c_0000_0000_4000_8000_0000_0000_0421);

    fn check(description: &str, number: u32, uuid: Option<Uuid>, expected: &str) {
        let owner = Owner::new(name("blue"), name("blue"), Some(key(7)), [id(421), id(431)]);
        let standing = owner.judge(&Evidence { id: id(number), uuid, description });
        assert_eq!(standing.to_string(), expected, "{description:?} on {number}");
    }

    #[test]
    fn a_signed_mark_on_its_machine_is_ours() {
        check(&mark().signed(&key(7), UUID), 421, Some(UUID), "ours (life 2, blue-cp-01)");
        // Proxmox appends a line feed to descriptions.
        check(&format!("{}\n", mark().signed(&key(7), UUID)), 421, Some(UUID), "ours (life 2, blue-cp-01)");
    }

    #[test]
    fn whatever_is_not_proved_is_foreign() {
        let text = mark().signed(&key(7), UUID);
        check("", 421, Some(UUID), "foreign: it carries no mark of castle");
        check("a note of the administrator", 421, Some(UUID), "foreign: it carries no mark of castle");
        check(&text, 431, Some(UUID), "foreign: its mark was written for machine 421: a copy");
        let unsigned = "foreign: its mark is not signed by this project's key for this number and uuid";
        check(&text, 421, Some(Uuid::from_u128(1)), unsigned);
        check(&mark().signed(&key(8), UUID), 421, Some(UUID), unsigned);
        check(&text.replace("life=2", "life=3"), 421, Some(UUID), unsigned);
        check(&text, 421, None, "foreign: it has no uuid that its mark could be bound to");
        let other = Mark { cluster: name("green"), ..mark() }.signed(&key(7), UUID);
        check(&other, 421, Some(UUID), "foreign: it belongs to cluster green of project blue");
        let truncated = &text[..text.len() - 2];
        check(truncated, 421, Some(UUID), unsigned);
        check(&format!("{text} more"), 421, Some(UUID), "foreign: it carries no mark of castle");
    }

    #[test]
    fn an_undeclared_number_is_only_reported() {
        let undeclared = Mark { id: id(433), ..mark() }.signed(&key(7), UUID);
        check(&undeclared, 433, Some(UUID), "ours but undeclared (life 2, blue-cp-01)");
    }

    #[test]
    fn without_the_key_only_a_waiver_of_number_and_uuid_counts() {
        let owner = Owner::new(name("blue"), name("blue"), None, [id(421)]);
        let text = mark().signed(&key(7), UUID);
        let evidence = Evidence { id: id(421), uuid: Some(UUID), description: &text };
        assert!(owner.judge(&evidence).ours().is_none());
        let wrong = Waiver { id: id(421), uuid: Uuid::from_u128(1) };
        assert!(owner.clone().with_waivers([wrong]).judge(&evidence).ours().is_none());
        let right = format!("421={UUID}").parse::<Waiver>().expect("a waiver");
        assert!(owner.with_waivers([right]).judge(&evidence).ours().is_some());
    }

    #[test]
    fn a_removal_spares_what_was_born_since_it_was_decided() {
        let owner = Owner::new(name("blue"), name("blue"), Some(key(7)), [id(421)]);
        let check = |owner: &Owner, life: u32, dying: bool, expected: bool| {
            let end = owner.may_remove(&Mark { life, ..mark() }, dying);
            assert_eq!(end.is_ok(), expected, "life {life}, dying {dying}");
            if let Err(error) = end {
                assert_eq!((error.kind(), error.retry_class()), (ErrorKind::Conflict, Retry::Never));
            }
        };
        check(&owner, 9, false, true);
        let owner = owner.sparing(3);
        check(&owner, 2, false, true);
        check(&owner, 3, false, false);
        check(&owner, 3, true, true);
        check(&owner, 4, true, false);
    }

    #[test]
    fn marks_read_as_they_print() {
        let text = mark().signed(&key(7), UUID);
        let (read, mac) = Mark::parse(&text).expect("a mark");
        assert_eq!((read, mac.len()), (mark(), 64));
    }
}
