//! What Proxmox VE means when it says no.
//!
//! Proxmox has no error codes: a missing machine, a busy lock and a full disk
//! are all status 500 with a sentence in the reason phrase. The sentences are
//! recognised here, in one table, and nowhere else.

use std::collections::BTreeMap;

use castle_core::words::heard;

/// Why Proxmox VE refused a request, or a task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The token is unknown, deleted or expired.
    Unauthenticated,
    /// The token lacks a right.
    Forbidden {
        /// The path the right is missing on, if Proxmox named it.
        path: Option<String>,
        /// The privilege, or the alternatives joined with `|`, if Proxmox named them.
        privilege: Option<String>,
    },
    /// Parameters that do not fit the schema.
    Invalid {
        /// What is wrong, by parameter.
        fields: BTreeMap<String, String>,
    },
    /// The machine's configuration holds a lock that outlives processes.
    Locked {
        /// The lock: `create`, `clone`, `backup`, ...
        lock: String,
    },
    /// Another request held a lock file for too long. Passes by itself.
    LockTimeout,
    /// There is no machine with this number on this node.
    NoSuchMachine,
    /// The node does not know this task (yet, or any more).
    NoSuchTask,
    /// A node of this name is not in the cluster.
    NoSuchNode,
    /// A volume, for example the image to import, is not there.
    NoSuchVolume,
    /// The number is taken.
    AlreadyExists,
    /// The machine runs.
    Running,
    /// The machine does not run.
    NotRunning,
    /// The machine is protected against removal.
    Protected,
    /// The configuration was changed after it was read.
    StaleDigest,
    /// The storage has no room.
    StorageFull,
    /// The storage is missing, disabled or offline.
    StorageUnavailable,
    /// The node cannot be reached by the one that was asked.
    NodeOffline,
    /// The node did not answer the one that was asked; what it did is not known.
    ProxyTimeout,
    /// The hypervisor's cluster has lost its quorum and accepts no writes.
    NoQuorum,
    /// The node could not start a worker. Passes by itself.
    Overloaded,
    /// A linked clone still lives on the disk.
    BaseInUse,
    /// The machine is under the care of the high-availability manager.
    HaManaged,
    /// The worker was killed, or its node restarted.
    Interrupted,
    /// This version does not know the call.
    Unsupported,
    /// A text that the table does not know.
    Other,
}

/// What can be recognised in a text: all needles are in it, in lower case.
struct Row {
    needles: &'static [&'static str],
    read: fn(&str) -> Refusal,
}

const fn row(needles: &'static [&'static str], read: fn(&str) -> Refusal) -> Row {
    Row { needles, read }
}

/// The table. The first row that fits wins, so the precise ones come first.
const TEXTS: &[Row] = &[
    row(&["permission check failed"], forbidden),
    row(&["permission denied - invalid"], |_| Refusal::Unauthenticated),
    row(&["authentication fail"], |_| Refusal::Unauthenticated),
    row(&["no ticket"], |_| Refusal::Unauthenticated),
    row(&["no quorum"], |_| Refusal::NoQuorum),
    row(&["cluster not ready"], |_| Refusal::NoQuorum),
    row(&["vm is locked ("], locked),
    // Its command line names block devices, and a machine that does not come up in time
    // ends with a timeout: no lock is meant.
    row(&["start failed: command"], |_| Refusal::Other),
    row(&["can't lock file", "got timeout"], |_| Refusal::LockTimeout),
    row(&["got lock request timeout"], |_| Refusal::LockTimeout),
    row(&["configuration file", "does not exist"], |_| Refusal::NoSuchMachine),
    row(&["no such task"], |_| Refusal::NoSuchTask),
    row(&["hostname lookup"], |_| Refusal::NoSuchNode),
    row(&["protection mode enabled"], |_| Refusal::Protected),
    row(&["is running - destroy failed"], |_| Refusal::Running),
    row(&["already running"], |_| Refusal::Running),
    row(&["not running"], |_| Refusal::NotRunning),
    row(&["used in ha resources"], |_| Refusal::HaManaged),
    row(&["still in use by linked clone"], |_| Refusal::BaseInUse),
    row(&["checksum mismatch (file change"], |_| Refusal::StaleDigest),
    row(&["detected modified configuration"], |_| Refusal::StaleDigest),
    row(&["insufficient free space"], |_| Refusal::StorageFull),
    row(&["no space left on device"], |_| Refusal::StorageFull),
    row(&["not enough free space"], |_| Refusal::StorageFull),
    row(&["not enough space"], |_| Refusal::StorageFull),
    row(&["out of space"], |_| Refusal::StorageFull),
    row(&["no worker upid"], |_| Refusal::Overloaded),
    row(&["storage '", "' does not exist"], |_| Refusal::StorageUnavailable),
    row(&["storage '", "' is not available on node"], |_| Refusal::StorageUnavailable),
    row(&["storage '", "' is disabled"], |_| Refusal::StorageUnavailable),
    row(&["storage '", "' is not online"], |_| Refusal::StorageUnavailable),
    row(&["volume '", "does not exist"], |_| Refusal::NoSuchVolume),
    row(&["no such volume"], |_| Refusal::NoSuchVolume),
    row(&["cannot import from"], |_| Refusal::NoSuchVolume),
    row(&["no such file or directory"], |_| Refusal::NoSuchVolume),
    row(&["already exists"], |_| Refusal::AlreadyExists),
    row(&["unexpected status"], |_| Refusal::Interrupted),
    row(&["received interrupt"], |_| Refusal::Interrupted),
    row(&["interrupted by signal"], |_| Refusal::Interrupted),
];

