//! The gate: whether the webhooks of a cluster truly answer.
//!
//! A ready pod behind a ready endpoint proves nothing: MetalLB's readiness is a
//! bare ping, and its webhooks are registered later. Only an object that is sent
//! through a webhook in a dry run proves that it answers.

mod sample;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use castle_core::handover::{Health, Webhook};
use serde_json::Value;

use crate::kubernetes::object::Kind;
use crate::kubernetes::{Error, KubeApi, Result};
use crate::look::{Asker, Looks};
use crate::manifest::text;

/// The field manager of dry runs.
const PROBE: &str = "castle-probe";

/// A webhook as declared.
#[derive(Debug, Clone)]
struct Declared {
    configuration: String,
    name: String,
    service: (String, String),
    port: i64,
    gates: bool,
    has_bundle: bool,
    /// The object that reaches it, if castle knows one.
    sample: Option<(Kind, Value)>,
    /// What a proof depends on.
    bundle: String,
}

impl Declared {
    fn read(configuration: &Value, webhook: &Value) -> Option<Self> {
        // A webhook outside the cluster has no service to look at.
        let service = webhook["clientConfig"]["service"].as_object()?;
        let part = |key: &str| service.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let bundle = text(webhook, "/clientConfig/caBundle");
        Some(Self {
            configuration: text(configuration, "/metadata/name").to_owned(),
            name: text(webhook, "/name").to_owned(),
            service: (part("namespace"), part("name")),
            port: service.get("port").and_then(Value::as_i64).unwrap_or(443),
            gates: text(webhook, "/failurePolicy") != "Ignore",
            has_bundle: !bundle.is_empty(),
            sample: sample::reaching(webhook, &part("namespace")),
            bundle: bundle.to_owned(),
        })
    }
}

/// The gate of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// What a webhook stood on when it was seen answering, by configuration and
    /// name. As long as that is the same it is not asked again.
    proved: Mutex<BTreeMap<(String, String), String>>,
}

/// What the gate found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gates {
    pub(crate) webhooks: Vec<Webhook>,
    /// Whether one of them lacks nothing that a watch could tell.
    pub(crate) is_to_be_asked_again: bool,
}

impl Gate {
    /// How the webhooks fare.
    pub(crate) async fn look(&self, looks: &Looks, asker: Asker) -> Result<Gates> {
        let mut declared = Vec::new();
        for kind in [Kind::VALIDATING, Kind::MUTATING] {
            for configuration in looks.all(&kind, asker).await?.iter() {
                let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
                declared.extend(webhooks.filter_map(|webhook| Declared::read(configuration, webhook)));
            }
        }
        let mut gates = Gates::default();
        if declared.is_empty() {
            return Ok(gates);
        }
        let services = looks.all(&Kind::SERVICE, asker).await?;
        let slices = looks.all(&Kind::ENDPOINT_SLICE, asker).await?;
        for declared in declared {
            let health = match standing(&declared, &services, &slices) {
                Err(why) => Health::Waiting(why),
                Ok(_) if !declared.gates => Health::Ready,
                Ok(ground) => {
                    let health = self.ask(&looks.api, &declared, &ground).await?;
                    gates.is_to_be_asked_again |= !health.is_ready();
                    health
                }
            };
            gates.webhooks.push(Webhook {
                name: declared.name,
                service: declared.service,
                gates: declared.gates,
                health,
            });
        }
        Ok(gates)
    }

