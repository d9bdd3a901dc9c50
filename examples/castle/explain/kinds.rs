//! The kinds of errors: what a call means that came to nothing.

use castle_core::{Error, Goal};

use super::{Explanation, Sample};

const fn raised(code: &'static str, what: &'static str, cure: &'static str, make: fn() -> Error) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Raised(make) }
}

const fn kind(
    code: &'static str,
    what: &'static str,
    cure: &'static str,
    message: &'static str,
    context: &'static [(&'static str, &'static str)],
    hint: &'static str,
) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Failed { message, context, hint } }
}

pub const KINDS: [Explanation; 17] = [
    raised(
        "not_found",
        "What was asked for does not exist: a castle.yaml, a life, a secret, a machine.",
        "See whether the name or the folder is right. A life that is missing from the secret store although its machines \
         stand means that the store is not the one that gave birth to them: point castle at the right one, or restore \
         its newest copy.",
        crate::wiring::no_declaration,
    ),
    kind(
        "already_exists",
        "What was to be made exists already and is not what was wanted. What exists *and* is wanted is no error.",
        "Look at what is there. If it is a machine under a reserved number, declare another number; castle adopts \
         nothing that it cannot prove to be its own.",
        "the machine id is taken",
        &[],
        "",
    ),
    kind(
        "conflict",
        "Somebody else changed it, or holds it, at this very moment: a lock of the hypervisor, another castle, an \
         object that was written in between.",
        "Castle looks again and tries again by itself. If it ends like this all the same, see who holds it: the \
         hypervisor shows the lock and its task.",
        "the machine is locked",
        &[("node", "blue-wk-01"), ("host", "pve")],
        "wait for the backup to end; if nothing works on it any more, `qm unlock` it as root",
    ),
    kind(
        "unauthenticated",
        "The backend does not know who asks: the token is wrong, was revoked, or has ended; or a certificate is not \
         accepted.",
        "Make a new token where the backend keeps them, and put it where the option document says. Nothing was done.",
        "the hypervisor does not accept the API token",
        &[("request", "GET /api2/json/version")],
        "check `proxmox.token` against `pveum user token list`; a lost token is made anew",
    ),
    kind(
        "permission_denied",
        "The backend knows who asks, and says no.",
        "`castle check` names each right that is missing, with the command that grants it.",
        "the API token lacks a right",
        &[("request", "POST /api2/json/nodes/pve/qemu")],
        "`castle check` names the missing rights, each with its command",
    ),
    kind(
        "unreachable",
        "No answer, or an answer from something that is not the backend. It says nothing about what is there: what \
         cannot be seen is never taken for absent.",
        "See whether the host is up, whether the address and the certificate in the option document are its own, and \
         whether a firewall stands between. Then run the same command again: it goes on from where it was.",
        "the hypervisor does not answer: no answer from https://192.168.1.10:8006: connection refused",
        &[],
        "check that the host is up and that `proxmox.url` names it",
    ),
    kind(
        "rate_limited",
        "The backend asks to be left alone for a while, or lacks the room to serve.",
        "Castle waits as long as it is told to, and tries again. If it ends like this, see what else asks the backend.",
        "the git server asks for patience",
        &[],
        "wait a little",
    ),
    kind(
        "deadline_exceeded",
        "A condition was not met in its time. The message names the step and what it waited for last. The exit code \
         is 4.",
        "Read what it waited for: that is what is missing. Cure it and run the same command again, which goes on from \
         here; what takes long in your house gets more time under `deadlines` in castle.yaml.",
        "`machine/blue-cp-01/create` was not done within 2 s: the import of talos-613e1592b2da-v1.13.9.qcow2 for machine 421",
        &[("step", "machine/blue-cp-01/create")],
        "run the same command again: it goes on from here; `deadlines` in castle.yaml gives more time",
    ),
    kind(
        "cancelled",
        "The caller asked to stop. The exit code is 130. What was begun is left so that the next run recognises it.",
        "Run the same command again: it goes on from here.",
        "stopped at the caller's request",
        &[],
        "run the same command again: it goes on from here",
    ),
    kind(
        "quorum_lost",
        "The act would cost the quorum of etcd, or it is lost already: `castle members --remove` would leave too few \
         healthy voters, or an etcd that was born did not come back within its deadline. Nothing was done: without a \
         majority no member accepts a write, and one that is removed too early cannot be brought back.",
        "`castle members` shows who votes. Bring the control planes back that are off; if a majority is gone for good, \
         the way out is a rebirth.",
        "without member 91bc3c398fb3c146 (blue-cp-03) etcd has 2 voters, of which 1 are known to be healthy; its quorum is 2",
        &[("member", "91bc3c398fb3c146")],
        "bring the other control planes back first (blue-cp-02); then run the same command again",
    ),
    kind(
        "address_in_use",
        "An address or a port is taken by something else. The lab ends with it; in a house it is a finding, such as \
         `stranger` or `id-taken`.",
        "Find out who has it: `ss -ltnp` shows who listens on this machine, `ip neigh` on a host who has an address.",
        "port 8006 of 127.64.0.2 is taken",
        &[],
        "find its holder with `ss -ltnp 'sport = :8006'`; it may listen on all addresses",
    ),
    kind(
        "invalid_spec",
        "The call, castle.yaml or the option document is wrong. The exit code is 64. Nobody was asked.",
        "Each finding stands above it with its line and its way out; mend all of them, they are told at once.",
        "castle.yaml is not a valid declaration",
        &[],
        "",
    ),
    kind(
        "unsupported",
        "The backend cannot do this, or this castle was put together without the part that can.",
        "Read which part is missing. Through the command line every part is there; a program that embeds castle gives \
         them to its builder.",
        "this Talos does not know the call",
        &[("node", "blue-cp-01")],
        "castle knows Talos 1.12 to 1.14; compare with `cluster.talos` in castle.yaml",
    ),
    kind(
        "foreign_owner",
        "The thing is not ours, so it is not touched. Its mark is missing, is signed by another key, or belongs to \
         another machine: a copied tag, a clone, a recycled number. The exit code is 3.",
        "Look at it in the hypervisor. If it is surely yours and only the secret store was lost, `--waive-ownership \
         ID=UUID` vouches for this one machine.",
        "machine 431 is left alone: it has no mark",
        &[("node", "blue-wk-01"), ("host", "pve")],
        "see what it is with `qm config 431`, or declare another id for blue-wk-01",
    ),
    raised(
        "evidence_missing",
        "Proof is missing that the act is safe: a confirmation, a copy of declared data, a look that could not be \
         taken. Nothing was done. The exit code is 3.",
        "The hint names the proof. Give it only when you know it to be true.",
        || crate::verbs::not_confirmed("blue", None, Goal::Destroy, false),
    ),
    kind(
        "exhausted",
        "There is no room: on a storage, in a host's memory, on the disk of this machine.",
        "Free what is not needed, or declare another storage or host; `castle check` says how much is missing.",
        "the storage is full",
        &[("host", "pve")],
        "free space (`pvesm status` shows it) or declare another storage",
    ),
    kind(
        "unexpected",
        "Anything else: an answer that no contract of the backend explains.",
        "The causes that are printed behind the message say what was answered. If running it again ends the same way, \
         keep the report (`--report FILE`) and ask where castle is made.",
        "the node refused the call",
        &[("node", "blue-wk-01")],
        "run the same command again",
    ),
];
