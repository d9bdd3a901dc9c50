//! Private files that are old or new, and never half.
//!
//! A value is written to a file of its own beside its place, synced, and only
//! then given its name, by one system call: `link`, which fails if the name is
//! taken, or `rename`, which replaces. Whoever looks, and whatever power cut
//! comes, finds the whole old value or the whole new one.
//!
//! A lock on the store says who writes: writers share it, and who holds it alone
//! knows that every unfinished file is a dead writer's. The kernel gives it
//! back with a process's last breath. It keeps no value safe (`link` and
//! `rename` do), so a file system without locks only keeps its leftovers.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use castle_core::{Secret, SecretBytes};

use crate::{Error, Result};

/// How the names of unfinished files begin; no key's segment begins with a `.`.
const UNFINISHED: &str = ".tmp-";

/// The file that writers lock, in the root.
const LOCK: &str = ".lock";

/// What becomes of a value that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publish {
    /// It stays, and the write fails with [`io::ErrorKind::AlreadyExists`].
    IfAbsent,
    /// It is replaced.
    Always,
}

/// A point between two system calls of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The folder is there, leftovers are gone.
    Ready,
    /// The unfinished file is there, empty.
    Made,
    /// It holds half of the value.
    HalfWritten,
    /// It holds the value.
    Written,
    /// The value is on the disk.
    Synced,
    /// It has its name.
    Published,
    /// The folder is on the disk.
    FolderSynced,
}

/// The system calls, in their order. Tests cut them anywhere.
#[derive(Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) cut: Option<Box<dyn Fn(Step) -> io::Result<()> + Send + Sync>>,
}

impl Disk {
    #[cfg(test)]
    fn reached(&self, step: Step) -> io::Result<()> {
        self.cut.as_ref().map_or(Ok(()), |cut| cut(step))
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the seam that tests cut at")]
    fn reached(&self, _: Step) -> io::Result<()> {
        Ok(())
    }

    /// Gives `target`, somewhere below `root`, these bytes, for the owner alone.
    pub(super) fn write(&self, root: &Path, target: &Path, bytes: &[u8], publish: Publish) -> Result<()> {
        let folder = target.parent().expect("every secret lies in a folder");
        let _writing = Writing::begin(root, folder)?;
        self.reached(Step::Ready).map_err(Error::io("prepare", folder))?;
        let unfinished = Unfinished::make(folder)?;
        self.write_through(&unfinished, target, bytes, publish).map_err(Error::io("write", target))?;
        drop(unfinished);
        sync_folder(folder)?;
        self.reached(Step::FolderSynced).map_err(Error::io("sync", folder))
    }

    fn write_through(&self, file: &Unfinished, target: &Path, bytes: &[u8], publish: Publish) -> io::Result<()> {
        self.reached(Step::Made)?;
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        (&file.file).write_all(first)?;
        self.reached(Step::HalfWritten)?;
        (&file.file).write_all(rest)?;
        self.reached(Step::Written)?;
        file.file.sync_all()?;
        self.reached(Step::Synced)?;
        match publish {
            Publish::IfAbsent => fs::hard_link(&file.path, target)?,
            Publish::Always => fs::rename(&file.path, target)?,
        }
        self.reached(Step::Published)
    }
}

/// A share of the store's lock: while anybody has one, nobody sweeps.
struct Writing {
    _lock: File,
}

impl Writing {
    /// Takes a share, and sweeps `folder` before if nobody else writes.
    fn begin(root: &Path, folder: &Path) -> Result<Self> {
        let path = root.join(LOCK);
        let lock = open_lock(&path)?;
        match lock.try_lock() {
            Ok(()) => sweep(folder)?,
            Err(TryLockError::WouldBlock) => {}
            // Nobody sweeps there, so nobody has to be kept from it.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => return Ok(Self { _lock: lock }),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        // Waits for a sweep at most: writers do not keep each other out.
        lock.lock_shared().map_err(Error::io("lock", &path))?;
        Ok(Self { _lock: lock })
    }
}

/// Whether the file system cannot lock at all. A network file system whose server
/// runs no lock service says that it has no locks left.
fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported || (cfg!(unix) && error.raw_os_error() == Some(NO_LOCKS))
}

/// `ENOLCK`, which the standard library gives no kind.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_LOCKS: i32 = 37;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NO_LOCKS: i32 = 77;

fn open_lock(path: &Path) -> Result<File> {
    match private_file().open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if look(path)?.is_some_and(|found| !found.is_file()) {
                return Err(Error::NotAFile { path: path.to_owned() });
            }
            OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))
        }
        end => end.map_err(Error::io("create", path)),
    }
}