    async fn ask(&self, api: &KubeApi, declared: &Declared, ground: &str) -> Result<Health> {
        let key = (declared.configuration.clone(), declared.name.clone());
        let is_proved = |gate: &Self| {
            let proved = gate.proved.lock().unwrap_or_else(PoisonError::into_inner);
            proved.get(&key).is_some_and(|proof| proof == ground)
        };
        let Some((kind, object)) = &declared.sample else { return Ok(Health::Ready) };
        if is_proved(self) {
            return Ok(Health::Ready);
        }
        let answer = api.create_dry(kind, object, PROBE).await.map(drop);
        let Said::Serving = meaning(answer, &declared.name)? else {
            return Ok(Health::Waiting(format!("no answer to a dry run of {}", kind.kind)));
        };
        self.proved.lock().unwrap_or_else(PoisonError::into_inner).insert(key, ground.to_owned());
        Ok(Health::Ready)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// The webhook answered, or the question cannot be asked here.
    Serving,
    NotServing,
}

/// What the answer to a dry run tells of a webhook.
fn meaning(answer: Result<()>, webhook: &str) -> Result<Said> {
    match answer {
        Ok(()) => Ok(Said::Serving),
        Err(Error::Refused { status: 429 | 502..=504, .. }) => Ok(Said::NotServing),
        Err(Error::Refused { status: 500, said, .. }) if said.contains("failed calling webhook") => {
            tracing::debug!(webhook, said, "a webhook does not answer");
            Ok(Said::NotServing)
        }
        Err(Error::Refused { status: 500.., .. }) => Ok(Said::NotServing),
        // It denied, or what was sent is not to its taste: both are answers. Or the
        // server does not ask it in a dry run; then its endpoint has to do.
        Err(Error::Refused { .. }) => Ok(Said::Serving),
        Err(error) => Err(error),
    }
}

/// What a webhook stands on: service, endpoints, certificate. The error is what is
/// missing.
fn standing(declared: &Declared, services: &[Value], slices: &[Value]) -> Result<String, String> {
    let (namespace, name) = &declared.service;
    let is_it =
        |object: &&Value| text(object, "/metadata/namespace") == namespace && text(object, "/metadata/name") == name;
    let Some(service) = services.iter().find(is_it) else {
        return Err(format!("its service {namespace}/{name} does not exist"));
    };
    let ports = || service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(port) = ports().find(|port| port["port"].as_i64() == Some(declared.port)) else {
        return Err(format!("its service {namespace}/{name} has no port {}", declared.port));
    };
    let mut ready = Vec::new();
    for slice in slices {
        let is_of_service = text(slice, "/metadata/namespace") == namespace
            && slice["metadata"]["labels"]["kubernetes.io/service-name"] == name.as_str();
        // A slice names the service's port, not its number.
        let has_port = || {
            let mut ports = slice["ports"].as_array().into_iter().flatten();
            ports.any(|found| text(found, "/name") == text(port, "/name"))
        };
        if !is_of_service || !has_port() {
            continue;
        }
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            // A missing condition means unknown, which counts as ready.
            if endpoint["conditions"]["ready"] != false {
                let addresses = endpoint["addresses"].as_array().into_iter().flatten();
                ready.extend(addresses.filter_map(Value::as_str));
            }
        }
    }
    if ready.is_empty() {
        return Err(format!("its service {namespace}/{name} has no ready endpoint"));
    }
    if !declared.has_bundle {
        return Err("its configuration names no authority yet".to_owned());
    }
    ready.sort_unstable();
    Ok(format!("{} {}", ready.join(","), declared.bundle))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared(change: impl FnOnce(&mut Value)) -> Declared {
        let mut webhook = json!({
            "name": "pools.metallb.io", "failurePolicy": "Fail",
            "clientConfig": {"caBundle": "QQ==", "service": {"namespace": "metallb-system", "name": "hook", "path": "/x"}},
            "rules": [{"apiGroups": ["metallb.io"], "apiVersions": ["v1beta1"], "resources": ["ipaddresspools"], "operations": ["CREATE"]}],
        });
        change(&mut webhook);
        Declared::read(&json!({"metadata": {"name": "metallb"}}), &webhook).expect("a webhook with a service")
    }

    fn service() -> Value {
        json!({"metadata": {"namespace": "metallb-system", "name": "hook"}, "spec": {"ports": [{"port": 443, "name": "https"}]}})
    }

    fn slice(ready: Value) -> Value {
        json!({
            "metadata": {"namespace": "metallb-system", "labels": {"kubernetes.io/service-name": "hook"}},
            "ports": [{"name": "https", "port": 9443}],
            "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": ready}}],
        })
    }

    #[test]
    fn what_a_webhook_lacks_is_named() {
        let check = |declared: Declared, services: &[Value], slices: &[Value], expected: Result<&str, &str>| {
            let found = standing(&declared, services, slices);
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        };
        let whole = || declared(|_| {});
        check(whole(), &[], &[], Err("its service metallb-system/hook does not exist"));
        check(whole(), &[service()], &[], Err("its service metallb-system/hook has no ready endpoint"));
        check(
            whole(),
            &[service()],
            &[slice(json!(false))],
            Err("its service metallb-system/hook has no ready endpoint"),
        );
        check(whole(), &[service()], &[slice(Value::Null)], Ok("10.244.0.9 QQ=="));
        let other_port = declared(|webhook| webhook["clientConfig"]["service"]["port"] = json!(8443));
        check(other_port, &[service()], &[slice(json!(true))], Err("its service metallb-system/hook has no port 8443"));
        let bare = declared(|webhook| webhook["clientConfig"]["caBundle"] = Value::Null);
        check(bare, &[service()], &[slice(json!(true))], Err("its configuration names no authority yet"));
    }

    #[test]
    fn a_denial_is_an_answer_and_a_failed_call_is_none() {
        let check = |status: u16, said: &str, expected: Said| {
            let refused = Error::Refused {
                request: "POST".into(),
                status,
                reason: String::new(),
                said: said.to_owned(),
                causes: Vec::new(),
            };
            assert_eq!(meaning(Err(refused), "a").expect("an answer"), expected, "{status} {said}");
        };
        assert_eq!(meaning(Ok(()), "a").expect("an answer"), Said::Serving);
        check(403, "admission webhook \"a\" denied the request: no", Said::Serving);
        check(422, "is invalid", Said::Serving);
        check(400, "does not support dry run", Said::Serving);
        check(409, "already exists", Said::Serving);
        check(404, "the server could not find the requested resource", Said::Serving);
        check(500, "Internal error occurred: failed calling webhook \"a\": connection refused", Said::NotServing);
        check(503, "busy", Said::NotServing);
    }

    #[test]
    fn only_what_may_refuse_a_write_gates() {
        assert!(declared(|webhook| webhook["failurePolicy"] = Value::Null).gates);
        assert!(!declared(|webhook| webhook["failurePolicy"] = json!("Ignore")).gates);
        let outside = json!({"name": "a", "clientConfig": {"url": "https://elsewhere"}});
        assert!(Declared::read(&json!({}), &outside).is_none());
    }
}
