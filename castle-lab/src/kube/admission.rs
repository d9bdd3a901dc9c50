//! Webhooks that are asked before a write.

use std::fmt;

use serde_json::{Value, json};

use super::hand::Hand;
use super::kind::{Kind, Resource};
use super::object;
use super::refusal::Refusal;
use super::selector::LabelSelector;
use super::store::Store;

/// What a webhook thinks of an object: nothing, or why it must not be written.
pub type Judge = fn(&Value) -> Result<(), String>;

/// What stands behind the service of a webhook. A service that the store was told
/// nothing about has no endpoints.
#[derive(Clone, Copy)]
pub enum Backend {
    /// A pod that does not listen on the webhook's port yet: the connection is refused.
    Refuses,
    /// A network that swallows packets: nobody answers in time. The refusal comes at
    /// once here, for no time passes inside a request of the lab.
    TimesOut,
    /// A webhook that judges the object (of a deletion: the one that shall go);
    /// an error is its reason to deny the write.
    Answers(Judge),
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuses => "Refuses",
            Self::TimesOut => "TimesOut",
            Self::Answers(_) => "Answers",
        })
    }
}

/// What a write is to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

impl Store {
    /// Tells what stands behind a service that webhooks point to.
    pub fn set_webhook_backend(&mut self, namespace: impl Into<String>, service: impl Into<String>, backend: Backend) {
        self.backends.insert((namespace.into(), service.into()), backend);
    }

    /// Nothing stands behind that service any more: it has no endpoints.
    pub fn remove_webhook_backend(&mut self, namespace: &str, service: &str) {
        self.backends.remove(&(namespace.to_owned(), service.to_owned()));
    }

    /// Asks every webhook that wants to know of a write.
    ///
    /// # Errors
    ///
    /// 403 if one of them denies it, 500 if one cannot be asked and its failure
    /// counts, 400 if a dry run meets a webhook with side effects.
    pub(super) fn admit(
        &self,
        kind: &Kind,
        operation: Operation,
        object: &Value,
        status: bool,
        hand: &Hand,
    ) -> Result<(), Refusal> {
        // Webhooks are not asked about webhooks, or a broken one could not be mended.
        if kind.resource.group == Resource::VALIDATING_WEBHOOKS.group {
            return Ok(());
        }
        for configurations in [Resource::MUTATING_WEBHOOKS, Resource::VALIDATING_WEBHOOKS] {
            for configuration in self.objects.get(&configurations).into_iter().flat_map(|all| all.values()) {
                for webhook in configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten() {
                    if self.wants(webhook, kind, operation, object, status) {
                        self.ask(webhook, object, hand)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a webhook's rules and selectors name a write.
    fn wants(&self, webhook: &Value, kind: &Kind, operation: Operation, object: &Value, status: bool) -> bool {
        let resource = &kind.resource;
        let has = |rule: &Value, list: &str, wanted: &[&str]| {
            let names = rule.get(list).and_then(Value::as_array);
            names.into_iter().flatten().filter_map(Value::as_str).any(|name| wanted.contains(&name))
        };
        let attribute = if status { format!("{}/status", resource.plural) } else { resource.plural.to_string() };
        let anything = if status { "*/status" } else { "*" };
        let by_rule = |rule: &Value| {
            let versions: Vec<&str> =
                kind.versions.iter().map(|version| version.as_ref()).chain(std::iter::once("*")).collect();
            let scope = match object::text(rule, &["scope"]) {
                "" | "*" => true,
                "Namespaced" => kind.namespaced,
                _ => !kind.namespaced,
            };
            scope
                && has(rule, "operations", &[operation.name(), "*"])
                && has(rule, "apiGroups", &[resource.group.as_ref(), "*"])
                && has(rule, "apiVersions", &versions)
                && has(rule, "resources", &[&attribute, anything, "*/*"])
        };
        let by_label = |selector: Option<&Value>, labelled: Option<&Value>| match (selector, labelled) {
            (Some(selector), Some(labelled)) => LabelSelector::of_object(selector).matches(labelled),
            _ => true,
        };
        // A namespace is its own namespace to the selector.
        let home = match kind.namespaced {
            true => self.get(&Resource::NAMESPACES, "", object::namespace(object)).ok().map(|home| &**home),
            false => (*resource == Resource::NAMESPACES).then_some(object),
        };
        webhook.get("rules").and_then(Value::as_array).into_iter().flatten().any(by_rule)
            && by_label(webhook.get("namespaceSelector"), home)
            && by_label(webhook.get("objectSelector"), Some(object))
    }

    /// Asks one webhook.
    fn ask(&self, webhook: &Value, object: &Value, hand: &Hand) -> Result<(), Refusal> {
        let name = object::text(webhook, &["name"]);
        if hand.dry_run && !["None", "NoneOnDryRun"].contains(&object::text(webhook, &["sideEffects"])) {
            return Err(Refusal::bad_request(format!("admission webhook \"{name}\" does not support dry run")));
        }
        match self.call(webhook) {
            Ok(judge) => judge(object).map_err(|why| {
                // As controller-runtime's webhooks deny.
                Refusal::new(403, "Forbidden", format!("admission webhook \"{name}\" denied the request: {why}"))
            }),
            Err(_) if object::text(webhook, &["failurePolicy"]) == "Ignore" => Ok(()),
            Err(why) => {
                let why = format!("failed calling webhook \"{name}\": failed to call webhook: {why}");
                let mut refusal = Refusal::new(500, "InternalError", format!("Internal error occurred: {why}"));
                refusal.details = Some(json!({"causes": [{"message": why}]}));
                Err(refusal)
            }
        }
    }

    /// Reaches a webhook, or tells why that cannot be.
    fn call(&self, webhook: &Value) -> Result<Judge, String> {
        let client = &webhook["clientConfig"];
        let text = |key: &str| object::text(client, &["service", key]);
        let (namespace, service, path) = (text("namespace"), text("name"), text("path"));
        if service.is_empty() {
            let url = object::text(client, &["url"]);
            return Err(format!("Post \"{url}\": dial tcp: lookup: no such host"));
        }
        let port = client["service"]["port"].as_u64().unwrap_or(443);
        let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(10);
        let post = format!("Post \"https://{service}.{namespace}.svc:{port}{path}?timeout={seconds}s\"");
        let Ok(found) = self.get(&Resource::SERVICES, namespace, service) else {
            return Err(format!("{post}: service \"{service}\" not found"));
        };
        let address = object::text(found, &["spec", "clusterIP"]);
        match self.backends.get(&(namespace.to_owned(), service.to_owned())) {
            None => Err(format!("{post}: no endpoints available for service \"{service}\"")),
            Some(Backend::Refuses) => Err(format!("{post}: dial tcp {address}:{port}: connect: connection refused")),
            Some(Backend::TimesOut) => Err(format!("{post}: context deadline exceeded")),
            Some(Backend::Answers(_)) if object::text(client, &["caBundle"]).is_empty() => {
                Err(format!("{post}: tls: failed to verify certificate: x509: certificate signed by unknown authority"))
            }
            Some(Backend::Answers(judge)) => Ok(*judge),
        }
    }
}
