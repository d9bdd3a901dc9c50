//! What the values of a `castle.yaml` may be all together: quorum, overlaps, capacity.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::value::{Findings, Placed, on_line, release_numbers, shown};
use crate::yaml::nearest;
use crate::{ByteSize, MacAddress, MachineId, Name, Network, NodeRole, Problem, Quorum, Span};

/// What Talos needs to boot and to stay up.
const DISK_MIN: ByteSize = ByteSize::gib_of(10);
const CONTROL_PLANE_MEMORY_MIN: ByteSize = ByteSize::gib_of(2);
const WORKER_MEMORY_MIN: ByteSize = ByteSize::gib_of(1);
const CONTROL_PLANE_CORES_MIN: u32 = 2;

/// How many addresses the load balancers of one home may take: those of a /24.
const LOAD_BALANCERS_MAX: u128 = 256;

/// The minors of Kubernetes 1 that Flux 2.9 is made for.
const FLUX_WINDOW: RangeInclusive<u64> = 34..=36;

/// The minors of Kubernetes 1 that each minor of Talos 1 takes. A node refuses a
/// configuration with any other, after everything else was made.
const TALOS_WINDOWS: [(u64, RangeInclusive<u64>); 3] = [(12, 30..=35), (13, 31..=36), (14, 32..=37)];

/// A machine as far as its values could be read: `None` was reported.
#[derive(Debug)]
pub(crate) struct Draft {
    pub label: String,
    pub role: NodeRole,
    pub at: Span,
    pub name: Option<Placed<Name>>,
    pub id: Option<Placed<MachineId>>,
    pub address: Option<Placed<IpAddr>>,
    pub host: Placed<String>,
    pub pool: Option<Placed<String>>,
    pub storage: Option<Placed<String>>,
    pub cores: Option<Placed<u32>>,
    pub memory: Option<Placed<ByteSize>>,
    pub disk: Option<Placed<ByteSize>>,
}

/// A host as far as it could be read.
#[derive(Debug)]
pub(crate) struct HostDraft {
    pub name: Option<Name>,
    pub memory: Option<ByteSize>,
    pub reserve: Option<ByteSize>,
    pub at: Option<Span>,
}

/// The network as far as it could be read. The outer `Option` of `vlan`, `vip` and
/// `load_balancers` says whether they were declared.
#[derive(Debug)]
pub(crate) struct NetworkDraft {
    pub subnet: Option<IpNet>,
    pub gateway: Option<Placed<IpAddr>>,
    pub dns: Option<Vec<IpAddr>>,
    pub bridge: Option<String>,
    pub vlan: Option<Option<u16>>,
    pub vip: Option<Option<Placed<IpAddr>>>,
    pub load_balancers: Option<Option<Placed<(IpAddr, IpAddr)>>>,
}

impl NetworkDraft {
    /// The network, if every part could be read.
    pub fn complete(self) -> Option<Network> {
        Some(Network {
            subnet: self.subnet?,
            gateway: self.gateway?.value,
            dns: self.dns?,
            bridge: self.bridge?,
            vlan: match self.vlan {
                Some(tag) => Some(tag?),
                None => None,
            },
            vip: match self.vip {
                Some(vip) => Some(vip?.value),
                None => None,
            },
            load_balancers: match self.load_balancers {
                Some(range) => Some(range?.value),
                None => None,
            },
        })
    }
}

/// How many control planes there are, and whether their API has one address.
pub(crate) fn quorum(findings: &mut Findings, control_planes: usize, at: Option<Span>, has_vip: bool) {
    if let Err(error) = Quorum::of(control_planes) {
        let code = if control_planes == 0 { "no-control-plane" } else { "even-control-plane" };
        findings.refuse(code, "control_planes", &error, at);
    }
    if control_planes >= 3 && !has_vip {
        findings.push(
            Problem::warning(
                "no-vip",
                "network.vip",
                format!("{control_planes} control planes without a VIP: clients of one lose the API when it dies"),
            )
            .hint("declare a free address of the subnet as `vip`")
            .at(at),
        );
    }
}

