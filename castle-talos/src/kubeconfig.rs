//! The administrator's kubeconfig, minted offline.

use castle_core::node::NodeSite;
use castle_core::yaml::{self, Quoting};
use castle_core::{Env, Error, ErrorKind, Name, Result, Secret, SecretText};
use serde::{Deserialize, Serialize};

use crate::client_certificate::{self, ClientCertificate, Subject, encoded};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
    current_context: String,
}

#[derive(Serialize, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Serialize, Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

#[derive(Serialize, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Serialize, Deserialize)]
struct Context {
    cluster: String,
    namespace: String,
    user: String,
}

/// An administrator's kubeconfig, in the form of `talosctl kubeconfig`: valid for
/// a year from the clock's wall time. `kept`, what the store holds, is returned
/// unchanged while its authority and server are this cluster's and its
/// certificate has 30 days left: else every run would write another.
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if the bundle cannot be used.
pub fn mint(env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
    let bundle = client_certificate::bundle(site)?;
    let server = server(site)?;
    let authority = encoded(&bundle.kubernetes.certificate);
    let cluster_name = site.project.cluster.name.to_string();
    let admin = format!("admin@{cluster_name}");
    if let Some(kept) = kept
        && let Ok(read) = yaml::read::<Kubeconfig>(kept.expose(), "kubeconfig", Quoting::Never)
        && let ([cluster], [user]) = (&read.clusters[..], &read.users[..])
        && read.current_context == admin
        && cluster.cluster.server == server
        && cluster.cluster.certificate_authority_data == authority
        && client_certificate::serves_on(env, &bundle.kubernetes, &user.user.client_certificate_data)
    {
        return Ok(kept.clone());
    }
    let own = ClientCertificate::ecdsa(env, &bundle.kubernetes, &Subject::KUBERNETES_ADMIN)?;
    let document = Kubeconfig {
        api_version: "v1".to_owned(),
        kind: "Config".to_owned(),
        clusters: vec![NamedCluster {
            name: cluster_name.clone(),
            cluster: Cluster { server, certificate_authority_data: authority },
        }],
        users: vec![NamedUser {
            name: admin.clone(),
            user: User {
                client_certificate_data: encoded(&own.certificate),
                client_key_data: encoded(own.key.expose()),
            },
        }],
        contexts: vec![NamedContext {
            name: admin.clone(),
            context: Context { cluster: cluster_name, namespace: "default".to_owned(), user: admin.clone() },
        }],
        current_context: admin,
    };
    let options = serde_saphyr::ser_options! { indent_step: 2, prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&document, options).expect("texts in structs are YAML");
    Ok(Secret::new(text))
}

/// Whether a text is a kubeconfig of this cluster as [`mint`] writes it, of whatever
/// life.
#[must_use]
pub fn is_of(cluster: &Name, text: &SecretText) -> bool {
    let Ok(read) = yaml::read::<Kubeconfig>(text.expose(), "kubeconfig", Quoting::Never) else { return false };
    matches!((&read.clusters[..], &read.users[..]), ([only], [_]) if only.name == cluster.as_str())
        && read.current_context == format!("admin@{cluster}")
}

/// Where the Kubernetes API is asked for: `https://192.168.1.210:6443`.
pub(crate) fn server(site: &NodeSite) -> Result<String> {
    match site.endpoint() {
        Some(std::net::IpAddr::V4(address)) => Ok(format!("https://{address}:6443")),
        Some(std::net::IpAddr::V6(address)) => Ok(format!("https://[{address}]:6443")),
        None => Err(Error::new(ErrorKind::InvalidSpec, "a cluster without control planes has no endpoint")),
    }
}
