use castle_lab::kube::{Delete, Hand, Kind, Part, Patch, Refusal, Resource, Store, table};
use serde_json::{Value, json};

use crate::{hand, store};

/// A definition with one field of every sort.
fn definition() -> Value {
    let spec = json!({
        "type": "object",
        "required": ["interval"],
        "properties": {
            "interval": {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"},
            "mode": {"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"},
            "count": {"type": "integer", "minimum": 1, "maximum": 5},
            "names": {"type": "array", "maxItems": 2, "items": {"type": "string", "minLength": 2, "maxLength": 3}},
            "port": {"x-kubernetes-int-or-string": true},
            "note": {"type": "string", "nullable": true},
            "rules": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 10}},
                },
            },
            "values": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": spec,
            "status": {
                "type": "object",
                "default": {"observedGeneration": -1},
                "properties": {
                    "observedGeneration": {"type": "integer"},
                    "conditions": {
                        "type": "array",
                        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                },
            },
        },
    });
    let ready =
        json!({"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"});
    let version = |name: &str, stored: bool| {
        json!({
            "name": name, "served": true, "storage": stored,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [ready],
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "towers.castle.example"},
        "spec": {
            "group": "castle.example", "scope": "Namespaced",
            "names": {"plural": "towers", "kind": "Tower", "shortNames": ["tw"]},
            "versions": [version("v1beta1", false), version("v1", true)],
        },
    })
}

fn towers() -> Resource {
    Resource::named("castle.example", "towers")
}

fn tower(spec: Value) -> Value {
    json!({
        "apiVersion": "castle.example/v1", "kind": "Tower",
        "metadata": {"name": "north", "namespace": "default"},
        "spec": spec,
    })
}

fn defined() -> Store {
    let mut store = store();
    store.create(definition(), &hand()).unwrap();
    store
}

#[test]
fn a_definition_serves_its_kind_at_once() {
    let mut store = store();
    assert_eq!(store.create(tower(json!({"interval": "1m"})), &hand()).unwrap_err().code, 400);
    let made = store.create(definition(), &hand()).unwrap();
    let conditions: Vec<_> = made["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| format!("{}={}", condition["type"].as_str().unwrap(), condition["status"].as_str().unwrap()))
        .collect();
    assert_eq!(conditions, ["NamesAccepted=True", "Established=True"]);
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(made["spec"]["names"]["listKind"], "TowerList");
    let kind = store.kind(&towers()).unwrap();
    assert_eq!(kind.versions, ["v1", "v1beta1"], "the released version is the preferred one");
    assert!(kind.is_custom && kind.has_status && kind.namespaced);
    let made = store.create(tower(json!({"interval": "1m", "rules": [{"name": "a"}]})), &hand()).unwrap();
    assert_eq!(made["spec"]["mode"], "Fast", "defaults are filled in");
    assert_eq!(made["spec"]["rules"][0]["weight"], 10);
    assert_eq!(made["status"], json!({"observedGeneration": -1}));
    assert_eq!(made["metadata"]["generation"], 1);
}

#[track_caller]
fn refused(spec: Value, expected: &str) {
    let refusal = defined().create(tower(spec), &hand()).unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (422, "Invalid"), "{refusal}");
    assert_eq!(refusal.message, format!("Tower.castle.example \"north\" is invalid: {expected}"));
}

