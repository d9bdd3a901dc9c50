//! Opening a document: its data key, its values, and what vouches for them.

use std::io::Read as _;

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead as _, KeyInit as _, Nonce, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Key};
use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castle_core::{Secret, SecretBytes};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::tree::Tree;

/// SOPS has nonces of 32 bytes, not of 12.
type Cipher = AesGcm<Aes256, U32>;

/// What the sum begins with where it is about the encrypted values alone, so that
/// it cannot be taken for one about all values.
const ENCRYPTED_ONLY: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Why a document does not open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotEncrypted,
    WrongRecipient(Vec<String>),
    Tampered(String),
    Unsupported(String),
    Malformed(String),
}

/// A value of a document, under the keys that lead to it.
pub(super) struct Leaf {
    pub(super) path: Vec<String>,
    pub(super) value: SecretBytes,
}

/// The names of a document's values, which are not encrypted. Lists have none.
pub(super) fn names(document: &Tree) -> Vec<Vec<String>> {
    fn walk(tree: &Tree, path: &mut Vec<String>, names: &mut Vec<Vec<String>>) {
        match tree {
            Tree::Map(entries) => {
                for (key, value) in entries {
                    path.push(key.clone());
                    walk(value, path, names);
                    path.pop();
                }
            }
            Tree::List(_) | Tree::Null => {}
            _ => names.push(path.clone()),
        }
    }
    let mut names = Vec::new();
    if let Tree::Map(entries) = document {
        for (key, value) in entries.iter().filter(|(key, _)| key != "sops") {
            walk(value, &mut vec![key.clone()], &mut names);
        }
    }
    names
}

/// Opens a document, and gives the values that SOPS vouches for.
pub(super) fn open(mut document: Tree, identities: &[Box<dyn Identity + Send + Sync>]) -> Result<Vec<Leaf>, Refusal> {
    let sops = document.take("sops").ok_or(Refusal::NotEncrypted)?;
    let key = data_key(&sops, identities)?;
    let only_encrypted = match sops.get("mac_only_encrypted") {
        Some(Tree::Bool(only)) => *only,
        Some(Tree::Text(only)) => only == "true",
        _ => false,
    };
    let mut sum = Sha512::new();
    if only_encrypted {
        sum.update(ENCRYPTED_ONLY);
    }
    let mut walk =
        Walk { cipher: Cipher::new(Key::<Cipher>::from_slice(&*key)), sum, only_encrypted, leaves: Vec::new() };
    walk.tree(&document, &mut Vec::new(), true)?;
    let Walk { cipher, sum, leaves, .. } = walk;
    let found: String = sum.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
    let missing = |what: &str| Refusal::Tampered(format!("it has no `{what}`"));
    let mac = sops.get("mac").and_then(Tree::text).filter(|mac| !mac.is_empty()).ok_or_else(|| missing("mac"))?;
    let modified = sops.get("lastmodified").and_then(Tree::text).ok_or_else(|| missing("lastmodified"))?;
    let sealed = Sealed::read(mac).ok_or_else(|| Refusal::Malformed("its `mac` is not in SOPS' form".into()))?;
    let expected = sealed.open(&cipher, modified).ok_or_else(|| Refusal::Tampered("its `mac` does not open".into()))?;
    if !expected.eq_ignore_ascii_case(found.as_bytes()) {
        return Err(Refusal::Tampered("its values do not match its `mac`".into()));
    }
    Ok(leaves)
}

/// The key that all values are encrypted with.
fn data_key(sops: &Tree, identities: &[Box<dyn Identity + Send + Sync>]) -> Result<Zeroizing<[u8; 32]>, Refusal> {
    if let Some(Tree::List(groups)) = sops.get("key_groups")
        && groups.len() > 1
    {
        return Err(Refusal::Unsupported("shares its key among several groups".into()));
    }
    // With a single group its recipients stand in the group or, usually, beside it.
    let grouped = match sops.get("key_groups") {
        Some(Tree::List(groups)) => groups.first().and_then(|group| group.get("age")),
        _ => None,
    };
    let Some(Tree::List(recipients)) = sops.get("age").filter(|age| **age != Tree::Null).or(grouped) else {
        return Err(Refusal::WrongRecipient(Vec::new()));
    };
    let mut names = Vec::new();
    for recipient in recipients {
        names.extend(recipient.get("recipient").and_then(Tree::text).map(str::to_owned));
        let sealed = recipient.get("enc").and_then(Tree::text);
        let sealed = sealed.ok_or_else(|| Refusal::Malformed("a recipient has no `enc`".into()))?;
        match unsealed(sealed, identities) {
            Ok(key) => return Ok(key),
            Err(DecryptError::NoMatchingKeys) => {}
            Err(_) => return Err(Refusal::Tampered("its data key does not open".into())),
        }
    }
    Err(Refusal::WrongRecipient(names))
}

