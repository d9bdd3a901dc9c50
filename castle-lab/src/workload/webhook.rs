//! Webhooks: what truly stands behind their services.
//!
//! A ready pod and a ready slice do not say that a webhook answers. MetalLB's
//! starts to listen some seconds after its pod is ready, when its certificate has
//! been made and handed out: the certificate stands in the configuration a moment
//! before anybody listens. Until then connections are refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{fields, metallb, pod, startup};
use crate::kube::{Backend, Resource};
use crate::world::World;

/// How long before its first answer a webhook's certificate is handed out.
/// Estimate.
const HANDED_OUT: Duration = Duration::from_millis(500);

/// Namespace and name of a service.
type Front = (String, String);

fn fronts(configuration: &Value) -> impl Iterator<Item = Front> + '_ {
    fields::list(configuration, &["webhooks"]).iter().filter_map(|webhook| {
        let service = |key: &str| fields::text(webhook, &["clientConfig", "service", key]).to_owned();
        Some((service("namespace"), service("name"))).filter(|(_, name)| !name.is_empty())
    })
}

/// Judges nothing: what is behind the service is not modelled, only that it
/// answers.
fn accept(_: &Value) -> Result<(), String> {
    Ok(())
}

impl World {
    /// Lets webhooks begin and cease to answer, and hands out their certificates.
    pub(super) fn control_webhooks(&mut self, wakes: &mut BTreeSet<Duration>) {
        let kinds = [Resource::VALIDATING_WEBHOOKS, Resource::MUTATING_WEBHOOKS];
        let configurations: Vec<Arc<Value>> = kinds.iter().flat_map(|kind| self.all(kind)).collect();
        let named: BTreeSet<Front> = configurations.iter().flat_map(|configuration| fronts(configuration)).collect();
        let former: Vec<Front> =
            self.workloads.webhooks.keys().filter(|front| !named.contains(*front)).cloned().collect();
        for (namespace, service) in former {
            self.forget_webhook(&namespace, &service);
        }
        let now = self.now();
        let mut certified = BTreeSet::new();
        for front in named {
            let (namespace, service) = &front;
            let Some((answers_at, is_ready)) = self.webhook_times(namespace, service) else {
                self.forget_webhook(namespace, service);
                continue;
            };
            let handed_out_at = answers_at.saturating_sub(HANDED_OUT);
            for due in [handed_out_at, answers_at] {
                if due > now {
                    wakes.insert(due);
                }
            }
            if now >= handed_out_at {
                certified.insert(front.clone());
            }
            if !is_ready {
                self.forget_webhook(namespace, service);
                continue;
            }
            let judge = if service == startup::METALLB_WEBHOOK_SERVICE { metallb::judge } else { accept };
            if now >= answers_at {
                if self.workloads.webhooks.insert(front.clone(), Some(answers_at)).flatten().is_none() {
                    self.log(format!("the webhook behind {namespace}/{service} answers"));
                }
                self.kubernetes.set_webhook_backend(namespace.as_str(), service.as_str(), Backend::Answers(judge));
            } else {
                self.kubernetes.set_webhook_backend(namespace.as_str(), service.as_str(), Backend::Refuses);
                self.workloads.webhooks.insert(front, None);
            }
        }
        for configuration in configurations {
            self.hand_out(&configuration, &certified);
        }
    }

    /// From when the webhook behind a service answers, by its earliest pod, and
    /// whether a pod is ready. `None` if no pod of it runs.
    fn webhook_times(&self, namespace: &str, service: &str) -> Option<(Duration, bool)> {
        let object = self.kubernetes.get(&Resource::SERVICES, namespace, service).ok()?;
        let behind = self.running_behind(namespace, &object["spec"]["selector"]);
        let key = (namespace.to_owned(), service.to_owned());
        let late = startup::webhook_lateness(self.draws(), namespace, service)
            + self.workloads.late_webhooks.get(&key).copied().unwrap_or(Duration::ZERO);
        let answers = behind
            .iter()
            .filter_map(|(_, process)| Some((self.running_at(process)? + late).max(self.ready_at(process)?)));
        let answers_at = answers.min()?;
        Some((answers_at, behind.iter().any(|(pod, _)| pod::is_ready(pod))))
    }

    /// Writes the authority of webhooks into their configuration where it is
    /// missing.
    fn hand_out(&mut self, configuration: &Arc<Value>, certified: &BTreeSet<Front>) {
        let mut written = Value::clone(configuration);
        for webhook in written.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            let service = |key: &str| fields::text(webhook, &["clientConfig", "service", key]).to_owned();
            let front = (service("namespace"), service("name"));
            if certified.contains(&front) && fields::text(webhook, &["clientConfig", "caBundle"]).is_empty() {
                let bundle = self.authority_of(&front);
                webhook["clientConfig"]["caBundle"] = json!(bundle);
            }
        }
        if written != **configuration {
            self.wish(written);
        }
    }

    /// An authority's text. Nobody in the lab verifies with it, and a drawn one is
    /// the same in each run of a seed, which a real one would not be.
    fn authority_of(&self, (namespace, service): &Front) -> String {
        let entity = format!("{namespace}/{service}");
        let byte = |nth: u64| (self.draws().unit(&entity, "authority", nth) * 256.0) as u8;
        let body = STANDARD.encode((0..48).map(byte).collect::<Vec<u8>>());
        STANDARD.encode(format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"))
    }

    /// Nothing stands behind that service any more.
    pub(super) fn forget_webhook(&mut self, namespace: &str, service: &str) {
        self.workloads.webhooks.remove(&(namespace.to_owned(), service.to_owned()));
        self.kubernetes.remove_webhook_backend(namespace, service);
    }
}