/// Names, ids and hardware addresses belong to one machine each.
pub(crate) fn unique(findings: &mut Findings, drafts: &[Draft], cluster: Option<&Name>) {
    fn claim<K: Ord + Display>(
        findings: &mut Findings,
        taken: &mut BTreeMap<K, (String, Option<Span>)>,
        (code, what, hint): (&'static str, &str, &str),
        draft: &Draft,
        key: K,
        at: Option<Span>,
    ) {
        if let Some((owner, first)) = taken.get(&key) {
            let whose = if *owner == draft.label { "taken".to_owned() } else { format!("{owner}'s") };
            let message = format!("{what} {key} is {whose} already{}", on_line(*first));
            findings.push(Problem::error(code, &draft.label, message).hint(hint).at(at));
        } else {
            taken.insert(key, (draft.label.clone(), at));
        }
    }
    let (mut names, mut ids, mut macs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for draft in drafts {
        if let Some(id) = &draft.id {
            claim(findings, &mut ids, ("duplicate-id", "machine id", "reserve another id"), draft, id.value, id.at);
        }
        let Some(name) = &draft.name else { continue };
        let twice = names.contains_key(&name.value);
        let what = ("duplicate-name", "name", "choose another name");
        claim(findings, &mut names, what, draft, name.value.clone(), name.at);
        if let (Some(cluster), false) = (cluster, twice) {
            let mac = MacAddress::of_node(cluster, &name.value);
            let what = ("duplicate-mac", "the hardware address that follows from the name,", "choose another name");
            claim(findings, &mut macs, what, draft, mac, name.at);
        }
    }
}

/// What Talos needs of each machine.
pub(crate) fn sizes(findings: &mut Findings, drafts: &[Draft]) {
    for draft in drafts {
        let (memory_min, cores_min) = match draft.role {
            NodeRole::ControlPlane => (CONTROL_PLANE_MEMORY_MIN, CONTROL_PLANE_CORES_MIN),
            NodeRole::Worker => (WORKER_MEMORY_MIN, 1),
        };
        let role = draft.role;
        let mut refuse = |code, message: String, hint: String, at: Option<Span>| {
            findings.push(Problem::error(code, &draft.label, message).hint(hint).at(at));
        };
        if let Some(memory) = &draft.memory {
            if memory.value < memory_min {
                let message = format!("{} of memory are too little for a {role}", memory.value);
                refuse("memory-too-small", message, format!("give it {memory_min} or more"), memory.at);
            } else if ByteSize::bytes(memory.value.mib() << 20) != memory.value {
                let message = format!("{} of memory are no whole number of MiB", memory.value);
                refuse("invalid-size", message, format!("use {}MiB", memory.value.mib()), memory.at);
            }
        }
        if let Some(cores) = draft.cores.as_ref().filter(|cores| cores.value < cores_min) {
            let message = format!("{} core is too little for a {role}", cores.value);
            refuse("too-few-cores", message, format!("give it {cores_min} or more"), cores.at);
        }
        if let Some(disk) = draft.disk.as_ref().filter(|disk| disk.value < DISK_MIN) {
            let message = format!("a disk of {} is too small for the image", disk.value);
            refuse("disk-too-small", message, format!("give it {DISK_MIN} or more"), disk.at);
        }
    }
}

/// The memory of the machines of each host fits beside what the host keeps.
pub(crate) fn capacity(findings: &mut Findings, drafts: &[Draft], hosts: &BTreeMap<String, HostDraft>) {
    let known: Vec<&str> = hosts.keys().map(String::as_str).collect();
    for draft in drafts.iter().filter(|draft| !hosts.contains_key(&draft.host.value)) {
        let message = format!("host `{}` is not declared", draft.host.value);
        let hint = match (nearest(&draft.host.value, &known), known.is_empty()) {
            (Some(host), _) => format!("did you mean `{host}`?"),
            (None, false) => format!("declared are {}", known.join(", ")),
            (None, true) => "declare it under `hosts` with its memory".to_owned(),
        };
        findings.push(Problem::error("unknown-host", &draft.label, message).hint(hint).at(draft.host.at));
    }
    for (name, host) in hosts {
        let (Some(memory), Some(reserve)) = (host.memory, host.reserve) else { continue };
        let subject = format!("hosts.{}", shown(name));
        if reserve >= memory {
            let message = format!("keeps {reserve} of its {memory} and leaves nothing for machines");
            findings.push(Problem::error("host-reserve", subject, message).hint("lower `reserve`").at(host.at));
            continue;
        }
        let guests: Vec<(&str, ByteSize)> = drafts
            .iter()
            .filter(|draft| draft.host.value == *name)
            .filter_map(|draft| Some((draft.label.as_str(), draft.memory.as_ref()?.value)))
            .collect();
        let wanted = guests.iter().fold(0u64, |sum, (_, memory)| sum.saturating_add(memory.as_bytes()));
        let (wanted, free) = (ByteSize::bytes(wanted), memory.saturating_sub(reserve));
        if wanted > free {
            let message = format!(
                "{} machines want {wanted} ({}), but {memory} less the reserve of {reserve} are {free}",
                guests.len(),
                Sum(&guests),
            );
            let hint = format!("take {} from its machines, or move one to another host", wanted.saturating_sub(free));
            findings.push(Problem::error("host-memory", subject, message).hint(hint).at(host.at));
        }
    }
}

/// `blue-cp-01 8GiB + blue-wk-01 8GiB`, cut after a dozen.
struct Sum<'a>(&'a [(&'a str, ByteSize)]);

impl Display for Sum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (label, memory)) in self.0.iter().take(12).enumerate() {
            write!(f, "{}{label} {memory}", if index == 0 { "" } else { " + " })?;
        }
        match self.0.len().checked_sub(12) {
            Some(more @ 1..) => write!(f, " + {more} more"),
            _ => Ok(()),
        }
    }
}

/// Every address is inside the subnet and belongs to one thing.
pub(crate) fn addresses(findings: &mut Findings, drafts: &[Draft], network: &NetworkDraft) {
    let mut taken: BTreeMap<IpAddr, (String, Option<Span>)> = BTreeMap::new();
    let vip = network.vip.iter().flatten();
    let fixed = network.gateway.iter().map(|at| ("network.gateway", at)).chain(vip.map(|at| ("network.vip", at)));
    let nodes = drafts.iter().filter_map(|draft| Some((draft.label.as_str(), draft.address.as_ref()?)));
    for (subject, address) in fixed.chain(nodes) {
        let (ip, at) = (address.value, address.at);
        if let Some(subnet) = &network.subnet {
            let code = if subnet.contains(&ip) { "address-reserved" } else { "address-outside-subnet" };
            let ends = subnet.prefix_len() < subnet.max_prefix_len() - 1;
            let complaint = if !subnet.contains(&ip) {
                Some(format!("{ip} is outside the subnet {subnet}"))
            } else if ends && ip == subnet.network() {
                Some(format!("{ip} is the address of the subnet {subnet} itself"))
            } else if ends && ip.is_ipv4() && ip == subnet.broadcast() {
                Some(format!("{ip} is the broadcast address of the subnet {subnet}"))
            } else {
                None
            };
            if let Some(complaint) = complaint {
                findings.push(Problem::error(code, subject, complaint).hint("use a free address of the subnet").at(at));
            }
        }
        match taken.get(&ip) {
            Some((owner, first)) => {
                let (code, whose) = match owner.as_str() {
                    "network.gateway" => ("address-overlap", "the gateway's".to_owned()),
                    "network.vip" => ("vip-among-nodes", "the VIP's, which moves between control planes".to_owned()),
                    node => ("address-overlap", format!("{node}'s already")),
                };
                let message = format!("address {ip} is {whose}{}", on_line(*first));
                findings.push(Problem::error(code, subject, message).hint("use a free address of the subnet").at(at));
            }
            None => {
                taken.insert(ip, (subject.to_owned(), at));
            }
        }
    }
}

/// The load balancers' addresses are inside the subnet, few, and nobody's else.
pub(crate) fn load_balancers(findings: &mut Findings, drafts: &[Draft], network: &NetworkDraft) {
    let subject = "network.load_balancers";
    let Some(range) = network.load_balancers.iter().flatten().next() else { return };
    let ((first, last), at) = (range.value, range.at);
    let mut refuse = |code: &'static str, message: String, hint: &str| {
        findings.push(Problem::error(code, subject, message).hint(hint).at(at));
    };
    if let Some(subnet) = &network.subnet {
        let outside = "use addresses of the subnet: they are announced on its segment";
        if let Some(end) = [first, last].iter().find(|end| !subnet.contains(*end)) {
            refuse("address-outside-subnet", format!("{end} is outside the subnet {subnet}"), outside);
            return; // what it holds besides is no finding any more
        }
        let ends = subnet.prefix_len() < subnet.max_prefix_len() - 1;
        let reserved = [
            ("the address of the subnet itself", subnet.network(), true),
            ("the subnet's broadcast address", subnet.broadcast(), first.is_ipv4()),
        ];
        for (whose, ip, counts) in reserved {
            if ends && counts && first <= ip && ip <= last {
                let message = format!("holds {ip}, {whose}");
                refuse("address-reserved", message, "leave it out");
            }
        }
    }
    let size = number(last) - number(first);
    if size >= LOAD_BALANCERS_MAX {
        let message = format!("holds {} addresses, {LOAD_BALANCERS_MAX} are allowed", size.saturating_add(1));
        refuse("range-too-large", message, "declare a smaller range: a home needs a handful");
    }
    let gateway = network.gateway.iter().map(|ip| (ip.value, "the gateway's".to_owned(), ip.at));
    let vip = network.vip.iter().flatten().map(|ip| (ip.value, "the VIP's".to_owned(), ip.at));
    let nodes = drafts.iter().filter_map(|draft| {
        let address = draft.address.as_ref()?;
        Some((address.value, format!("{}'s", draft.label), address.at))
    });
    let dns = network.dns.iter().flatten().map(|ip| (*ip, "a name server's".to_owned(), None));
    let mut told = BTreeSet::new();
    for (ip, whose, where_declared) in gateway.chain(vip).chain(nodes).chain(dns) {
        if first <= ip && ip <= last && told.insert(ip) {
            let message = format!("holds {ip}, which is {whose}{}", on_line(where_declared));
            refuse("address-overlap", message, "use addresses that nothing else has");
        }
    }
}

