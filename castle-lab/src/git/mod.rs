//! Git repositories of the house: branches, commits and trees as plain data.
//!
//! Objects have their true encoding, so a commit has the id that every git would
//! give it, and packs can be exchanged with any of them.

pub mod account;
mod delta;
pub mod furnish;
pub mod history;
pub mod object;
pub mod pack;
pub mod push;
pub mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::world::World;

use account::Accounts;
use object::{Broken, Commit, Object, ObjectId, Objects};
use push::Rules;
pub use template::template;

/// Who signs what the house itself commits.
const AUTHOR: &str = "castle-lab <lab@castle.internal>";
const BRANCHES: &str = "refs/heads/";

/// The repositories, by the path of their URL (`/tazlab-k8s.git`).
#[derive(Debug, Clone, Default)]
pub struct Git {
    /// The repositories.
    pub repositories: BTreeMap<String, Repository>,
    /// Who may read and push.
    pub accounts: Accounts,
    /// Whether a server that speaks protocol 2 names its service first, as some
    /// hosts do; git's own server does not.
    pub announces_service: bool,
}

impl Git {
    /// A repository by the path of a URL, with or without its `.git`.
    #[must_use]
    pub fn repository(&self, path: &str) -> Option<&Repository> {
        let key = self.key_of(path)?;
        self.repositories.get(&key)
    }

    /// The key of a repository in [`Git::repositories`], by the path of a URL.
    #[must_use]
    pub fn key_of(&self, path: &str) -> Option<String> {
        let path = format!("/{}", path.trim_matches('/'));
        [format!("{path}.git"), path].into_iter().find(|key| self.repositories.contains_key(key))
    }

    /// Counts every change of a branch of every repository.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.repositories.values().map(|repository| repository.landings.len() as u64).sum()
    }

    /// Every secret that the Git server knows, with what it is.
    pub fn secrets(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.accounts.secrets()
    }
}

/// One repository.
#[derive(Clone)]
pub struct Repository {
    /// What its hooks and its host refuse.
    pub rules: Rules,
    default_branch: String,
    /// Full names, `refs/heads/main`, tags too.
    references: BTreeMap<String, ObjectId>,
    branches: BTreeMap<String, Arc<Branch>>,
    objects: Arc<Objects>,
    landings: Vec<Landing>,
}

/// Where a branch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The commit's id, 40 hex digits.
    pub commit: String,
    /// Its tree: path to content.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A change of a branch or tag: a push, or the house's own commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// When, in the world's time.
    pub at: Duration,
    /// The account that pushed. `None`: the house itself.
    pub by: Option<String>,
    /// The full name: `refs/heads/main`.
    pub reference: String,
    /// Where it stood.
    pub old: ObjectId,
    /// Where it stands now.
    pub new: ObjectId,
}

impl Default for Repository {
    fn default() -> Self {
        Self::new("main")
    }
}

impl Repository {
    /// An empty repository whose clones begin at this branch.
    #[must_use]
    pub fn new(default_branch: &str) -> Self {
        Self {
            rules: Rules::default(),
            default_branch: default_branch.to_owned(),
            references: BTreeMap::new(),
            branches: BTreeMap::new(),
            objects: Arc::default(),
            landings: Vec::new(),
        }
    }

    /// Where a branch stands, if it exists.
    #[must_use]
    pub fn head(&self, branch: &str) -> Option<&Branch> {
        self.branches.get(branch).map(Arc::as_ref)
    }

    /// The branch that a clone begins at.
    #[must_use]
    pub fn default_branch(&self) -> &str {
        &self.default_branch
    }

    /// Branches and tags by their full names.
    #[must_use]
    pub fn references(&self) -> &BTreeMap<String, ObjectId> {
        &self.references
    }

    /// The objects.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Every change of a branch or tag so far, in order.
    #[must_use]
    pub fn landings(&self) -> &[Landing] {
        &self.landings
    }

