//! Git's objects: blobs, trees, commits and tags in their true encoding, so that
//! their ids are the ones that every git computes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sha1::{Digest, Sha1};

/// The name of an object: SHA-1 over its encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    /// What stands for no object at all in the wire protocol.
    pub const ZERO: Self = Self([0; 20]);

    /// The id whose bytes these are. `None` if there are not 20 of them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its 20 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An object whose bytes say nothing that git understands, or that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl Broken {
    pub(super) fn missing(kind: &str, id: ObjectId) -> Self {
        Self(format!("{kind} {id} is missing"))
    }
}

impl FromStr for ObjectId {
    type Err = Broken;

    fn from_str(text: &str) -> Result<Self, Broken> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Broken(format!("`{text}` is no object id")))?;
        Ok(Self(bytes))
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A state of the tree with its history.
    Commit,
    /// A folder.
    Tree,
    /// A file's content.
    Blob,
    /// A name for an object, with words.
    Tag,
}

impl ObjectKind {
    /// Its name in the encoding: `commit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// One object.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its content, without the header.
    pub data: Bytes,
}

impl Object {
    /// An object with this content.
    #[must_use]
    pub fn new(kind: ObjectKind, data: impl Into<Bytes>) -> Self {
        Self { kind, data: data.into() }
    }

    /// Its name: SHA-1 over kind, length and content.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let mut hash = Sha1::new();
        hash.update(format!("{} {}\0", self.kind.name(), self.data.len()));
        hash.update(&self.data);
        ObjectId(hash.finalize().into())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.kind.name(), self.data.len())
    }
}

/// One line of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `0o100644` for a file, `0o040000` for a folder.
    pub mode: u32,
    /// Its name in the folder.
    pub name: String,
    /// Its object.
    pub id: ObjectId,
}

impl Entry {
    /// The mode of an ordinary file.
    pub const FILE: u32 = 0o100_644;
    /// The mode of a folder.
    pub const FOLDER: u32 = 0o040_000;
    /// The mode of a link to another repository, whose commit is elsewhere.
    pub const SUBMODULE: u32 = 0o160_000;

    /// Whether it is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.mode == Self::FOLDER
    }

    /// Git sorts folders as if their names ended in a slash.
    fn sort_key(&self) -> Vec<u8> {
        let mut key = self.name.clone().into_bytes();
        if self.is_folder() {
            key.push(b'/');
        }
        key
    }
}

/// Encodes a folder.
#[must_use]
pub fn encode_tree(mut entries: Vec<Entry>) -> Object {
    entries.sort_by_key(Entry::sort_key);
    let mut data = Vec::new();
    for entry in entries {
        data.extend(format!("{:o} {}\0", entry.mode, entry.name).into_bytes());
        data.extend(entry.id.as_bytes());
    }
    Object::new(ObjectKind::Tree, data)
}

/// Reads a folder.
///
/// # Errors
///
/// If the object is no tree, or its lines are not as git writes them.
pub fn decode_tree(object: &Object) -> Result<Vec<Entry>, Broken> {
    if object.kind != ObjectKind::Tree {
        return Err(Broken(format!("{} {} stands where a tree should", object.kind.name(), object.id())));
    }
    let broken = || Broken(format!("tree {} is malformed", object.id()));
    let mut rest = &object.data[..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).ok_or_else(broken)?;
        let head = std::str::from_utf8(&rest[..end]).map_err(|_| broken())?;
        let (mode, name) = head.split_once(' ').ok_or_else(broken)?;
        let mode = u32::from_str_radix(mode, 8).map_err(|_| broken())?;
        let id = rest.get(end + 1..end + 21).and_then(ObjectId::from_bytes).ok_or_else(broken)?;
        if name.is_empty() || name.contains('/') || [".", "..", ".git"].contains(&name) {
            return Err(broken());
        }
        entries.push(Entry { mode, name: name.to_owned(), id });
        rest = &rest[end + 21..];
    }
    Ok(entries)
}

/// What a commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The state of the tree.
    pub tree: ObjectId,
    /// The commits that it follows.
    pub parents: Vec<ObjectId>,
    /// `name <mail> seconds zone`.
    pub author: String,
    /// The same of whoever put it there.
    pub committer: String,
    /// Its words.
    pub message: String,
}

