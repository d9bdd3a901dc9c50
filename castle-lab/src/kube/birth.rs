//! What is drawn for a new object: its uid, and a name where only the beginning
//! of one is given.

use serde_json::{Value, json};

use super::kind::{Kind, Resource};
use super::object;
use super::store::{Place, Store};

impl Store {
    /// Fills `name` from `generateName`.
    pub(super) fn name_generated(&mut self, kind: &Kind, object: &mut Value) {
        let prefix = object::text(object, &["metadata", "generateName"]).to_owned();
        if !object::name(object).is_empty() || prefix.is_empty() {
            return;
        }
        // The alphabet of apimachinery's random names: no vowels, so no words.
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let key = format!("{} {}/{prefix}", kind.resource, object::namespace(object));
        let nth = self.next_birth(&key);
        let suffix: String = (0..5)
            .map(|place| {
                let unit = self.draws.unit(&key, &format!("name {place}"), nth);
                // `unit` is below 1, so the place is inside the alphabet.
                char::from(ALPHABET[(unit * ALPHABET.len() as f64) as usize])
            })
            .collect();
        object::set_metadata(object, "name", Some(json!(format!("{prefix}{suffix}"))));
    }

    pub(super) fn next_uid(&mut self, resource: &Resource, (namespace, name): &Place, dry_run: bool) -> String {
        let key = format!("{resource} {namespace}/{name}");
        let nth = if dry_run { u64::MAX } else { self.next_birth(&key) };
        let part = |what: &str, bits: u32| (self.draws.unit(&key, what, nth) * f64::from(bits).exp2()) as u64;
        let (first, last) = (part("uid first", 48), part("uid last", 48));
        // The version (4) and variant bits of a random uuid.
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{last:012x}",
            first >> 16,
            first & 0xFFFF,
            part("uid third", 12),
            0x8000 | part("uid fourth", 14)
        )
    }

    /// How many of that name were born before.
    fn next_birth(&mut self, key: &str) -> u64 {
        let count = self.births.entry(key.to_owned()).or_default();
        let nth = *count;
        *count += 1;
        nth
    }
}
