//! One description of a resource's content, and both forms that the wire
//! carries: YAML for people and talosctl, protobuf for typed clients.

use std::fmt::{self, Write};
use std::net::IpAddr;

/// A value in a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A member of an enumeration: its name in YAML, its number in protobuf.
    Enum(&'static str, u64),
    /// An address.
    Address(IpAddr),
    /// An address with the length of its prefix.
    Prefix(IpAddr, u8),
    /// Several values.
    List(Vec<Value>),
    /// Fields of their own.
    Message(Spec),
}

/// The fields of a resource: YAML key, protobuf number, value.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Spec {
    fields: Vec<(&'static str, u32, Value)>,
    /// A resource that is one scalar in YAML.
    scalar: Option<String>,
}

/// A text as it stands may be a machine configuration, which is one secret.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scalar {
            Some(text) => write!(f, "Spec({} bytes)", text.len()),
            None => f.debug_list().entries(&self.fields).finish(),
        }
    }
}

impl Spec {
    /// A resource without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A resource whose YAML is this text, as it stands.
    #[must_use]
    pub fn verbatim(text: impl Into<String>) -> Self {
        Self { fields: Vec::new(), scalar: Some(text.into()) }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, key: &'static str, number: u32, value: impl Into<Value>) -> Self {
        self.fields.push((key, number, value.into()));
        self
    }

    /// The YAML form.
    #[must_use]
    pub fn yaml(&self) -> String {
        if let Some(text) = &self.scalar {
            return format!("{}\n", text.trim_end());
        }
        if self.fields.is_empty() {
            return "{}\n".to_owned();
        }
        let mut text = String::new();
        self.write_yaml(&mut text, 0);
        text
    }

    fn write_yaml(&self, text: &mut String, indent: usize) {
        for (key, _, value) in &self.fields {
            let _ = write!(text, "{:indent$}{key}:", "");
            value.write_yaml(text, indent);
        }
    }

    /// The protobuf form. Values that are zero are left out, as proto3 does.
    #[must_use]
    pub fn proto(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(text) = &self.scalar {
            put_bytes(&mut bytes, 1, text.as_bytes());
        }
        for (_, number, value) in &self.fields {
            value.write_proto(&mut bytes, *number);
        }
        bytes
    }
}

impl Value {
    fn write_yaml(&self, text: &mut String, indent: usize) {
        let deeper = indent + 4;
        let written = match self {
            Self::List(items) if !items.is_empty() => {
                text.push('\n');
                for item in items {
                    let mut block = String::new();
                    match item {
                        Self::Message(spec) => spec.write_yaml(&mut block, deeper + 2),
                        other => other.write_yaml(&mut block, deeper),
                    }
                    let _ = writeln!(text, "{:deeper$}- {}", "", block.trim());
                }
                return;
            }
            Self::Message(spec) if !spec.fields.is_empty() => {
                text.push('\n');
                return spec.write_yaml(text, deeper);
            }
            Self::List(_) => "[]".to_owned(),
            Self::Message(_) => "{}".to_owned(),
            other => other.plain(),
        };
        let _ = writeln!(text, " {written}");
    }

    fn plain(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Enum(name, _) => (*name).to_owned(),
            Self::Address(address) => address.to_string(),
            Self::Prefix(address, length) => format!("{address}/{length}"),
            Self::List(_) | Self::Message(_) => String::new(),
        }
    }

    fn write_proto(&self, bytes: &mut Vec<u8>, number: u32) {
        match self {
            Self::Text(text) if text.is_empty() => {}
            Self::Text(text) => put_bytes(bytes, number, text.as_bytes()),
            Self::Bool(value) => put_number(bytes, number, u64::from(*value)),
            Self::Number(value) | Self::Enum(_, value) => put_number(bytes, number, *value),
            Self::Address(address) => {
                let mut inner = Vec::new();
                put_bytes(&mut inner, 1, &octets(*address));
                put_bytes(bytes, number, &inner);
            }
            Self::Prefix(address, length) => {
                let mut inner = Vec::new();
                put_bytes(&mut inner, 1, &octets(*address));
                put_number(&mut inner, 2, u64::from(*length));
                put_bytes(bytes, number, &inner);
            }
            Self::List(items) => items.iter().for_each(|item| item.write_proto(bytes, number)),
            Self::Message(spec) => put_bytes(bytes, number, &spec.proto()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<Spec> for Value {
    fn from(spec: Spec) -> Self {
        Self::Message(spec)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items)
    }
}

/// Writes a field with a number: nothing for zero.
pub fn put_number(bytes: &mut Vec<u8>, number: u32, value: u64) {
    if value > 0 {
        put_varint(bytes, u64::from(number) << 3);
        put_varint(bytes, value);
    }
}

/// Writes a field with bytes, empty ones too.
pub fn put_bytes(bytes: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_varint(bytes, u64::from(number) << 3 | 2);
    put_varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A text as YAML: quoted wherever a reader could take it for something else.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./() ".contains(c))
        && !text.ends_with(' ')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_description_gives_both_forms() {
        let condition = Spec::new().with("name", 1, "services").with("reason", 2, "etcd: not running");
        let status = Spec::new().with("ready", 1, false).with("unmetConditions", 2, vec![condition.into()]);
        let spec = Spec::new().with("stage", 1, Value::Enum("booting", 1)).with("status", 2, status);
        assert_eq!(
            spec.yaml(),
            "stage: booting\nstatus:\n    ready: false\n    unmetConditions:\n        - name: services\n          \
             reason: \"etcd: not running\"\n"
        );
        assert_eq!(&spec.proto()[..4], [8, 1, 18, 31]);
        let read: serde_json::Value = serde_saphyr::from_str(&spec.yaml()).unwrap();
        assert_eq!(read["status"]["unmetConditions"][0]["reason"], "etcd: not running");
    }

    #[test]
    fn what_a_reader_would_misread_is_quoted() {
        for (text, written) in
            [("yes", "\"yes\""), ("42", "\"42\""), ("Talos (v1.13.9)", "Talos (v1.13.9)"), ("", "\"\"")]
        {
            assert_eq!(Spec::new().with("a", 1, text).yaml(), format!("a: {written}\n"));
        }
    }

    #[test]
    fn addresses_are_bytes_on_the_wire() {
        let address: IpAddr = "192.168.1.210".parse().unwrap();
        let spec = Spec::new().with("address", 1, Value::Prefix(address, 32));
        assert_eq!(spec.yaml(), "address: 192.168.1.210/32\n");
        assert_eq!(spec.proto(), [10, 8, 10, 4, 192, 168, 1, 210, 16, 32]);
    }
}
