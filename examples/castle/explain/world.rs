//! What is found in a house: before a birth, in a plan, after a removal.

use castle_core::{Goal, MachineSpec, Observation, Part, Project, Slot, Standing};

use super::made::{machine, mark, worker_is};
use super::{Explanation, Sample};

const fn made(code: &'static str, what: &'static str, cure: &'static str, sample: Sample) -> Explanation {
    Explanation { code, what, cure, sample }
}

const fn plan(
    code: &'static str,
    what: &'static str,
    cure: &'static str,
    goal: Goal,
    look: fn(&mut Project, &mut Observation),
) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Planned(goal, look) }
}

const fn spec(code: &'static str, what: &'static str, cure: &'static str, change: fn(&mut MachineSpec)) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Refused(change) }
}

const fn error(
    code: &'static str,
    what: &'static str,
    cure: &'static str,
    [subject, message, hint]: [&'static str; 3],
) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Found { refuses: true, subject, message, hint } }
}

const fn note(
    code: &'static str,
    what: &'static str,
    cure: &'static str,
    [subject, message, hint]: [&'static str; 3],
) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Found { refuses: false, subject, message, hint } }
}

const NAME: &str = "A backend that is embedded may be given what castle.yaml would never let pass; the same grammar is \
    asked for once more before anything is made.";
const MEND: &str = "Use the form that the hint shows.";

