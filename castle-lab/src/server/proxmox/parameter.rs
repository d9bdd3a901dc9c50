//! The parameters of a call: from path, query, form and JSON, then checked.

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::{Kind, Parameter};
use super::wire;
use crate::front::Call;
use crate::hypervisor::Refusal;

/// Parameters by name. Before validation they are as given, after it as the
/// schema wants them: booleans are `0` or `1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    values: BTreeMap<String, String>,
    repeated: BTreeMap<String, Vec<String>>,
}

impl Parameters {
    /// Collects the parameters of a call.
    ///
    /// # Errors
    ///
    /// 400 for one that contradicts the path and for a body that is no JSON object.
    pub(super) fn decode(call: &Call, captured: &[(String, String)]) -> Result<Self, Refusal> {
        let mut given = Self::default();
        if let Some(query) = &call.query {
            given.add_form(query);
        }
        if !call.body.is_empty() {
            if wire::media_type(call) == "application/json" {
                given.add_json(&call.body)?;
            } else {
                given.add_form(&String::from_utf8_lossy(&call.body));
            }
        }
        for (name, value) in captured {
            if given.values.get(name).is_some_and(|other| other != value) {
                return Err(Refusal::parameter(name.as_str(), "duplicate parameter (already defined in URI)"));
            }
            given.values.insert(name.clone(), value.clone());
        }
        Ok(given)
    }

    fn add(&mut self, name: String, value: String) {
        if let Some(first) = self.values.insert(name.clone(), value.clone()) {
            self.repeated.entry(name).or_insert_with(|| vec![first]).push(value);
        }
    }

    fn add_form(&mut self, form: &str) {
        for pair in form.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.add(wire::decode(name, true), wire::decode(value, true));
        }
    }

    fn add_json(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
            return Err(Refusal::other(400, "unable to parse JSON body"));
        };
        for (name, value) in object {
            match value {
                Value::Null => {}
                Value::Bool(flag) => self.add(name, u8::from(flag).to_string()),
                Value::String(text) => self.add(name, text),
                Value::Number(number) => self.add(name, number.to_string()),
                Value::Array(items) => {
                    let texts = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                    self.add(name, texts.collect::<Vec<_>>().join(","));
                }
                Value::Object(_) => return Err(Refusal::parameter(name, "type check ('string') failed - got HASH")),
            }
        }
        Ok(())
    }

    /// Holds the parameters to a schema: every complaint at once.
    ///
    /// # Errors
    ///
    /// The 400 with all complaints.
    pub(super) fn validated(mut self, schema: &[Parameter]) -> Result<Self, Refusal> {
        let mut errors = BTreeMap::new();
        for (name, value) in &mut self.values {
            let Some(parameter) = schema.iter().find(|parameter| parameter.covers(name)) else {
                errors.insert(
                    name.clone(),
                    "property is not defined in schema and the schema does not allow additional properties".to_owned(),
                );
                continue;
            };
            if self.repeated.contains_key(name) {
                let kind = parameter.kind.type_name();
                errors.insert(name.clone(), format!("type check ('{kind}') failed - got ARRAY"));
            } else if let Err(complaint) = parameter.kind.check(value) {
                errors.insert(name.clone(), complaint);
            } else if matches!(parameter.kind, Kind::Boolean) {
                *value = u8::from(super::schema::boolean(value) == Some(true)).to_string();
            }
        }
        for parameter in schema.iter().filter(|parameter| parameter.required) {
            if !self.values.contains_key(parameter.name) {
                let complaint = "property is missing and it is not optional";
                errors.insert(parameter.name.to_owned(), complaint.to_owned());
            }
        }
        if errors.is_empty() { Ok(self) } else { Err(Refusal::parameters(errors)) }
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A number that the schema has let through.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// A switch; off when it is missing.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("1")
    }

    /// The host in the path.
    pub(super) fn host(&self) -> &str {
        self.text("node").unwrap_or_default()
    }

    /// The machine in the path or the body.
    pub(super) fn machine(&self) -> u32 {
        self.number("vmid").and_then(|id| id.try_into().ok()).unwrap_or_default()
    }

    /// Everything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// One line for the journal: names and values, without what is secret.
    pub(super) fn detail(&self) -> String {
        const SECRET: [&str; 5] = ["password", "cipassword", "otp", "tfa-challenge", "sshkeys"];
        let shown = self.iter().map(|(name, value)| {
            match value {
                _ if SECRET.contains(&name) => format!("{name}=(hidden)"),
                // Quoted, so that the line can be taken apart again.
                value if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"') => {
                    format!("{name}={value:?}")
                }
                value => format!("{name}={value}"),
            }
        });
        shown.collect::<Vec<_>>().join(" ")
    }
}
