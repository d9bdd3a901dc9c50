//! Where a request goes that came in at a load balancer's address: by the service
//! to pods, and by `Ingress` objects on from there.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::endpoints::SERVICE;
use super::page::Page;
use super::{fields, startup};
use crate::kube::Resource;
use crate::world::World;

/// A certificate that an ingress shows, and for whom.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The host name that clients ask for.
    pub(crate) host: String,
    /// The chain, PEM.
    pub(crate) certificate: String,
    /// Its key, PEM.
    pub(crate) key: String,
}

fn ingresses() -> Resource {
    Resource::named("networking.k8s.io", "ingresses")
}

/// Whether a rule's host names this one: equal, a wildcard for one label, or any.
fn names(rule: &str, host: &str) -> bool {
    match rule.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(rest)),
        None => rule.is_empty() || rule.eq_ignore_ascii_case(host),
    }
}

/// How well a path of a rule fits: the longer, the better. An exact one is best.
fn fit(rule: &Value, path: &str) -> Option<usize> {
    let wanted = fields::text(rule, &["path"]).trim_end_matches('/');
    match fields::text(rule, &["pathType"]) {
        "Exact" => (fields::text(rule, &["path"]) == path).then_some(usize::MAX),
        _ => match path.strip_prefix(wanted) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(wanted.len()),
            _ => None,
        },
    }
}

impl World {
    /// Whether somebody answers at a port of a load balancer's address.
    pub(crate) fn answers_at(&self, address: IpAddr, port: u16) -> bool {
        self.announced(address).is_some_and(|service| has_port(&service, port))
    }

    /// What a request gets that came in at an address of the house. `None` if
    /// nobody is there.
    pub(crate) fn visit(&self, address: IpAddr, port: u16, host: &str, path: &str) -> Option<Page> {
        let service = self.announced(address).filter(|service| has_port(service, port))?;
        let pod =
            self.ready_behind(&service).into_iter().find(|pod| self.is_up(fields::text(pod, &["spec", "nodeName"])));
        let Some(pod) = pod else { return Some(Page::status(502)) };
        let process = self.workloads.processes.get(fields::uid(&pod))?;
        let (namespace, name) = &process.workload;
        if !startup::is_ingress(namespace, name, process.part_of.as_deref()) {
            return Some(self.page(&pod, path));
        }
        let Some((namespace, service)) = self.backend(host, path) else { return Some(Page::status(404)) };
        let Ok(service) = self.kubernetes.get(&Resource::SERVICES, &namespace, &service) else {
            return Some(Page::status(503));
        };
        let ready = self.ready_behind(service);
        let Some(pod) = ready.iter().find(|pod| self.is_up(fields::text(pod, &["spec", "nodeName"]))) else {
            // Endpoints whose machine has just died are still in the slice.
            return Some(Page::status(if ready.is_empty() { 503 } else { 502 }));
        };
        Some(self.page(pod, path))
    }

    /// The service that `Ingress` objects send a request to.
    fn backend(&self, host: &str, path: &str) -> Option<(String, String)> {
        let ingresses = self.all(&ingresses());
        let rules = ingresses.iter().flat_map(|ingress| {
            let rules = fields::list(ingress, &["spec", "rules"]).iter();
            rules.filter(|rule| names(fields::text(rule, &["host"]), host)).flat_map(move |rule| {
                let paths = fields::list(rule, &["http", "paths"]).iter();
                paths.filter_map(move |rule| Some((fit(rule, path)?, ingress, &rule["backend"])))
            })
        });
        // The first of the best ones.
        let best = rules.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let fallback = || {
            let default = |ingress: &Arc<Value>| ingress["spec"].get("defaultBackend").is_some();
            let ingress = ingresses.iter().find(|ingress| default(ingress))?;
            Some((ingress, &ingress["spec"]["defaultBackend"]))
        };
        let (ingress, backend) = best.map(|(_, ingress, backend)| (ingress, backend)).or_else(fallback)?;
        let service = fields::text(backend, &["service", "name"]);
        (!service.is_empty()).then(|| (fields::namespace(ingress).to_owned(), service.to_owned()))
    }

    /// The ready pods in the slices of a service.
    pub(super) fn ready_behind(&self, service: &Value) -> Vec<Arc<Value>> {
        let namespace = fields::namespace(service);
        let slices = self.all(&Resource::ENDPOINT_SLICES);
        let own = slices.iter().filter(|slice| {
            fields::namespace(slice) == namespace
                && fields::text(slice, &["metadata", "labels", SERVICE]) == fields::name(service)
        });
        own.flat_map(|slice| fields::list(slice, &["endpoints"]))
            .filter(|endpoint| endpoint.pointer("/conditions/ready").and_then(Value::as_bool) == Some(true))
            .filter_map(|endpoint| {
                let pod = fields::text(endpoint, &["targetRef", "name"]);
                self.kubernetes.get(&Resource::PODS, namespace, pod).ok().cloned()
            })
            .collect()
    }

    /// The certificates that the ingress controller has been given, the first for
    /// a host first. What cannot be read is left out, as ingress controllers do.
    pub(crate) fn shown_certificates(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for ingress in self.all(&ingresses()) {
            for tls in fields::list(&ingress, &["spec", "tls"]) {
                let name = fields::text(tls, &["secretName"]);
                let secret = self.kubernetes.get(&Resource::SECRETS, fields::namespace(&ingress), name);
                let part = |key: &str| {
                    let bytes = STANDARD.decode(fields::text(secret.as_ref().ok()?, &["data", key])).ok()?;
                    String::from_utf8(bytes).ok()
                };
                let Some((certificate, key)) = part("tls.crt").zip(part("tls.key")) else { continue };
                for host in fields::list(tls, &["hosts"]).iter().filter_map(Value::as_str) {
                    let (certificate, key) = (certificate.clone(), key.clone());
                    shown.push(Shown { host: host.to_ascii_lowercase(), certificate, key });
                }
            }
        }
        shown
    }
}

fn has_port(service: &Value, port: u16) -> bool {
    fields::list(service, &["spec", "ports"]).iter().any(|known| known["port"].as_u64() == Some(u64::from(port)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_names_its_host_its_wildcard_or_all() {
        for (rule, host, is_named) in [
            ("blog.house", "blog.house", true),
            ("blog.house", "BLOG.house", true),
            ("blog.house", "shop.house", false),
            ("*.house", "blog.house", true),
            ("*.house", "a.blog.house", false),
            ("", "anything", true),
        ] {
            assert_eq!(names(rule, host), is_named, "{rule} {host}");
        }
    }

    #[test]
    fn the_longest_path_fits_best() {
        let prefix = |path: &str| json!({"path": path, "pathType": "Prefix"});
        for (rule, path, best) in [
            (prefix("/"), "/", Some(0)),
            (prefix("/"), "/a", Some(0)),
            (prefix("/a"), "/a/b", Some(2)),
            (prefix("/a"), "/ab", None),
            (json!({"path": "/a", "pathType": "Exact"}), "/a", Some(usize::MAX)),
            (json!({"path": "/a", "pathType": "Exact"}), "/a/", None),
        ] {
            assert_eq!(fit(&rule, path), best, "{rule} {path}");
        }
    }
}
