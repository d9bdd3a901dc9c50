//! Secrets that SOPS has encrypted.

mod error;
mod open;
mod tree;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use age::{Identity, IdentityFile};
use async_trait::async_trait;
use castle_core::{Meter, SecretBytes, SecretKey, SecretStore};
use zeroize::Zeroizing;

pub use error::{Error, Result};

use open::Refusal;
use tree::{Format, Tree};

/// How deep folders are looked into.
const DEPTH_MAX: usize = 16;
/// How many bytes of a file are read.
const LENGTH_MAX: u64 = 1 << 20;

/// Secrets in files below one folder that SOPS has encrypted for an age key; read
/// only.
///
/// Each value of a file is a secret. Its key is the file's place below the folder
/// without its endings, then the keys that lead to the value:
///
/// | file | value | secret |
/// |---|---|---|
/// | `blue/talos.yaml`, `blue/talos.sops.yaml`, `.enc.yaml`, `.yml` | at `1` | `blue/talos/1` |
/// | `blue/talos.json` | at `1.born` | `blue/talos/1.born` |
/// | `blue.env` | of `TOKEN` | `blue/TOKEN` |
/// | `secrets.yaml`, in any folder | at `project-key` | `project-key`, of that folder |
/// | `blue/kubeconfig.sops` (SOPS' form for binary files), `.bin` | the whole | `blue/kubeconfig` |
///
/// Other files, hidden ones, values in lists and values whose place is no secret's
/// path are not looked at, and neither are links to folders: they may lead in a
/// circle. Links to files are followed.
///
/// # Guarantees
///
/// - What vouches for the whole file (`mac`) is checked at each reading. Where it
///   vouches for the encrypted values alone, only those are given.
/// - A value that was moved to another place does not open.
/// - Nothing is kept between two calls, the identities neither.
pub struct SopsSecrets {
    folder: PathBuf,
    key: PathBuf,
    meter: Meter,
}

/// A file that may hold secrets.
struct Document {
    path: PathBuf,
    /// What stands before the keys of its values; empty, or without a slash at its end.
    prefix: String,
    format: Format,
}

