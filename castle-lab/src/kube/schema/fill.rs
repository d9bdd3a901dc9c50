//! What a schema adds to an object and takes away from it.

use serde_json::Value;

use super::Schema;

/// What every object has, whatever its schema says.
const EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Takes away what the schema does not know, and names it: `spec.typo`.
    ///
    /// The receiver is the schema of a whole object.
    pub(in crate::kube) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut gone = Vec::new();
        self.prune_at(object, "", true, &mut gone);
        gone
    }

    fn prune_at(&self, value: &mut Value, path: &str, is_object: bool, gone: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, inner| {
                    if is_object && EVERY_OBJECT.contains(&name.as_str()) {
                        return true;
                    }
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    match self.field(name) {
                        Some(schema) => {
                            schema.prune_at(inner, &path, schema.is_embedded, gone);
                            true
                        }
                        None if self.keeps_unknown => true,
                        None => {
                            gone.push(path);
                            false
                        }
                    }
                });
            }
            Value::Array(elements) => {
                if let Some(schema) = self.element() {
                    for (place, element) in elements.iter_mut().enumerate() {
                        schema.prune_at(element, &format!("{path}[{place}]"), schema.is_embedded, gone);
                    }
                }
            }
            _ => {}
        }
    }

    /// Puts in what the schema gives where nothing is given. Nothing is put into
    /// what is not there itself.
    pub(in crate::kube) fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    // A null that may not be one counts as nothing.
                    let is_absent = fields.get(name).is_none_or(|value| value.is_null() && !schema.is_nullable);
                    if is_absent {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, inner) in fields {
                    if let Some(schema) = self.field(name) {
                        schema.fill(inner);
                    }
                }
            }
            Value::Array(elements) => {
                if let Some(schema) = self.element() {
                    elements.iter_mut().for_each(|element| schema.fill(element));
                }
            }
            _ => {}
        }
    }
}
