//! Answers of Proxmox VE, read with tolerance: numbers may come as text, unknown
//! fields are ignored, and no set of values is taken as closed.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, de};

/// The envelope of a good answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<T> {
    pub data: T,
}

/// The body of a refusal. All of it is optional: some come without a body.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RefusalBody {
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default, deserialize_with = "scalars")]
    pub errors: BTreeMap<String, String>,
}

/// A scalar of any type, as text: `1`, `true` and `"1"` are all the text `1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar(pub Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Option<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Some(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Some(u8::from(value).to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Some(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Some(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Some(value.to_string()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            // A list or an object where a scalar was expected is passed over, not
            // refused: one odd machine must not hide the others.
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(None)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }

        deserializer.deserialize_any(Reader).map(Self)
    }
}

/// Reads an object of scalars; nulls and nested values are left out. Anything
/// but an object is an empty one, as Perl's empty hash may come as a list.
pub(crate) fn scalars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Object {
        Map(BTreeMap<String, Scalar>),
        Other(de::IgnoredAny),
    }
    Ok(match Object::deserialize(deserializer)? {
        Object::Map(map) => map.into_iter().filter_map(|(key, value)| Some((key, value.0?))).collect(),
        Object::Other(_) => BTreeMap::new(),
    })
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.0)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let read = |text: &str| text.parse().ok().or_else(|| Some(text.parse::<f64>().ok()?.max(0.0) as u64));
    Ok(text(deserializer)?.as_deref().and_then(read))
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(text(deserializer)?.map(|text| text == "1"))
}

/// An entry of `/cluster/resources`: a machine, a container or a node.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Resource {
    #[serde(default, rename = "type", deserialize_with = "text")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub vmid: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    pub node: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub tags: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub lock: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub maxcpu: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    pub maxmem: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    pub mem: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    pub maxdisk: Option<u64>,
}

/// An entry of `/nodes/{node}/qemu`, or the live status of one machine.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Guest {
    #[serde(default, deserialize_with = "number")]
    pub vmid: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    pub status: Option<String>,
}

/// The live state of a node.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct NodeStatus {
    #[serde(default)]
    pub memory: NodeMemory,
}

/// The memory of a node, in bytes.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct NodeMemory {
    #[serde(default, deserialize_with = "number")]
    pub total: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    pub used: Option<u64>,
}

/// An entry of `/nodes/{node}/tasks`, or the status of one task.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct TaskEntry {
    #[serde(default, deserialize_with = "text")]
    pub upid: Option<String>,
    #[serde(default, deserialize_with = "number")]
    pub endtime: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub exitstatus: Option<String>,
}

/// What `/version` says.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Version {
    #[serde(default, deserialize_with = "text")]
    pub version: Option<String>,
}

/// An entry of `/nodes/{node}/storage`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Storage {
    #[serde(default, deserialize_with = "text")]
    pub storage: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "text")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub content: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    pub enabled: Option<bool>,
    #[serde(default, deserialize_with = "flag")]
    pub active: Option<bool>,
    #[serde(default, deserialize_with = "number")]
    pub avail: Option<u64>,
}

/// An entry of `/nodes/{node}/storage/{storage}/content`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Volume {
    #[serde(default, deserialize_with = "text")]
    pub volid: Option<String>,
}

/// An entry of `/pools`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Pool {
    #[serde(default, deserialize_with = "text")]
    pub poolid: Option<String>,
}

/// An entry of `/nodes/{node}/network`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Interface {
    #[serde(default, deserialize_with = "text")]
    pub iface: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "text")]
    pub kind: Option<String>,
}

/// Effective rights: by path, the privileges and whether they reach below.
pub(crate) type Permissions = BTreeMap<String, BTreeMap<String, Scalar>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_booleans_are_read_from_either_form() {
        let one: Resource =
            serde_json::from_str(r#"{"vmid":"421","maxcpu":4.0,"maxmem":"8589934592","new":[1]}"#).expect("a resource");
        assert_eq!((one.vmid, one.maxcpu, one.maxmem), (Some(421), Some(4), Some(8 << 30)));
        let two: Storage =
            serde_json::from_str(r#"{"storage":"local","active":"1","enabled":true,"avail":"x"}"#).expect("a storage");
        assert_eq!((two.active, two.enabled, two.avail), (Some(true), Some(true), None));
    }

    #[test]
    fn one_odd_entry_does_not_hide_the_others() {
        let list: Envelope<Vec<Resource>> = serde_json::from_str(
            r#"{"data":[{"vmid":100,"name":null,"tags":["a"]},{"vmid":421,"name":"blue","lock":"of tomorrow"}]}"#,
        )
        .expect("a list");
        assert_eq!(list.data[1].name.as_deref(), Some("blue"));
        assert_eq!(list.data[0].tags, None);
    }

    #[test]
    fn a_refusal_is_read_with_and_without_its_parts() {
        for (body, message, fields) in [
            (r#"{"data":null}"#, None, 0),
            (r#"{"data":null,"message":"no\n"}"#, Some("no\n"), 0),
            (r#"{"errors":{"vmid":"VM 421 already exists"},"data":null}"#, None, 1),
            (r#"{"errors":[],"data":null}"#, None, 0),
        ] {
            let read: RefusalBody = serde_json::from_str(body).expect(body);
            assert_eq!((read.message.as_deref(), read.errors.len()), (message, fields), "{body}");
        }
    }
}
