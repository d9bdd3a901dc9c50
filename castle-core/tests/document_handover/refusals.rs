//! What is refused in the parts of `castle.yaml` that the handover needs, and the words for it.

/// A name, what is changed in the good document, and all that is then said.
pub type Refusal = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// Each of them breaks one rule, or a few of one kind.
pub const REFUSALS: &[Refusal] = &[
    (
        "a slip in a key of the repository",
        &[("    branch:", "    brnach:")],
        "18:5 unknown-key castle.yaml: unknown key `brnach` => did you mean `branch`?\n",
    ),
    (
        "a slip in a key of gitops",
        &[("  external_secrets:", "  external_secret:")],
        "23:3 unknown-key castle.yaml: unknown key `external_secret` => did you mean `external_secrets`?\n",
    ),
    (
        "a slip in a key of a probe",
        &[("name: mail, tcp", "name: mail, tpc")],
        "29:18 unknown-key castle.yaml: unknown key `tpc` => did you mean `tcp`?\n",
    ),
    (
        "a slip in a key of a request",
        &[("host: blog.example.net, service", "host: blog.example.net, expects: 200, service")],
        "28:49 unknown-key castle.yaml: unknown key `expects` => did you mean `expect`?\n",
    ),
    (
        "a slip in a deadline",
        &[("apps: 90s", "app: 90s")],
        "31:28 unknown-key castle.yaml: unknown key `app` => did you mean `api`?\n",
    ),
    (
        "no branch",
        &[("    branch: main\n", "")],
        "19:5 missing-key castle.yaml: key `branch` is missing => add it to the mapping that ends here\n",
    ),
    (
        "credentials in the address",
        &[("https://git.example.net/tazlab-k8s.git", "https://bob:hunter2@git.example.net/x.git")],
        "17:10 invalid-url gitops.repository.url: holds credentials, and this document is readable => leave them out of the URL; access belongs to the option document\n",
    ),
    (
        "an address for ssh",
        &[("https://git.example.net/tazlab-k8s.git", "git@git.example.net:x.git")],
        "17:10 invalid-url gitops.repository.url: is not an `https` address => write `https://host/path.git`; castle reads the repository over https\n",
    ),
    (
        "an address without a path",
        &[("https://git.example.net/tazlab-k8s.git", "http://git.example.net/x.git")],
        "17:10 invalid-url gitops.repository.url: `http://git.example.net/x.git` is not an `https` address => write `https://host/path.git`; castle reads the repository over https\n",
    ),
    (
        "an address with a query",
        &[("https://git.example.net/tazlab-k8s.git", "https://git.example.net/x.git?token=hunter2")],
        "17:10 invalid-url gitops.repository.url: has a query or a fragment, which may hold a secret => write `https://host/path.git`; castle reads the repository over https\n",
    ),
    (
        "an address of a host alone",
        &[("https://git.example.net/tazlab-k8s.git", "https://git.example.net")],
        "17:10 invalid-url gitops.repository.url: `https://git.example.net` is not an address of the form that is wanted => write `https://host/path.git`; castle reads the repository over https\n",
    ),
    (
        "a folder with slashes at its ends, and a branch with a space",
        &[("path: clusters/blue", "path: ./clusters/blue/"), ("branch: main", "branch: 'ma in'")],
        "18:13 invalid-branch gitops.repository.branch: `ma in` is not a branch such as `main`\n\
         19:11 invalid-path gitops.repository.path: `./clusters/blue/` is not a path of the repository such as `clusters/blue` => write `clusters/blue`\n",
    ),
    (
        "a folder that leaves the repository",
        &[("path: clusters/blue", "path: ../blue")],
        "19:11 invalid-path gitops.repository.path: `../blue` is not a path of the repository such as `clusters/blue` => write it from the repository's root, without `..` and without slashes at its ends\n",
    ),
    (
        "parts of the seed that nobody knows",
        &[(
            "[namespaces, external-secrets, machine-identity, git-credentials, flux]",
            "[namespaces, external-secret, helm, flux]",
        )],
        "21:22 unknown-seed gitops.seed: part `external-secret` is not known => did you mean `external-secrets`?\n\
         21:39 unknown-seed gitops.seed: part `helm` is not known => use `namespaces` or `external-secrets` or `machine-identity` or `git-credentials` or `flux`\n",
    ),
    (
        "a seed in another order, with a part twice",
        &[(
            "[namespaces, external-secrets, machine-identity, git-credentials, flux]",
            "[external-secrets, namespaces, machine-identity, flux, flux]",
        )],
        "21:28 seed-order gitops.seed: `namespaces` stands behind `external-secrets`, but is planted before it => the order is namespaces, external-secrets, machine-identity, git-credentials, flux\n\
         21:64 duplicate-seed gitops.seed: `flux` appears twice (line 21) => remove one\n",
    ),
    (
        "a seed without Flux",
        &[(
            "[namespaces, external-secrets, machine-identity, git-credentials, flux]",
            "[namespaces, external-secrets]",
        )],
        "21:9 seed-incomplete gitops.seed: has no `flux`, so nothing would ever follow the repository => add `flux` at its end\n",
    ),
    (
        "an empty seed",
        &[("[namespaces, external-secrets, machine-identity, git-credentials, flux]", "[]")],
        "21:9 seed-incomplete gitops.seed: has no `flux`, so nothing would ever follow the repository => add `flux` at its end\n\
         23:21 unused-source gitops.external_secrets: is not planted, because `external-secrets` is not in the seed => add it to `seed`, or remove the source\n",
    ),
    (
        "parts without what they stand on",
        &[("[namespaces, external-secrets, machine-identity, git-credentials, flux]", "[machine-identity, flux]")],
        "21:10 seed-incomplete gitops.seed: `machine-identity` needs `namespaces` => add `namespaces` before it\n\
         21:10 seed-incomplete gitops.seed: `machine-identity` needs `external-secrets` => add `external-secrets` before it\n\
         21:28 seed-incomplete gitops.seed: `flux` needs `namespaces` => add `namespaces` before it\n\
         23:21 unused-source gitops.external_secrets: is not planted, because `external-secrets` is not in the seed => add it to `seed`, or remove the source\n",
    ),
    (
        "external-secrets without a manifest",
        &[("  external_secrets: {repository: infrastructure/external-secrets/components.yaml}\n", "")],
        "21:22 seed-incomplete gitops.seed: `external-secrets` has no manifest => add `gitops.external_secrets: {repository: FILE}`, or `{url, sha256}`, or `{file}`\n",
    ),
    (
        "a source of two kinds, and one of none",
        &[
            (
                "{url: https://example.net/install.yaml, sha256: 00000000000000000000000000000000000000000000000000000000000000ab}",
                "{file: a, repository: b}",
            ),
            ("{repository: infrastructure/external-secrets/components.yaml}", "{}"),
        ],
        "22:9 one-source gitops.flux: has more than one of `repository`, `url`, `file` => declare one of them\n\
         23:21 one-source gitops.external_secrets: has none of `repository`, `url`, `file` => declare one of them\n",
    ),
    (
        "a source without its digest, and a file with one",
        &[
            (
                "{url: https://example.net/install.yaml, sha256: 00000000000000000000000000000000000000000000000000000000000000ab}",
                "{url: https://example.net/install.yaml}",
            ),
            (
                "{repository: infrastructure",
                "{sha256: 00000000000000000000000000000000000000000000000000000000000000ab, repository: infrastructure",
            ),
        ],
        "22:9 source-digest gitops.flux: has a `url` without the SHA-256 of its content => add `sha256`: download the manifest, read it, and run `sha256sum` on it\n\
         23:21 source-digest gitops.external_secrets: has a `sha256` without a `url` => remove it: the repository and this folder have histories of their own\n",
    ),
    (
        "a digest that is none",
        &[("0000ab}", "0000ax}")],
        "22:57 invalid-digest gitops.flux.sha256: `00000000000000000000000000000000000000000000000000000000000000ax` is not a SHA-256: 64 digits of 0-9 and a-f\n",
    ),
    (
        "a digest that is too short",
        &[("00000000000000000000000000000000000000000000000000000000000000ab", "ab")],
        "22:57 invalid-digest gitops.flux.sha256: `ab` is not a SHA-256: 64 digits of 0-9 and a-f\n",
    ),
    (
        "names of secrets",
        &[
            ("{secret: git}", "{secret: ../git}"),
            ("KUBECONFIG_CONTENT", "blue/project-key"),
            ("TALOSCONFIG_CONTENT", "'a b'"),
        ],
        "20:27 invalid-secret gitops.repository.credentials.secret: `../git` is not a secret's path => use segments of a-z, A-Z, 0-9, `-`, `_` and `.`, joined by `/`\n\
         24:22 escrow-reserved escrow.kubeconfig: `blue/project-key` lies where castle keeps its own secrets, below `blue` => choose a name outside of it\n\
         24:53 invalid-secret escrow.talosconfig: `a b` is not a secret's path => use segments of a-z, A-Z, 0-9, `-`, `_` and `.`, joined by `/`\n",
    ),
    (
        "one name for two credentials",
        &[("TALOSCONFIG_CONTENT", "KUBECONFIG_CONTENT")],
        "24:55 escrow-twice escrow.talosconfig: has the same name as `escrow.kubeconfig`, so one would overwrite the other => choose another name\n",
    ),
    (
        "the name of the repository's token for a credential",
        &[("{secret: git}", "{secret: shop/db-password}"), ("KUBECONFIG_CONTENT", "shop/db-password")],
        "24:22 escrow-twice escrow.kubeconfig: has the same name as `gitops.repository.credentials.secret`, so the credential would overwrite what is there => choose another name\n",
    ),
    (
        "datasets",
        &[(
            "  - {name: photos, what: 'the family photos, 40 GiB'}",
            "  - {name: Photos, what: ' '}\n  - {name: a, what: b}\n  - {name: a, what: c}",
        )],
        "26:12 invalid-name datasets[0].name: name `Photos` holds 'P'; RFC 1123 allows a-z, 0-9 and `-` => try `photos`\n\
         26:26 invalid-dataset datasets[0].what: does not say in one line what the data is => write what would be lost: it is shown to whoever is about to destroy it\n\
         28:12 duplicate-dataset datasets[2]: name a is taken already (line 27) => choose another name\n",
    ),
    (
        "names of probes",
        &[("name: blog, http", "name: mail, http"), ("name: dns, condition: {api", "name: DNS, condition: {api")],
        "29:12 duplicate-probe probes[1]: name mail is taken already (line 28) => choose another name\n\
         30:12 invalid-name probes[2].name: name `DNS` holds 'D'; RFC 1123 allows a-z, 0-9 and `-` => try `dns`\n",
    ),
    (
        "a probe of two kinds, and one of none",
        &[
            ("service: traefik/traefik}}", "service: traefik/traefik}, tcp: {service: a/b, port: 1}}"),
            (", tcp: {service: mail/postfix, port: 25}", ""),
        ],
        "28:5 one-probe blog: has more than one of `http`, `tcp`, `condition` => declare one of them\n\
         29:5 one-probe mail: has none of `http`, `tcp`, `condition` => declare one of them\n",
    ),
    (
        "a request",
        &[(
            "{host: blog.example.net, service: traefik/traefik}",
            "{host: 'https://blog', path: health, service: traefik, expect: 99, tls: nonly}",
        )],
        "28:31 invalid-host blog.http.host: `https://blog` is not a host name such as `blog.example.net`\n\
         28:53 invalid-path blog.http.path: `health` is not the path of a request such as `/health`\n\
         28:70 invalid-service blog.http.service: `traefik` is not the namespace and the name of a service such as `traefik/traefik`\n\
         28:87 invalid-status blog.http.expect: 99 is not an HTTP status from 200 to 599\n\
         28:96 unknown-tls blog.http.tls: kind of TLS `nonly` is not known => use `name-only` or `none`\n",
    ),
    (
        "a request to an address",
        &[("host: blog.example.net", "host: 192.168.1.240")],
        "28:31 invalid-host blog.http.host: `192.168.1.240` is not a host name such as `blog.example.net`\n",
    ),
    (
        "a word and authorities",
        &[(
            "{host: blog.example.net, service: traefik/traefik}",
            "{host: blog.example.net, service: traefik/traefik, tls: none, authorities: x}",
        )],
        "28:99 tls-twice blog.http.authorities: stands beside `tls`, which names no authority => remove `tls`: with authorities the certificate is always judged\n",
    ),
    (
        "authorities that are a file",
        &[(
            "{host: blog.example.net, service: traefik/traefik}",
            "{host: blog.example.net, service: traefik/traefik, authorities: ca.pem}",
        )],
        "28:88 invalid-authority blog.http.authorities: holds no certificate in PEM => put the text of the authority's certificate here, after `authorities: |`\n",
    ),
    (
        "a port",
        &[("port: 25", "port: 65536"), ("mail/postfix", "mail/post_fix")],
        "29:33 invalid-service mail.tcp.service: `mail/post_fix` is not the namespace and the name of a service such as `traefik/traefik`\n\
         29:54 invalid-port mail.tcp.port: 65536 is not a port from 1 to 65535\n",
    ),
    (
        "an object",
        &[
            ("apiVersion: apps/v1", "apiVersion: apps"),
            ("kind: Deployment", "kind: 'Deploy ment'"),
            ("namespace: kube-system", "namespace: Kube"),
            ("name: coredns", "name: core_dns"),
            ("condition: Available}", "condition: ''}"),
        ],
        "30:41 invalid-object dns.condition.apiVersion: `apps` is not an API version such as `apps/v1`\n\
         30:53 invalid-object dns.condition.kind: `Deploy ment` is not a kind such as `Deployment`\n\
         30:79 invalid-name dns.condition.namespace: name `Kube` holds 'K'; RFC 1123 allows a-z, 0-9 and `-` => try `kube`\n\
         30:91 invalid-object dns.condition.name: `core_dns` is not the name of an object such as `blog`\n\
         30:112 invalid-object dns.condition.condition: `` is not a condition such as `Available`\n",
    ),
    (
        "a store of two kinds",
        &[(
            "{infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /castle/blue}}",
            "{files: a, environment: {prefix: B_}}",
        )],
        "14:18 one-store secrets.store: has more than one of `infisical`, `files`, `sops`, `environment` => declare one of them\n",
    ),
    (
        "a store of no kind",
        &[(
            "{infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /castle/blue}}",
            "{}",
        )],
        "14:18 one-store secrets.store: has none of `infisical`, `files`, `sops`, `environment` => declare one of them\n",
    ),
    (
        "a vault",
        &[(
            "{infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /castle/blue}}",
            "{infisical: {url: 'https://u:p@eu.infisical.com', project: my project, environment: '', path: castle/}}",
        )],
        "14:36 invalid-url secrets.store.infisical.url: holds credentials, and this document is readable => leave them out of the URL; access belongs to the option document\n\
         14:77 invalid-slug secrets.store.infisical.project: `my project` is not a slug such as `prod`\n\
         14:102 invalid-slug secrets.store.infisical.environment: `` is not a slug such as `prod`\n\
         14:112 invalid-path secrets.store.infisical.path: `castle/` is not a folder of the vault => begin it with `/`, without `..` and without a slash at its end\n",
    ),
    (
        "a prefix",
        &[(
            "{infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /castle/blue}}",
            "{environment: {prefix: 'CASTLE-'}}",
        )],
        "14:41 invalid-prefix secrets.store.environment.prefix: `CASTLE-` is not the beginning of variables such as `CASTLE_SECRET_`\n",
    ),
    (
        "a range that is none",
        &[("192.168.1.240-192.168.1.247", "192.168.1.240")],
        "6:128 invalid-range network.load_balancers: `192.168.1.240` is not a range such as `192.168.1.240-192.168.1.247` or `192.168.1.240/29`\n",
    ),
    (
        "a network with the address of a machine",
        &[("192.168.1.240-192.168.1.247", "192.168.1.241/29")],
        "6:128 invalid-range network.load_balancers: `192.168.1.241/29` is not a range such as `192.168.1.240-192.168.1.247` or `192.168.1.240/29`\n",
    ),
    (
        "a range from its end",
        &[("192.168.1.240-192.168.1.247", "192.168.1.247-192.168.1.240")],
        "6:128 invalid-range network.load_balancers: the range ends before it begins: 192.168.1.247 is behind 192.168.1.240 => write `192.168.1.240-192.168.1.247`\n",
    ),
    (
        "a range of two families",
        &[("192.168.1.240-192.168.1.247", "192.168.1.240-fd00::1")],
        "6:128 invalid-range network.load_balancers: `192.168.1.240-fd00::1` is not a range such as `192.168.1.240-192.168.1.247` or `192.168.1.240/29`\n",
    ),
    (
        "a range outside the subnet",
        &[("192.168.1.240-192.168.1.247", "192.168.1.250-192.168.2.10")],
        "6:128 address-outside-subnet network.load_balancers: 192.168.2.10 is outside the subnet 192.168.1.0/24 => use addresses of the subnet: they are announced on its segment\n",
    ),
    (
        "a range over everything",
        &[("192.168.1.240-192.168.1.247", "192.168.1.0/24")],
        "6:128 address-reserved network.load_balancers: holds 192.168.1.0, the address of the subnet itself => leave it out\n\
         6:128 address-reserved network.load_balancers: holds 192.168.1.255, the subnet's broadcast address => leave it out\n\
         6:128 address-overlap network.load_balancers: holds 192.168.1.1, which is the gateway's (line 6) => use addresses that nothing else has\n\
         6:128 address-overlap network.load_balancers: holds 192.168.1.210, which is the VIP's (line 6) => use addresses that nothing else has\n\
         6:128 address-overlap network.load_balancers: holds 192.168.1.211, which is blue-cp-01's (line 10) => use addresses that nothing else has\n\
         6:128 address-overlap network.load_balancers: holds 192.168.1.214, which is blue-wk-01's (line 12) => use addresses that nothing else has\n\
         6:128 address-overlap network.load_balancers: holds 192.168.1.215, which is blue-wk-02's (line 13) => use addresses that nothing else has\n",
    ),
    (
        "a range over the nodes",
        &[("192.168.1.240-192.168.1.247", "192.168.1.210-192.168.1.214")],
        "6:128 address-overlap network.load_balancers: holds 192.168.1.210, which is the VIP's (line 6) => use addresses that nothing else has\n\
         6:128 address-overlap network.load_balancers: holds 192.168.1.211, which is blue-cp-01's (line 10) => use addresses that nothing else has\n\
         6:128 address-overlap network.load_balancers: holds 192.168.1.214, which is blue-wk-01's (line 12) => use addresses that nothing else has\n",
    ),
    (
        "a range over a large subnet",
        &[("192.168.1.0/24", "192.168.0.0/16"), ("192.168.1.240-192.168.1.247", "192.168.4.0-192.168.5.0")],
        "6:128 range-too-large network.load_balancers: holds 257 addresses, 256 are allowed => declare a smaller range: a home needs a handful\n",
    ),
    (
        "times",
        &[("handover: 20m", "handover: 20"), ("apps: 90s", "apps: 2d")],
        "31:23 invalid-duration deadlines.handover: `20` is not a time from `1s` to `24h` such as `90s` or `5m`\n\
         31:33 invalid-duration deadlines.apps: `2d` is not a time from `1s` to `24h` such as `90s` or `5m`\n",
    ),
];
