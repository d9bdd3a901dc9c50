//! What can be wrong with a castle.yaml. Each sample is the model beside this file
//! with something replaced, so what is printed for it is what castle says.

use super::{Explanation, Sample};

type Change = (&'static str, &'static str);

const fn wrong(code: &'static str, what: &'static str, cure: &'static str, changes: &'static [Change]) -> Explanation {
    Explanation { code, what, cure, sample: Sample::Declared(changes) }
}

const MACHINES: &str = "control_planes:\n  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}";
const STORE: &str = "{infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /blue}}";
const SEED: &str = "[namespaces, external-secrets, machine-identity, git-credentials, flux]";
const SOURCE: &str = "{repository: infrastructure/external-secrets.yaml}";
const HTTP: &str = "expect: 200}";
const GITOPS: &str = "gitops:\n  repository:\n    url: https://git.example.net/home.git\n    branch: main\n    path: clusters/blue\n    credentials: {secret: git/token}\n  seed: [namespaces, external-secrets, machine-identity, git-credentials, flux]\n  external_secrets: {repository: infrastructure/external-secrets.yaml}\n";

const SAME_NAME: &str = "Two things would be told apart by nothing.";
const FORM: &str = "The value has a form that what it names never has.";
const USE_FORM: &str = "Write it in the form that the message shows.";

