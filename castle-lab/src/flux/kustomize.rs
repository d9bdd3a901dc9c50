//! Folders of manifests, built as kustomize builds them, as far as a closed list
//! of features goes. Whatever is not on the list is refused by its name: a model
//! that passed over it would prove nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::object;
use super::transform::{self, Patch};

/// The files of one commit: path to content.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The names that kustomize knows for its own file.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The fields of that file that are known here.
const FIELDS: [&str; 12] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "namespace",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "patches",
    "images",
    "configMapGenerator",
    "generatorOptions",
];

/// The objects of a folder, in the order of their files.
///
/// # Errors
///
/// What cannot be built, with its file.
pub(crate) fn build(files: &Files, folder: &str) -> Result<Vec<Value>, String> {
    let mut objects = if kustomization(files, folder).is_some() {
        accumulate(files, folder, &mut Vec::new())?
    } else {
        plain(files, folder)?
    };
    rename_generated(&mut objects);
    Ok(objects)
}

/// A path of the repository without `./` and without slashes at its ends.
pub(crate) fn clean(path: &str) -> Result<String, String> {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop().ok_or_else(|| format!("path {path:?} leaves the repository"))?),
            step => steps.push(step),
        }
    }
    Ok(steps.join("/"))
}

/// Whether a folder has any file.
pub(crate) fn is_folder(files: &Files, folder: &str) -> bool {
    let beginning = prefix(folder);
    files.range(beginning.clone()..).next().is_some_and(|(path, _)| path.starts_with(&beginning))
}

fn prefix(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}

fn kustomization(files: &Files, folder: &str) -> Option<String> {
    NAMES.iter().map(|name| format!("{}{name}", prefix(folder))).find(|path| files.contains_key(path))
}

/// A folder without a file of kustomize: Flux takes every manifest below it, and
/// folders that have one as they are.
fn plain(files: &Files, folder: &str) -> Result<Vec<Value>, String> {
    let beginning = prefix(folder);
    let mut objects = Vec::new();
    let mut built: Vec<String> = Vec::new();
    for path in files.range(beginning.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&beginning)) {
        if built.iter().any(|inner| path.starts_with(inner)) {
            continue;
        }
        let inside = &path[beginning.len()..];
        let mut home = folder.to_owned();
        let mut own = None;
        for step in inside.split('/').collect::<Vec<_>>().split_last().map_or(&[][..], |(_, folders)| folders) {
            home = format!("{}{step}", prefix(&home));
            if kustomization(files, &home).is_some() {
                own = Some(home.clone());
                break;
            }
        }
        if let Some(own) = own {
            add(&mut objects, accumulate(files, &own, &mut vec![folder.to_owned()])?)?;
            built.push(prefix(&own));
        } else if path.ends_with(".yaml") || path.ends_with(".yml") {
            add(&mut objects, manifests(files, path)?)?;
        }
    }
    Ok(objects)
}

