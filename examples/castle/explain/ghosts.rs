//! The remnants of former lives that `castle status` names.

use super::{Explanation, Sample};

const fn ghost(
    code: &'static str,
    what: &'static str,
    cure: &'static str,
    node: &'static str,
    evidence: &'static str,
    way_out: &'static str,
) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Seen { node, evidence, cure: way_out } }
}

pub const GHOSTS: [Explanation; 10] = [
    ghost(
        "old-configuration",
        "The disk of a node holds the configuration of another life or of another cluster.",
        "Destroy the machine with its disks, or give the address to nobody else. Castle's own rebirth makes new disks, \
         so it leaves none of this behind.",
        "blue-wk-01",
        "its certificate is signed by another authority: it was configured with another cluster's authority",
        "destroy the machine with its disks; if the machine is somebody else's, give it another address",
    ),
    ghost(
        "ephemeral-residue",
        "The disk of a node that waits for its configuration holds the data of a former life.",
        "Destroy the machine with its disks: what lies there would be taken for this life's.",
        "blue-wk-01",
        "partition EPHEMERAL on /dev/sda6 holds data of a former life",
        "destroy the machine with its disks",
    ),
    ghost(
        "foreign-certificate",
        "Something answers at a node's address that is no Talos of ours.",
        "Find out who has the address, and give one of the two another.",
        "blue-wk-02",
        "it shows a certificate that nobody here has signed",
        "find out who has the node's address and give it another one",
    ),
    ghost(
        "wrong-cluster-id",
        "A node counts itself to another cluster, so discovery never brings it together with the others.",
        "Destroy the machine with its disks; it is born again with the identity of this life.",
        "blue-wk-01",
        "it counts itself to cluster 7Yx0, and this life is 9Qa1",
        "destroy the machine with its disks",
    ),
    ghost(
        "stale-affiliate",
        "The discovery service still knows a control plane of a former life, or one address under two identities.",
        "It forgets by itself within the half hour in which nobody renews it. A rebirth has a new identity and is not \
         concerned.",
        "blue-cp-01",
        "the discovery service knows the control plane blue-cp-02 at 192.168.1.222, which is not declared",
        "wait until it is forgotten, at most 30 minutes",
    ),
    ghost(
        "doubled-member",
        "One address is more than one member of the cluster: a machine was made anew and its former self is still \
         counted.",
        "It is forgotten like a stale affiliate. Until then nothing is decided by that address.",
        "blue-cp-01",
        "192.168.1.214 is more than one member of the cluster: blue-wk-01 (a) and blue-wk-01 (b)",
        "wait until it is forgotten, at most 30 minutes",
    ),
    ghost(
        "old-data-directory",
        "The etcd of a control plane runs with the data of a former life: it lists members that none of the others \
         knows. It would hang in Preparing, or be a second cluster.",
        "Destroy the machine with its disks; castle makes it anew and it joins as a new member.",
        "blue-cp-02",
        "its etcd runs with old data: it lists old-cp-01 (192.168.1.221), and blue-cp-01 knows none of them",
        "destroy the machine with its disks",
    ),
    ghost(
        "impostor-member",
        "etcd counts a member that is no declared node, or a second one by the name of a node.",
        "`castle members` shows its id, and `castle members --remove ID` removes it through a healthy control plane. A \
         living control plane is never removed by that.",
        "blue-cp-01",
        "etcd counts old-cp-02 (8e9e05c52164694d), which is no declared node",
        "remove the member by its id (`castle members` shows it) through a healthy control plane",
    ),
    ghost(
        "stuck-learner",
        "A member of etcd learns and will never vote, because its machine is gone or its etcd does not run. No other \
         member can join before it does.",
        "`castle members --remove ID` removes it through a healthy control plane.",
        "blue-cp-01",
        "blue-cp-03 (91bc3c398fb3c146) learns and will never vote: blue-cp-03 does not answer",
        "remove the member 91bc3c398fb3c146 through a healthy control plane",
    ),
    ghost(
        "unknown-vip-holder",
        "The VIP answers, and no declared control plane of this life holds it: clients may speak to a former cluster.",
        "Find out who has the address (`ip neigh` on the host shows its hardware address) and stop it.",
        "the VIP",
        "192.168.1.210 answers for this cluster, and no declared control plane holds it",
        "find out who has the address and stop it",
    ),
];
