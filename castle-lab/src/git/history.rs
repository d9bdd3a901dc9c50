//! What a client lacks: which objects follow from what it wants and has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::object::{Broken, ObjectId, ObjectKind, Objects, tagged};

/// What a fetch asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// The objects wanted.
    pub wants: Vec<ObjectId>,
    /// The commits that the client has, as far as the repository knows them.
    pub haves: Vec<ObjectId>,
    /// The commits whose parents the client has not, though it has them.
    pub shallow: BTreeSet<ObjectId>,
    /// How many commits of each line are wanted.
    pub depth: Option<u32>,
    /// Whether the depth counts from what the client has.
    pub is_relative: bool,
    /// Which blobs are left out.
    pub filter: Filter,
}

/// Which blobs a partial clone leaves out, unless they are asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// None.
    #[default]
    Nothing,
    /// All that have at least so many bytes.
    BlobsFrom(usize),
}

/// What a fetch gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Commits whose parents the client will not have.
    pub shallow: Vec<ObjectId>,
    /// Commits whose parents it gets now.
    pub unshallow: Vec<ObjectId>,
    /// The objects it lacks: commits and tags, then trees, then blobs.
    pub objects: Vec<ObjectId>,
}

impl Objects {
    /// What a wish comes to.
    ///
    /// # Errors
    ///
    /// If an object on the way is missing or malformed.
    pub fn deliver(&self, wish: &Wish) -> Result<Delivery, Broken> {
        let mut delivery = Delivery::default();
        let mut starts = wish.wants.clone();
        let cut = match wish.depth {
            None => wish.shallow.clone(),
            Some(depth) => {
                let depths = self.depths(&wish.wants)?;
                let base = if wish.is_relative {
                    wish.shallow.iter().filter_map(|id| depths.get(id)).max().copied().unwrap_or(0)
                } else {
                    0
                };
                let depth = depth.saturating_add(base);
                let mut cut = BTreeSet::new();
                for (id, at) in &depths {
                    let parents = self.commit(*id)?.parents;
                    if *at == depth && !parents.is_empty() {
                        cut.insert(*id);
                    } else if *at < depth && wish.shallow.contains(id) {
                        delivery.unshallow.push(*id);
                        starts.extend(parents);
                    }
                }
                delivery.shallow = cut.difference(&wish.shallow).copied().collect();
                cut
            }
        };
        let present = self.reach(&wish.haves, &wish.shallow, &BTreeSet::new(), Filter::Nothing)?;
        let present = present.into_iter().collect();
        delivery.objects = self.reach(&starts, &cut, &present, wish.filter)?;
        Ok(delivery)
    }

    /// Whether every wanted commit has one of these in its history: then nothing
    /// more needs to be told.
    #[must_use]
    pub fn is_enough(&self, wants: &[ObjectId], common: &BTreeSet<ObjectId>) -> bool {
        !common.is_empty() && wants.iter().all(|want| self.ancestors(*want).iter().any(|id| common.contains(id)))
    }

    /// Whether a commit is in the history of another.
    #[must_use]
    pub fn is_ancestor(&self, older: ObjectId, newer: ObjectId) -> bool {
        self.ancestors(newer).contains(&older)
    }

    /// Checks that nothing is missing below an object; `present` is known to be
    /// whole.
    ///
    /// # Errors
    ///
    /// What is missing or malformed.
    pub fn check_whole(&self, id: ObjectId, present: &[ObjectId]) -> Result<(), Broken> {
        let whole = self.reach(present, &BTreeSet::new(), &BTreeSet::new(), Filter::Nothing)?;
        self.reach(&[id], &BTreeSet::new(), &whole.into_iter().collect(), Filter::Nothing).map(|_| ())
    }

    fn ancestors(&self, commit: ObjectId) -> BTreeSet<ObjectId> {
        self.depths(&[commit]).map(|depths| depths.into_keys().collect()).unwrap_or_default()
    }

    /// How far each commit is from the nearest of these, which count as 1.
    fn depths(&self, from: &[ObjectId]) -> Result<BTreeMap<ObjectId, u32>, Broken> {
        let mut depths = BTreeMap::new();
        let mut queue = VecDeque::new();
        for id in from {
            if let Some(id) = self.peeled(*id)? {
                queue.push_back((id, 1));
            }
        }
        while let Some((id, depth)) = queue.pop_front() {
            if depths.contains_key(&id) {
                continue;
            }
            depths.insert(id, depth);
            queue.extend(self.commit(id)?.parents.into_iter().map(|parent| (parent, depth + 1)));
        }
        Ok(depths)
    }

    /// The commit behind tags. `None` if there is another kind of object.
    ///
    /// # Errors
    ///
    /// If a tag names nothing, or an object is missing.
    pub fn peeled(&self, mut id: ObjectId) -> Result<Option<ObjectId>, Broken> {
        loop {
            let object = self.get(id).ok_or_else(|| Broken::missing("object", id))?;
            match object.kind {
                ObjectKind::Commit => return Ok(Some(id)),
                ObjectKind::Tag => id = tagged(object)?,
                _ => return Ok(None),
            }
        }
    }

    /// Everything below these objects, the history of a `cut` commit left out, and
    /// what is `present` too.
    fn reach(
        &self,
        from: &[ObjectId],
        cut: &BTreeSet<ObjectId>,
        present: &BTreeSet<ObjectId>,
        filter: Filter,
    ) -> Result<Vec<ObjectId>, Broken> {
        let mut seen = present.clone();
        let (mut commits, mut trees, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
        let mut queue: VecDeque<_> = from.iter().map(|id| (*id, true)).collect();
        while let Some((id, by_name)) = queue.pop_front() {
            if !seen.insert(id) {
                continue;
            }
            let object = self.get(id).ok_or_else(|| Broken::missing("object", id))?;
            match object.kind {
                ObjectKind::Commit => {
                    commits.push(id);
                    let commit = self.commit(id)?;
                    queue.push_back((commit.tree, false));
                    if !cut.contains(&id) {
                        queue.extend(commit.parents.into_iter().map(|parent| (parent, false)));
                    }
                }
                ObjectKind::Tag => {
                    commits.push(id);
                    queue.push_back((tagged(object)?, false));
                }
                ObjectKind::Tree => {
                    trees.push(id);
                    let entries = self.tree(id)?.into_iter();
                    let here = entries.filter(|entry| entry.mode != super::object::Entry::SUBMODULE);
                    queue.extend(here.map(|entry| (entry.id, false)));
                }
                ObjectKind::Blob => {
                    let is_left_out = matches!(filter, Filter::BlobsFrom(bytes) if object.data.len() >= bytes);
                    if by_name || !is_left_out {
                        blobs.push(id);
                    }
                }
            }
        }
        commits.extend(trees);
        commits.extend(blobs);
        Ok(commits)
    }
}
