//! What a path names.

use crate::kube::{Kinds, Resource};

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/readyz` and its kin, with the one check that was asked for.
    Health(String),
    /// `/version`.
    Version,
    /// What the server can do: `/api`, `/apis`, `/apis/apps`, `/apis/apps/v1`.
    Discovery(Discovery),
    /// The description of the objects.
    OpenApi(String),
    /// Objects.
    Objects(Target),
    /// Nothing that is known here.
    Unknown,
}

/// Which document of the discovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Discovery {
    /// The versions of the core group.
    Core,
    /// All groups.
    Groups,
    /// The versions of one group.
    Group(String),
    /// The resources of one version.
    Version(String, String),
}

/// One object or one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The collection.
    pub(super) resource: Resource,
    /// The version of the path.
    pub(super) version: String,
    /// The namespace; empty for all, or for kinds without one.
    pub(super) namespace: String,
    /// The name; empty for the collection.
    pub(super) name: String,
    /// `status` and the like; empty for the object itself.
    pub(super) subresource: String,
}

impl Target {
    /// How Kubernetes' rights call the object: `pods/status`.
    pub(super) fn attribute(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.plural.to_string(),
            sub => format!("{}/{sub}", self.resource.plural),
        }
    }
}

impl Route {
    /// Reads a path. It may end with a slash.
    pub(super) fn of(path: &str, kinds: &Kinds) -> Self {
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["healthz" | "livez" | "readyz"] => Self::Health(String::new()),
            ["healthz" | "livez" | "readyz", check] => Self::Health((*check).to_owned()),
            ["version"] => Self::Version,
            ["openapi", rest @ ..] => Self::OpenApi(rest.join("/")),
            ["api"] => Self::Discovery(Discovery::Core),
            ["apis"] => Self::Discovery(Discovery::Groups),
            ["api", version] => Self::Discovery(Discovery::Version(String::new(), (*version).to_owned())),
            ["apis", group] => Self::Discovery(Discovery::Group((*group).to_owned())),
            ["apis", group, version] => Self::Discovery(Discovery::Version((*group).to_owned(), (*version).to_owned())),
            ["api", version, rest @ ..] => Self::objects(kinds, "", version, rest),
            ["apis", group, version, rest @ ..] => Self::objects(kinds, group, version, rest),
            _ => Self::Unknown,
        }
    }

    fn objects(kinds: &Kinds, group: &str, version: &str, rest: &[&str]) -> Self {
        let (namespace, rest) = match rest {
            // `namespaces/x/status` is about the namespace, `namespaces/x/pods` about what is inside.
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, inside @ ..] if !inside.is_empty() => (*namespace, inside),
            _ => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return Self::Unknown,
        };
        let resource = Resource::named(group, plural);
        let fits = kinds.get(&resource).is_some_and(|kind| {
            let is_known = match subresource {
                "" => true,
                "status" => kind.has_status,
                "finalize" => resource == Resource::NAMESPACES,
                _ => false,
            };
            let is_placed = kind.namespaced || namespace.is_empty();
            // One object of a kind with namespaces is named together with its own.
            let is_whole = !kind.namespaced || name.is_empty() || !namespace.is_empty();
            is_known && is_placed && is_whole && kind.versions.iter().any(|served| served == version)
        });
        if !fits {
            return Self::Unknown;
        }
        Self::Objects(Target {
            resource,
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        })
    }
}

/// Undoes percent-encoding; what is no encoding stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let (bytes, mut decoded, mut place) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(place) {
        let pair = text.get(place + 1..place + 3).filter(|_| byte == b'%');
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(escaped) => {
                decoded.push(escaped);
                place += 3;
            }
            None => {
                decoded.push(byte);
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        let found = match Route::of(path, &Kinds::built_in()) {
            Route::Objects(target) => {
                format!("{} {} in `{}` named `{}`", target.version, target.attribute(), target.namespace, target.name)
            }
            other => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn a_path_names_an_object_or_a_collection() {
        check("/api/v1/nodes", "v1 nodes in `` named ``");
        check("/api/v1/nodes/cp-01/status", "v1 nodes/status in `` named `cp-01`");
        check("/api/v1/namespaces/kube-system", "v1 namespaces in `` named `kube-system`");
        check("/api/v1/namespaces/a/finalize", "v1 namespaces/finalize in `` named `a`");
        check("/api/v1/namespaces/kube-system/pods/", "v1 pods in `kube-system` named ``");
        check("/apis/apps/v1/namespaces/a/deployments/b%2Dc", "v1 deployments in `a` named `b-c`");
        check("/apis/apps/v1/deployments", "v1 deployments in `` named ``");
    }

    #[test]
    fn what_is_not_served_is_unknown() {
        for path in [
            "/api/v1/pods/a",
            "/api/v1/namespaces/a/nodes",
            "/apis/apps/v2/deployments",
            "/api/v1/configmaps/a/status",
            "/metrics",
            "/api/v1/namespaces/a/pods/b/log/c",
        ] {
            check(path, "Unknown");
        }
        check("/readyz/etcd", "Health(\"etcd\")");
        check("/apis/", "Discovery(Groups)");
    }
}
