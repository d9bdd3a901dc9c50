//! The GitOps repository that the lab's clusters follow: the tree
//! `examples/gitops-template`, filled in for one project.

use std::collections::BTreeMap;

use castle_core::Project;

/// The slug of the vault's project that the template's store reads.
pub const VAULT_PROJECT: &str = "castle";
/// The slug of the environment that it reads.
pub const VAULT_ENVIRONMENT: &str = "prod";
/// The Secret by which external-secrets reads the vault, in the namespace
/// `external-secrets`, with the keys `clientId` and `clientSecret`.
pub const IDENTITY_SECRET: &str = "infisical-identity";
/// The branch where the project names none.
const BRANCH: &str = "main";
/// The repository where the project names none.
const REPOSITORY: &str = "https://git.castle.internal/tazlab-k8s.git";
/// The folder that stands for the cluster's own.
const CLUSTER: &str = "clusters/CLUSTER/";
/// What the applications' certificate and its key are called in the vault.
const VAULT_NAMES: [&str; 2] = ["BLOG_TLS_CRT", "BLOG_TLS_KEY"];

macro_rules! tree {
    ($($path:literal),* $(,)?) => {
        /// The files of the template, as they stand in the source tree.
        const TREE: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../../../examples/gitops-template/", $path)))),*];
    };
}

tree![
    "README.md",
    "apps/blog/blog.yaml",
    "apps/blog/certificate.yaml",
    "apps/blog/index.html",
    "apps/blog/kustomization.yaml",
    "apps/blog/namespace.yaml",
    "clusters/CLUSTER/apps.yaml",
    "clusters/CLUSTER/cluster-vars.yaml",
    "clusters/CLUSTER/flux-system/gotk-components.yaml",
    "clusters/CLUSTER/flux-system/gotk-sync.yaml",
    "clusters/CLUSTER/flux-system/kustomization.yaml",
    "clusters/CLUSTER/infrastructure.yaml",
    "infrastructure/external-secrets/components.yaml",
    "infrastructure/external-secrets/kustomization.yaml",
    "infrastructure/external-secrets/store/cluster-secret-store.yaml",
    "infrastructure/ingress/traefik.yaml",
    "infrastructure/metallb/controller/metallb.yaml",
    "infrastructure/metallb/pools/pools.yaml",
];

/// The repository of a project's cluster: path to content.
///
/// Only the cluster's own folder differs from project to project; everything else
/// names its values as variables that Flux fills in.
#[must_use]
pub fn template(project: &Project) -> BTreeMap<String, Vec<u8>> {
    let home = format!("{}/", cluster_path(project));
    let values = values(project);
    TREE.iter()
        .map(|(path, text)| match path.strip_prefix(CLUSTER) {
            Some(rest) => (format!("{home}{rest}"), fill(text, &values).into_bytes()),
            None => ((*path).to_owned(), text.as_bytes().to_vec()),
        })
        .collect()
}

/// The template with a chain of so many further Kustomizations, each of one
/// `ConfigMap` and each waiting for the one before: what a long graph costs.
#[must_use]
pub fn template_with_chain(project: &Project, links: usize) -> BTreeMap<String, Vec<u8>> {
    let mut files = template(project);
    let mut graph = String::new();
    for link in 1..=links {
        let dependency = match link {
            1 => String::new(),
            _ => format!("  dependsOn:\n    - name: link-{}\n", link - 1),
        };
        graph.push_str(&format!(
            "---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: link-{link}\n  \
             namespace: flux-system\nspec:\n  interval: 10m\n  retryInterval: 2m\n  path: ./chain/link-{link}\n  \
             prune: true\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{dependency}"
        ));
        let content = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: link-{link}\n  namespace: default\ndata:\n  link: \
             \"{link}\"\n"
        );
        files.insert(format!("chain/link-{link}/link.yaml"), content.into_bytes());
    }
    if links > 0 {
        files.insert(format!("{}/chain.yaml", cluster_path(project)), graph.into_bytes());
    }
    files
}

/// The folder of the vault that the template's store reads.
#[must_use]
pub fn vault_path(project: &Project) -> String {
    format!("/castle/{}/{}", project.project, project.platform)
}

/// The names under which the vault holds what the template's external secrets ask
/// for, in [`vault_path`]: the blog's certificate, then its key (PEM).
#[must_use]
pub fn vault_names() -> [&'static str; 2] {
    VAULT_NAMES
}

/// The host name under which the template's blog serves.
#[must_use]
pub fn blog_host(project: &Project) -> String {
    format!("blog.{}.castle.internal", project.cluster.name)
}

fn cluster_path(project: &Project) -> String {
    match &project.gitops {
        Some(gitops) => gitops.repository.path.clone(),
        None => format!("clusters/{}", project.cluster.name),
    }
}

fn values(project: &Project) -> Vec<(&'static str, String)> {
    let repository = project.gitops.as_ref().map(|gitops| &gitops.repository);
    let addresses = match project.network.load_balancers {
        Some((first, last)) => format!("{first}-{last}"),
        // An address that no network routes: MetalLB takes it, and no service of this
        // house is ever announced.
        None => "192.0.2.0/32".to_owned(),
    };
    vec![
        ("repository_url", repository.map_or_else(|| REPOSITORY.to_owned(), |repository| repository.url.clone())),
        ("branch", repository.map_or_else(|| BRANCH.to_owned(), |repository| repository.branch.clone())),
        ("cluster_path", cluster_path(project)),
        ("cluster_name", project.cluster.name.to_string()),
        ("load_balancer_addresses", addresses),
        ("vault_project", VAULT_PROJECT.to_owned()),
        ("vault_environment", VAULT_ENVIRONMENT.to_owned()),
        ("vault_path", vault_path(project)),
    ]
}

fn fill(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}