pub const PLANS: [Explanation; 21] = [
    plan(
        "not-known",
        "Something could not be seen, and nothing is done on a guess: unknown is not absent.",
        "Mend the connection that the message names, and run it again.",
        Goal::Create,
        |_, seen| seen.machines = Part::Unknown("no answer".into()),
    ),
    plan(
        "foreign-machine",
        "A reserved number holds a machine that is not provably ours. Castle neither adopts nor \
        removes it. As a ghost: a machine with another uuid answers at a node's address.",
        "Declare another number. If the machine is surely yours and only the secret store was lost, \
        `--waive-ownership ID=UUID` vouches for it.",
        Goal::Create,
        |project, seen| worker_is(project, seen, machine(project, Standing::Foreign("it has no mark".into()))),
    ),
    plan(
        "hidden-machine",
        "A reserved number is taken by a machine that the token may not see.",
        "Choose another number, or remove that machine; castle never touches what it cannot read.",
        Goal::Create,
        |project, seen| worker_is(project, seen, Slot::Hidden),
    ),
    plan(
        "half-made",
        "A creation was cut so early that the machine has no mark yet, so nothing proves whose it is.",
        "The hint names what to do in the hypervisor. Castle's own cut creations bear a mark and are finished by the \
        next run.",
        Goal::Create,
        |project, seen| {
            let what = "look at it with `qm config 431`; if nobody needs it, remove it there";
            worker_is(project, seen, machine(project, Standing::Stub(what.into())));
        },
    ),
    error(
        "lost-life",
        "A life was whole, nobody ended it, and yet its machines are gone: somebody removed them without \
        castle. Only you know whether that life shall go on.",
        "`--new-life` begins the next one; `--continue` makes the machines of this one again, with their old identity.",
        [
            "cluster blue",
            "life 1 was whole and was never ended, yet none of its machines exists",
            "`--new-life` begins the next life; `--continue` makes the machines of this one again",
        ],
    ),
    error(
        "beyond-provider",
        "The declaration asks for what the machine provider cannot do. Proxmox VE can all of it; a provider of your own \
        says what it can.",
        "Follow the hint, or choose another platform.",
        [
            "network.vip",
            "the machine provider gives its machines no common segment, so no VIP can move between them",
            "remove `vip`, or choose another platform",
        ],
    ),
    error(
        "escrow-taken",
        "A secret by the name of an escrow holds something that castle did not put there. It is not overwritten: \
        somebody else's secret would be lost for good.",
        "Write another name in castle.yaml, or remove that secret if nobody needs it.",
        [
            "escrow.kubeconfig",
            "the secret `KUBECONFIG` holds something that is no kubeconfig of this cluster",
            "write another name under `escrow: {kubeconfig: NAME}` in castle.yaml, or remove that secret if nobody needs \
             it",
        ],
    ),
    error(
        "lost-secrets",
        "The life that goes on was born, and the secret store no longer holds its bundle: the authorities that its \
        nodes, etcd and Kubernetes trust. Without it nothing can speak to them, and a new one would be another \
        cluster's.",
        "Restore the store from its backup. If there is none, `castle destroy`, and `castle create` begins the next \
        life; `castle rebirth` does both.",
        [
            "secret blue/blue/talos/1",
            "life 1 was whole, and its secrets are gone: nothing can speak to its nodes any more",
            "restore `blue/blue/talos/1` from a backup of the secret store; if there is none, `castle destroy`, and \
             `castle create` begins life 2",
        ],
    ),
    plan(
        "unknown-life",
        "A machine is younger than everything the secret store knows: the store is an old copy.",
        "Restore its newest copy; the bundle of that life is needed to speak to the cluster.",
        Goal::Create,
        |project, seen| worker_is(project, seen, machine(project, Standing::Ours(mark(project, 3, "blue-wk-01")))),
    ),
    error(
        "life-mismatch",
        "A rebirth is to replace a life that the secret store contradicts.",
        "The hint names which life can be replaced, or what finishes a rebirth that was cut.",
        [
            "cluster blue",
            "life 2 is to be replaced, but a rebirth began it and is not finished",
            "replace life 1 to finish that rebirth, or add `--abandon` to end it",
        ],
    ),
    plan(
        "node-changed",
        "A number carries another of our nodes than the one that is declared for it.",
        "Give the new node another number, or destroy the cluster first.",
        Goal::Create,
        |project, seen| worker_is(project, seen, machine(project, Standing::Ours(mark(project, 1, "blue-wk-03")))),
    ),
    note(
        "drift",
        "A standing machine differs from its declaration. It is not changed while it stands.",
        "Nothing, if you can wait: the next rebirth brings it.",
        [
            "machine blue-wk-01 (431)",
            "memory is 8GiB, declared is 12GiB",
            "a standing machine is not changed; the next rebirth brings it",
        ],
    ),
    note(
        "undeclared-machine",
        "A machine is provably of this cluster, but castle.yaml does not name it. It is left alone.",
        "Declare it again to have it removed with the cluster.",
        [
            "machine blue-wk-03 (433)",
            "it is node blue-wk-03 of this cluster, but not declared; it is left alone",
            "declare it again to have it removed with the cluster",
        ],
    ),
    error(
        "stranger",
        "What answers at a node's address is not this machine's system. Castle sends it nothing: its \
        configuration would hold every secret of the cluster.",
        "Find out who uses the address (`ip neigh`), and give one of the two another.",
        [
            "node blue-wk-01 (192.168.1.214)",
            "what answers there is not this machine's system: another machine's uuid",
            "find out who uses the address (`ip neigh`); castle sends nothing there",
        ],
    ),
    plan(
        "no-gitops",
        "A handover was asked for, and nobody is there to hand the cluster over to.",
        "Declare `gitops`, and give access to the repository.",
        Goal::Handover,
        |project, _| project.gitops = None,
    ),
    error(
        "gitops-repository",
        "The repository that Flux would follow cannot be read: its address, its branch, or the access to it is wrong. It \
         is found before the first machine goes, not at the end of a rebirth.",
        "Mend what the hint names, and see that the branch exists.",
        [
            "gitops.repository",
            "the GitOps repository has no branch `main`",
            "check `gitops.repository.branch` in castle.yaml, or push the branch",
        ],
    ),
    error(
        "gitops-credentials",
        "A part of the seed needs a secret that neither the option document nor the secret store gives, or one that Flux \
         cannot use: it knows servers by their authority, never by a fingerprint.",
        "Give it where the hint says; it is planted as it is, and shown nowhere.",
        [
            "gitops.seed",
            "credentials of the seed are missing",
            "give `identity` in the option document, or take the part out of `gitops.seed`",
        ],
    ),
    error(
        "gitops-seed",
        "A manifest of the seed is missing, is not what its SHA-256 says, or cannot be planted.",
        "Correct where it comes from under `gitops` in castle.yaml, or the file itself.",
        ["gitops.seed", "a manifest of the seed cannot be planted", "correct the manifest at that place"],
    ),
    plan(
        "nothing-stands",
        "A handover was asked for where no cluster stands.",
        "`castle create` makes it stand, and hands \
        it over as well.",
        Goal::Handover,
        |_, _| {},
    ),
    plan(
        "unsafe-data",
        "Data that castle.yaml declares would be lost, and nothing proves that a copy is safe.",
        "Prove it, or give the data up: `--waive-data CLUSTER`, with the cluster's name typed.",
        Goal::Destroy,
        |project, seen| worker_is(project, seen, machine(project, Standing::Ours(mark(project, 1, "blue-wk-01")))),
    ),
    plan(
        "secret-store-silent",
        "A removal goes on without the secret store, but the tombstone of the life cannot be written.",
        "Nothing now. The next create will ask whether to continue this life or to begin a new one.",
        Goal::Destroy,
        |_, seen| seen.lives = Part::Unknown("no answer".into()),
    ),
];