impl Refusal {
    /// Reads an answer: the status, the text of reason phrase and message, and
    /// the complaints by parameter.
    pub(crate) fn of_answer(status: u16, said: &str, fields: &BTreeMap<String, String>) -> Self {
        match status {
            401 => return Self::Unauthenticated,
            501 => return Self::Unsupported,
            595 => return Self::NodeOffline,
            502..=504 | 596..=599 => return Self::ProxyTimeout,
            _ => {}
        }
        // A complaint about one parameter may be an answer of its own: `nextid`
        // tells so that an id is taken, `tasks` that it knows no such task.
        if let Some(read) = fields.values().map(|text| Self::of_text(text)).find(|read| *read != Self::Other) {
            return read;
        }
        match (status, Self::of_text(said)) {
            (403, read @ Self::Forbidden { .. }) => read,
            (403, _) => Self::Forbidden { path: None, privilege: None },
            (400, Self::Other) => {
                let fields = fields.iter().map(|(field, why)| (heard(field), heard(why)));
                Self::Invalid { fields: fields.collect() }
            }
            (_, read) => read,
        }
    }

    /// Reads a sentence: a reason phrase, or the exit status of a task.
    pub(crate) fn of_text(text: &str) -> Self {
        let lower = text.to_lowercase();
        TEXTS
            .iter()
            .find(|row| row.needles.iter().all(|needle| lower.contains(needle)))
            .map_or(Self::Other, |row| (row.read)(text))
    }

    /// Whether the same request may succeed a moment later, with nobody's help.
    pub(crate) fn passes_by_itself(&self) -> bool {
        matches!(self, Self::LockTimeout | Self::Overloaded)
    }
}

/// `... (/vms/421, VM.Clone)` names path and privilege.
fn forbidden(text: &str) -> Refusal {
    let inside = text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map(|(inside, _)| inside);
    let (path, privilege) = match inside.and_then(|inside| inside.split_once(',')) {
        Some((path, privilege)) if path.starts_with('/') => (Some(heard(path)), Some(heard(privilege))),
        _ => (None, None),
    };
    Refusal::Forbidden { path, privilege }
}