/// An address as a number, to count with.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// Talos takes the Kubernetes that is declared.
pub(crate) fn releases(findings: &mut Findings, talos: &Placed<String>, kubernetes: &Placed<String>) {
    let (Some([one, talos_minor, _]), Some([major, minor, _])) =
        (release_numbers(&talos.value), release_numbers(&kubernetes.value))
    else {
        return;
    };
    let Some((_, window)) = TALOS_WINDOWS.iter().find(|(known, _)| one == 1 && *known == talos_minor) else {
        let message = format!("which Kubernetes Talos {one}.{talos_minor} takes is not known to this castle");
        let hint = "look it up in the support matrix of Talos: a node refuses every other";
        findings.push(Problem::warning("talos-unknown", "cluster.talos", message).hint(hint).at(talos.at));
        return;
    };
    if major == 1 && window.contains(&minor) {
        return;
    }
    let (oldest, newest) = (window.start(), window.end());
    let message =
        format!("Talos 1.{talos_minor} takes Kubernetes 1.{oldest} to 1.{newest}, and refuses {major}.{minor}");
    let other = TALOS_WINDOWS.iter().find(|(_, window)| major == 1 && window.contains(&minor));
    let hint = match other {
        Some((talos, _)) => format!("choose such a Kubernetes, or Talos 1.{talos}"),
        None => "choose such a Kubernetes".to_owned(),
    };
    findings.push(Problem::error("talos-window", "cluster.kubernetes", message).hint(hint).at(kubernetes.at));
}

