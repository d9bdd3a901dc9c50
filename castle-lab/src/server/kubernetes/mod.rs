//! The API server of the simulated cluster, as clients meet it on port 6443.
//!
//! HTTP/1.1 and h2 over one TLS port, client certificates, discovery, lists in
//! pages and as tables, watches. The rules are [`crate::kube`]'s; here is only
//! their translation.

mod discovery;
mod document;
mod gate;
mod health;
mod query;
mod route;
mod watch;
mod wire;
mod write;

pub(crate) use gate::ClusterGate;
pub(crate) use route::decode;
pub(crate) use wire::converse;

use query::{Form, Query};
use route::{Discovery, Route, Target};

use crate::front::{Act, Call, Reply, Service};
use crate::kube::{FieldSelector, LabelSelector, ListOptions, Refusal, Selection, Store, User};
use crate::latency::Latency;
use crate::world::World;

/// The API server for one connection: whoever showed this certificate.
#[derive(Debug, Clone)]
pub(super) struct ApiServer {
    /// Who it is, or why that is not known.
    pub(super) user: Result<User, Refusal>,
}

/// What a request wants to do with objects, in the words of Kubernetes' rights.
fn verb_of(call: &Call, query: &Query, target: &Target) -> &'static str {
    match (call.method.as_str(), target.name.is_empty()) {
        ("GET" | "HEAD", _) if query.is_set("watch") => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "",
    }
}

impl Service for ApiServer {
    fn backend(&self) -> &'static str {
        "kubernetes"
    }

    fn classify(&self, world: &World, call: &Call) -> Act {
        let query = Query::of(call);
        // A dry run goes the way of a write, and changes nothing.
        let is_dry = query.is_dry_run().unwrap_or(false);
        let is_write = !is_dry && !["GET", "HEAD", "OPTIONS"].contains(&call.method.as_str());
        let (kind, entity) = match Route::of(&call.path, world.kubernetes.kinds()) {
            Route::Objects(target) => {
                let method = if query.is_set("watch") { "WATCH" } else { call.method.as_str() };
                let entity = match (target.namespace.as_str(), target.name.as_str()) {
                    ("", "") => "*".to_owned(),
                    ("", name) => name.to_owned(),
                    (namespace, "") => namespace.to_owned(),
                    (namespace, name) => format!("{namespace}/{name}"),
                };
                (format!("{method} {}", target.attribute()), entity)
            }
            Route::Health(check) => {
                let probe = call.path.split('/').find(|part| !part.is_empty()).unwrap_or("healthz");
                (format!("{} {probe}", call.method), if check.is_empty() { "*".to_owned() } else { check })
            }
            Route::Version => (format!("{} version", call.method), "*".to_owned()),
            Route::Discovery(_) => (format!("{} discovery", call.method), call.path.clone()),
            Route::OpenApi(_) => (format!("{} openapi", call.method), call.path.clone()),
            Route::Unknown => (format!("{} unknown", call.method), call.path.clone()),
        };
        Act {
            kind,
            entity,
            write: is_write,
            latency: Latency::API_SERVER_REQUEST,
            // Selectors and options only; what is written may be a secret.
            detail: call.query.clone().unwrap_or_default(),
        }
    }

    fn serve(&self, world: &mut World, call: &Call) -> Reply {
        let Act { kind, entity, .. } = self.classify(world, call);
        world.arriving(call.run, &kind, &entity);
        let now = world.now();
        let answer = self.answer(&mut world.kubernetes, call, now);
        world.answered(call.run, &kind, &entity);
        match answer {
            Ok(reply) => reply,
            Err(refusal) => document::json(refusal.code, &refusal.to_status()),
        }
    }
}