impl Commit {
    /// Encodes it.
    #[must_use]
    pub fn encode(&self) -> Object {
        let mut text = format!("tree {}\n", self.tree);
        for parent in &self.parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        text.push_str(&format!("author {}\ncommitter {}\n\n{}", self.author, self.committer, self.message));
        Object::new(ObjectKind::Commit, text.into_bytes())
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// If the object is no commit, or lacks tree, author or committer.
    pub fn decode(object: &Object) -> Result<Self, Broken> {
        if object.kind != ObjectKind::Commit {
            return Err(Broken(format!("{} {} stands where a commit should", object.kind.name(), object.id())));
        }
        let broken = || Broken(format!("commit {} is malformed", object.id()));
        let text = String::from_utf8_lossy(&object.data);
        let (head, message) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
        let (mut tree, mut parents, mut author, mut committer) = (None, Vec::new(), None, None);
        for line in head.lines() {
            match line.split_once(' ') {
                Some(("tree", id)) => tree = Some(id.parse()?),
                Some(("parent", id)) => parents.push(id.parse()?),
                Some(("author", who)) => author = Some(who.to_owned()),
                Some(("committer", who)) => committer = Some(who.to_owned()),
                // Signatures, encodings and their continued lines.
                _ => {}
            }
        }
        Ok(Self {
            tree: tree.ok_or_else(broken)?,
            parents,
            author: author.ok_or_else(broken)?,
            committer: committer.ok_or_else(broken)?,
            message: message.to_owned(),
        })
    }
}

/// The object that a tag names.
///
/// # Errors
///
/// If the object is no tag, or names nothing.
pub fn tagged(object: &Object) -> Result<ObjectId, Broken> {
    let text = String::from_utf8_lossy(&object.data);
    match text.lines().next().and_then(|line| line.strip_prefix("object ")) {
        Some(id) if object.kind == ObjectKind::Tag => id.parse(),
        _ => Err(Broken(format!("tag {} is malformed", object.id()))),
    }
}

/// The objects of a repository, by their ids.
#[derive(Clone, Default)]
pub struct Objects(BTreeMap<ObjectId, Object>);

impl Objects {
    /// Keeps an object and says its id.
    pub fn insert(&mut self, object: Object) -> ObjectId {
        let id = object.id();
        self.0.entry(id).or_insert(object);
        id
    }

    /// An object.
    #[must_use]
    pub fn get(&self, id: ObjectId) -> Option<&Object> {
        self.0.get(&id)
    }

    /// Whether it is here.
    #[must_use]
    pub fn contains(&self, id: ObjectId) -> bool {
        self.0.contains_key(&id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A commit.
    ///
    /// # Errors
    ///
    /// If it is not here, or is none.
    pub fn commit(&self, id: ObjectId) -> Result<Commit, Broken> {
        Commit::decode(self.get(id).ok_or_else(|| Broken::missing("commit", id))?)
    }

    /// A folder's lines.
    ///
    /// # Errors
    ///
    /// If it is not here, or is none.
    pub fn tree(&self, id: ObjectId) -> Result<Vec<Entry>, Broken> {
        decode_tree(self.get(id).ok_or_else(|| Broken::missing("tree", id))?)
    }

    /// Keeps a whole tree of files and says its id.
    pub fn plant(&mut self, files: &BTreeMap<String, Vec<u8>>) -> ObjectId {
        let mut here = Vec::new();
        let mut folders = BTreeMap::<&str, BTreeMap<String, Vec<u8>>>::new();
        for (path, content) in files {
            match path.split_once('/') {
                Some((folder, rest)) => {
                    folders.entry(folder).or_default().insert(rest.to_owned(), content.clone());
                }
                None => {
                    let id = self.insert(Object::new(ObjectKind::Blob, content.clone()));
                    here.push(Entry { mode: Entry::FILE, name: path.clone(), id });
                }
            }
        }
        for (name, below) in folders {
            let id = self.plant(&below);
            here.push(Entry { mode: Entry::FOLDER, name: name.to_owned(), id });
        }
        self.insert(encode_tree(here))
    }

    /// All files below a tree, by their paths. Links to other repositories have no
    /// content here and are left out.
    ///
    /// # Errors
    ///
    /// If an object of it is missing or malformed.
    pub fn files(&self, tree: ObjectId) -> Result<BTreeMap<String, Vec<u8>>, Broken> {
        let mut files = BTreeMap::new();
        let mut folders = vec![(String::new(), tree)];
        while let Some((prefix, tree)) = folders.pop() {
            for entry in self.tree(tree)? {
                let path = format!("{prefix}{}", entry.name);
                if entry.is_folder() {
                    folders.push((format!("{path}/"), entry.id));
                } else if entry.mode != Entry::SUBMODULE {
                    let blob = self.get(entry.id).ok_or_else(|| Broken::missing("blob", entry.id))?;
                    files.insert(path, blob.data.to_vec());
                }
            }
        }
        Ok(files)
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects", self.0.len())
    }
}