pub const DECLARATION: [Explanation; 70] = [
    wrong(
        "yaml",
        "The text is no YAML, or a value is of another kind than the one that is expected there.",
        "The place is where reading ended; the mistake is there or just before it.",
        &[("vlan: 20", "vlan: twenty")],
    ),
    wrong(
        "unknown-key",
        "A key that castle does not know. It is refused and not skipped: a misspelt key would be a wish \
        that nobody fulfils.",
        "Take the name that is proposed, or remove the key.",
        &[("bridge:", "brigde:")],
    ),
    wrong(
        "missing-key",
        "A key is needed that has no default.",
        "Add it; `examples/projects/house/castle.yaml` explains \
        every field.",
        &[("  bridge: vmbr0\n", "")],
    ),
    wrong(
        "duplicate-key",
        "A key stands twice in one mapping; readers of YAML differ in which of the two they take.",
        "Remove one.",
        &[("  bridge: vmbr0\n", "  bridge: vmbr0\n  bridge: vmbr1\n")],
    ),
    wrong(
        "api-version",
        "The document is of a version that this castle does not read.",
        "Use the version that is \
        proposed, or the castle that reads yours.",
        &[("castle/v1alpha1", "castle/v1")],
    ),
    wrong(
        "unknown-platform",
        "No backend has this name.",
        "Use one that is proposed.",
        &[("platform: proxmox", "platform: proxmx")],
    ),
    wrong(
        "invalid-name",
        "Names become host names, names of Kubernetes nodes and of machines, so they follow RFC 1123.",
        "Use a-z, 0-9 and `-`.",
        &[("name: blue-wk-02", "name: blue_wk_02")],
    ),
    wrong("duplicate-name", SAME_NAME, "Choose another name.", &[("name: blue-wk-02", "name: blue-wk-01")]),
    wrong("duplicate-id", "A number belongs to one machine.", "Reserve another number.", &[("vmid: 432", "vmid: 431")]),
    wrong(
        "invalid-id",
        "Proxmox VE numbers its machines from 100 to 999999999.",
        "Choose a free number in that range.",
        &[("vmid: 432", "vmid: 99")],
    ),
    wrong("invalid-version", FORM, USE_FORM, &[("talos: v1.13.9", "talos: latest")]),
    wrong(
        "contract-too-new",
        "The contract says which Talos can read the configurations; the one that is declared is \
        older.",
        "Lower the contract, or declare a newer Talos.",
        &[("contract: \"1.13\"", "contract: \"1.14\"")],
    ),
    wrong(
        "talos-window",
        "Each Talos takes some minors of Kubernetes. A node refuses a configuration with any other, and that after \
        its machine was made.",
        "Choose a Kubernetes of that window, or the Talos that the hint names.",
        &[("kubernetes: v1.36.3", "kubernetes: v1.20.0")],
    ),
    wrong(
        "talos-unknown",
        "This castle does not know which Kubernetes that Talos takes, so it cannot tell whether the nodes will.",
        "Compare both with the support matrix of Talos.",
        &[("talos: v1.13.9", "talos: v1.99.0")],
    ),
    wrong(
        "invalid-extension",
        FORM,
        "Name it by owner and name, as the image factory does.",
        &[("[siderolabs/iscsi-tools]", "[iscsi-tools]")],
    ),
    wrong(
        "duplicate-extension",
        "An extension stands twice.",
        "Remove one.",
        &[("[siderolabs/iscsi-tools]", "[siderolabs/iscsi-tools, siderolabs/iscsi-tools]")],
    ),
    wrong(
        "invalid-size",
        "An amount without a unit, or one that is no whole number of MiB: eight of what?",
        "Write `8GiB` or `512MiB`.",
        &[("memory: 8GiB", "memory: 8")],
    ),
    wrong("invalid-cores", FORM, "Give a machine 1 to 512 cores.", &[("cores: 4", "cores: 0")]),
    wrong(
        "invalid-storage",
        FORM,
        "Use a name that `pvesm status` shows.",
        &[("storage: local-lvm", "storage: local lvm")],
    ),
    wrong(
        "invalid-pool",
        FORM,
        "Use the name of a pool; castle's rights are confined to it.",
        &[("pool: blue,", "pool: blue castle,")],
    ),
    wrong(
        "invalid-bridge",
        FORM,
        "Use the name of a bridge of the host, at most 15 letters.",
        &[("bridge: vmbr0", "bridge: vmbr 0")],
    ),
    wrong("invalid-vlan", FORM, "Use 1 to 4094, or leave it out.", &[("vlan: 20", "vlan: 5000")]),
    wrong("invalid-limit", FORM, "Use 1 to 1000.", &[("imports_per_storage: 2", "imports_per_storage: 0")]),
    wrong("invalid-duration", FORM, "Write `90s`, `5m` or `1h`.", &[("import: 15m", "import: 15")]),
    wrong("invalid-address", FORM, USE_FORM, &[("gateway: 192.168.1.1", "gateway: 192.168.1")]),
    wrong("invalid-range", FORM, USE_FORM, &[("192.168.1.240-192.168.1.247", "192.168.1.247-192.168.1.240")]),
    wrong(
        "range-too-large",
        "A range that takes more addresses than a home has.",
        "Declare a smaller one.",
        &[("192.168.1.0/24", "192.168.0.0/16"), ("192.168.1.240-192.168.1.247", "192.168.4.0-192.168.6.0")],
    ),
    wrong(
        "address-outside-subnet",
        "A node that is outside of its subnet never answers.",
        "Use a free address of the \
        subnet.",
        &[("192.168.1.215", "10.0.0.15")],
    ),
    wrong(
        "address-reserved",
        "The first and the last address of a subnet belong to nobody.",
        "Use a free address \
        between them.",
        &[("192.168.1.215", "192.168.1.255")],
    ),
    wrong(
        "address-overlap",
        "An address belongs to one thing. The seeds of castle tell what comes of two.",
        "Use a free address of the subnet.",
        &[("192.168.1.215", "192.168.1.214")],
    ),
    wrong(
        "vip-among-nodes",
        "The VIP moves between control planes; a node that has it as its own would lose it.",
        "Declare an address as `vip` that no node has.",
        &[("vip: 192.168.1.210", "vip: 192.168.1.215")],
    ),
    wrong(
        "no-control-plane",
        "A cluster without a control plane has no API.",
        "Declare 1 control plane, or 3.",
        &[(MACHINES, "control_planes: []")],
    ),
    wrong(
        "even-control-plane",
        "Two members tolerate no more losses than one, and are one more to lose: a majority of \
        two is two.",
        "Declare 1, 3 or 5.",
        &[(
            MACHINES,
            "control_planes:\n  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}\n  - {name: blue-cp-02, vmid: 422, address: 192.168.1.212, host: pve, memory: 4GiB}",
        )],
    ),
    wrong(
        "no-vip",
        "Clients of one address lose the API when its control plane dies, although the cluster lives.",
        "Declare a free address as `vip`.",
        &[
            ("  vip: 192.168.1.210\n", ""),
            ("memory: 8GiB", "memory: 4GiB"),
            (
                MACHINES,
                "control_planes:\n  - {name: blue-cp-01, vmid: 421, address: 192.168.1.211, host: pve}\n  - {name: blue-cp-02, vmid: 422, address: 192.168.1.212, host: pve}\n  - {name: blue-cp-03, vmid: 423, address: 192.168.1.213, host: pve}",
            ),
        ],
    ),
    wrong(
        "memory-too-small",
        "Talos would start and be killed for want of memory.",
        "Give it what the message says.",
        &[("memory: 8GiB", "memory: 512MiB")],
    ),
    wrong(
        "too-few-cores",
        "A control plane with one core is too slow for its own etcd.",
        "Give it two or more.",
        &[("cores: 4", "cores: 1")],
    ),
    wrong("disk-too-small", "The image alone fills it.", "Give it 10GiB or more.", &[("disk: 40GiB", "disk: 8GiB")]),
    wrong(
        "unknown-host",
        "A machine is declared for a host that has no budget.",
        "Correct the name, or declare the host \
        under `hosts` with its memory.",
        &[("address: 192.168.1.215, host: pve", "address: 192.168.1.215, host: pvf")],
    ),
    wrong(
        "host-reserve",
        "A host that keeps everything for itself carries no machine.",
        "Lower `reserve`.",
        &[("reserve: 4GiB", "reserve: 32GiB")],
    ),
    wrong(
        "host-memory",
        "The machines of a host want more memory than it has beside its reserve. The host would kill \
        one of them, mostly the one with etcd.",
        "Take memory from its machines, or move one to another host.",
        &[("memory: 32GiB", "memory: 16GiB")],
    ),
    wrong(
        "one-store",
        "A store of secrets is described in none, or in more than one way.",
        "Describe one.",
        &[(STORE, "{}")],
    ),
    wrong(
        "invalid-url",
        "Only https keeps a secret on its way; and an address with credentials would tell them to whoever \
        reads this document.",
        USE_FORM,
        &[("https://eu.infisical.com", "http://eu.infisical.com")],
    ),
    wrong("invalid-slug", FORM, USE_FORM, &[("project: castle,", "project: my castle,")]),
    wrong("invalid-path", FORM, USE_FORM, &[("path: /blue", "path: blue")]),
    wrong("invalid-prefix", FORM, USE_FORM, &[(STORE, "{environment: {prefix: 1-castle}}")]),
    wrong(
        "invalid-secret",
        FORM,
        "Use segments of letters, digits, `-`, `_` and `.`, joined by `/`.",
        &[("git/token", "git//token")],
    ),
    wrong(
        "invalid-branch",
        FORM,
        "Use the name of a branch, as git writes it.",
        &[("branch: main", "branch: my branch")],
    ),
    wrong(
        "unknown-seed",
        "Castle plants five parts and no others; everything else is Flux' business.",
        "Use the name that is proposed.",
        &[("machine-identity", "machine-idenity")],
    ),
    wrong(
        "duplicate-seed",
        "A part of the seed stands twice.",
        "Remove one.",
        &[
            (SEED, "[namespaces, namespaces, flux]"),
            ("  external_secrets: {repository: infrastructure/external-secrets.yaml}\n", ""),
        ],
    ),
    wrong(
        "seed-order",
        "The list is the order of planting, and a part stands on those before it.",
        "Write it in the \
        order that the message shows.",
        &[(SEED, "[namespaces, external-secrets, machine-identity, flux, git-credentials]")],
    ),
    wrong(
        "seed-incomplete",
        "A part is missing that another one stands on, or that everything else is for.",
        "Add it.",
        &[(SEED, "[namespaces, external-secrets, machine-identity, git-credentials]")],
    ),
    wrong(
        "one-source",
        "A manifest comes from one place.",
        "Keep one of `repository`, `url` and `file`.",
        &[(SOURCE, "{repository: a.yaml, file: b.yaml}")],
    ),
    wrong(
        "source-digest",
        "A server may send another content tomorrow; with the SHA-256 it is refused then.",
        "Download the manifest, read it, and add the sum of what you have read.",
        &[(SOURCE, "{url: https://example.net/external-secrets.yaml}")],
    ),
    wrong(
        "invalid-digest",
        FORM,
        "Write the 64 digits that `sha256sum` prints.",
        &[(SOURCE, "{url: https://example.net/external-secrets.yaml, sha256: abc}")],
    ),
    wrong(
        "unused-source",
        "A manifest is declared for a part that is not planted.",
        "Add the part to `seed`, or remove \
        the source.",
        &[(SEED, "[namespaces, git-credentials, flux]")],
    ),
    wrong(
        "escrow-reserved",
        "Castle's own secrets lie there; a name among them could overwrite a life.",
        "Choose a name outside of it.",
        &[("kubeconfig: KUBECONFIG", "kubeconfig: blue/kubeconfig")],
    ),
    wrong(
        "escrow-twice",
        "A credential would overwrite the other, or another secret that castle.yaml names.",
        "Choose another name.",
        &[("talosconfig: TALOSCONFIG", "talosconfig: KUBECONFIG")],
    ),
    wrong(
        "invalid-dataset",
        "What the data is must be said: it is shown to whoever is about to destroy it.",
        "Write in one line what would be lost.",
        &[("what: the photographs of the family", "what: \"\"")],
    ),
    wrong(
        "duplicate-dataset",
        SAME_NAME,
        "Choose another name.",
        &[("datasets:\n", "datasets:\n  - {name: photos, what: older photographs}\n")],
    ),
    wrong("duplicate-probe", SAME_NAME, "Choose another name.", &[("name: database, tcp", "name: blog, tcp")]),
    wrong(
        "one-probe",
        "A probe asks in one way.",
        "Keep one of `http`, `tcp` and `condition`.",
        &[("{name: database, tcp: {service: db/postgres, port: 5432}}", "{name: database}")],
    ),
    wrong(
        "invalid-host",
        "A probe asks for a name, because certificates are made for names.",
        USE_FORM,
        &[("host: blog.example.net", "host: 192.168.1.240")],
    ),
    wrong("invalid-service", FORM, USE_FORM, &[("service: traefik/traefik", "service: traefik")]),
    wrong("invalid-status", FORM, "Use 200 to 599.", &[("expect: 200", "expect: 20")]),
    wrong("invalid-port", FORM, "Use 1 to 65535.", &[("port: 5432", "port: 0")]),
    wrong("invalid-object", FORM, USE_FORM, &[("apiVersion: apps/v1,", "apiVersion: apps,")]),
    wrong(
        "unknown-tls",
        "A certificate is judged by authorities, by its name alone, or there is none.",
        "Use the word that \
        is proposed.",
        &[(HTTP, "expect: 200, tls: naem-only}")],
    ),
    wrong(
        "tls-twice",
        "With authorities a certificate is always judged, so there is nothing left for `tls` to say.",
        "Remove `tls`.",
        &[(HTTP, "expect: 200, tls: none, authorities: text}")],
    ),
    wrong(
        "invalid-authority",
        "The text holds no certificate.",
        "Put the authority's certificate there, in PEM.",
        &[(HTTP, "expect: 200, authorities: text}")],
    ),
    wrong(
        "no-load-balancers",
        "Without addresses a service of type LoadBalancer waits for its own for ever, and so does \
        every application behind it.",
        "Declare free addresses of the subnet.",
        &[("  load_balancers: 192.168.1.240-192.168.1.247\n", "")],
    ),
];

pub const HANDOVER: [Explanation; 2] = [
    wrong(
        "probes-without-gitops",
        "Nothing brings the applications that the probes ask for.",
        "Declare `gitops`, or \
        remove the probes.",
        &[(GITOPS, "")],
    ),
    wrong(
        "flux-window",
        "Flux is made for some minors of Kubernetes, and this is none of them.",
        "Choose such a \
        Kubernetes, or a Flux that is made for this one.",
        &[("kubernetes: v1.36.3", "kubernetes: v1.33.9")],
    ),
];