fn unsealed(sealed: &str, identities: &[Box<dyn Identity + Send + Sync>]) -> Result<Zeroizing<[u8; 32]>, DecryptError> {
    let decryptor = Decryptor::new(ArmoredReader::new(sealed.as_bytes()))?;
    let mut reader = decryptor.decrypt(identities.iter().map(|identity| &**identity as &dyn Identity))?;
    let mut key = Zeroizing::new([0; 32]);
    reader.read_exact(&mut *key)?;
    match reader.read(&mut [0])? {
        0 => Ok(key),
        _ => Err(DecryptError::DecryptionFailed),
    }
}

struct Walk {
    cipher: Cipher,
    sum: Sha512,
    only_encrypted: bool,
    leaves: Vec<Leaf>,
}

impl Walk {
    fn tree(&mut self, tree: &Tree, path: &mut Vec<String>, is_named: bool) -> Result<(), Refusal> {
        let (plain, served) = match tree {
            Tree::Map(entries) => {
                for (key, value) in entries {
                    path.push(key.clone());
                    self.tree(value, path, is_named)?;
                    path.pop();
                }
                return Ok(());
            }
            Tree::List(items) => {
                // Places in a list are not part of what a value is bound to.
                return items.iter().try_for_each(|item| self.tree(item, path, false));
            }
            Tree::Null => return Ok(()),
            Tree::Text(text) => match Sealed::read(text) {
                Some(sealed) => return self.sealed(&sealed, path, is_named),
                None => (text.clone(), None),
            },
            Tree::Int(value) => (value.to_string(), None),
            Tree::Float(value) => (value.to_string(), None),
            Tree::Bool(value) => (if *value { "True" } else { "False" }.to_owned(), Some(value.to_string())),
        };
        // What the sum leaves out could have been written by anybody.
        if !self.only_encrypted {
            self.sum.update(&plain);
            self.serve(path, is_named, served.unwrap_or(plain).into_bytes());
        }
        Ok(())
    }

    fn sealed(&mut self, sealed: &Sealed<'_>, path: &[String], is_named: bool) -> Result<(), Refusal> {
        let bound_to = format!("{}:", path.join(":"));
        let plain = sealed
            .open(&self.cipher, &bound_to)
            .ok_or_else(|| Refusal::Tampered(format!("the value of `{}` does not open", path.join("."))))?;
        match sealed.kind {
            "comment" => {}
            "str" | "bytes" | "int" | "float" | "time" => {
                self.sum.update(&*plain);
                self.serve(path, is_named, plain.to_vec());
            }
            "bool" => {
                self.sum.update(&*plain);
                self.serve(path, is_named, plain.to_ascii_lowercase());
            }
            kind => return Err(Refusal::Unsupported(format!("holds a value of the type `{kind}`"))),
        }
        Ok(())
    }

    fn serve(&mut self, path: &[String], is_named: bool, value: Vec<u8>) {
        if is_named {
            self.leaves.push(Leaf { path: path.to_vec(), value: Secret::new(value) });
        }
    }
}

/// An encrypted value: `ENC[AES256_GCM,data:..,iv:..,tag:..,type:..]`.
struct Sealed<'a> {
    /// Data and tag, as the cipher wants them.
    data: Vec<u8>,
    nonce: [u8; 32],
    kind: &'a str,
}

impl<'a> Sealed<'a> {
    /// `None` if the text is in another form: it is not encrypted then.
    fn read(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let mut fields = inner.split(',');
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix(':');
        let (data, nonce, tag, kind) = (field("data")?, field("iv")?, field("tag")?, field("type")?);
        let mut data = STANDARD.decode(data).ok()?;
        let tag = STANDARD.decode(tag).ok().filter(|tag| tag.len() == 16)?;
        data.extend_from_slice(&tag);
        Some(Self { data, nonce: STANDARD.decode(nonce).ok()?.try_into().ok()?, kind })
    }

    /// The plain bytes, if they were encrypted for this place.
    fn open(&self, cipher: &Cipher, bound_to: &str) -> Option<Zeroizing<Vec<u8>>> {
        let payload = Payload { msg: &self.data, aad: bound_to.as_bytes() };
        cipher.decrypt(Nonce::<Cipher>::from_slice(&self.nonce), payload).ok().map(Zeroizing::new)
    }
}