impl ApiServer {
    fn answer(&self, store: &mut Store, call: &Call, now: std::time::Duration) -> Result<Reply, Refusal> {
        let user = self.user.as_ref().map_err(Clone::clone)?;
        let path = call.path.trim_end_matches('/');
        let (route, query) = (Route::of(&call.path, store.kinds()), Query::of(call));
        if let Route::Objects(target) = &route {
            let verb = verb_of(call, &query, target);
            may(user, verb, target)?;
            if !store.is_serving() {
                return Err(Refusal::unavailable("the server is currently unable to handle the request"));
            }
            return match verb {
                "get" | "list" => read(store, call, &query, target),
                "watch" => {
                    let selection = selection(store, &query, target)?;
                    watch::open(store, &query, Form::of(call)?, target, selection, now)
                }
                "" => Err(not_allowed()),
                _ => write::act(store, call, &query, target, verb),
            };
        }
        let verb = call.method.to_lowercase();
        user.may_read_path(&verb, if path.is_empty() { "/" } else { path })?;
        if route == Route::Unknown {
            return Err(Refusal::no_resource());
        }
        if !["GET", "HEAD"].contains(&call.method.as_str()) {
            return Err(not_allowed());
        }
        match route {
            Route::Health(check) => health::probe(store, path, &check, &query),
            Route::Version => Ok(document::json(200, &discovery::version(store))),
            Route::OpenApi(rest) => Ok(document::json(200, &discovery::open_api(store, &rest)?)),
            Route::Discovery(which) => {
                let is_core = which == Discovery::Core;
                if Form::of(call) == Ok(Form::AggregatedDiscovery) && (is_core || which == Discovery::Groups) {
                    let all = discovery::aggregated(store.kinds(), is_core);
                    return Ok(document::typed(200, &all, discovery::AGGREGATED));
                }
                Ok(document::json(200, &discovery::document(store.kinds(), &which)?))
            }
            Route::Unknown | Route::Objects(_) => Err(Refusal::no_resource()),
        }
    }
}

fn not_allowed() -> Refusal {
    Refusal::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

/// `system:masters` may everything. The roles of Kubernetes' own components are
/// not modelled: those components are parts of the world and do not come by HTTP.
fn may(user: &User, verb: &str, target: &Target) -> Result<(), Refusal> {
    if user.is_master() {
        return Ok(());
    }
    let scope = match target.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    Err(Refusal::forbidden(
        &target.resource,
        &target.name,
        format!(
            "User \"{}\" cannot {verb} resource \"{}\" in API group \"{}\" {scope}",
            user.name,
            target.attribute(),
            target.resource.group
        ),
    ))
}

/// What a list, a watch or a deletion of a collection is about.
fn selection(store: &Store, query: &Query, target: &Target) -> Result<Selection, Refusal> {
    let kind = store.kind(&target.resource)?;
    let mut fields = query.text("fieldSelector").to_owned();
    if !target.name.is_empty() {
        // A watch of one object is a watch of the collection, narrowed.
        fields = format!("{fields},metadata.name={}", target.name);
    }
    Ok(Selection {
        namespace: (!target.namespace.is_empty()).then(|| target.namespace.clone()),
        labels: LabelSelector::parse(query.text("labelSelector"))?,
        fields: FieldSelector::parse(&fields, kind)?,
    })
}

/// One object, or one page of a list.
fn read(store: &Store, call: &Call, query: &Query, target: &Target) -> Result<Reply, Refusal> {
    let form = Form::of(call)?;
    let kind = store.kind(&target.resource)?;
    if !target.name.is_empty() {
        let object = store.get(&target.resource, &target.namespace, &target.name)?;
        let document = document::one(kind, &target.version, object, form, query, store.wall());
        return Ok(document::json(200, &document));
    }
    let options = ListOptions {
        limit: usize::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(usize::MAX),
        continue_token: query
            .has("continue")
            .then(|| query.text("continue").to_owned())
            .filter(|token| !token.is_empty()),
    };
    let listing = store.page(&target.resource, &selection(store, query, target)?, &options)?;
    Ok(document::json(200, &document::list(kind, &target.version, &listing, form, query, store.wall())))
}
