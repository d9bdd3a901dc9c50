//! Objects that reach webhooks in a dry run: small, valid, and of a kind that the
//! webhook is asked about.

use serde_json::{Value, json};

use crate::kubernetes::object::Kind;
use crate::manifest::text;

/// The name of what is never made.
const NAME: &str = "castle-probe";

/// A kind whose objects castle can make up.
struct Sample {
    kind: Kind,
    /// The spec, or the whole rest of the object.
    body: fn() -> Value,
}

const fn of(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    body: fn() -> Value,
) -> Sample {
    Sample { kind: Kind::of(group, version, kind, plural, namespaced), body }
}

/// The addresses are of the blocks that are kept for documents.
const SAMPLES: [Sample; 11] = [
    // First: who asks about everything is reached by what every cluster serves.
    of("", "v1", "ConfigMap", "configmaps", true, || json!({"data": {}})),
    of(
        "metallb.io",
        "v1beta1",
        "IPAddressPool",
        "ipaddresspools",
        true,
        || json!({"spec": {"addresses": ["192.0.2.0/32"]}}),
    ),
    of("metallb.io", "v1beta1", "L2Advertisement", "l2advertisements", true, || json!({"spec": {}})),
    of("metallb.io", "v1beta1", "BGPAdvertisement", "bgpadvertisements", true, || json!({"spec": {}})),
    of("metallb.io", "v1beta1", "BFDProfile", "bfdprofiles", true, || json!({"spec": {}})),
    of("metallb.io", "v1beta1", "Community", "communities", true, || json!({"spec": {"communities": []}})),
    of(
        "metallb.io",
        "v1beta2",
        "BGPPeer",
        "bgppeers",
        true,
        || json!({"spec": {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}}),
    ),
    of("cert-manager.io", "v1", "ClusterIssuer", "clusterissuers", false, || json!({"spec": {"selfSigned": {}}})),
    of(
        "external-secrets.io",
        "v1",
        "ClusterSecretStore",
        "clustersecretstores",
        false,
        || json!({"spec": {"provider": {"fake": {"data": []}}}}),
    ),
    of(
        "external-secrets.io",
        "v1",
        "SecretStore",
        "secretstores",
        true,
        || json!({"spec": {"provider": {"fake": {"data": []}}}}),
    ),
    of("external-secrets.io", "v1", "ExternalSecret", "externalsecrets", true, || {
        json!({"spec": {
            "secretStoreRef": {"name": NAME, "kind": "ClusterSecretStore"},
            "data": [{"secretKey": "probe", "remoteRef": {"key": "probe"}}],
        }})
    }),
];

/// An object whose creation in `namespace` the webhook would be asked about, if
/// castle can make one up. A webhook that looks at some objects only is left to
/// its endpoint: a dry run that passes it by would prove nothing.
pub(super) fn reaching(webhook: &Value, namespace: &str) -> Option<(Kind, Value)> {
    let is_set = |pointer: &str| {
        webhook.pointer(pointer).is_some_and(|found| match found {
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => false,
        })
    };
    if is_set("/objectSelector/matchLabels") || is_set("/objectSelector/matchExpressions") || is_set("/matchConditions")
    {
        return None;
    }
    let selects = is_set("/namespaceSelector/matchLabels") || is_set("/namespaceSelector/matchExpressions");
    let rules = || webhook["rules"].as_array().into_iter().flatten();
    let names = |rule: &Value, key: &str, wanted: &str| {
        let list = rule[key].as_array();
        list.into_iter().flatten().any(|found| found == wanted || found == "*")
    };
    let fits = |sample: &Sample| {
        rules().any(|rule| {
            let kind = &sample.kind;
            names(rule, "apiGroups", &kind.group)
                && names(rule, "resources", &kind.plural)
                && names(rule, "apiVersions", &kind.version)
                && names(rule, "operations", "CREATE")
                && match text(rule, "/scope") {
                    "Cluster" => !kind.namespaced,
                    "Namespaced" => kind.namespaced,
                    _ => true,
                }
                && !(kind.namespaced && selects)
        })
    };
    let sample = SAMPLES.into_iter().find(fits)?;
    let mut object = (sample.body)();
    object["apiVersion"] = sample.kind.api_version().into();
    object["kind"] = sample.kind.kind.as_ref().into();
    object["metadata"] = json!({"name": NAME});
    if sample.kind.namespaced {
        // A webhook may leave its own namespace out.
        let place = if sample.kind.group.is_empty() { "default" } else { namespace };
        object["metadata"]["namespace"] = place.into();
    }
    Some((sample.kind, object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(group: &str, version: &str, resource: &str, operation: &str) -> Value {
        json!({"rules": [{
            "apiGroups": [group], "apiVersions": [version], "resources": [resource], "operations": [operation], "scope": "*",
        }]})
    }

    fn check(webhook: &Value, expected: Option<&str>) {
        let found = reaching(webhook, "ns").map(|(kind, object)| {
            format!("{} {}/{}", kind.api_version(), text(&object, "/metadata/namespace"), text(&object, "/kind"))
        });
        assert_eq!(found.as_deref(), expected, "{webhook}");
    }

    #[test]
    fn a_webhook_is_reached_by_an_object_of_its_rule() {
        check(
            &webhook("metallb.io", "v1beta1", "l2advertisements", "CREATE"),
            Some("metallb.io/v1beta1 ns/L2Advertisement"),
        );
        check(&webhook("cert-manager.io", "*", "*", "*"), Some("cert-manager.io/v1 /ClusterIssuer"));
        check(&webhook("metallb.io", "v1beta1", "l2advertisements", "DELETE"), None);
        check(&webhook("metallb.io", "v9", "l2advertisements", "CREATE"), None);
        check(&webhook("*", "*", "*", "*"), Some("v1 default/ConfigMap"));
        check(&webhook("longhorn.io", "v1beta2", "settings", "UPDATE"), None);
    }

    #[test]
    fn a_webhook_that_picks_its_objects_is_not_proved_by_any() {
        let mut picky = webhook("metallb.io", "v1beta1", "ipaddresspools", "CREATE");
        picky["objectSelector"] = json!({"matchLabels": {"a": "b"}});
        check(&picky, None);
        picky["objectSelector"] = json!({});
        check(&picky, Some("metallb.io/v1beta1 ns/IPAddressPool"));
        picky["namespaceSelector"] = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
        check(&picky, None);
    }
}
