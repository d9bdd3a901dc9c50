//! Kubeconfigs, read with an allow list.
//!
//! A kubeconfig can name commands to run, files to read, proxies to trust and
//! checks to leave out. Castle needs none of it: it reads the one form that it
//! mints itself, everything inline, and refuses the rest by the name of the key.
//! Nothing of the document is ever quoted.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castle_core::SecretText;
use castle_core::yaml::{self, Quoting};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Keys that are known and not followed, with the reason.
const REFUSED: [(&str, &str); 12] = [
    ("exec", "runs a command"),
    ("auth-provider", "runs a plugin"),
    ("proxy-url", "sends castle through a proxy"),
    ("insecure-skip-tls-verify", "switches the check of the server off"),
    ("tls-server-name", "checks the server by another name"),
    ("certificate-authority", "names a file"),
    ("client-certificate", "names a file"),
    ("client-key", "names a file"),
    ("token", "is a bearer token, which whoever answers could keep"),
    ("tokenFile", "names a file"),
    ("username", "is a password login"),
    ("password", "is a password login"),
];

/// The access that a kubeconfig gives.
pub(crate) struct Access {
    /// The server: `https://192.168.1.210:6443`.
    pub(crate) server: String,
    /// Who vouches for the server.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// The client's certificate.
    pub(crate) certificate: Vec<CertificateDer<'static>>,
    /// Its key.
    pub(crate) key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("server", &self.server).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedContext {
    name: String,
    context: ContextEntry,
}

#[derive(Deserialize)]
struct ContextEntry {
    cluster: String,
    user: String,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

impl Access {
    /// Reads the current context of a kubeconfig.
    ///
    /// # Errors
    ///
    /// Why it is not used, without any of its values.
    pub(crate) fn read(kubeconfig: &SecretText) -> Result<Self, String> {
        let document: Document =
            yaml::read(kubeconfig.expose(), "kubeconfig", Quoting::Never).map_err(|problem| match problem.span {
                Some(span) => format!("cannot be read at line {}: {}", span.line, problem.message),
                None => format!("cannot be read: {}", problem.message),
            })?;
        if document.api_version != "v1" || document.kind != "Config" {
            return Err("is not a `Config` of `v1`".into());
        }
        check_rest("", &document.rest, &["preferences"])?;
        // Every entry is checked, not only the one in use: the file is passed on to other tools too.
        for entry in &document.clusters {
            check_rest("clusters[].cluster.", &entry.cluster.rest, &[])?;
        }
        for entry in &document.contexts {
            check_rest("contexts[].context.", &entry.context.rest, &["namespace"])?;
        }
        for entry in &document.users {
            check_rest("users[].user.", &entry.user.rest, &[])?;
        }
        let missing = |what: &str| format!("has no {what} that its `current-context` names");
        let context = document
            .contexts
            .into_iter()
            .find(|entry| entry.name == document.current_context)
            .ok_or_else(|| missing("context"))?
            .context;
        let cluster = document
            .clusters
            .into_iter()
            .find(|entry| entry.name == context.cluster)
            .ok_or_else(|| missing("cluster"))?
            .cluster;
        let user =
            document.users.into_iter().find(|entry| entry.name == context.user).ok_or_else(|| missing("user"))?.user;
        let authorities = certificates("certificate-authority-data", cluster.certificate_authority_data)?;
        let certificate = certificates("client-certificate-data", user.client_certificate_data)?;
        let key = decoded("client-key-data", user.client_key_data)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| "holds no key in `client-key-data`".to_owned())?;
        Ok(Self { server: cluster.server, authorities, certificate, key })
    }
}

/// Refuses every key that is neither read nor harmless.
fn check_rest(place: &str, rest: &BTreeMap<String, IgnoredAny>, harmless: &[&str]) -> Result<(), String> {
    let Some(key) = rest.keys().find(|key| !harmless.contains(&key.as_str())) else { return Ok(()) };
    Err(match REFUSED.iter().find(|(refused, _)| refused == key) {
        Some((refused, why)) => format!("has `{place}{refused}`, which {why}"),
        // An unknown key may be a secret that slipped out of its place.
        None if place.is_empty() => "has a key that castle does not know at its top".to_owned(),
        None => format!("has a key in `{}` that castle does not know", place.trim_end_matches('.')),
    })
}

fn decoded(field: &str, data: Option<String>) -> Result<Vec<u8>, String> {
    let data = data.ok_or_else(|| format!("has no `{field}`; castle takes inline certificates only"))?;
    STANDARD.decode(data.trim()).map_err(|_| format!("has a `{field}` that is not base64"))
}

fn certificates(field: &str, data: Option<String>) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(&decoded(field, data)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| format!("has a `{field}` that is not PEM"))?;
    if found.is_empty() { Err(format!("holds no certificate in `{field}`")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use castle_core::Secret;

    use super::*;

    const CANARY: &str = "canary-4f1d";

    fn document(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: admin@blue\npreferences: {{}}\nclusters:\n- name: blue\n  \
             cluster:\n    server: https://192.168.1.210:6443\n{cluster}contexts:\n- name: admin@blue\n  context:\n    \
             cluster: blue\n    user: admin@blue\n    namespace: default\nusers:\n- name: admin@blue\n  user:\n{user}"
        )
    }

    fn check(cluster: &str, user: &str, expected: &str) {
        let text = document(cluster, user);
        let said = Access::read(&Secret::new(text.clone())).expect_err("it is refused");
        assert_eq!(said, expected, "{text}");
        assert!(!said.contains(CANARY), "{said}");
    }

    #[test]
    fn whatever_is_not_inline_is_refused_by_its_name() {
        let none = "    {}\n";
        for (key, why) in REFUSED.iter().take(5).chain([&("certificate-authority", "names a file")]) {
            if ["exec", "auth-provider"].contains(key) {
                continue;
            }
            check(&format!("    {key}: {CANARY}\n"), none, &format!("has `clusters[].cluster.{key}`, which {why}"));
        }
        check("", &format!("    exec:\n      command: {CANARY}\n"), "has `users[].user.exec`, which runs a command");
        for (key, why) in &REFUSED[6..] {
            check("", &format!("    {key}: {CANARY}\n"), &format!("has `users[].user.{key}`, which {why}"));
        }
        check("", &format!("    {CANARY}: {CANARY}\n"), "has a key in `users[].user` that castle does not know");
    }

    #[test]
    fn what_is_missing_or_broken_is_named_without_its_value() {
        check("", "    {}\n", "has no `certificate-authority-data`; castle takes inline certificates only");
        check(
            &format!("    certificate-authority-data: {CANARY}!\n"),
            "    {}\n",
            "has a `certificate-authority-data` that is not base64",
        );
        let encoded = STANDARD.encode(CANARY);
        check(
            &format!("    certificate-authority-data: {encoded}\n"),
            "    {}\n",
            "holds no certificate in `certificate-authority-data`",
        );
        let said = Access::read(&Secret::new(format!("{CANARY}: [\n"))).expect_err("no YAML");
        assert!(said.starts_with("cannot be read") && !said.contains(CANARY), "{said}");
    }
}
