//! What `castle.yaml` says of the handover: the repository, the seed, the probes,
//! the load balancers' addresses, and where things are kept.

use std::path::PathBuf;
use std::time::Duration;

use castle_core::handover::{ManifestSource, ProbeKind, ProbeTls, SeedPart};
use castle_core::memory::{EXAMPLE, plain_image};
use castle_core::{Problem, Project, SecretsPlace};

mod refusals;

use refusals::REFUSALS;

/// Everything that may be said, after the 16 lines of the example.
const HANDOVER: &str = "\
secrets: {store: {infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /castle/blue}}}
gitops:
  repository:
    url: https://git.example.net/tazlab-k8s.git
    branch: main
    path: clusters/blue
    credentials: {secret: git}
  seed: [namespaces, external-secrets, machine-identity, git-credentials, flux]
  flux: {url: https://example.net/install.yaml, sha256: 00000000000000000000000000000000000000000000000000000000000000ab}
  external_secrets: {repository: infrastructure/external-secrets/components.yaml}
escrow: {kubeconfig: KUBECONFIG_CONTENT, talosconfig: TALOSCONFIG_CONTENT}
datasets:
  - {name: photos, what: 'the family photos, 40 GiB'}
probes:
  - {name: blog, http: {host: blog.example.net, service: traefik/traefik}}
  - {name: mail, tcp: {service: mail/postfix, port: 25}}
  - {name: dns, condition: {apiVersion: apps/v1, kind: Deployment, namespace: kube-system, name: coredns, condition: Available}}
deadlines: {handover: 20m, apps: 90s}
";

fn good() -> String {
    let network = ("bridge: vmbr0}", "bridge: vmbr0, vip: 192.168.1.210, load_balancers: 192.168.1.240-192.168.1.247}");
    assert_eq!(EXAMPLE.lines().count(), 13, "the lines of HANDOVER are counted from here");
    EXAMPLE.replacen(network.0, network.1, 1) + HANDOVER
}

/// The good document with each `(from, to)` applied.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(good(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is in the document");
        text.replacen(from, to, 1)
    })
}

fn printed(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let place = problem.span.map_or("-".to_owned(), |span| format!("{}:{}", span.line, span.column));
        let hint = problem.hint.as_ref().map(|hint| format!(" => {hint}")).unwrap_or_default();
        format!("{place} {} {problem}{hint}\n", problem.code)
    };
    problems.iter().map(line).collect()
}

fn read(text: &str) -> Project {
    Project::parse(text, plain_image).unwrap_or_else(|problems| panic!("{}", printed(&problems)))
}

#[test]
fn everything_that_is_declared_is_read() {
    let project = read(&good());
    assert_eq!(project.warnings, []);
    let address = |text: &str| text.parse().expect("an address");
    assert_eq!(project.network.load_balancers, Some((address("192.168.1.240"), address("192.168.1.247"))));
    let gitops = project.gitops.expect("declared");
    let repository = &gitops.repository;
    assert_eq!(
        (repository.url.as_str(), repository.branch.as_str(), repository.path.as_str()),
        ("https://git.example.net/tazlab-k8s.git", "main", "clusters/blue")
    );
    assert_eq!(gitops.seed, SeedPart::ALL);
    let mut sha256 = [0; 32];
    sha256[31] = 0xab;
    assert_eq!(gitops.flux, Some(ManifestSource::Url { url: "https://example.net/install.yaml".into(), sha256 }));
    assert_eq!(
        gitops.external_secrets,
        Some(ManifestSource::Repository("infrastructure/external-secrets/components.yaml".into()))
    );
    assert_eq!(project.git_credentials.expect("declared").as_str(), "git");
    assert_eq!(
        project.secrets,
        Some(SecretsPlace::Infisical {
            url: "https://eu.infisical.com".into(),
            project: "castle".into(),
            environment: "prod".into(),
            path: "/castle/blue".into()
        })
    );
    assert_eq!(project.escrow.kubeconfig.expect("declared").as_str(), "KUBECONFIG_CONTENT");
    assert_eq!(project.escrow.talosconfig.expect("declared").as_str(), "TALOSCONFIG_CONTENT");
    let datasets: Vec<_> = project.datasets.iter().map(|data| (data.name.as_str(), data.what.as_str())).collect();
    assert_eq!(datasets, [("photos", "the family photos, 40 GiB")]);
    let kinds: Vec<_> = project.probes.into_iter().map(|probe| (probe.name, probe.kind)).collect();
    let service = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    assert_eq!(
        kinds,
        [
            (
                "blog".to_owned(),
                ProbeKind::Http {
                    host: "blog.example.net".into(),
                    path: "/".into(),
                    service: service("traefik", "traefik"),
                    expect: 200,
                    tls: ProbeTls::NameOnly,
                }
            ),
            ("mail".to_owned(), ProbeKind::Tcp { service: service("mail", "postfix"), port: 25 }),
            (
                "dns".to_owned(),
                ProbeKind::Condition {
                    api_version: "apps/v1".into(),
                    kind: "Deployment".into(),
                    namespace: "kube-system".into(),
                    name: "coredns".into(),
                    condition: "Available".into(),
                }
            ),
        ]
    );
    assert_eq!(project.deadlines.handover, Duration::from_secs(1200));
    assert_eq!(project.deadlines.apps, Duration::from_secs(90));
}

