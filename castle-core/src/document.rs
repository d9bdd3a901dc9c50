//! `castle.yaml`: the shape of the document, and the way from its text to a [`Project`].
//!
//! The shape knows texts and numbers only, so that the first error of syntax,
//! type or key is the parser's, and everything that a value may mean is judged
//! afterwards (each in `value.rs`, together in `check.rs`), all of it at once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

mod gitops;
mod keeping;
mod probe;

use gitops::GitOpsText;
use keeping::{DatasetText, EscrowText, SecretsText};
use probe::ProbeText;

use crate::check::{self, Draft, HandoverDraft, HostDraft, NetworkDraft};
use crate::handover::Escrow;
use crate::patches::PatchesText;
use crate::value::{self, Findings, Placed};
use crate::yaml::{self, Quoting, place};
use crate::{
    ByteSize, Cluster, Deadlines, HostBudget, ImageRef, ImageSpec, Limits, MacAddress, MachineSpec, Network, Nic,
    NodeRole, Patches, Problem, Project, Result, Span,
};

/// The version of the document's shape that this castle reads.
pub const API_VERSION: &str = "castle/v1alpha1";

/// Names the image file of a cluster. The operating system's crate knows how,
/// this crate does not: `castle_talos::image` is one.
pub type ImageNaming = fn(&Cluster, &ImageSpec) -> Result<ImageRef>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: Spanned<String>,
    project: Spanned<String>,
    platform: Spanned<String>,
    cluster: ClusterText,
    image: Spanned<ImageText>,
    network: NetworkText,
    hosts: BTreeMap<String, Spanned<HostText>>,
    defaults: Option<MachineDefaults>,
    control_planes: Option<Spanned<Vec<Spanned<MachineText>>>>,
    workers: Option<Vec<Spanned<MachineText>>>,
    patches: Option<PatchesText>,
    secrets: Option<SecretsText>,
    gitops: Option<Spanned<GitOpsText>>,
    escrow: Option<EscrowText>,
    datasets: Option<Vec<Spanned<DatasetText>>>,
    probes: Option<Vec<Spanned<ProbeText>>>,
    limits: Option<LimitsText>,
    deadlines: Option<DeadlinesText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterText {
    name: Spanned<String>,
    talos: Spanned<String>,
    kubernetes: Spanned<String>,
    contract: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageText {
    extensions: Option<Vec<Spanned<String>>>,
    storage: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkText {
    subnet: Spanned<String>,
    gateway: Spanned<String>,
    dns: Option<Vec<Spanned<String>>>,
    bridge: Spanned<String>,
    vlan: Option<Spanned<i64>>,
    vip: Option<Spanned<String>>,
    load_balancers: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostText {
    memory: Spanned<String>,
    reserve: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct MachineDefaults {
    pool: Option<Spanned<String>>,
    storage: Option<Spanned<String>>,
    cores: Option<Spanned<i64>>,
    memory: Option<Spanned<String>>,
    disk: Option<Spanned<String>>,
}

// Not a flattened `MachineDefaults`: flattening loses the places.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineText {
    name: Spanned<String>,
    vmid: Spanned<i64>,
    address: Spanned<String>,
    host: Spanned<String>,
    pool: Option<Spanned<String>>,
    storage: Option<Spanned<String>>,
    cores: Option<Spanned<i64>>,
    memory: Option<Spanned<String>>,
    disk: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    imports_per_storage: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadlinesText {
    import: Option<Spanned<String>>,
    start: Option<Spanned<String>>,
    boot: Option<Spanned<String>>,
    api: Option<Spanned<String>>,
    nodes: Option<Spanned<String>>,
    destroy: Option<Spanned<String>>,
    handover: Option<Spanned<String>>,
    apps: Option<Spanned<String>>,
}

/// What a machine takes from `defaults`, read once, so that a wrong default is
/// one finding and not one for each machine.
struct Defaults {
    pool: Option<Placed<String>>,
    storage: Option<Placed<String>>,
    cores: Option<Placed<u32>>,
    memory: Option<Placed<ByteSize>>,
    disk: Option<Placed<ByteSize>>,
    declared: MachineDefaults,
}

impl Project {
    /// Reads and judges a `castle.yaml`. `naming` names the image file.
    ///
    /// Findings that refuse nothing are in [`Project::warnings`].
    ///
    /// # Errors
    ///
    /// The first error of syntax, type or key alone; else everything that is
    /// wrong with the values, in the order of the document. Each has its line.
    pub fn parse(text: &str, naming: ImageNaming) -> Result<Self, Vec<Problem>> {
        let mut document: Document =
            yaml::read(text, "castle.yaml", Quoting::Allowed).map_err(|problem| vec![problem])?;
        let patches = document.patches.take().map_or_else(Patches::default, |patches| patches.read(text));
        let mut findings = Findings::default();
        let project = assemble(document, naming, &mut findings);
        let (errors, warnings) = findings.into_sorted();
        match project {
            Some(project) if errors.is_empty() => Ok(Self { patches, warnings, ..project }),
            _ => Err(errors.into_iter().chain(warnings).collect()),
        }
    }
}

/// `None` only after an error was found.
fn assemble(document: Document, naming: ImageNaming, findings: &mut Findings) -> Option<Project> {
    let version = ("api-version", "apiVersion", "document version");
    value::word(findings, version, &document.api_version, &[(API_VERSION, ())]);
    value::word(findings, ("unknown-platform", "platform", "platform"), &document.platform, &[("proxmox", ())]);
    let name = value::name(findings, "project", &document.project);
    let cluster = cluster(findings, &document.cluster);
    let image_at = place(document.image.referenced);
    let image = image(findings, &document.image.value);
    let network = network(findings, &document.network);
    let hosts = hosts(findings, &document.hosts);
    let limits = limits(findings, document.limits);
    let deadlines = deadlines(findings, document.deadlines);
    let secrets = document.secrets.map(|text| keeping::secrets(findings, text));
    let gitops_at = document.gitops.as_ref().and_then(|text| place(text.referenced));
    let (gitops, git_credentials) = match document.gitops {
        Some(text) => {
            let (spec, credentials) = text.value.read(findings);
            (Some(spec), credentials)
        }
        None => (None, None),
    };
    let taken: Vec<_> = git_credentials.iter().map(|key| ("gitops.repository.credentials.secret", key)).collect();
    let escrow =
        document.escrow.map_or(Some(Escrow::default()), |text| keeping::escrow(findings, text, name.as_ref(), &taken));
    let datasets = keeping::datasets(findings, &document.datasets.unwrap_or_default());
    let probes_at = document.probes.iter().flatten().next().and_then(|probe| place(probe.referenced));
    let (probes, address_needed_at) = probe::probes(findings, document.probes.unwrap_or_default());

    let defaults = Defaults::read(findings, document.defaults.unwrap_or_default());
    let control_planes_at = document.control_planes.as_ref().and_then(|list| place(list.referenced));
    let control_planes = document.control_planes.map(|list| list.value).unwrap_or_default();
    let workers = document.workers.unwrap_or_default();
    let mut drafts = Vec::with_capacity(control_planes.len() + workers.len());
    for (role, list, machines) in
        [(NodeRole::ControlPlane, "control_planes", &control_planes), (NodeRole::Worker, "workers", &workers)]
    {
        for (index, machine) in machines.iter().enumerate() {
            drafts.push(draft(findings, role, &format!("{list}[{index}]"), machine, &defaults));
        }
    }

    check::quorum(findings, control_planes.len(), control_planes_at, document.network.vip.is_some());
    check::unique(findings, &drafts, cluster.as_ref().map(|cluster| &cluster.name));
    check::sizes(findings, &drafts);
    check::capacity(findings, &drafts, &hosts);
    check::addresses(findings, &drafts, &network);
    check::load_balancers(findings, &drafts, &network);
    let kubernetes =
        cluster.as_ref().map(|cluster| Placed::of(&document.cluster.kubernetes, cluster.kubernetes.clone()));
    if let (Some(cluster), Some(kubernetes)) = (&cluster, &kubernetes) {
        check::releases(findings, &Placed::of(&document.cluster.talos, cluster.talos.clone()), kubernetes);
    }
    check::handover(findings, &HandoverDraft { gitops_at, probes_at, address_needed_at, kubernetes }, &network);

    let (cluster, image) = (cluster?, image?);
    let image_file = match naming(&cluster, &image) {
        Ok(file) => file,
        Err(error) => {
            findings.refuse("image", "image", &error, image_at);
            return None;
        }
    };
    let network = network.complete()?;
    let spans = drafts.iter().map(|draft| draft.at).collect();
    let machines = drafts
        .into_iter()
        .map(|draft| specify(draft, &cluster, &network, &image_file))
        .collect::<Option<Vec<MachineSpec>>>()?;
    let hosts = hosts
        .into_values()
        .map(|host| Some((host.name?, HostBudget { memory: host.memory?, reserve: host.reserve? })))
        .collect::<Option<BTreeMap<_, _>>>()?;
    Some(Project {
        project: name?,
        platform: document.platform.value,
        cluster,
        image,
        network,
        hosts,
        machines,
        secrets: secrets.map_or(Some(None), |read| read.map(Some))?,
        gitops: gitops.map_or(Some(None), |read| read.map(Some))?,
        git_credentials,
        escrow: escrow?,
        datasets: datasets?,
        probes: probes?,
        patches: Patches::default(), // cut out of the text, see `Project::parse`
        limits: limits?,
        deadlines: deadlines?,
        spans,
        warnings: Vec::new(),
    })
}

fn cluster(findings: &mut Findings, text: &ClusterText) -> Option<Cluster> {
    let name = value::name(findings, "cluster.name", &text.name);
    let talos = value::release(findings, "cluster.talos", &text.talos);
    let kubernetes = value::release(findings, "cluster.kubernetes", &text.kubernetes);
    let contract = value::contract(findings, &text.contract, talos.as_deref());
    Some(Cluster { name: name?, talos: talos?, kubernetes: kubernetes?, contract: contract? })
}

fn image(findings: &mut Findings, text: &ImageText) -> Option<ImageSpec> {
    let extensions = value::extensions(findings, text.extensions.as_deref().unwrap_or_default());
    let storage = value::storage(findings, "image.storage", &text.storage);
    Some(ImageSpec { extensions: extensions?, storage: storage?.value })
}

fn network(findings: &mut Findings, text: &NetworkText) -> NetworkDraft {
    NetworkDraft {
        subnet: value::subnet(findings, &text.subnet),
        gateway: value::address(findings, "network.gateway", &text.gateway),
        dns: text
            .dns
            .iter()
            .flatten()
            .map(|server| value::address(findings, "network.dns", server).map(|server| server.value))
            .collect(),
        bridge: value::bridge(findings, &text.bridge),
        vlan: text.vlan.as_ref().map(|tag| value::vlan(findings, tag)),
        vip: text.vip.as_ref().map(|vip| value::address(findings, "network.vip", vip)),
        load_balancers: text
            .load_balancers
            .as_ref()
            .map(|range| value::range(findings, "network.load_balancers", range)),
    }
}

fn hosts(findings: &mut Findings, texts: &BTreeMap<String, Spanned<HostText>>) -> BTreeMap<String, HostDraft> {
    let mut hosts = BTreeMap::new();
    for (key, text) in texts {
        let at = place(text.referenced);
        let subject = format!("hosts.{}", value::shown(key));
        let name = value::parsed(findings, "invalid-name", &subject, key, at);
        let memory = value::size(findings, &format!("{subject}.memory"), &text.value.memory);
        let reserve = match &text.value.reserve {
            Some(reserve) => value::size(findings, &format!("{subject}.reserve"), reserve).map(|reserve| reserve.value),
            None => Some(ByteSize::default()),
        };
        let memory_at = memory.as_ref().and_then(|memory| memory.at).or(at);
        let memory = memory.map(|memory| memory.value);
        hosts.insert(key.clone(), HostDraft { name, memory, reserve, at: memory_at });
    }
    hosts
}

fn limits(findings: &mut Findings, text: Option<LimitsText>) -> Option<Limits> {
    let Some(imports) = text.and_then(|limits| limits.imports_per_storage) else {
        return Some(Limits::default());
    };
    value::limit(findings, "limits.imports_per_storage", &imports)
        .map(|imports_per_storage| Limits { imports_per_storage })
}

fn deadlines(findings: &mut Findings, text: Option<DeadlinesText>) -> Option<Deadlines> {
    let default = Deadlines::default();
    let Some(text) = text else {
        return Some(default);
    };
    let mut read = |key: &str, declared: &Option<Spanned<String>>, default: Duration| match declared {
        Some(declared) => value::deadline(findings, &format!("deadlines.{key}"), declared),
        None => Some(default),
    };
    let import = read("import", &text.import, default.import);
    let start = read("start", &text.start, default.start);
    let boot = read("boot", &text.boot, default.boot);
    let api = read("api", &text.api, default.api);
    let nodes = read("nodes", &text.nodes, default.nodes);
    let destroy = read("destroy", &text.destroy, default.destroy);
    let handover = read("handover", &text.handover, default.handover);
    let apps = read("apps", &text.apps, default.apps);
    Some(Deadlines {
        import: import?,
        start: start?,
        boot: boot?,
        api: api?,
        nodes: nodes?,
        destroy: destroy?,
        handover: handover?,
        apps: apps?,
    })
}

impl Defaults {
    fn read(findings: &mut Findings, declared: MachineDefaults) -> Self {
        let pool = declared.pool.as_ref().and_then(|pool| value::pool(findings, "defaults.pool", pool));
        let storage = declared.storage.as_ref().and_then(|store| value::storage(findings, "defaults.storage", store));
        let cores = declared.cores.as_ref().and_then(|cores| value::cores(findings, "defaults.cores", cores));
        let memory = declared.memory.as_ref().and_then(|memory| value::size(findings, "defaults.memory", memory));
        let disk = declared.disk.as_ref().and_then(|disk| value::size(findings, "defaults.disk", disk));
        Self { pool, storage, cores, memory, disk, declared }
    }
}

fn draft(
    findings: &mut Findings,
    role: NodeRole,
    path: &str,
    machine: &Spanned<MachineText>,
    defaults: &Defaults,
) -> Draft {
    let text = &machine.value;
    // The place of a list's item is always known to the parser.
    let at = place(machine.referenced).unwrap_or(Span { line: 1, column: 1 });
    let name = value::name(findings, &format!("{path}.name"), &text.name);
    let label = name.as_ref().map_or_else(|| path.to_owned(), ToString::to_string);
    let mut missing = |key: &str, declared: bool| {
        if !declared {
            findings.push(
                Problem::error("missing-key", &label, format!("has no `{key}`"))
                    .hint(format!("add `{key}` to the machine or to `defaults`"))
                    .at(at),
            );
        }
    };
    missing("pool", text.pool.is_some() || defaults.declared.pool.is_some());
    missing("storage", text.storage.is_some() || defaults.declared.storage.is_some());
    missing("cores", text.cores.is_some() || defaults.declared.cores.is_some());
    missing("memory", text.memory.is_some() || defaults.declared.memory.is_some());
    missing("disk", text.disk.is_some() || defaults.declared.disk.is_some());

    let own = |key: &str| format!("{label}.{key}");
    Draft {
        role,
        id: value::machine_id(findings, &own("vmid"), &text.vmid),
        address: value::address(findings, &own("address"), &text.address),
        host: Placed::of(&text.host, value::shown(&text.host.value)),
        pool: match &text.pool {
            Some(pool) => value::pool(findings, &own("pool"), pool),
            None => defaults.pool.clone(),
        },
        storage: match &text.storage {
            Some(storage) => value::storage(findings, &own("storage"), storage),
            None => defaults.storage.clone(),
        },
        cores: match &text.cores {
            Some(cores) => value::cores(findings, &own("cores"), cores),
            None => defaults.cores.clone(),
        },
        memory: match &text.memory {
            Some(memory) => value::size(findings, &own("memory"), memory),
            None => defaults.memory.clone(),
        },
        disk: match &text.disk {
            Some(disk) => value::size(findings, &own("disk"), disk),
            None => defaults.disk.clone(),
        },
        name: name.map(|name| Placed::of(&text.name, name)),
        label,
        at,
    }
}

fn specify(draft: Draft, cluster: &Cluster, network: &Network, image: &ImageRef) -> Option<MachineSpec> {
    let node = draft.name?.value;
    let mac = MacAddress::of_node(&cluster.name, &node);
    Some(MachineSpec {
        role: draft.role,
        id: draft.id?.value,
        host: draft.host.value.parse().ok()?,
        pool: draft.pool?.value,
        storage: draft.storage?.value,
        cores: draft.cores?.value,
        memory: draft.memory?.value,
        disk: draft.disk?.value,
        nic: Nic {
            address: draft.address?.value,
            subnet: network.subnet,
            gateway: network.gateway,
            dns: network.dns.clone(),
            bridge: network.bridge.clone(),
            vlan: network.vlan,
            mac,
        },
        image: image.clone(),
        node,
    })
}
