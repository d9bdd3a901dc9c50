//! Whether an object is what its schema asks for, in the API server's words.

use serde_json::Value;

use super::{ListKind, Schema, Type};

/// Why an object is invalid: the field, the machine-readable reason, the sentence.
type Cause = (String, &'static str, String);

impl Schema {
    /// Everything about a whole object that the schema forbids, in the order of
    /// the fields.
    pub(in crate::kube) fn check(&self, object: &Value) -> Vec<(String, &'static str, String)> {
        let mut causes = Vec::new();
        self.check_at(object, "", &mut causes);
        causes
    }

    fn check_at(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        if value.is_null() && self.is_nullable {
            return;
        }
        if !self.fits_type(value) {
            let (found, wanted) = (name_of(value), self.wanted());
            let why = format!("Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\"");
            causes.push((path.to_owned(), "FieldValueTypeInvalid", why));
            return;
        }
        if !self.values.is_empty() && !self.values.contains(value) {
            let supported: Vec<_> = self.values.iter().map(Value::to_string).collect();
            let why = format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
            causes.push((path.to_owned(), "FieldValueNotSupported", why));
        }
        match value {
            Value::String(text) => self.check_text(text, path, causes),
            Value::Number(number) => self.check_number(number.as_f64().unwrap_or(0.0), value, path, causes),
            Value::Array(elements) => self.check_list(elements, path, causes),
            Value::Object(_) => self.check_map(value, path, causes),
            _ => {}
        }
    }

    fn wanted(&self) -> &'static str {
        match self.kind {
            _ if self.is_int_or_string => "integer,string",
            Some(kind) => kind.name(),
            None => "any",
        }
    }

    fn fits_type(&self, value: &Value) -> bool {
        if self.is_int_or_string {
            return value.is_i64() || value.is_u64() || value.is_string();
        }
        match self.kind {
            None => true,
            Some(Type::Object) => value.is_object(),
            Some(Type::Array) => value.is_array(),
            Some(Type::String) => value.is_string(),
            Some(Type::Boolean) => value.is_boolean(),
            Some(Type::Number) => value.is_number(),
            Some(Type::Integer) => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
        }
    }

    fn check_text(&self, text: &str, path: &str, causes: &mut Vec<Cause>) {
        let quoted = Value::from(text);
        let length = text.chars().count() as u64;
        if let Some(max) = self.max_length.filter(|max| length > *max) {
            let why = format!("Too long: may not be more than {max} bytes");
            causes.push((path.to_owned(), "FieldValueTooLong", why));
        }
        if let Some(min) = self.min_length.filter(|min| length < *min) {
            let why = format!("Invalid value: {quoted}: {path} in body should be at least {min} chars long");
            causes.push((path.to_owned(), "FieldValueInvalid", why));
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let why = format!("Invalid value: {quoted}: {path} in body should match '{pattern}'");
            causes.push((path.to_owned(), "FieldValueInvalid", why));
        }
    }

    fn check_number(&self, number: f64, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        let mut say = |bound: f64, relation: &str| {
            let why = format!("Invalid value: {value}: {path} in body should be {relation} than or equal to {bound}");
            causes.push((path.to_owned(), "FieldValueInvalid", why));
        };
        if let Some(min) = self.minimum.filter(|min| number < *min) {
            say(min, "greater");
        }
        if let Some(max) = self.maximum.filter(|max| number > *max) {
            say(max, "less");
        }
    }

    fn check_list(&self, elements: &[Value], path: &str, causes: &mut Vec<Cause>) {
        let count = elements.len() as u64;
        if let Some(max) = self.max_items.filter(|max| count > *max) {
            let why = format!("Too many: {count}: must have at most {max} items");
            causes.push((path.to_owned(), "FieldValueTooMany", why));
        }
        if let Some(min) = self.min_items.filter(|min| count < *min) {
            let why = format!("Invalid value: {count}: {path} in body should have at least {min} items");
            causes.push((path.to_owned(), "FieldValueInvalid", why));
        }
        let identity = |element: &Value| match &self.list {
            ListKind::Atomic => None,
            ListKind::Set => Some(element.to_string()),
            ListKind::Map(keys) => {
                let fallback = |key: &str| self.element()?.field(key)?.default_value().cloned();
                let parts: Vec<_> = keys
                    .iter()
                    .filter_map(|key| Some((key, element.get(key).cloned().or_else(|| fallback(key))?)))
                    .map(|(key, value)| format!("\"{key}\":{value}"))
                    .collect();
                Some(format!("{{{}}}", parts.join(",")))
            }
        };
        let mut seen = std::collections::BTreeSet::new();
        for (place, element) in elements.iter().enumerate() {
            let path = format!("{path}[{place}]");
            if let Some(twin) = identity(element)
                && !seen.insert(twin.clone())
            {
                causes.push((path.clone(), "FieldValueDuplicate", format!("Duplicate value: {twin}")));
            }
            if let Some(schema) = self.element() {
                schema.check_at(element, &path, causes);
            }
        }
    }

    fn check_map(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        let Value::Object(fields) = value else { return };
        let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let count = fields.len() as u64;
        if let Some(max) = self.max_properties.filter(|max| count > *max) {
            let why = format!("Too many: {count}: must have at most {max} items");
            causes.push((path.to_owned(), "FieldValueTooMany", why));
        }
        if let Some(min) = self.min_properties.filter(|min| count < *min) {
            let why = format!("Invalid value: {count}: {path} in body should have at least {min} properties");
            causes.push((path.to_owned(), "FieldValueInvalid", why));
        }
        for name in self.required.iter().filter(|name| !fields.contains_key(*name)) {
            causes.push((inside(name), "FieldValueRequired", "Required value".to_owned()));
        }
        for (name, inner) in fields {
            // Metadata has rules of its own.
            let is_metadata = path.is_empty() && name == "metadata";
            if let Some(schema) = self.field(name).filter(|_| !is_metadata) {
                schema.check_at(inner, &inside(name), causes);
            }
        }
    }
}

/// The type of a value, as the API server calls it.
fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
