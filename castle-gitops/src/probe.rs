//! Probes: whether an application serves.

use std::net::{IpAddr, SocketAddr};

use castle_core::handover::{Probe, ProbeKind, ProbeTls};
use castle_core::step::Verdict;
use castle_core::{Env, Options, Result};
use serde_json::Value;

use crate::https::{self, Client, Origin, Request, Trust};
use crate::kubernetes::object::{Kind, Kinds};
use crate::look::{Asker, Looks};
use crate::manifest::text;
use crate::readiness;

/// Who asks the lists.
const ASKER: Asker = "probe";
/// A page that shows that a site is served is small; more is not read.
const PAGE: usize = 4 << 20;

/// What a probe found, and whether only asking again can tell of a change.
pub(crate) struct Found {
    pub(crate) verdict: Verdict,
    pub(crate) is_to_be_asked_again: bool,
}

impl Found {
    fn watched(verdict: Verdict) -> Self {
        Self { verdict, is_to_be_asked_again: false }
    }

    fn asked(verdict: Verdict) -> Self {
        Self { is_to_be_asked_again: verdict != Verdict::Met, verdict }
    }
}

fn not_yet(why: String) -> Verdict {
    Verdict::NotYet(why.into())
}

/// Asks a probe.
pub(crate) async fn ask(looks: &Looks, options: &Options, env: &Env, probe: &Probe) -> Result<Found> {
    match &probe.kind {
        ProbeKind::Http { host, path, service, expect, tls } => {
            let address = match address(looks, service).await? {
                Ok(address) => address,
                Err(why) => return Ok(Found::watched(not_yet(why))),
            };
            let port = if *tls == ProbeTls::None { 80 } else { 443 };
            let trust = match tls {
                ProbeTls::Authorities(pem) => Trust::Authorities(pem.clone()),
                // Without TLS nobody's certificate is asked for.
                ProbeTls::NameOnly | ProbeTls::None => Trust::NameOnly,
            };
            let origin = Origin::new(*tls != ProbeTls::None, host, port)?;
            let client = Client::at(options, env, &origin, SocketAddr::new(address, port), &trust)?;
            let verdict = match client.send(Request::get(path.as_str()).cap(PAGE)).await {
                Ok(answer) if answer.status == *expect => Verdict::Met,
                Ok(answer) => not_yet(format!("{origin}{path} answers with {}, {expect} is wanted", answer.status)),
                Err(error) => not_yet(castle_core::Error::from(error).chain()),
            };
            Ok(Found::asked(verdict))
        }
        ProbeKind::Tcp { service, port } => {
            let address = match address(looks, service).await? {
                Ok(address) => address,
                Err(why) => return Ok(Found::watched(not_yet(why))),
            };
            let verdict = match https::connects(options, env, SocketAddr::new(address, *port)).await {
                Ok(()) => Verdict::Met,
                Err(error) => not_yet(castle_core::Error::from(error).chain()),
            };
            Ok(Found::asked(verdict))
        }
        ProbeKind::Condition { api_version, kind, namespace, name, condition } => {
            let wanted = Wanted { api_version, kind, namespace, name, condition };
            // Objects of any kind are not watched.
            Ok(Found::asked(wanted.ask(looks).await?))
        }
        _ => Ok(Found::watched(Verdict::Never("this engine does not know how to ask it".into()))),
    }
}

/// The address that a load balancer has given to a service, or why there is none.
async fn address(looks: &Looks, (namespace, name): &(String, String)) -> Result<Result<IpAddr, String>> {
    let services = looks.all(&Kind::SERVICE, ASKER).await?;
    let is_it =
        |object: &&Value| text(object, "/metadata/namespace") == namespace && text(object, "/metadata/name") == name;
    let Some(service) = services.iter().find(is_it) else {
        return Ok(Err(format!("the service {namespace}/{name} does not exist")));
    };
    let given = text(service, "/status/loadBalancer/ingress/0/ip");
    Ok(match given.parse() {
        Ok(address) => Ok(address),
        Err(_) if given.is_empty() => Err(format!("the service {namespace}/{name} has no address yet")),
        Err(_) => Err(format!("the service {namespace}/{name} has `{given}` for an address")),
    })
}

struct Wanted<'a> {
    api_version: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    condition: &'a str,
}

impl Wanted<'_> {
    async fn ask(&self, looks: &Looks) -> Result<Verdict> {
        let Self { api_version, kind, namespace, name, condition } = self;
        let known = match Kinds::with_definitions(&[]).get(api_version, kind) {
            Some(known) => Some(known),
            None => looks.api.find_kind(api_version, kind).await?,
        };
        let Some(known) = known else {
            return Ok(not_yet(format!("{kind} of {api_version} is not served")));
        };
        let Some(object) = looks.api.get(&known, namespace, name).await? else {
            return Ok(not_yet(format!("{kind} {namespace}/{name} does not exist")));
        };
        Ok(match readiness::condition(&object, condition) {
            Some(found) if found["status"] == "True" => Verdict::Met,
            Some(found) => not_yet(format!("{kind} {namespace}/{name} is not {condition}: {}", readiness::said(found))),
            None => not_yet(format!("{kind} {namespace}/{name} has no condition {condition}")),
        })
    }
}
