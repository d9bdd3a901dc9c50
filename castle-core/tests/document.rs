//! What `castle.yaml` accepts, and what it says about what it refuses.

use castle_core::{Cluster, Error, ErrorKind, ImageRef, ImageSpec, MacAddress, NodeRole, Problem, Project, Result};

/// 1 control plane and 2 workers on a host that can carry them.
const GOOD: &str = "\
apiVersion: castle/v1alpha1
project: blue
platform: proxmox
cluster: {name: blue, talos: v1.13.9, kubernetes: v1.36.3, contract: \"1.13\"}
image: {extensions: [siderolabs/iscsi-tools], storage: local}
network:
  subnet: 192.168.1.0/24
  gateway: 192.168.1.1
  dns: [192.168.1.1]
  bridge: vmbr0
hosts: {pve: {memory: 32GiB, reserve: 4GiB}}
defaults: {pool: blue, storage: local-lvm, cores: 4, memory: 8GiB, disk: 40GiB}
control_planes:
  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}
workers:
  - {name: blue-wk-01, vmid: 431, address: 192.168.1.214, host: pve}
  - {name: blue-wk-02, vmid: 432, address: 192.168.1.215, host: pve}
";

fn naming(cluster: &Cluster, spec: &ImageSpec) -> Result<ImageRef> {
    let file = format!("talos-{}.qcow2", cluster.talos);
    Ok(ImageRef { storage: spec.storage.clone(), url: format!("https://images.example/{file}"), file })
}

fn printed(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let place = problem.span.map_or("-".to_owned(), |span| format!("{}:{}", span.line, span.column));
        let hint = problem.hint.as_ref().map(|hint| format!(" => {hint}")).unwrap_or_default();
        format!("{place} {} {problem}{hint}\n", problem.code)
    };
    problems.iter().map(line).collect()
}

fn refused(text: &str) -> String {
    printed(&Project::parse(text, naming).expect_err(text))
}

/// The good document with each `(from, to)` applied.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(GOOD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is in the document");
        text.replacen(from, to, 1)
    })
}