/// What is asked for that only a handover gives, each with its place.
#[derive(Debug)]
pub(crate) struct HandoverDraft {
    pub gitops_at: Option<Span>,
    pub probes_at: Option<Span>,
    pub address_needed_at: Option<Span>,
    pub kubernetes: Option<Placed<String>>,
}

/// What a handover will lack, as far as the declaration alone shows it.
pub(crate) fn handover(findings: &mut Findings, draft: &HandoverDraft, network: &NetworkDraft) {
    let mut warn = |code: &'static str, subject: &str, message: String, hint: &str, at: Option<Span>| {
        findings.push(Problem::warning(code, subject, message).hint(hint).at(at));
    };
    let needed_at = draft.gitops_at.or(draft.address_needed_at);
    if network.load_balancers.is_none() && needed_at.is_some() {
        let message = "has no addresses, so a service of type LoadBalancer waits for its own for ever";
        let hint = "declare free addresses of the subnet: `load_balancers: 192.168.1.240-192.168.1.247`";
        warn("no-load-balancers", "network.load_balancers", message.to_owned(), hint, needed_at);
    }
    if draft.gitops_at.is_none() && draft.probes_at.is_some() {
        let message = "are never asked, because nothing is handed over";
        let hint = "declare `gitops`, which brings the applications, or remove the probes";
        warn("probes-without-gitops", "probes", message.to_owned(), hint, draft.probes_at);
    }
    let Some(kubernetes) = draft.kubernetes.as_ref().filter(|_| draft.gitops_at.is_some()) else { return };
    if let Some([major, minor, _]) = release_numbers(&kubernetes.value)
        && (major != 1 || !FLUX_WINDOW.contains(&minor))
    {
        let (oldest, newest) = (FLUX_WINDOW.start(), FLUX_WINDOW.end());
        let message = format!("Flux 2.9 is made for Kubernetes 1.{oldest} to 1.{newest}, not for {major}.{minor}");
        let hint = "choose such a Kubernetes, or a Flux that is made for this one";
        warn("flux-window", "cluster.kubernetes", message, hint, kubernetes.at);
    }
}
