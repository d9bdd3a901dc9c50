//! The administrator's talosconfig, minted offline.

use std::collections::BTreeMap;

use castle_core::node::NodeSite;
use castle_core::yaml::{self, Quoting};
use castle_core::{Env, Name, NodeRole, Result, Secret, SecretText};
use serde::{Deserialize, Serialize};

use crate::client_certificate::{self, ClientCertificate, Subject, encoded};

#[derive(Serialize, Deserialize)]
struct Talosconfig {
    context: String,
    contexts: BTreeMap<String, Context>,
}

// No `nodes`: a command that names none is refused by talosctl, where a list of
// all would let `talosctl reset` mean every machine.
#[derive(Serialize, Deserialize)]
struct Context {
    endpoints: Vec<String>,
    ca: String,
    crt: String,
    key: String,
}

/// An administrator's talosconfig: one context named like the cluster, valid for a
/// year from the clock's wall time. Its endpoints are the control planes, never
/// the VIP, which is not there when it is needed most. `kept`, what the store
/// holds, is returned unchanged while its authority and endpoints are this
/// cluster's and its certificate has 30 days left.
///
/// # Errors
///
/// [`castle_core::ErrorKind::InvalidSpec`] if the bundle cannot be used.
pub fn mint(env: &Env, site: &NodeSite, kept: Option<&SecretText>) -> Result<SecretText> {
    let bundle = client_certificate::bundle(site)?;
    let name = site.project.cluster.name.to_string();
    let ca = encoded(&bundle.os.certificate);
    let endpoints: Vec<String> =
        site.project.with_role(NodeRole::ControlPlane).map(|spec| spec.nic.address.to_string()).collect();
    if let Some(kept) = kept
        && let Ok(read) = yaml::read::<Talosconfig>(kept.expose(), "talosconfig", Quoting::Never)
        && let Some(context) = read.contexts.get(&name)
        && read.context == name
        && context.ca == ca
        && context.endpoints == endpoints
        && client_certificate::serves_on(env, &bundle.os, &context.crt)
    {
        return Ok(kept.clone());
    }
    let own = ClientCertificate::ed25519(env, &bundle.os, &Subject::OS_ADMIN)?;
    let context = Context { endpoints, ca, crt: encoded(&own.certificate), key: encoded(own.key.expose()) };
    let document = Talosconfig { context: name.clone(), contexts: BTreeMap::from([(name, context)]) };
    let options = serde_saphyr::ser_options! { indent_step: 4, prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&document, options).expect("texts in structs are YAML");
    Ok(Secret::new(text))
}

/// Whether a text is a talosconfig of this cluster as [`mint`] writes it, of whatever
/// life.
#[must_use]
pub fn is_of(cluster: &Name, text: &SecretText) -> bool {
    let Ok(read) = yaml::read::<Talosconfig>(text.expose(), "talosconfig", Quoting::Never) else { return false };
    read.context == cluster.as_str() && read.contexts.len() == 1 && read.contexts.contains_key(cluster.as_str())
}