/// A name, what is changed in the good document, and all that is then said.
type Refusal = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const REFUSALS: &[Refusal] = &[
    (
        "a slip in a key",
        &[("gateway", "gatewya")],
        "8:3 unknown-key castle.yaml: unknown key `gatewya` => did you mean `gateway`?\n",
    ),
    (
        "a key of nobody's",
        &[("hosts:", "colour: blue\nhosts:")],
        "11:1 unknown-key castle.yaml: unknown key `colour` => known here: apiVersion, project, platform, cluster, image, network, hosts, defaults, control_planes, workers, patches, secrets, gitops, escrow, datasets, probes, limits, deadlines\n",
    ),
    (
        "a slip in a machine's key",
        &[("vmid: 421", "vimd: 421")],
        "14:24 unknown-key castle.yaml: unknown key `vimd` => did you mean `vmid`?\n",
    ),
    (
        "a key twice",
        &[("project: blue", "project: blue\nproject: red")],
        "3:1 duplicate-key castle.yaml: key `project` appears twice (line 2) => remove one of the two\n",
    ),
    (
        "a key missing",
        &[("vmid: 421, ", "")],
        "14:48 missing-key castle.yaml: key `vmid` is missing => add it to the mapping that ends here\n",
    ),
    (
        "a word where a number belongs",
        &[("cores: 4", "cores: four")],
        "12:51 yaml castle.yaml: `four` is not a whole number => write a number in digits, such as `4`, without quotes or a unit\n",
    ),
    (
        "a list where a text belongs",
        &[("project: blue", "project: [blue]")],
        "2:10 yaml castle.yaml: `[blue` stands where a text is expected => write one value; a text with signs of YAML in it needs quotes\n",
    ),
    (
        "a list where a mapping belongs",
        &[("hosts: {pve: {memory: 32GiB, reserve: 4GiB}}", "hosts: [pve]")],
        "11:8 yaml castle.yaml: `[pve` stands where a mapping (`key: value`) is expected => write `key: value`, on lines of its own that are indented, or in `{}`\n",
    ),
    (
        "an alias of nothing",
        &[("vmbr0", "*bridge")],
        "10:11 yaml castle.yaml: cannot be read at `*bridge`: reference to unknown value => put a text that begins with `*`, `&` or `!` into quotes\n",
    ),
    (
        "a second document",
        &[("workers:", "workers:\n---\na: 1")],
        "17:1 yaml castle.yaml: holds more than one document; one is read => remove the `---` between them, or all but one\n",
    ),
    (
        "a bracket left open",
        &[("192.168.1.1]", "192.168.1.1")],
        "10:9 yaml castle.yaml: cannot be read at `: vmbr0`: illegal placement of ':' indicator => see whether a quote or a bracket is left open, a blank is missing behind a colon, or a line is indented unlike its neighbours\n",
    ),
    (
        "a value left out",
        &[("project: blue", "project:")],
        "2:8 yaml castle.yaml: key `project` has no value => write one behind the colon, or leave the key out\n",
    ),
    (
        "a number that no computer counts to",
        &[("vmid: 421", "vmid: 99999999999999999999999")],
        "14:30 yaml castle.yaml: `99999999999999999999999` is too large => write a number in digits, such as `4`, without quotes or a unit\n",
    ),
    (
        "a tab",
        &[("  gateway", "\tgateway")],
        "7:11 yaml castle.yaml: cannot be read at `192.168.1.0/24`: while scanning a plain scalar, found a tab => indent with blanks: YAML takes no tab there\n",
    ),
    (
        "a text where a list belongs",
        &[("dns: [192.168.1.1]", "dns: 192.168.1.1")],
        "9:8 yaml castle.yaml: `192.168.1.1` stands where a list is expected => write a line with `- ` for each item, or the items in `[]`\n",
    ),
    (
        "units of ten, and sizes without end",
        &[("memory: 8GiB", "memory: 8GB"), ("40GiB", "99999999999999999999GiB")],
        "12:62 invalid-size defaults.memory: size `8GB` has the unknown unit `GB` => did you mean `8GiB`?\n\
         12:73 invalid-size defaults.disk: size `99999999999999999999GiB` is too large => nothing has so much; write it as `8GiB` or `512MiB`\n",
    ),
    (
        "a Kubernetes that Talos refuses",
        &[("v1.36.3", "v1.20.0")],
        "4:51 talos-window cluster.kubernetes: Talos 1.13 takes Kubernetes 1.31 to 1.36, and refuses 1.20 => choose such a Kubernetes\n",
    ),
    (
        "a Kubernetes for another Talos",
        &[("v1.36.3", "v1.30.14")],
        "4:51 talos-window cluster.kubernetes: Talos 1.13 takes Kubernetes 1.31 to 1.36, and refuses 1.30 => choose such a Kubernetes, or Talos 1.12\n",
    ),
    (
        "a document of another time",
        &[("v1alpha1", "v1alpha2")],
        "1:13 api-version apiVersion: document version `castle/v1alpha2` is not known => did you mean `castle/v1alpha1`?\n",
    ),
    (
        "a platform of another world",
        &[("proxmox", "proxmx")],
        "3:11 unknown-platform platform: platform `proxmx` is not known => did you mean `proxmox`?\n",
    ),
    (
        "two control planes",
        &[
            ("workers:\n  - {name: blue-wk-01", "  - {name: blue-wk-01"),
            ("  - {name: blue-wk-02", "workers:\n  - {name: blue-wk-02"),
        ],
        "14:3 even-control-plane control_planes: 2 control planes survive the loss of 0, no more than 1 do, and are one more to lose => declare 1 or 3\n",
    ),
    (
        "no control plane",
        &[
            ("  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}\n", ""),
            ("control_planes:", "control_planes: []"),
        ],
        "13:17 no-control-plane control_planes: a cluster needs a control plane => declare 1 control plane, or 3 to survive the loss of one\n",
    ),
    (
        "three control planes without a VIP, and a wrong name",
        &[("workers:\n", ""), ("project: blue", "project: Blue")],
        "2:10 invalid-name project: name `Blue` holds 'B'; RFC 1123 allows a-z, 0-9 and `-` => try `blue`\n\
         14:3 no-vip network.vip: 3 control planes without a VIP: clients of one lose the API when it dies => declare a free address of the subnet as `vip`\n",
    ),
    (
        "one address twice",
        &[("192.168.1.214", "192.168.1.211")],
        "16:44 address-overlap blue-wk-01: address 192.168.1.211 is blue-cp-01's already (line 14) => use a free address of the subnet\n",
    ),
    (
        "the gateway's address",
        &[("192.168.1.214", "192.168.1.1")],
        "16:44 address-overlap blue-wk-01: address 192.168.1.1 is the gateway's (line 8) => use a free address of the subnet\n",
    ),
    (
        "the VIP among the nodes",
        &[("bridge: vmbr0", "bridge: vmbr0\n  vip: 192.168.1.215")],
        "18:44 vip-among-nodes blue-wk-02: address 192.168.1.215 is the VIP's, which moves between control planes (line 11) => use a free address of the subnet\n",
    ),
    (
        "the VIP is the gateway",
        &[("bridge: vmbr0", "bridge: vmbr0\n  vip: 192.168.1.1")],
        "11:8 address-overlap network.vip: address 192.168.1.1 is the gateway's (line 8) => use a free address of the subnet\n",
    ),
    (
        "the VIP outside the subnet",
        &[("bridge: vmbr0", "bridge: vmbr0\n  vip: 192.168.2.210")],
        "11:8 address-outside-subnet network.vip: 192.168.2.210 is outside the subnet 192.168.1.0/24 => use a free address of the subnet\n",
    ),
    (
        "addresses at the ends of the subnet and beyond",
        &[("192.168.1.211", "192.168.1.0"), ("192.168.1.214", "192.168.1.255"), ("192.168.1.215", "10.0.0.5")],
        "14:44 address-reserved blue-cp-01: 192.168.1.0 is the address of the subnet 192.168.1.0/24 itself => use a free address of the subnet\n\
         16:44 address-reserved blue-wk-01: 192.168.1.255 is the broadcast address of the subnet 192.168.1.0/24 => use a free address of the subnet\n\
         17:44 address-outside-subnet blue-wk-02: 10.0.0.5 is outside the subnet 192.168.1.0/24 => use a free address of the subnet\n",
    ),
    (
        "an address that is none",
        &[("192.168.1.211", "192.168.1.2111"), ("192.168.1.214", "127.0.0.1")],
        "14:44 invalid-address blue-cp-01.address: `192.168.1.2111` is not the address of one machine, such as `192.168.1.211`\n\
         16:44 invalid-address blue-wk-01.address: `127.0.0.1` is not the address of one machine, such as `192.168.1.211`\n",
    ),
    (
        "a machine's address as subnet",
        &[("192.168.1.0/24", "192.168.1.7/24")],
        "7:11 invalid-address network.subnet: `192.168.1.7/24` is the address of a machine with its mask, not a subnet => use `192.168.1.0/24`\n",
    ),
    (
        "too much memory for the host",
        &[("32GiB", "24GiB")],
        "11:23 host-memory hosts.pve: 3 machines want 24GiB (blue-cp-01 8GiB + blue-wk-01 8GiB + blue-wk-02 8GiB), but 24GiB less the reserve of 4GiB are 20GiB => take 4GiB from its machines, or move one to another host\n",
    ),
    (
        "a reserve that is all there is",
        &[("reserve: 4GiB", "reserve: 32GiB")],
        "11:23 host-reserve hosts.pve: keeps 32GiB of its 32GiB and leaves nothing for machines => lower `reserve`\n",
    ),
    (
        "memory that nobody can add up",
        &[("memory: 8GiB", "memory: 16777215TiB")],
        "12:62 invalid-size defaults.memory: 16777215TiB are more than 1024TiB\n",
    ),
    (
        "an id twice",
        &[("vmid: 431", "vmid: 421")],
        "16:30 duplicate-id blue-wk-01: machine id 421 is blue-cp-01's already (line 14) => reserve another id\n",
    ),
    (
        "a name twice",
        &[("blue-wk-02", "blue-wk-01")],
        "17:12 duplicate-name blue-wk-01: name blue-wk-01 is taken already (line 16) => choose another name\n",
    ),
    (
        "names beyond RFC 1123",
        &[("blue-cp-01", "blue_cp_01"), ("blue-wk-01", "Blue-wk-01"), ("{name: blue,", "{name: \"blue\\e[31m\",")],
        "4:17 invalid-name cluster.name: name `blue�[31m` holds '�'; RFC 1123 allows a-z, 0-9 and `-` => try `blue--31m`\n\
         14:12 invalid-name control_planes[0].name: name `blue_cp_01` holds '_'; RFC 1123 allows a-z, 0-9 and `-` => try `blue-cp-01`\n\
         16:12 invalid-name workers[0].name: name `Blue-wk-01` holds 'B'; RFC 1123 allows a-z, 0-9 and `-` => try `blue-wk-01`\n",
    ),
    (
        "an unknown host",
        &[
            ("192.168.1.214, host: pve", "192.168.1.214, host: pev"),
            ("192.168.1.215, host: pve", "192.168.1.215, host: rack"),
        ],
        "16:65 unknown-host blue-wk-01: host `pev` is not declared => did you mean `pve`?\n\
         17:65 unknown-host blue-wk-02: host `rack` is not declared => declared are pve\n",
    ),
    (
        "a disk smaller than the image",
        &[("40GiB", "4GiB")],
        "12:74 disk-too-small blue-cp-01, blue-wk-01, blue-wk-02: a disk of 4GiB is too small for the image => give it 10GiB or more\n",
    ),
    (
        "machines too small for Talos",
        &[
            ("192.168.1.211, host: pve", "192.168.1.211, host: pve, memory: 1GiB, cores: 1"),
            ("192.168.1.214, host: pve", "192.168.1.214, host: pve, memory: 512MiB"),
        ],
        "14:78 memory-too-small blue-cp-01: 1GiB of memory are too little for a control plane => give it 2GiB or more\n\
         14:91 too-few-cores blue-cp-01: 1 core is too little for a control plane => give it 2 or more\n\
         16:78 memory-too-small blue-wk-01: 512MiB of memory are too little for a worker => give it 1GiB or more\n",
    ),
    (
        "sizes and times without a unit",
        &[("memory: 8GiB", "memory: 8"), ("workers:", "deadlines: {import: 15, start: 0s, destroy: 25h}\nworkers:")],
        "12:62 invalid-size defaults.memory: size `8` is not a whole number with a unit => write it as `8GiB` or `512MiB`\n\
         15:21 invalid-duration deadlines.import: `15` is not a time from `1s` to `24h` such as `90s` or `5m`\n\
         15:32 invalid-duration deadlines.start: `0s` is not a time from `1s` to `24h` such as `90s` or `5m`\n\
         15:45 invalid-duration deadlines.destroy: `25h` is not a time from `1s` to `24h` such as `90s` or `5m`\n",
    ),
    (
        "versions",
        &[("v1.13.9", "1.13.9"), ("v1.36.3", "v1.36"), ("\"1.13\"", "v1.13")],
        "4:30 invalid-version cluster.talos: `1.13.9` is not a release such as `v1.13.9`\n\
         4:50 invalid-version cluster.kubernetes: `v1.36` is not a release such as `v1.13.9`\n\
         4:67 invalid-version cluster.contract: `v1.13` is not a contract such as `1.13`\n",
    ),
    (
        "a contract of tomorrow",
        &[("\"1.13\"", "\"1.14\"")],
        "4:70 contract-too-new cluster.contract: contract 1.14 is newer than Talos v1.13.9 => use \"1.13\" or a newer Talos\n",
    ),
    (
        "extensions",
        &[("[siderolabs/iscsi-tools]", "[iscsi-tools, ghcr.io/siderolabs/iscsi-tools, siderolabs/x, siderolabs/x]")],
        "5:22 invalid-extension image.extensions: `iscsi-tools` is not an extension such as `siderolabs/iscsi-tools`\n\
         5:35 invalid-extension image.extensions: `ghcr.io/siderolabs/iscsi-tools` is not an extension such as `siderolabs/iscsi-tools`\n\
         5:81 duplicate-extension image.extensions: `siderolabs/x` appears twice (line 5) => remove one\n",
    ),
    (
        "limits and ids out of range",
        &[
            ("workers:", "limits: {imports_per_storage: 0}\nworkers:"),
            ("vmid: 421", "vmid: 99"),
            ("vmid: 431", "vmid: -1"),
            ("vmid: 432", "vmid: 1000000000"),
            ("bridge: vmbr0", "bridge: vmbr0\n  vlan: 4095"),
        ],
        "11:9 invalid-vlan network.vlan: 4095 is not a VLAN tag from 1 to 4094\n\
         15:30 invalid-id blue-cp-01.vmid: 99 is not a machine id from 100 to 999999999\n\
         16:31 invalid-limit limits.imports_per_storage: 0 is not a limit from 1 to 1000\n\
         18:30 invalid-id blue-wk-01.vmid: -1 is not a machine id from 100 to 999999999\n\
         19:30 invalid-id blue-wk-02.vmid: 1000000000 is not a machine id from 100 to 999999999\n",
    ),
    (
        "words that would add a setting",
        &[
            ("vmbr0", "\"vmbr0,tag=7\""),
            ("local-lvm", "\"local-lvm:0,ssd=1\""),
            ("pool: blue", "pool: ../blue"),
            ("storage: local}", "storage: l}"),
        ],
        "5:56 invalid-storage image.storage: `l` is not a storage such as `local-lvm`\n\
         10:11 invalid-bridge network.bridge: `vmbr0,tag=7` is not a bridge such as `vmbr0`\n\
         12:18 invalid-pool defaults.pool: `../blue` is not a pool such as `blue` or `castle/blue`\n\
         12:36 invalid-storage defaults.storage: `local-lvm:0,ssd=1` is not a storage such as `local-lvm`\n",
    ),
    (
        "a machine without its sizes",
        &[(", cores: 4, memory: 8GiB", "")],
        "14:5 missing-key blue-cp-01: has no `cores` => add `cores` to the machine or to `defaults`\n\
         14:5 missing-key blue-cp-01: has no `memory` => add `memory` to the machine or to `defaults`\n\
         16:5 missing-key blue-wk-01: has no `cores` => add `cores` to the machine or to `defaults`\n\
         16:5 missing-key blue-wk-01: has no `memory` => add `memory` to the machine or to `defaults`\n\
         17:5 missing-key blue-wk-02: has no `cores` => add `cores` to the machine or to `defaults`\n\
         17:5 missing-key blue-wk-02: has no `memory` => add `memory` to the machine or to `defaults`\n",
    ),
];

