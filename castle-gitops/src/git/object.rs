//! Commits, trees and blobs, and the names that prove them.

use std::collections::BTreeMap;
use std::fmt;

use sha1::{Digest, Sha1};

/// How many entries the tree of a commit may have.
const ENTRIES_MAX: usize = 100_000;
/// How deep folders may lie in each other.
const DEPTH_MAX: usize = 64;

/// Why what was sent is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is not what git sends: what is wrong with it.
    Broken(String),
    /// It is more than castle reads: which bound it passes.
    TooLarge(String),
}

impl From<String> for Flaw {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl From<&str> for Flaw {
    fn from(why: &str) -> Self {
        Self::Broken(why.to_owned())
    }
}

/// The name of an object: the SHA-1 of its kind, length and bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectId(pub(super) [u8; 20]);

impl ObjectId {
    /// The name that these bytes must have.
    pub(super) fn of(kind: Kind, bytes: &[u8]) -> Self {
        let mut hash = Sha1::new();
        hash.update(format!("{} {}\0", kind.name(), bytes.len()));
        hash.update(bytes);
        Self(hash.finalize().into())
    }

    pub(super) fn parse(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 40 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

/// Objects by their proved names.
pub(super) type Objects = BTreeMap<ObjectId, (Kind, Vec<u8>)>;

fn get(objects: &Objects, id: ObjectId, kind: Kind) -> Result<&[u8], Flaw> {
    match objects.get(&id) {
        Some((found, bytes)) if *found == kind => Ok(bytes),
        Some((found, _)) => Err(format!("{id} is a {} where a {} belongs", found.name(), kind.name()).into()),
        None => Err(format!("the {} {id} is missing", kind.name()).into()),
    }
}

/// The regular files of a commit: path to blob. Links and submodules are left
/// out: neither is content of this repository.
pub(super) fn files_of(objects: &Objects, commit: ObjectId) -> Result<BTreeMap<String, ObjectId>, Flaw> {
    let text = get(objects, commit, Kind::Commit)?;
    let first = text.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    let tree = first.and_then(|line| line.strip_prefix("tree ")).and_then(ObjectId::parse);
    let tree = tree.ok_or_else(|| format!("the commit {commit} names no tree"))?;
    let mut files = BTreeMap::new();
    let mut seen = 0;
    let mut waiting = vec![(String::new(), tree, 0)];
    while let Some((folder, tree, depth)) = waiting.pop() {
        if depth > DEPTH_MAX {
            return Err(Flaw::TooLarge(format!("has folders that lie deeper than {DEPTH_MAX}")));
        }
        let mut rest = get(objects, tree, Kind::Tree)?;
        while !rest.is_empty() {
            let (mode, name, id, after) = entry(rest).ok_or_else(|| format!("the tree {tree} cannot be read"))?;
            rest = after;
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(Flaw::TooLarge(format!("has more than {ENTRIES_MAX} files and folders")));
            }
            let path = format!("{folder}{name}");
            match mode {
                "40000" => waiting.push((format!("{path}/"), id, depth + 1)),
                "100644" | "100755" | "100664" => drop(files.insert(path, id)),
                "120000" | "160000" => {}
                _ => return Err(format!("the tree {tree} has an entry of mode {mode}").into()),
            }
        }
    }
    Ok(files)
}

fn entry(bytes: &[u8]) -> Option<(&str, &str, ObjectId, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (mode, name) = std::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
    if name.is_empty() || name.contains('/') || matches!(name, "." | ".." | ".git") {
        return None;
    }
    let id = bytes.get(end + 1..end + 21)?.try_into().ok()?;
    Some((mode, name, ObjectId(id), &bytes[end + 21..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str, ObjectId)]) -> Vec<u8> {
        let entry =
            |(mode, name, id): &(&str, &str, ObjectId)| [format!("{mode} {name}\0").as_bytes(), &id.0[..]].concat();
        entries.iter().flat_map(entry).collect()
    }

    fn add(objects: &mut Objects, kind: Kind, bytes: &[u8]) -> ObjectId {
        let id = ObjectId::of(kind, bytes);
        objects.insert(id, (kind, bytes.to_vec()));
        id
    }

    fn check(root: impl Fn(&mut Objects) -> ObjectId, expected: Result<&[&str], &str>) {
        let mut objects = Objects::new();
        let root = root(&mut objects);
        let commit = add(&mut objects, Kind::Commit, format!("tree {root}\n\nfirst\n").as_bytes());
        let found = files_of(&objects, commit).map(|files| files.into_keys().collect::<Vec<_>>());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(Flaw::Broken(found)), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn names_are_git_s_own() {
        // `git hash-object` says so of an empty blob and of an empty tree.
        assert_eq!(ObjectId::of(Kind::Blob, b"").to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(ObjectId::of(Kind::Tree, b"").to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    }

    #[test]
    fn files_are_found_in_folders_and_links_are_left_out() {
        let root = |objects: &mut Objects| {
            let blob = add(objects, Kind::Blob, b"x");
            let inner = add(objects, Kind::Tree, &tree(&[("100644", "b.yaml", blob)]));
            let entries =
                [("40000", "a", inner), ("120000", "link", blob), ("160000", "module", blob), ("100755", "run", blob)];
            add(objects, Kind::Tree, &tree(&entries))
        };
        check(root, Ok(&["a/b.yaml", "run"]));
    }

    #[test]
    fn a_tree_that_leads_elsewhere_is_refused() {
        for name in ["..", ".git", "a/b", ""] {
            let root = |objects: &mut Objects| {
                let blob = add(objects, Kind::Blob, b"x");
                add(objects, Kind::Tree, &tree(&[("100644", name, blob)]))
            };
            check(root, Err("cannot be read"));
        }
        check(|objects| add(objects, Kind::Blob, b"x"), Err("is a blob where a tree belongs"));
        check(|_| ObjectId([7; 20]), Err("is missing"));
    }
}