#[test]
fn what_the_schema_forbids_is_refused_in_kubernetes_words() {
    refused(json!({}), "spec.interval: Required value");
    refused(
        json!({"interval": 5}),
        "spec.interval: Invalid value: \"integer\": spec.interval in body must be of type string: \"integer\"",
    );
    refused(
        json!({"interval": "soon"}),
        "spec.interval: Invalid value: \"soon\": spec.interval in body should match '^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$'",
    );
    refused(
        json!({"interval": "1m", "mode": "Lazy"}),
        "spec.mode: Unsupported value: \"Lazy\": supported values: \"Fast\", \"Slow\"",
    );
    refused(
        json!({"interval": "1m", "count": 0}),
        "spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1",
    );
    refused(
        json!({"interval": "1m", "count": 6}),
        "spec.count: Invalid value: 6: spec.count in body should be less than or equal to 5",
    );
    refused(
        json!({"interval": "1m", "names": ["a"]}),
        "spec.names[0]: Invalid value: \"a\": spec.names[0] in body should be at least 2 chars long",
    );
    refused(json!({"interval": "1m", "names": ["abcd"]}), "spec.names[0]: Too long: may not be more than 3 bytes");
    refused(
        json!({"interval": "1m", "names": ["ab", "cd", "ef"]}),
        "spec.names: Too many: 3: must have at most 2 items",
    );
    refused(
        json!({"interval": "1m", "port": true}),
        "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
    );
    refused(
        json!({"interval": "1m", "rules": [{"name": "a"}, {"name": "a"}]}),
        "spec.rules[1]: Duplicate value: {\"name\":\"a\"}",
    );
    refused(
        json!({"count": 9}),
        "[spec.interval: Required value, spec.count: Invalid value: 9: spec.count in body should be less than or equal to 5]",
    );
}

#[test]
fn what_the_schema_allows_is_kept() {
    let mut store = defined();
    let spec = json!({
        "interval": "1h30m", "mode": "Slow", "port": "http", "note": null,
        "values": {"anything": {"goes": [1, "two"]}},
    });
    let made = store.create(tower(spec.clone()), &hand()).unwrap();
    assert_eq!(made["spec"], spec);
}

#[test]
fn unknown_fields_are_dropped_or_refused() {
    let spec = json!({"interval": "1m", "intervall": "1m", "rules": [{"name": "a", "wight": 1}]});
    let made = defined().create(tower(spec.clone()), &hand()).unwrap();
    assert_eq!(made["spec"].get("intervall"), None);
    assert_eq!(made["spec"]["rules"], json!([{"name": "a", "weight": 10}]));
    let refusal = defined().create(tower(spec.clone()), &hand().strict()).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (
            400,
            "Tower in version \"v1\" cannot be handled as a Tower: strict decoding error: \
             unknown field \"spec.intervall\", unknown field \"spec.rules[0].wight\""
        )
    );
    let refusal = defined().apply(tower(spec), &hand()).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (
            500,
            "failed to create typed patch object (default/north; castle.example/v1, Kind=Tower): \
             .spec.intervall: field not declared in schema"
        )
    );
}

#[test]
fn lists_of_a_custom_kind_merge_by_its_schema() {
    let mut store = defined();
    let rules = |names: &[&str]| {
        let rules: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        tower(json!({"interval": "1m", "rules": rules}))
    };
    store.apply(rules(&["a", "b"]), &Hand::of("one")).unwrap();
    store.apply(rules(&["b", "c"]), &Hand::of("two")).unwrap();
    let left = store.apply(rules(&["a"]), &Hand::of("one")).unwrap();
    let names: Vec<_> = left["spec"]["rules"].as_array().unwrap().iter().map(|rule| rule["name"].clone()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let before = store.revision();
    store.apply(rules(&["a"]), &Hand::of("one")).unwrap();
    assert_eq!(store.revision(), before, "defaults are no change");
}

#[test]
fn the_status_of_a_custom_kind_is_written_apart() {
    let mut store = defined();
    let made = store.create(tower(json!({"interval": "1m"})), &hand()).unwrap();
    let mut said = Value::clone(&made);
    said["status"] = json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]});
    said["spec"]["interval"] = json!("9m");
    let told = store.update(said, Part::Status, &Hand::of("tower-controller")).unwrap();
    assert_eq!((&told["spec"]["interval"], &told["status"]["observedGeneration"]), (&json!("1m"), &json!(1)));
    assert_eq!(told["metadata"]["generation"], 1);
    let patch = Patch::Merge(json!({"spec": {"interval": "2m"}, "status": {"observedGeneration": 7}}));
    let changed = store.patch(&towers(), "default", "north", &patch, Part::Main, &hand()).unwrap();
    assert_eq!((&changed["metadata"]["generation"], &changed["status"]["observedGeneration"]), (&json!(2), &json!(1)));
    let wrong = Patch::Merge(json!({"status": {"observedGeneration": "x"}}));
    let refusal = store.patch(&towers(), "default", "north", &wrong, Part::Status, &hand()).unwrap_err();
    assert_eq!(refusal.code, 422);
}