#[test]
fn what_is_not_declared_is_absent() {
    let project = read(EXAMPLE);
    assert_eq!((project.gitops, project.secrets, project.git_credentials), (None, None, None));
    assert_eq!((project.network.load_balancers, project.escrow), (None, Default::default()));
    assert!(project.datasets.is_empty() && project.probes.is_empty() && project.warnings.is_empty());
    assert_eq!(project.deadlines.handover, castle_core::handover::HANDOVER_DEADLINE);
    assert_eq!(project.deadlines.apps, castle_core::handover::APPS_DEADLINE);
}

#[test]
fn other_ways_to_say_it_are_read() {
    let pem = "\n        -----BEGIN CERTIFICATE-----\n        MIIB\n        -----END CERTIFICATE-----\n";
    let block = format!(
        "probes:\n  - name: blog\n    http:\n      host: blog.example.net\n      path: /health?deep=1\n      \
         service: traefik/traefik\n      expect: 301\n      authorities: |{pem}  - \
         {{name: plain, http: {{host: blog.example.net, service: traefik/traefik, tls: none}}}}\n  - \
         {{name: named, http: {{host: blog.example.net, service: traefik/traefik, tls: name-only}}}}\n  - \
         {{name: node, condition: {{apiVersion: v1, kind: Node, name: blue-cp-01, condition: Ready}}}}\n"
    );
    let text = changed(&[
        ("probes:\n", &block),
        ("192.168.1.240-192.168.1.247", "192.168.1.240/29"),
        (
            "{url: https://example.net/install.yaml, sha256: 00000000000000000000000000000000000000000000000000000000000000ab}",
            "{file: flux/install.yaml}",
        ),
        (
            "{infisical: {url: https://eu.infisical.com, project: castle, environment: prod, path: /castle/blue}}",
            "{files: ../secrets}",
        ),
        ("    credentials: {secret: git}\n", ""),
        ("name: blog, http", "name: other, http"),
    ]);
    let project = read(&text);
    let address = |text: &str| text.parse().expect("an address");
    assert_eq!(project.network.load_balancers, Some((address("192.168.1.240"), address("192.168.1.247"))));
    assert_eq!(project.gitops.expect("declared").flux, Some(ManifestSource::File("flux/install.yaml".into())));
    assert_eq!(project.secrets, Some(SecretsPlace::Files(PathBuf::from("../secrets"))));
    let tls: Vec<_> = project
        .probes
        .iter()
        .filter_map(|probe| match &probe.kind {
            ProbeKind::Http { tls, path, expect, .. } => {
                Some((probe.name.as_str(), tls.clone(), path.as_str(), *expect))
            }
            _ => None,
        })
        .collect();
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned();
    assert_eq!(
        tls[..3],
        [
            ("blog", ProbeTls::Authorities(pem), "/health?deep=1", 301),
            ("plain", ProbeTls::None, "/", 200),
            ("named", ProbeTls::NameOnly, "/", 200),
        ]
    );
    for (store, wanted) in [
        ("sops: {folder: sealed}", SecretsPlace::Sops("sealed".into())),
        ("environment: {prefix: CASTLE_}", SecretsPlace::Environment { prefix: "CASTLE_".into() }),
    ] {
        let project = read(&format!("{EXAMPLE}secrets: {{store: {{{store}}}}}\n"));
        assert_eq!(project.secrets, Some(wanted));
    }
}

#[test]
fn every_refusal_names_place_value_and_way_out() {
    for (what, changes, wanted) in REFUSALS {
        let told = Project::parse(&changed(changes), plain_image).expect_err(what);
        assert_eq!(&printed(&told), wanted, "{what}");
    }
}