/// A folder with a file of kustomize.
fn accumulate(files: &Files, folder: &str, above: &mut Vec<String>) -> Result<Vec<Value>, String> {
    let Some(path) = kustomization(files, folder) else {
        return Err(format!(
            "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{folder}'"
        ));
    };
    if above.iter().any(|parent| parent == folder) && above.len() > 1 {
        return Err(format!("cycle not allowed: '{folder}' includes itself"));
    }
    let file = one(files, &path)?;
    let unknown = |what: &str| format!("{path}: {what} is not among the features that this house builds");
    let fields = file.as_object().ok_or_else(|| format!("{path}: a kustomization is a map"))?;
    if let Some(field) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(unknown(&format!("`{field}`")));
    }
    let kind = object::text(&file, &["kind"]);
    if !kind.is_empty() && kind != "Kustomization" {
        return Err(unknown(&format!("kind `{kind}`")));
    }
    let mut objects = Vec::new();
    for entry in list(&file, "resources") {
        let entry = entry.as_str().ok_or_else(|| format!("{path}: a resource is a path"))?;
        if entry.contains("://") || entry.starts_with("github.com/") {
            return Err(unknown(&format!("the remote resource `{entry}`")));
        }
        let found = clean(&format!("{}{entry}", prefix(folder)))?;
        if files.contains_key(&found) {
            add(&mut objects, manifests(files, &found)?)?;
        } else if is_folder(files, &found) {
            above.push(folder.to_owned());
            let inner = accumulate(files, &found, above)?;
            above.pop();
            add(&mut objects, inner)?;
        } else {
            return Err(format!(
                "accumulating resources: accumulation err='accumulating resources from '{entry}': \
                 open {found}: no such file or directory'"
            ));
        }
    }
    let shared = &file["generatorOptions"];
    for generator in list(&file, "configMapGenerator") {
        add(&mut objects, vec![config_map(files, folder, &path, generator, shared)?])?;
    }
    for patch in list(&file, "patches") {
        let patch = read_patch(files, folder, patch).map_err(|why| format!("{path}: {why}"))?;
        patch.apply(&mut objects).map_err(|why| format!("{path}: {why}"))?;
    }
    let namespace = object::text(&file, &["namespace"]);
    if !namespace.is_empty() {
        transform::set_namespace(&mut objects, namespace);
    }
    for label in list(&file, "labels") {
        let known = ["pairs", "includeSelectors", "includeTemplates"];
        if let Some(field) = label.as_object().and_then(|map| map.keys().find(|key| !known.contains(&key.as_str()))) {
            return Err(unknown(&format!("`labels.{field}`")));
        }
        let (selectors, templates) = (label["includeSelectors"] == true, label["includeTemplates"] == true);
        transform::add_labels(&mut objects, &label["pairs"], selectors, selectors || templates);
    }
    transform::add_labels(&mut objects, &file["commonLabels"], true, true);
    transform::add_annotations(&mut objects, &file["commonAnnotations"]);
    transform::set_images(&mut objects, &file["images"]);
    Ok(objects)
}

/// The objects of a file; a list of kind `List` is taken apart.
fn manifests(files: &Files, path: &str) -> Result<Vec<Value>, String> {
    let mut objects = Vec::new();
    for document in documents(files, path)? {
        if object::text(&document, &["kind"]) == "List" {
            objects.extend(list(&document, "items").iter().cloned());
        } else {
            objects.push(document);
        }
    }
    for object in &objects {
        let missing =
            [("apiVersion", object::text(object, &["apiVersion"])), ("kind", object::text(object, &["kind"]))];
        if let Some((field, _)) = missing.iter().find(|(_, found)| found.is_empty()) {
            return Err(format!("failed to decode Kubernetes YAML from {path}: missing Resource {field}"));
        }
        if object::name(object).is_empty() {
            return Err(format!("failed to decode Kubernetes YAML from {path}: missing metadata.name in object"));
        }
    }
    Ok(objects)
}

/// The documents of a file.
pub(crate) fn documents(files: &Files, path: &str) -> Result<Vec<Value>, String> {
    let text = text(files, path)?;
    serde_saphyr::from_multiple(text).map_err(|error| format!("failed to decode Kubernetes YAML from {path}: {error}"))
}

fn one(files: &Files, path: &str) -> Result<Value, String> {
    let mut documents = documents(files, path)?;
    if documents.len() > 1 {
        return Err(format!("{path}: more than one document"));
    }
    Ok(documents.pop().unwrap_or_else(|| json!({})))
}

fn text<'a>(files: &'a Files, path: &str) -> Result<&'a str, String> {
    let bytes = files.get(path).ok_or_else(|| format!("open {path}: no such file or directory"))?;
    std::str::from_utf8(bytes).map_err(|error| format!("{path} is not text: {error}"))
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

/// Adds objects to a set in which each may stand once.
fn add(objects: &mut Vec<Value>, more: Vec<Value>) -> Result<(), String> {
    for object in more {
        if objects.iter().any(|known| object::id(known) == object::id(&object)) {
            let id = object::subject(&object);
            return Err(format!("may not add resource with an already registered id: {id}"));
        }
        objects.push(object);
    }
    Ok(())
}

