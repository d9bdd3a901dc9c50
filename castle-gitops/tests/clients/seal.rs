//! Encrypts as SOPS does, for tests: the way there, of which castle has the way
//! back.

use std::io::Write as _;

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead as _, KeyInit as _, Nonce, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Key};
use age::armor::{ArmoredWriter, Format};
use age::x25519::Identity;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};

type Cipher = AesGcm<Aes256, U32>;

pub const MODIFIED: &str = "2026-11-21T12:00:00Z";

/// One file in the making: its data key, and the sum of what it holds so far.
pub struct Seal {
    key: [u8; 32],
    sum: Sha512,
    nonces: u8,
}

impl Seal {
    pub fn new() -> Self {
        Self { key: [7; 32], sum: Sha512::new(), nonces: 0 }
    }

    /// With the sum about the encrypted values alone.
    pub fn of_encrypted_only() -> Self {
        let mut seal = Self::new();
        let begin = "8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69";
        let byte = |place| u8::from_str_radix(&begin[place..place + 2], 16).unwrap();
        seal.sum.update((0..64).step_by(2).map(byte).collect::<Vec<_>>());
        seal
    }

    /// A value at the place `path`, for example `["stringData", "key"]`.
    pub fn value(&mut self, path: &[&str], plain: &str, kind: &str) -> String {
        if kind != "comment" {
            self.plain(plain);
        }
        if plain.is_empty() { String::new() } else { self.sealed(&format!("{}:", path.join(":")), plain, kind) }
    }

    /// A value that stays readable.
    pub fn plain(&mut self, text: &str) {
        self.sum.update(text);
    }

    fn sealed(&mut self, bound_to: &str, plain: &str, kind: &str) -> String {
        self.nonces += 1;
        let nonce = [self.nonces; 32];
        let payload = Payload { msg: plain.as_bytes(), aad: bound_to.as_bytes() };
        let sealed = Cipher::new(Key::<Cipher>::from_slice(&self.key))
            .encrypt(Nonce::<Cipher>::from_slice(&nonce), payload)
            .unwrap();
        let (data, tag) = sealed.split_at(sealed.len() - 16);
        let [data, nonce, tag] = [data, &nonce[..], tag].map(|bytes| STANDARD.encode(bytes));
        format!("ENC[AES256_GCM,data:{data},iv:{nonce},tag:{tag},type:{kind}]")
    }

    pub fn mac(&mut self) -> String {
        let sum: String = self.sum.clone().finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        self.sealed(MODIFIED, &sum, "str")
    }

    /// The data key, for whoever has `identity`.
    pub fn data_key(&self, identity: &Identity) -> String {
        let recipient = identity.to_public();
        let encryptor = age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
        let mut out = Vec::new();
        let armor = ArmoredWriter::wrap_output(&mut out, Format::AsciiArmor).unwrap();
        let mut writer = encryptor.wrap_output(armor).unwrap();
        writer.write_all(&self.key).unwrap();
        writer.finish().unwrap().finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The part `sops` of a YAML file.
    pub fn yaml(&mut self, identity: &Identity, more: &str) -> String {
        let key: String = self.data_key(identity).lines().map(|line| format!("            {line}\n")).collect();
        format!(
            "sops:\n    age:\n        - recipient: {}\n          enc: |\n{key}    lastmodified: \"{MODIFIED}\"\n    \
             mac: {}\n{more}    version: 3.13.2\n",
            identity.to_public(),
            self.mac(),
        )
    }

    /// The part `sops` of a JSON file.
    pub fn json(&mut self, identity: &Identity) -> serde_json::Value {
        serde_json::json!({
            "age": [{"recipient": identity.to_public().to_string(), "enc": self.data_key(identity)}],
            "lastmodified": MODIFIED, "mac": self.mac(), "version": "3.13.2",
        })
    }
}