#[test]
fn no_refusal_tells_what_stands_before_an_at_sign_or_behind_a_question_mark() {
    for url in [
        "https://bob:hunter2@git.example.net/x.git",
        "bob:hunter2@git.example.net:x.git",
        "ftp://bob:hunter2@git.example.net",
        "https://git.example.net/x.git?token=hunter2",
        "https://git.example.net/x.git#hunter2",
    ] {
        let text = changed(&[("https://git.example.net/tazlab-k8s.git", url)]);
        let told = printed(&Project::parse(&text, plain_image).expect_err(url));
        assert!(told.contains("gitops.repository.url") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn what_refuses_nothing_is_a_warning() {
    let no_range = (", load_balancers: 192.168.1.240-192.168.1.247", "");
    let warned = |text: &str| printed(&read(text).warnings);
    let from_gitops = warned(&changed(&[no_range]));
    assert_eq!(
        from_gitops,
        "16:3 no-load-balancers network.load_balancers: has no addresses, so a service of type LoadBalancer waits \
         for its own for ever => declare free addresses of the subnet: `load_balancers: 192.168.1.240-192.168.1.247`\n"
    );
    let probe = "probes:\n  - {name: node, condition: {apiVersion: v1, kind: Node, name: n, condition: Ready}}\n";
    let alone = warned(&format!("{EXAMPLE}{probe}")); // a condition needs no address
    assert_eq!(
        alone,
        "15:5 probes-without-gitops probes: are never asked, because nothing is handed over \
         => declare `gitops`, which brings the applications, or remove the probes\n"
    );
    let mail = "  - {name: mail, tcp: {service: mail/postfix, port: 25}}\n";
    let with_mail = warned(&format!("{EXAMPLE}{probe}{mail}"));
    assert!(with_mail.starts_with(&format!("{alone}16:5 no-load-balancers")), "{with_mail}");
    let window = [("v1.33.7", false), ("v1.34.0", true), ("v1.36.3", true), ("v1.37.0-rc.1", false)];
    for (kubernetes, inside) in window {
        // The one Talos that takes them all.
        let told = warned(&changed(&[("v1.36.3", kubernetes), ("v1.13.9", "v1.14.0")]));
        assert_eq!(told.is_empty(), inside, "{kubernetes}: {told}");
        let alone = EXAMPLE.replacen("v1.36.3", kubernetes, 1).replacen("v1.13.9", "v1.14.0", 1);
        assert_eq!(warned(&alone), "", "a cluster without Flux asks for no window");
    }
    assert_eq!(
        warned(&changed(&[("v1.36.3", "v1.33.7")])),
        "4:51 flux-window cluster.kubernetes: Flux 2.9 is made for Kubernetes 1.34 to 1.36, not for 1.33 \
         => choose such a Kubernetes, or a Flux that is made for this one\n"
    );
    let all = "[namespaces, external-secrets, machine-identity, git-credentials, flux]";
    assert_eq!(
        warned(&changed(&[(all, "[namespaces, flux]")])),
        "23:21 unused-source gitops.external_secrets: is not planted, because `external-secrets` is not in the seed \
         => add it to `seed`, or remove the source\n"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_document() {
    let text = changed(&[
        ("192.168.1.240-192.168.1.247", "192.168.1.211-192.168.1.212"),
        ("path: /castle/blue", "path: castle"),
        ("branch: main", "branch: '-'"),
        ("machine-identity, git", "git"),
        ("name: photos", "name: Photos"),
        ("port: 25", "port: 0"),
        ("apps: 90s", "apps: 90"),
    ]);
    let problems = Project::parse(&text, plain_image).expect_err("six things are wrong");
    let told: Vec<(&str, usize)> =
        problems.iter().map(|problem| (problem.code, problem.span.map_or(0, |span| span.line))).collect();
    assert_eq!(
        told,
        [
            ("address-overlap", 6),
            ("invalid-path", 14),
            ("invalid-branch", 18),
            ("invalid-name", 26),
            ("invalid-port", 29),
            ("invalid-duration", 31),
        ]
    );
}

#[test]
fn any_cut_and_any_changed_byte_is_read_or_refused_with_a_reason() {
    let replacements = ["", ":", "{", "]", "*", "&", "-", "/", "'", "\n"];
    let good = good();
    for at in (EXAMPLE.len()..good.len()).step_by(3) {
        let (before, after) = (&good[..at], &good[at + 1..]);
        for text in [before.to_owned(), format!("{before}{}{after}", replacements[at % replacements.len()])] {
            let told = Project::parse(&text, plain_image).err();
            assert!(told.is_none_or(|problems| problems.iter().any(Problem::is_error)), "{text}");
        }
    }
}

#[test]
fn a_document_that_is_wrong_a_thousand_times_is_told_the_first_of_them() {
    let all = "[namespaces, external-secrets, machine-identity, git-credentials, flux]";
    let many = format!("[{}]", "helm, ".repeat(2_000));
    let problems = Project::parse(&changed(&[(all, &many)]), plain_image).expect_err("nobody knows helm");
    assert_eq!(problems.len(), 501);
    assert_eq!(problems[500].to_string(), "the document: has 1500 more of them");
}
