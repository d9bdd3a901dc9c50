//! Secrets in files.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use castle_core::{Meter, SecretBytes, SecretKey, SecretStore};

use super::disk::{self, Disk, Publish};
use crate::{Error, Result};

/// Secrets as files below one folder, for the operator alone.
///
/// The secret `talos/1/began` is the file `talos.d/1.d/began.secret`: the
/// endings let `talos/1` and `talos/1/began` exist side by side.
///
/// # Guarantees
///
/// - Files have mode 0600 and folders 0700 from the call that creates them,
///   whatever the umask. A root that others may enter is refused, with the
///   command that closes it.
/// - A cut at any point, of the process or of the power, leaves the old value
///   or the new one. What an unfinished write leaves is never listed and is swept
///   by the next write into the same folder that no other write accompanies.
/// - Of concurrent creators, also in other processes and containers, one wins.
/// - No symbolic link below the root is followed; each is an error.
///
/// The root itself may be reached through a link. It is made, with its parents,
/// by the first write, so that reading leaves no trace.
///
/// Files are small, so they are read and written inside the async calls without
/// a thread of their own.
///
/// # Other systems
///
/// Where there are no modes (Windows), nothing is checked and nothing is set:
/// the folder's access list must keep others out. Names are not synced there
/// beyond what the file system does by itself.
///
/// # Cancellation
///
/// Calls do not await, so they are never dropped halfway.
pub struct FileSecrets {
    root: PathBuf,
    meter: Meter,
    disk: Disk,
}

impl FileSecrets {
    /// The store below `root`, which need not exist yet.
    ///
    /// # Errors
    ///
    /// [`Error::OpenToOthers`] and [`Error::NotAFolder`] for a root that cannot be
    /// trusted, [`Error::Io`] if it cannot be looked at.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        // The working folder may change; the store must not move with it.
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        let store = Self { root, meter: Meter::default(), disk: Disk::default() };
        store.root_exists()?;
        Ok(store)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks at the root anew for each call: it may have been opened to others since.
    fn root_exists(&self) -> Result<bool> {
        match fs::metadata(&self.root) {
            Ok(found) if found.is_dir() => disk::check_private(&self.root, &found).map(|()| true),
            Ok(_) => Err(Error::NotAFolder { path: self.root.clone() }),
            // A link that leads nowhere is a disk that is not mounted, not an empty store.
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk::look(&self.root).map(|_| false),
            Err(error) => Err(Error::io("look at", &self.root)(error)),
        }
    }

    /// The file of a secret, if all folders on the way exist.
    fn file(&self, key: &SecretKey) -> Result<Option<PathBuf>> {
        if !self.root_exists()? {
            return Ok(None);
        }
        let (folders, file) = self.way(key);
        for folder in folders {
            if !disk::is_folder(&folder)? {
                return Ok(None);
            }
        }
        Ok(Some(file))
    }

    /// The file of a secret, with all folders on the way made.
    fn file_to_write(&self, key: &SecretKey) -> Result<PathBuf> {
        if !self.root_exists()? {
            for folder in self.root.ancestors().collect::<Vec<_>>().into_iter().rev() {
                // Above the root links are the operator's business.
                if !folder.is_dir() {
                    disk::make_folder(folder)?;
                }
            }
        }
        let (folders, file) = self.way(key);
        for folder in folders {
            disk::make_folder(&folder)?;
        }
        Ok(file)
    }

    /// The folders between the root and the file of a secret, and the file.
    fn way(&self, key: &SecretKey) -> (Vec<PathBuf>, PathBuf) {
        let mut folders: Vec<PathBuf> = Vec::new();
        let mut segments: Vec<&str> = key.as_str().split('/').collect();
        let last = segments.pop().expect("a key has at least one segment");
        for segment in segments {
            let folder = folders.last().unwrap_or(&self.root).join(format!("{segment}.d"));
            folders.push(folder);
        }
        let file = folders.last().unwrap_or(&self.root).join(format!("{last}.secret"));
        (folders, file)
    }

    fn read(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        self.file(key)?.map_or(Ok(None), |file| disk::read(&file))
    }

    fn create_file(&self, key: &SecretKey, value: &SecretBytes) -> Result<()> {
        let path = self.file_to_write(key)?;
        match disk::look(&path)? {
            None => {}
            Some(found) if found.is_file() => return self.lost(key, path),
            Some(_) => return Err(Error::NotAFile { path }),
        }
        match self.disk.write(&self.root, &path, value.expose(), Publish::IfAbsent) {
            Err(Error::Io { source, path, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                self.lost(key, path)
            }
            end => end,
        }
    }

    /// The error of a lost race. The loser goes on with the winner's value, so
    /// that value must not vanish any more, even if the winner dies now.
    fn lost(&self, key: &SecretKey, path: PathBuf) -> Result<()> {
        disk::sync_folder(path.parent().unwrap_or(&self.root))?;
        Err(Error::Exists { key: key.clone(), path })
    }

    fn collect(&self, folder: &Path, prefix: &str, keys: &mut Vec<SecretKey>) -> Result<()> {
        for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let entry = entry.map_err(Error::io("list", folder))?;
            let name = entry.file_name();
            // Names that castle does not write are not its business.
            let Some(name) = name.to_str() else { continue };
            let (segment, is_folder) = match (name.strip_suffix(".secret"), name.strip_suffix(".d")) {
                (Some(segment), _) => (segment, false),
                (None, Some(segment)) => (segment, true),
                (None, None) => continue,
            };
            let Ok(key) = format!("{prefix}{segment}").parse::<SecretKey>() else { continue };
            let path = entry.path();
            match disk::look(&path)? {
                None => {} // deleted meanwhile
                Some(found) if is_folder && found.is_dir() => self.collect(&path, &format!("{key}/"), keys)?,
                Some(found) if !is_folder && found.is_file() => keys.push(key),
                Some(_) if is_folder => return Err(Error::NotAFolder { path }),
                Some(_) => return Err(Error::NotAFile { path }),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl SecretStore for FileSecrets {
    fn name(&self) -> &'static str {
        "files"
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn get(&self, key: &SecretKey) -> castle_core::Result<Option<SecretBytes>> {
        self.meter.count_read();
        Ok(self.read(key)?)
    }

    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> castle_core::Result<()> {
        self.meter.count_write();
        Ok(self.create_file(key, value)?)
    }

    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> castle_core::Result<bool> {
        self.meter.count_read();
        if self.read(key)?.is_some_and(|present| present.same_as(value)) {
            return Ok(false);
        }
        self.meter.count_write();
        self.disk.write(&self.root, &self.file_to_write(key)?, value.expose(), Publish::Always)?;
        Ok(true)
    }

    async fn list(&self, prefix: &str) -> castle_core::Result<Vec<SecretKey>> {
        SecretKey::check_prefix(prefix)?;
        self.meter.count_read();
        let mut keys = Vec::new();
        if self.root_exists()? {
            self.collect(&self.root, "", &mut keys)?;
        }
        keys.retain(|key| key.is_below(prefix));
        keys.sort_unstable();
        Ok(keys)
    }

    async fn delete(&self, key: &SecretKey) -> castle_core::Result<()> {
        self.meter.count_write();
        if let Some(file) = self.file(key)? {
            disk::remove(&file)?;
        }
        Ok(())
    }
}

impl fmt::Debug for FileSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSecrets").field("root", &self.root).finish_non_exhaustive()
    }
}

#[cfg(all(test, unix))]
mod tests;
