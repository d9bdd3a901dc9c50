//! Secrets, in every form in which they could be written down, and the search for
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use castle_talos::SecretsBundle;
use castle_talos::secrets::EncryptionSecret;

/// What is too short to be told from chance.
const SHORTEST: usize = 12;
/// How many bytes of a needle lead to it.
const HEAD: usize = 8;

/// The secrets of a lab, each with its name.
#[derive(Default)]
pub struct Secrets(BTreeMap<Vec<u8>, String>);

impl Secrets {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().collect::<BTreeSet<_>>().len()
    }

    /// Adds a secret as it is kept.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        if value.len() >= SHORTEST {
            self.0.insert(value.to_vec(), name.to_owned());
        }
    }

    /// Adds a private key: its number, and the text of its PEM as far as it holds
    /// the number. The rest is known to everybody: headers and the public key.
    pub fn add_key(&mut self, name: &str, pem: &str) {
        let lines: Vec<&str> = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let body = lines.concat();
        let der = STANDARD.decode(&body).unwrap_or_else(|error| panic!("{name} is no PEM: {error}"));
        // An octet string of 32 bytes: the number itself, in SEC 1 and in PKCS #8.
        let at = der
            .windows(2)
            .position(|window| window == [0x04, 0x20])
            .unwrap_or_else(|| panic!("{name} holds no number of 32 bytes"))
            + 2;
        self.add(name, &der[at..at + 32]);
        let (from, to) = ((at * 8).div_ceil(6), (at + 32) * 8 / 6);
        let mut place = 0;
        for line in lines {
            let (begin, end) = (from.clamp(place, place + line.len()), to.clamp(place, place + line.len()));
            self.add(name, &line.as_bytes()[begin - place..end - place]);
            place += line.len();
        }
    }

    /// Adds everything of a bundle.
    pub fn add_bundle(&mut self, life: &str, bundle: &SecretsBundle) {
        let mut text = |what: &str, value: &str| {
            let name = format!("{what} of {life}");
            self.add(&name, value.as_bytes());
            if let Some((_, second)) = value.split_once('.') {
                self.add(&name, second.as_bytes());
            }
            if let Ok(bytes) = STANDARD.decode(value) {
                self.add(&name, &bytes);
            }
        };
        text("the cluster secret", bundle.cluster_secret.expose());
        text("the bootstrap token", bundle.bootstrap_token.expose());
        text("the trustd token", bundle.trustd_token.expose());
        let (EncryptionSecret::Secretbox(key) | EncryptionSecret::AesCbc(key)) = &bundle.encryption;
        text("the encryption key", key.expose());
        for (what, key) in [
            ("etcd's key", &bundle.etcd.key),
            ("Kubernetes' key", &bundle.kubernetes.key),
            ("the aggregator's key", &bundle.aggregator.key),
            ("the service accounts' key", &bundle.service_account_key),
            ("Talos' key", &bundle.os.key),
        ] {
            self.add_key(&format!("{what} of {life}"), key.expose());
        }
    }

    /// Adds the client's key of a kubeconfig or a talosconfig.
    pub fn add_credential(&mut self, name: &str, text: &str) {
        let key = text
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .find_map(|(key, value)| matches!(key, "client-key-data" | "key").then_some(value.trim_matches('"')))
            .unwrap_or_else(|| panic!("{name} holds a key"));
        let pem = STANDARD.decode(key).expect("keys are base64");
        self.add_key(name, std::str::from_utf8(&pem).expect("PEM is text"));
    }

    /// Makes it ready to search.
    pub fn needles(&self) -> Needles {
        let mut needles = Needles { first: vec![false; 1 << 16], by_head: BTreeMap::new() };
        for (value, name) in &self.0 {
            for (form, text) in forms(value) {
                if text.len() >= SHORTEST {
                    needles.add(text, format!("{name} ({form})"));
                }
            }
        }
        needles
    }
}

/// How a value is written down, by people and by formatters.
fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let listed = |between: &str| {
        let numbers: Vec<String> = value.iter().map(ToString::to_string).collect();
        numbers.join(between).into_bytes()
    };
    let mut percent = String::new();
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            percent.push(char::from(*byte));
        } else {
            write!(percent, "%{byte:02X}").expect("a text takes everything");
        }
    }
    let mut forms = vec![
        ("plain", value.to_vec()),
        ("hex", hex::encode(value).into_bytes()),
        ("hex", hex::encode_upper(value).into_bytes()),
        ("percent", percent.to_lowercase().into_bytes()),
        ("percent", percent.into_bytes()),
        ("numbers", listed(", ")),
        ("numbers", listed(",")),
        ("escaped", value.escape_ascii().to_string().into_bytes()),
    ];
    if let Ok(text) = std::str::from_utf8(value) {
        let json = serde_json::to_string(text).expect("a text is JSON");
        forms.push(("JSON", json.trim_matches('"').as_bytes().to_vec()));
        forms.push(("JSON", json.trim_matches('"').replace('/', "\\/").into_bytes()));
    }
    // Inside a longer text it begins at any of three places of base64's beat.
    for before in 0..3usize {
        let mut padded = vec![0; before];
        padded.extend(value);
        let end = padded.len() / 3 * 3;
        for (form, engine) in [("base64", &STANDARD_NO_PAD), ("base64 of URLs", &URL_SAFE_NO_PAD)] {
            let encoded = engine.encode(&padded[..end]);
            forms.push((form, encoded.as_bytes()[(before * 8).div_ceil(6)..].to_vec()));
        }
    }
    forms
}

/// All forms of all secrets, by how they begin.
pub struct Needles {
    first: Vec<bool>,
    by_head: BTreeMap<[u8; HEAD], Vec<(Vec<u8>, String)>>,
}

impl Needles {
    fn add(&mut self, text: Vec<u8>, name: String) {
        let head: [u8; HEAD] = text[..HEAD].try_into().expect("needles are longer than their heads");
        self.first[usize::from(head[0]) << 8 | usize::from(head[1])] = true;
        self.by_head.entry(head).or_default().push((text, name));
    }

    /// The secrets that a text holds. Never shows their values.
    pub fn found_in(&self, text: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, head) in text.windows(HEAD).enumerate() {
            if !self.first[usize::from(head[0]) << 8 | usize::from(head[1])] {
                continue;
            }
            let Some(needles) = self.by_head.get(head) else { continue };
            let here = needles.iter().filter(|(needle, _)| text[at..].starts_with(needle));
            found.extend(here.map(|(_, name)| name.clone()));
        }
        found
    }
}