impl SopsSecrets {
    /// The store of `folder`, opened by the age identities in the file `key`.
    /// Reads nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the working folder is gone, which paths are relative to.
    pub fn new(folder: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        // The working folder may change; the store must not move with it.
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|source| Error::Io { act: "find", path: path.to_owned(), source })
        };
        Ok(Self { folder: absolute(folder.as_ref())?, key: absolute(key.as_ref())?, meter: Meter::default() })
    }

    fn identities(&self) -> Result<Vec<Box<dyn Identity + Send + Sync>>> {
        let path = || self.key.clone();
        let text = match read(&self.key) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoKeyFile { path: path() });
            }
            text => text?,
        };
        let bad = |why: &str| Error::BadKeyFile { path: path(), why: why.to_owned() };
        // The reader's own words may quote a line.
        let file = IdentityFile::from_buffer(text.as_bytes()).map_err(|_| bad("holds a line that is no identity"))?;
        let found = file.into_identities().map_err(|_| bad("holds an identity that cannot be used"))?;
        if found.is_empty() { Err(bad("holds no identity")) } else { Ok(found) }
    }

    /// The files that may hold secrets, in order.
    fn documents(&self) -> Result<Vec<Document>> {
        if !self.folder.is_dir() {
            return Err(Error::NoFolder { path: self.folder.clone() });
        }
        let mut documents = Vec::new();
        collect(&self.folder, "", 0, &mut documents)?;
        documents.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(documents)
    }

    fn find(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        let mut found: Option<(PathBuf, SecretBytes)> = None;
        for document in self.documents()?.into_iter().filter(|document| document.may_hold(key)) {
            let tree = document.read()?;
            if !document.keys(&tree).any(|name| name == *key) {
                continue;
            }
            let leaves = open::open(tree, &self.identities()?).map_err(|why| document.refused(why))?;
            let Some(leaf) = leaves.into_iter().find(|leaf| document.key(&leaf.path).as_ref() == Some(key)) else {
                return Err(Error::NotVouched { path: document.path, key: key.clone() });
            };
            if let Some((one, _)) = found {
                return Err(Error::Twice { key: key.clone(), one, other: document.path });
            }
            found = Some((document.path, leaf.value));
        }
        Ok(found.map(|(_, value)| value))
    }

    fn names(&self) -> Result<Vec<SecretKey>> {
        let mut names = Vec::new();
        for document in self.documents()? {
            let tree = document.read()?;
            // A file that nobody encrypted is not among the secrets.
            if tree.get("sops").is_some() {
                names.extend(document.keys(&tree));
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

fn collect(folder: &Path, prefix: &str, depth: usize, documents: &mut Vec<Document>) -> Result<()> {
    let io = |act, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { act, path, source }
    };
    if depth > DEPTH_MAX {
        return Err(Error::TooDeep { path: folder.to_owned(), folders: DEPTH_MAX });
    }
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let entry = entry.map_err(io("list", folder))?;
        let path = entry.path();
        // Names that no key can have are not castle's business.
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let below = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let is_link = entry.file_type().map_err(io("look at", &path))?.is_symlink();
        if path.is_dir() {
            if is_link {
                continue;
            }
            collect(&path, &below(name), depth + 1, documents)?;
            continue;
        }
        let Some((stem, ending)) = name.rsplit_once('.') else { continue };
        let format = match ending {
            "yaml" | "yml" => Format::Yaml,
            "json" => Format::Json,
            "env" => Format::Dotenv,
            "sops" | "bin" => Format::Binary,
            _ => continue,
        };
        let stem = stem.strip_suffix(".sops").or_else(|| stem.strip_suffix(".enc")).unwrap_or(stem);
        let is_plain = stem == "secrets" && format != Format::Binary;
        let prefix = if is_plain { prefix.to_owned() } else { below(stem) };
        documents.push(Document { path, prefix, format });
    }
    Ok(())
}

impl Document {
    fn may_hold(&self, key: &SecretKey) -> bool {
        match self.format {
            Format::Binary => key.as_str() == self.prefix,
            _ => key.is_below(&self.prefix),
        }
    }

    fn read(&self) -> Result<Tree> {
        let malformed = |why| Error::Malformed { path: self.path.clone(), why };
        Tree::read(&read(&self.path)?, self.format).map_err(malformed)
    }

    /// The secret of the value at `path`.
    fn key(&self, path: &[String]) -> Option<SecretKey> {
        if self.format == Format::Binary {
            return (path == ["data"]).then(|| self.prefix.parse().ok())?;
        }
        let path = path.join("/");
        if self.prefix.is_empty() { path.parse().ok() } else { format!("{}/{path}", self.prefix).parse().ok() }
    }

    fn keys(&self, tree: &Tree) -> impl Iterator<Item = SecretKey> {
        open::names(tree).into_iter().filter_map(|path| self.key(&path))
    }

    fn refused(&self, why: Refusal) -> Error {
        let path = self.path.clone();
        match why {
            Refusal::NotEncrypted => Error::NotEncrypted { path },
            Refusal::WrongRecipient(recipients) => Error::WrongRecipient { path, recipients },
            Refusal::Tampered(why) => Error::Tampered { path, why },
            Refusal::Unsupported(why) => Error::Unsupported { path, why },
            Refusal::Malformed(why) => Error::Malformed { path, why },
        }
    }
}

/// Reads a text file of a sensible length.
fn read(path: &Path) -> Result<Zeroizing<String>> {
    let io = |source| Error::Io { act: "read", path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(io)?.len();
    if length > LENGTH_MAX {
        return Err(Error::TooLong { path: path.to_owned(), length, bytes: LENGTH_MAX });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(io)
}

#[async_trait]
impl SecretStore for SopsSecrets {
    fn name(&self) -> &'static str {
        "sops"
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn get(&self, key: &SecretKey) -> castle_core::Result<Option<SecretBytes>> {
        self.meter.count_read();
        Ok(self.find(key)?)
    }

    async fn create(&self, key: &SecretKey, _: &SecretBytes) -> castle_core::Result<()> {
        self.meter.count_read();
        Err(match self.find(key)? {
            Some(_) => Error::Exists { key: key.clone() },
            None => Error::ReadOnly { key: key.clone() },
        }
        .into())
    }

    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> castle_core::Result<bool> {
        self.meter.count_read();
        match self.find(key)? {
            Some(present) if present.same_as(value) => Ok(false),
            _ => Err(Error::ReadOnly { key: key.clone() }.into()),
        }
    }

    async fn list(&self, prefix: &str) -> castle_core::Result<Vec<SecretKey>> {
        SecretKey::check_prefix(prefix)?;
        self.meter.count_read();
        let mut names = self.names()?;
        names.retain(|key| key.is_below(prefix));
        Ok(names)
    }

    async fn delete(&self, key: &SecretKey) -> castle_core::Result<()> {
        self.meter.count_read();
        match self.find(key)? {
            Some(_) => Err(Error::ReadOnly { key: key.clone() }.into()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SopsSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SopsSecrets").field("folder", &self.folder).finish_non_exhaustive()
    }
}