#[test]
fn a_table_has_the_columns_of_the_definition() {
    let mut store = defined();
    let mut made = Value::clone(&store.create(tower(json!({"interval": "1m"})), &hand()).unwrap());
    made["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    let told = store.update(made, Part::Status, &hand()).unwrap();
    let kind: &Kind = store.kind(&towers()).unwrap();
    let table = table(kind, "v1", &[told], json!({}), store.wall(), "Metadata");
    assert_eq!(table["rows"][0]["cells"], json!(["north", "True"]));
    assert_eq!(table["columnDefinitions"][1]["name"], "Ready");
}

#[test]
fn an_object_is_shown_in_every_version() {
    let mut store = defined();
    let mut old = tower(json!({"interval": "1m"}));
    old["apiVersion"] = json!("castle.example/v1beta1");
    let made = store.create(old, &hand()).unwrap();
    assert_eq!(made["apiVersion"], "castle.example/v1", "it is kept in the stored version");
    let kind = store.kind(&towers()).unwrap();
    assert_eq!(kind.in_version(&made, "v1beta1")["apiVersion"], "castle.example/v1beta1");
}

#[test]
fn a_definition_takes_its_objects_along() {
    let mut store = defined();
    let mut held = tower(json!({"interval": "1m"}));
    held["metadata"]["finalizers"] = json!(["castle.example/test"]);
    store.create(held, &hand()).unwrap();
    let delete = |store: &mut Store| {
        store.delete(&Resource::DEFINITIONS, "", "towers.castle.example", &Delete::default()).unwrap().1
    };
    assert!(!delete(&mut store), "an object is held");
    let late = json!({
        "apiVersion": "castle.example/v1", "kind": "Tower",
        "metadata": {"name": "south", "namespace": "default"}, "spec": {"interval": "1m"},
    });
    assert_eq!(store.create(late, &hand()).unwrap_err().code, 405);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    store.patch(&towers(), "default", "north", &free, Part::Main, &hand()).unwrap();
    assert!(store.kind(&towers()).is_err(), "the kind went with its last object");
    assert!(store.get(&Resource::DEFINITIONS, "", "towers.castle.example").is_err());
}

#[test]
fn what_is_no_definition_is_refused() {
    let check = |change: fn(&mut Value), expected: &str| {
        let mut wrong = definition();
        change(&mut wrong);
        let refusal: Refusal = store().create(wrong, &hand()).unwrap_err();
        assert!(refusal.code == 422 && refusal.message.ends_with(expected), "{refusal}");
    };
    check(
        |wrong| wrong["metadata"]["name"] = json!("walls.castle.example"),
        "metadata.name: Invalid value: \"walls.castle.example\": must be spec.names.plural+\".\"+spec.group",
    );
    check(
        |wrong| wrong["spec"]["versions"][0]["storage"] = json!(true),
        "spec.versions: Invalid value: must have exactly one version marked as storage version",
    );
    check(
        |wrong| drop(wrong["spec"]["versions"][0]["schema"].take()),
        "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
    );
    check(
        |wrong| wrong["spec"]["scope"] = json!("World"),
        "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
    );
}

#[test]
fn a_dry_run_of_a_definition_serves_nothing() {
    let mut store = store();
    store.create(definition(), &hand().dry()).unwrap();
    assert!(store.kind(&towers()).is_err());
}

#[test]
fn a_changed_definition_changes_the_rules() {
    let mut store = defined();
    let mut wider = definition();
    for version in wider["spec"]["versions"].as_array_mut().unwrap() {
        let properties = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        properties["count"]["maximum"] = json!(50);
    }
    let applied = store.apply(wider, &Hand::of("flux").forcing()).unwrap();
    assert_eq!(applied["status"]["conditions"].as_array().unwrap().len(), 2);
    assert!(store.create(tower(json!({"interval": "1m", "count": 40})), &hand()).is_ok());
}