pub const HOUSE: [Explanation; 25] = [
    error(
        "version",
        "Proxmox VE is older than what castle speaks with.",
        "Upgrade the hosts.",
        [
            "proxmox",
            "Proxmox VE 8.4 is too old: castle speaks with 9",
            "upgrade the hosts: `pve8to9 --full` says whether they are ready",
        ],
    ),
    error(
        "missing-privilege",
        "The token lacks a right that a birth or a removal needs.",
        "Run the command of the hint on \
        a host, as an administrator.",
        [
            "/pool/blue",
            "the token castle@pve!main lacks VM.Allocate, needed for its machines",
            "`pveum role modify CastleOperator --append 1 --privs 'VM.Allocate'`",
        ],
    ),
    error(
        "pool-missing",
        "Castle's rights are confined to a pool, and there is none of this name.",
        "Make it.",
        ["blue", "there is no such pool", "`pveum pool add blue`"],
    ),
    error(
        "host-unknown",
        "A declared host is none of Proxmox VE's.",
        "Correct the name in castle.yaml.",
        ["pvf", "Proxmox VE knows no such host", "correct the name in castle.yaml; the hosts are: pve"],
    ),
    error(
        "host-offline",
        "A host is down, or its cluster counts it as down. Its machines can neither be made nor judged.",
        "Bring it back; `pvecm status` shows how the hosts see each other.",
        ["pve", "the host is not online", "start it, or repair its way to the others; `pvecm status` shows it"],
    ),
    error(
        "host-not-checked",
        "A host did not answer the questions of the check.",
        "See that it answers, then check again.",
        ["pve", "the hypervisor does not answer: connection refused", "see that the host answers, then check again"],
    ),
    error(
        "memory",
        "The machines of a host do not fit into its memory.",
        "Declare less, move a machine to another host, or \
        stop what else runs there.",
        [
            "pve",
            "the machines need 40GiB, the host has 32GiB",
            "declare less memory, or move a machine to another host",
        ],
    ),
    note(
        "memory-tight",
        "With what else runs on the host, its memory would not do.",
        "Stop what is not needed.",
        [
            "pve",
            "20GiB of 32GiB are in use, and 16GiB more are needed",
            "stop what is not needed; `castle plan` refuses only what the declared budget does not hold",
        ],
    ),
    error(
        "id-taken",
        "A reserved number is taken by something that is not ours.",
        "Declare another number, or move the \
        machine that has it.",
        [
            "blue-wk-01 (431)",
            "the id is taken by `desktop`, which has no mark",
            "declare another id for blue-wk-01, or move the machine that has 431: `qm config 431`",
        ],
    ),
    error(
        "id-unknown",
        "It is not known whether a reserved number is free.",
        "Check again when the host answers.",
        ["blue-wk-01 (431)", "it is not known whether the id is free: no answer", "check again when the host answers"],
    ),
    error(
        "id-half-made",
        "A reserved number holds a machine that was never finished and bears no mark.",
        "The hint says how to look at it and how to remove it.",
        ["blue-wk-01 (431)", "the id is taken", "look at it with `qm config 431`; if nobody needs it, remove it there"],
    ),
    error(
        "storage-missing",
        "A host has no storage of this name, or may not use it.",
        "Correct the name, or let the host \
        use it.",
        [
            "pve/local-lvm",
            "pve has no storage of this name",
            "correct the name, or let pve use it: `pvesm set local-lvm --nodes ..`; `pvesm status` lists them",
        ],
    ),
    error(
        "storage-disabled",
        "A storage is switched off.",
        "Switch it on.",
        ["pve/local-lvm", "it is disabled", "`pvesm set local-lvm --disable 0`"],
    ),
    error(
        "storage-offline",
        "A storage does not answer.",
        "Bring it online.",
        ["pve/tank", "it is not active", "bring it online; `pvesm status --storage tank` on pve says more"],
    ),
    error(
        "storage-content",
        "A storage may not hold what castle puts there: disks (`images`) or images to be imported \
        (`import`).",
        "Allow it; the hint names all types, because the command sets them anew.",
        ["pve/local", "it does not hold content of type `import`", "`pvesm set local --content iso,vztmpl,import`"],
    ),
    error(
        "storage-full",
        "A storage has no room for what a birth writes at once.",
        "Free space, or declare another storage.",
        [
            "pve/local-lvm",
            "120GiB are needed, 80GiB are free",
            "free space, or declare another storage; `pvesm list local-lvm` on pve shows what fills it",
        ],
    ),
    note(
        "storage-tight",
        "The disks are thin and may grow beyond what is free.",
        "Watch it, or declare another storage.",
        [
            "pve/local-lvm",
            "the disks may grow to 120GiB, 80GiB are free",
            "free space, or declare another storage; `pvesm list local-lvm` on pve shows what fills it",
        ],
    ),
    error(
        "image-missing",
        "The disk image of this Talos, with these extensions, is not on the host.",
        "Run the command of \
        the hint on the host: it fetches it.",
        [
            "local:import/talos-376567988ad3-v1.13.9.qcow2",
            "the image is not on pve",
            "`pvesh create /nodes/pve/storage/local/download-url --content import --filename talos-376567988ad3-v1.13.9.qcow2 \
             --url https://factory.talos.dev/..`",
        ],
    ),
    error(
        "image-not-checked",
        "The storage of the image could not be listed.",
        "See what the storage says on the host.",
        [
            "local:import/talos-376567988ad3-v1.13.9.qcow2",
            "the storage was not listed: it is not active",
            "see `pvesm list local` on pve",
        ],
    ),
    error(
        "bridge-missing",
        "The host has no bridge of this name.",
        "Correct the name, or make it; the hint says how.",
        ["pve/vmbr9", "the host has no such bridge", "correct `network.bridge` (there are: vmbr0), or make it"],
    ),
    note(
        "leftover-volume",
        "A removal found a volume that bears the number of a removed machine and belonged to none.",
        "If nobody needs it, free it with the command of the hint. Castle does not: nothing proves whose it is.",
        [
            "local-lvm:vm-431-disk-9",
            "it bears the number of blue-wk-01 and belonged to no machine",
            "if nobody needs it, on pve: `pvesm free local-lvm:vm-431-disk-9`",
        ],
    ),
    note(
        "leftovers-unknown",
        "A storage could not be searched for what a removal left.",
        "Search it by hand; the hint says \
        how.",
        ["local-lvm", "it was not searched: it is not active", "on pve: `pvesm list local-lvm --vmid 431`"],
    ),
    error(
        "contract",
        "Castle writes configurations of one contract, and this is another.",
        "Use the one that is proposed.",
        ["cluster.contract", "castle does not write contract 1.12", "use \"1.13\""],
    ),
    error(
        "invalid-patch",
        "A patch is no part of a machine configuration, or names a key that Talos does not know.",
        "Write a part of a configuration of the Talos that is declared.",
        [
            "patches.workers[0]",
            "1 key unknown to this release: `machine.sysctlz`",
            "write a part of a machine configuration of Talos v1.13.9",
        ],
    ),
    error(
        "invalid-secrets",
        "The bundle of a life cannot be read: it was changed by another hand, or cut.",
        "Restore it from the newest copy of the secret store.",
        ["trustdinfo", "is missing", "restore the bundle from the newest copy of the secret store"],
    ),
];