    /// The commits of a branch with their ids, the newest first, along the first
    /// parents.
    #[must_use]
    pub fn log(&self, branch: &str) -> Vec<(ObjectId, Commit)> {
        let mut log = Vec::new();
        let mut next = self.references.get(&format!("{BRANCHES}{branch}")).copied();
        while let Some(id) = next {
            // Every commit that a branch can reach was checked when it came.
            let Ok(commit) = self.objects.commit(id) else { break };
            next = commit.parents.first().copied();
            log.push((id, commit));
        }
        log
    }

    /// Commits a tree of exactly these files onto a branch, at that time since 1970
    /// and as the house. The same files on the same branch at the same time give
    /// the same id. A tree that equals the branch's makes no commit. `at` is the
    /// world's time of the landing.
    pub fn commit(
        &mut self,
        branch: &str,
        files: BTreeMap<String, Vec<u8>>,
        message: &str,
        wall: Duration,
        at: Duration,
    ) -> ObjectId {
        let reference = format!("{BRANCHES}{branch}");
        let old = self.references.get(&reference).copied();
        let objects = Arc::make_mut(&mut self.objects);
        let tree = objects.plant(&files);
        if let Some(old) = old
            && objects.commit(old).is_ok_and(|commit| commit.tree == tree)
        {
            return old;
        }
        let who = format!("{AUTHOR} {} +0000", wall.as_secs());
        let message = format!("{}\n", message.trim_end());
        let commit = Commit { tree, parents: old.into_iter().collect(), author: who.clone(), committer: who, message };
        let id = objects.insert(commit.encode());
        self.references.insert(reference.clone(), id);
        self.branches.insert(branch.to_owned(), Arc::new(Branch { commit: id.to_string(), files }));
        self.landings.push(Landing { at, by: None, reference, old: old.unwrap_or(ObjectId::ZERO), new: id });
        id
    }

    /// Moves a reference; `ZERO` removes it.
    fn move_reference(&mut self, reference: &str, to: ObjectId, at: Duration, by: &str) -> Result<(), Broken> {
        let old = self.references.get(reference).copied().unwrap_or(ObjectId::ZERO);
        if to == ObjectId::ZERO {
            self.references.remove(reference);
        } else {
            self.references.insert(reference.to_owned(), to);
        }
        if let Some(branch) = reference.strip_prefix(BRANCHES) {
            if to == ObjectId::ZERO {
                self.branches.remove(branch);
            } else {
                let files = self.objects.files(self.objects.commit(to)?.tree)?;
                self.branches.insert(branch.to_owned(), Arc::new(Branch { commit: to.to_string(), files }));
            }
        }
        let by = Some(by.to_owned());
        self.landings.push(Landing { at, by, reference: reference.to_owned(), old, new: to });
        Ok(())
    }

    /// Adds objects that came with a push.
    fn keep(&mut self, objects: Vec<Object>) {
        let store = Arc::make_mut(&mut self.objects);
        for object in objects {
            store.insert(object);
        }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("references", &self.references)
            .field("objects", &self.objects)
            .finish_non_exhaustive()
    }
}

impl World {
    /// Commits a tree of exactly these files onto a branch of a repository, as the
    /// house and now. The repository is made if there is none.
    pub fn commit_files(
        &mut self,
        repository: &str,
        branch: &str,
        files: BTreeMap<String, Vec<u8>>,
        message: &str,
    ) -> ObjectId {
        let (wall, now) = (self.wall(), self.now());
        let repositories = &mut self.git.repositories;
        let repository = repositories.entry(repository.to_owned()).or_insert_with(|| Repository::new(branch));
        repository.commit(branch, files, message, wall, now)
    }

    /// Changes some files of a branch and commits that, as the house and now. A
    /// branch that does not exist begins empty.
    pub fn edit_files(
        &mut self,
        repository: &str,
        branch: &str,
        message: &str,
        edit: impl FnOnce(&mut BTreeMap<String, Vec<u8>>),
    ) -> ObjectId {
        let head = self.git.repository(repository).and_then(|found| found.head(branch));
        let mut files = head.map(|head| head.files.clone()).unwrap_or_default();
        edit(&mut files);
        let key = self.git.key_of(repository).unwrap_or_else(|| repository.to_owned());
        self.commit_files(&key, branch, files, message)
    }
}