/// A file that is being written.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn make(folder: &Path) -> Result<Self> {
        // Drawn, not counted: two containers that share the folder share process ids.
        let mut tail = [0; 8];
        getrandom::fill(&mut tail).map_err(|error| Error::io("name a file in", folder)(io::Error::other(error)))?;
        let path = folder.join(format!("{UNFINISHED}{:016x}", u64::from_be_bytes(tail)));
        let file = private_file().open(&path).map_err(Error::io("create", &path))?;
        Ok(Self { path, file })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already after a rename; else what stays is swept by the next write.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(path = %self.path.display(), %error, "an unfinished file stays for the next write");
            }
            _ => {}
        }
    }
}

/// Removes the unfinished files of writers that died. For who holds the lock
/// alone. What cannot be removed stays: it is never listed, so it harms nobody.
fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(UNFINISHED))
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "an unfinished file stays");
        }
    }
    Ok(())
}

/// Reads a whole file; `None` if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<SecretBytes>> {
    let Some(mut file) = open_file(path)? else { return Ok(None) };
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    // Room for all at once: a growing buffer would leave copies that nobody wipes.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Some(Secret::new(bytes)))
}

/// Removes a file; absent is success.
pub(super) fn remove(path: &Path) -> Result<()> {
    if look(path)?.is_some_and(|found| !found.is_file()) {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().expect("every secret lies in a folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// Whether `path` is a real folder; `false` if nothing is there.
pub(super) fn is_folder(path: &Path) -> Result<bool> {
    match look(path)? {
        None => Ok(false),
        Some(found) if found.is_dir() => Ok(true),
        Some(_) => Err(Error::NotAFolder { path: path.to_owned() }),
    }
}

/// Makes `path` a folder for the owner alone, in a folder that exists.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    if is_folder(path)? {
        return Ok(());
    }
    match private_folder().create(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_folder(path)? => Ok(()),
        Err(error) => Err(Error::io("create the folder", path)(error)),
    }
}

/// What is at `path`, itself and not what a link leads to.
pub(super) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(Error::SymbolicLink { path: path.to_owned() }),
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

fn open_file(path: &Path) -> Result<Option<File>> {
    let Some(seen) = look(path)? else { return Ok(None) };
    if !seen.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    // A link that was put there since the look would have led us elsewhere; a
    // writer that renamed since then is no link, so look again.
    let opened = file.metadata().map_err(Error::io("open", path))?;
    if !same_file(&seen, &opened) {
        look(path)?;
    }
    Ok(Some(file))
}

#[cfg(unix)]
fn same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same_file(_: &Metadata, _: &Metadata) -> bool {
    false // so it is always looked at again
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options
}

#[cfg(unix)]
fn private_folder() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn private_folder() -> DirBuilder {
    DirBuilder::new()
}

/// Puts a folder's names on the disk.
#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))
}

#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> Result<()> {
    Ok(()) // such systems cannot sync a folder
}

/// Refuses a folder that others than its owner may enter.
#[cfg(unix)]
pub(super) fn check_private(path: &Path, found: &Metadata) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(Error::OpenToOthers { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
pub(super) fn check_private(_: &Path, _: &Metadata) -> Result<()> {
    Ok(()) // such systems have no modes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_told_from_one_that_fails() {
        assert!(has_no_locks(&io::ErrorKind::Unsupported.into()));
        assert!(!has_no_locks(&io::ErrorKind::PermissionDenied.into()));
        if cfg!(target_os = "linux") {
            // ENOLCK, EOPNOTSUPP; EIO
            assert!([37, 95].iter().all(|code| has_no_locks(&io::Error::from_raw_os_error(*code))));
            assert!(!has_no_locks(&io::Error::from_raw_os_error(5)));
        }
    }
}