pub const GRAMMAR: [Explanation; 13] = [
    spec("storage-name", NAME, MEND, |spec| spec.storage = "local lvm".into()),
    spec("pool-name", NAME, MEND, |spec| spec.pool = "blue,all".into()),
    spec("bridge-name", NAME, MEND, |spec| spec.nic.bridge = "vmbr 0".into()),
    spec("image-name", NAME, MEND, |spec| spec.image.file = "talos.zip".into()),
    spec("vlan", NAME, MEND, |spec| spec.nic.vlan = Some(5000)),
    spec("cores", NAME, MEND, |spec| spec.cores = 0),
    spec("disk", NAME, MEND, |spec| spec.disk = castle_core::ByteSize::gib_of(1)),
    spec("address-family", NAME, MEND, |spec| spec.nic.address = std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
    error(
        "image",
        "The image cannot be named: its extensions make no schematic.",
        "Correct `image.extensions`.",
        [
            "image",
            "an extension cannot stand in a schematic",
            "use letters, digits and `-_.,=/+@%:`, beginning with a letter",
        ],
    ),
    error(
        "duplicate-mac",
        "A node's hardware address follows from its name, and two names have met in one. It is one \
        chance in millions.",
        "Choose another name.",
        [
            "workers[1]",
            "the hardware address that follows from the name, BC:24:11:00:00:01 is workers[0]'s already",
            "choose another name",
        ],
    ),
    made(
        "invalid-option",
        "The option document is wrong: it says where the backends are and how they are reached. Its \
        values are never quoted, because they may be secrets.",
        "Mend the key at the line that is named; \
        `examples/projects/house/options.example.yaml` explains each.",
        Sample::Opened(&[("https:", "http:")]),
    ),
    made(
        "yaml-budget",
        "A document is larger, deeper or more repetitive than any declaration needs: one that is built to \
        exhaust memory is refused early.",
        "Make it smaller. 500 machines need a tenth of what is allowed.",
        Sample::Crowded(20_000),
    ),
    made(
        "further-findings",
        "There are more findings than one person reads at once.",
        "Mend those above first; what is left \
        is told then.",
        Sample::Crowded(180),
    ),
];