fn read_patch(files: &Files, folder: &str, patch: &Value) -> Result<Patch, String> {
    if let Some(field) =
        patch.as_object().and_then(|map| map.keys().find(|key| !["path", "patch", "target"].contains(&key.as_str())))
    {
        return Err(format!("`patches.{field}` is not among the features that this house builds"));
    }
    let file = object::text(patch, &["path"]);
    let content = match file {
        "" => object::text(patch, &["patch"]),
        file => text(files, &clean(&format!("{}{file}", prefix(folder)))?)?,
    };
    Patch::read(content, &patch["target"])
}

/// Where the object was generated under a name that will get a suffix.
const GENERATED: &str = "castle-lab/generated";

fn config_map(files: &Files, folder: &str, path: &str, generator: &Value, shared: &Value) -> Result<Value, String> {
    let known = ["name", "namespace", "literals", "files", "options"];
    if let Some(field) = generator.as_object().and_then(|map| map.keys().find(|key| !known.contains(&key.as_str()))) {
        return Err(format!("{path}: `configMapGenerator.{field}` is not among the features that this house builds"));
    }
    let mut data = Map::new();
    for entry in list(generator, "files").iter().filter_map(Value::as_str) {
        let (key, file) = entry.split_once('=').unwrap_or((entry.rsplit('/').next().unwrap_or(entry), entry));
        let found = clean(&format!("{}{file}", prefix(folder)))?;
        data.insert(key.to_owned(), json!(text(files, &found)?));
    }
    for entry in list(generator, "literals").iter().filter_map(Value::as_str) {
        let (key, value) = entry
            .split_once('=')
            .ok_or_else(|| format!("{path}: invalid literal source {entry}, expected key=value"))?;
        data.insert(key.to_owned(), json!(value.trim_matches('"')));
    }
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": generator["name"]},
        "data": data,
    });
    let namespace = object::text(generator, &["namespace"]);
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let mut objects = [object];
    for options in [shared, &generator["options"]] {
        transform::add_labels(&mut objects, &options["labels"], false, false);
        transform::add_annotations(&mut objects, &options["annotations"]);
    }
    let [mut object] = objects;
    if shared["disableNameSuffixHash"] != true && generator["options"]["disableNameSuffixHash"] != true {
        let suffix = hash(&object);
        object["metadata"]["annotations"][GENERATED] = json!(suffix);
    }
    Ok(object)
}

/// The suffix of a generated `ConfigMap`'s name (kustomize's `hasher`): ten digits
/// of the SHA-256 of its content, without those that could make a word.
fn hash(object: &Value) -> String {
    let content = json!({"data": object["data"], "kind": "ConfigMap", "name": object["metadata"]["name"]});
    // Go writes these three for browsers' sake.
    let text = content.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let digits = hex::encode(Sha256::digest(text));
    digits
        .chars()
        .take(10)
        .map(|digit| match digit {
            '0' => 'g',
            '1' => 'h',
            '3' => 'k',
            'a' => 'm',
            'e' => 't',
            digit => digit,
        })
        .collect()
}

/// Gives generated objects their last names, also where pods ask for them.
fn rename_generated(objects: &mut [Value]) {
    let mut names = BTreeMap::new();
    for object in objects.iter_mut() {
        let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
            continue;
        };
        let Some(Value::String(suffix)) = annotations.remove(GENERATED) else { continue };
        if annotations.is_empty() {
            object["metadata"].as_object_mut().map(|metadata| metadata.remove("annotations"));
        }
        let old = object::name(object).to_owned();
        let new = format!("{old}-{suffix}");
        object["metadata"]["name"] = json!(new);
        names.insert((object::namespace(object).to_owned(), old), new);
    }
    if names.is_empty() {
        return;
    }
    for object in objects {
        let namespace = object::namespace(object).to_owned();
        refer(object, &namespace, &names);
    }
}

fn refer(value: &mut Value, namespace: &str, names: &BTreeMap<(String, String), String>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                if ["configMap", "configMapRef", "configMapKeyRef"].contains(&key.as_str()) {
                    let old = object::text(inner, &["name"]).to_owned();
                    if let Some(new) = names.get(&(namespace.to_owned(), old)) {
                        inner["name"] = json!(new);
                    }
                }
                refer(inner, namespace, names);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| refer(inner, namespace, names)),
        _ => {}
    }
}