/// `VM is locked (clone)` names the lock.
fn locked(text: &str) -> Refusal {
    let lock = text.split_once("locked (").and_then(|(_, rest)| rest.split_once(')')).map_or("?", |(lock, _)| lock);
    Refusal::Locked { lock: heard(lock) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, said: &str, expected: Refusal) {
        assert_eq!(Refusal::of_answer(status, said, &BTreeMap::new()), expected, "{status} {said}");
    }

    fn forbidden(path: &str, privilege: &str) -> Refusal {
        Refusal::Forbidden { path: Some(path.into()), privilege: Some(privilege.into()) }
    }

    #[test]
    fn every_text_of_the_reference_is_recognised() {
        let unnamed = Refusal::Forbidden { path: None, privilege: None };
        for (status, said, expected) in [
            (401, "No ticket", Refusal::Unauthenticated),
            (401, "Authentication failed!", Refusal::Unauthenticated),
            (401, "", Refusal::Unauthenticated),
            (403, "Permission check failed (/vms/421, VM.Clone)", forbidden("/vms/421", "VM.Clone")),
            (
                403,
                "Permission check failed (/storage/x, Datastore.Audit|Datastore.AllocateSpace)",
                forbidden("/storage/x", "Datastore.Audit|Datastore.AllocateSpace"),
            ),
            (403, "Permission check failed", unnamed.clone()),
            (403, "Permission check failed (pool 'x' does not exist)", unnamed.clone()),
            (
                403,
                "Permission check failed (/, Sys.Modify for modifying tag 'castle')",
                forbidden("/", "Sys.Modify for modifying tag 'castle'"),
            ),
            (595, "No route to host", Refusal::NodeOffline),
            (595, "Connection refused", Refusal::NodeOffline),
            (596, "Connection timed out", Refusal::ProxyTimeout),
            (599, "Too many redirections", Refusal::ProxyTimeout),
            (500, "hostname lookup 'pvex' failed - failed to get address info", Refusal::NoSuchNode),
            (500, "unable to create VM 421 - VM 421 already exists on node 'pve'", Refusal::AlreadyExists),
            (500, "unable to create VM 421 - CT 421 already exists on node 'pve'", Refusal::AlreadyExists),
            (500, "unable to create VM 421 - VM is locked (create)", Refusal::Locked { lock: "create".into() }),
            (500, "unable to create VM 421: config file already exists", Refusal::AlreadyExists),
            (500, "Configuration file 'nodes/pve/qemu-server/421.conf' does not exist", Refusal::NoSuchMachine),
            (500, "VM is locked (clone)", Refusal::Locked { lock: "clone".into() }),
            (500, "can't lock file '/var/lock/qemu-server/lock-421.conf' - got timeout", Refusal::LockTimeout),
            (
                500,
                "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout",
                Refusal::LockTimeout,
            ),
            (500, "cfs-lock 'storage-x' error: got lock request timeout", Refusal::LockTimeout),
            (500, "checksum mismatch (file change by other user?)", Refusal::StaleDigest),
            (500, "VM 421 is running - destroy failed", Refusal::Running),
            (500, "can't remove VM 421 - protection mode enabled", Refusal::Protected),
            (500, "unable to remove VM 421 - used in HA resources and purge parameter not set.", Refusal::HaManaged),
            (500, "base volume 'x' is still in use by linked cloned", Refusal::BaseInUse),
            (500, "VM 421 already running", Refusal::Running),
            (500, "VM 421 not running", Refusal::NotRunning),
            (500, "cluster not ready - no quorum?", Refusal::NoQuorum),
            (500, "no quorum!", Refusal::NoQuorum),
            (500, "got no worker upid - start worker failed", Refusal::Overloaded),
            (500, "storage 's' does not exist", Refusal::StorageUnavailable),
            (500, "storage 's' is not available on node 'n'", Refusal::StorageUnavailable),
            (500, "storage 's' is disabled", Refusal::StorageUnavailable),
            (500, "storage 's' is not online", Refusal::StorageUnavailable),
            (500, "lvcreate 'pve/vm-421-disk-0' error: insufficient free space", Refusal::StorageFull),
            (500, "unable to write: No space left on device", Refusal::StorageFull),
            (500, "not enough free space (10 < 20)", Refusal::StorageFull),
            (500, "unexpected status", Refusal::Interrupted),
            (500, "received interrupt", Refusal::Interrupted),
            (
                500,
                "start failed: command '/usr/bin/kvm -id 421 -blockdev '{\"driver\":\"raw\"}' -lock x' failed: got timeout",
                Refusal::Other,
            ),
            (501, "Method 'GET /x' not implemented", Refusal::Unsupported),
            (500, "a sentence of tomorrow", Refusal::Other),
        ] {
            check(status, said, expected);
        }
    }

    #[test]
    fn a_complaint_about_a_parameter_is_read_before_the_sentence() {
        let about = |key: &str, text: &str| BTreeMap::from([(key.to_owned(), text.to_owned())]);
        let said = "Parameter verification failed.";
        let taken = about("vmid", "VM 421 already exists");
        assert_eq!(Refusal::of_answer(400, said, &taken), Refusal::AlreadyExists);
        assert_eq!(Refusal::of_answer(400, said, &about("upid", "no such task")), Refusal::NoSuchTask);
        let fields = about("cores", "type check ('integer') failed - got 'x'");
        assert_eq!(Refusal::of_answer(400, said, &fields), Refusal::Invalid { fields: fields.clone() });
    }
}