#[test]
fn every_refusal_names_place_value_and_way_out() {
    for (what, changes, wanted) in REFUSALS {
        assert_eq!(&refused(&changed(changes)), wanted, "{what}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_document() {
    let text = changed(&[
        ("project: blue", "project: blue_"),
        ("192.168.1.214", "192.168.1.211"),
        ("vmid: 432", "vmid: 421"),
        ("memory: 32GiB", "memory: 16GiB"),
        ("workers:\n", ""),
        ("  - {name: blue-wk-02", "workers:\n  - {name: blue-wk-02"),
    ]);
    let problems = Project::parse(&text, naming).expect_err("five things are wrong");
    let told: Vec<(&str, usize)> =
        problems.iter().map(|problem| (problem.code, problem.span.map_or(0, |span| span.line))).collect();
    assert_eq!(
        told,
        [
            ("invalid-name", 2),
            ("host-memory", 11),
            ("even-control-plane", 14),
            ("address-overlap", 15),
            ("duplicate-id", 17)
        ]
    );
}

#[test]
fn a_default_that_is_wrong_for_many_names_a_few() {
    let many: String = (1..=40)
        .map(|n| format!("  - {{name: blue-xt-{n:02}, vmid: {}, address: 192.168.1.{n}, host: pve}}\n", 500 + n))
        .collect();
    let printed = refused(&format!(
        "{}{many}",
        changed(&[("disk: 40GiB", "disk: 2GiB"), ("gateway: 192.168.1.1", "gateway: 192.168.1.99")])
    ));
    let line = printed.lines().find(|line| line.contains("disk-too-small")).unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(line.matches("blue-").count(), 12, "{line}");
    assert!(line.contains(" and 31 more: a disk of 2GiB is too small"), "{line}");
}

#[test]
fn a_good_document_becomes_complete_machines() {
    let text = changed(&[
        ("bridge: vmbr0", "bridge: vmbr0\n  vlan: 20\n  vip: 192.168.1.210"),
        (
            "192.168.1.215, host: pve",
            "192.168.1.215, host: pve, cores: 8, memory: 4GiB, disk: 100GiB, pool: lab, storage: fast",
        ),
        ("workers:", "deadlines: {start: 90s, destroy: 1h}\nworkers:"),
    ]);
    let project = Project::parse(&text, naming).expect("a good document");
    assert_eq!(project.warnings, []);
    let names: Vec<&str> = project.machines.iter().map(|machine| machine.node.as_str()).collect();
    assert_eq!(names, ["blue-cp-01", "blue-wk-01", "blue-wk-02"]);
    assert_eq!(project.with_role(NodeRole::Worker).count(), 2);
    assert_eq!(project.spans.iter().map(|span| span.line).collect::<Vec<_>>(), [16, 19, 20]);

    let first = &project.machines[0];
    assert_eq!((first.id.get(), first.cores, first.memory.mib(), first.disk.gib()), (421, 4, 8192, 40));
    assert_eq!((first.pool.as_str(), first.storage.as_str()), ("blue", "local-lvm"));
    assert_eq!(first.nic.mac, MacAddress::of_node(&project.cluster.name, &first.node));
    assert_eq!((first.nic.vlan, first.nic.address.to_string().as_str()), (Some(20), "192.168.1.211"));
    assert_eq!((first.image.file.as_str(), first.image.storage.as_str()), ("talos-v1.13.9.qcow2", "local"));

    let last = &project.machines[2];
    assert_eq!((last.cores, last.memory.mib(), last.disk.gib()), (8, 4096, 100));
    assert_eq!((last.pool.as_str(), last.storage.as_str()), ("lab", "fast"));

    let deadlines = project.deadlines;
    assert_eq!([deadlines.import, deadlines.start, deadlines.destroy].map(|time| time.as_secs()), [900, 90, 3600]);
    assert_eq!(project.limits.imports_per_storage, 2);
}

#[test]
fn patches_are_kept_in_their_own_text() {
    let patches = "patches:\n  all:\n    - machine: {sysctls: {a: 012}} # as it stands\n    - |\n      x: off\n  \
                   workers:\n    - machine:\n        env: {b: 'off'}\nworkers:\n";
    let project = Project::parse(&changed(&[("workers:\n", patches)]), naming).expect("a good document");
    assert_eq!(project.patches.all, ["      machine: {sysctls: {a: 012}} # as it stands\n", "x: off\n"]);
    assert_eq!(project.patches.workers, ["      machine:\n        env: {b: 'off'}\n"]);
    assert!(project.patches.control_planes.is_empty());
    let refused = Project::parse(&changed(&[("workers:\n", "patches: {all: [[1]]}\nworkers:\n")]), naming);
    let problem = &refused.expect_err("a list is no patch")[0];
    assert!(problem.span.is_some() && problem.to_string().contains("a mapping, or its text"), "{problem}");
}

#[test]
fn three_control_planes_without_a_vip_are_read_with_a_warning() {
    let project = Project::parse(&changed(&[("workers:\n", "")]), naming).expect("a warning refuses nothing");
    assert_eq!(project.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>(), ["no-vip"]);
    let one = Project::parse(GOOD, naming).expect("a good document");
    assert_eq!(one.warnings, []);
}

#[test]
fn a_talos_that_castle_does_not_know_is_read_with_a_warning() {
    let project = Project::parse(&changed(&[("v1.13.9", "v1.99.0")]), naming).expect("a warning refuses nothing");
    assert_eq!(
        printed(&project.warnings),
        "4:30 talos-unknown cluster.talos: which Kubernetes Talos 1.99 takes is not known to this castle => look it up in the support matrix of Talos: a node refuses every other\n"
    );
    for kubernetes in ["v1.31.0", "v1.36.99"] {
        assert_eq!(Project::parse(&changed(&[("v1.36.3", kubernetes)]), naming).expect(kubernetes).warnings, []);
    }
}

#[test]
fn an_empty_file_has_a_place_and_a_way_out() {
    for text in ["", " \n\n"] {
        assert_eq!(refused(text), "1:1 yaml castle.yaml: is empty => write the document, or name another file\n");
    }
}

#[test]
fn an_image_that_cannot_be_named_is_a_finding_at_the_image() {
    let naming =
        |_: &Cluster, _: &ImageSpec| Err(Error::new(ErrorKind::Unsupported, "no such image").hint("ask for another"));
    let problems = Project::parse(GOOD, naming).expect_err("no image");
    assert_eq!(printed(&problems), "5:8 image image: no such image => ask for another\n");
}

#[test]
fn a_repeated_part_may_be_an_alias() {
    let text = changed(&[
        ("dns: [192.168.1.1]", "dns: [&router 192.168.1.1]"),
        ("gateway: 192.168.1.1", "gateway: 192.168.1.1 # router"),
        ("192.168.1.214", "*router"),
    ]);
    assert_eq!(
        refused(&text),
        "16:44 address-overlap blue-wk-01: address 192.168.1.1 is the gateway's (line 8) => use a free address of the subnet\n"
    );
}

#[test]
fn hostile_documents_are_refused_and_nothing_more() {
    let laughs: String = (1..20).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let last = format!("*a{}, ", n - 1).repeat(9);
        format!("{text}a{n}: &a{n} [{last}]\n")
    });
    let hostile = [
        String::new(),
        "null".to_owned(),
        "\0".to_owned(),
        "\u{feff}\u{2028}".to_owned(),
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(50_000),
        "&a ".repeat(50_000),
        "a: &a [*a]".to_owned(),
        " \n".repeat(500_000),
        "x".repeat(2 << 20),
        format!("hosts: &h {{pve: {laughs}"),
        laughs,
        changed(&[("blue", &"x".repeat(900_000))]),
        changed(&[("421", &"9".repeat(900_000))]),
        changed(&[("8GiB", &format!("{}GiB", "9".repeat(900_000)))]),
        changed(&[("workers:", &format!("workers: [{}]", "[], ".repeat(100_000)))]),
        changed(&[("apiVersion", "<<: *x\napiVersion")]),
        changed(&[("192.168.1.0/24", "::/0"), ("192.168.1.1", "::ffff:1.2.3.4")]),
        changed(&[("192.168.1.0/24", "192.168.1.1/32")]),
        changed(&[("192.168.1.0/24", "0.0.0.0/0"), ("192.168.1.214", "255.255.255.255")]),
    ];
    for text in hostile {
        let problems = Project::parse(&text, naming).expect_err("hostile");
        let told = printed(&problems);
        assert!(!problems.is_empty() && told.len() < 5_000, "{} bytes about {} bytes", told.len(), text.len());
        assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "{told:?}");
    }
}

#[test]
fn any_cut_and_any_changed_byte_is_read_or_refused_with_a_reason() {
    let replacements = ["", ":", "{", "]", "*", "&", "!", "-", "0", "'", "\"", "\t", "\n"];
    for at in 0..GOOD.len() {
        let (before, after) = (&GOOD[..at], &GOOD[at + 1..]);
        for text in [before.to_owned(), format!("{before}{}{after}", replacements[at % replacements.len()])] {
            let told = Project::parse(&text, naming).err();
            assert!(told.is_none_or(|problems| problems.iter().any(Problem::is_error)), "{text}");
        }
    }
}
