//! What a lab tells others: its option document, and what was asked of it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use castle_core::options::SecretsAccess;
use castle_core::{Error, ErrorKind, Result, SecretStore};
use castle_gitops::secrets::FileSecrets;
use castle_lab::Lab;
use serde::Serialize;

use crate::place::Place;

/// The name of the option document.
const DOCUMENT: &str = "lab.yaml";

/// The right to serve a lab. Given back if it comes to nothing, so that another try,
/// with another folder, can be made.
struct Claim<'a> {
    serving: &'a AtomicBool,
    is_kept: bool,
}

impl<'a> Claim<'a> {
    fn of(serving: &'a AtomicBool) -> Result<Self> {
        if serving.swap(true, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::AlreadyExists, "the lab is served already")
                .hint("use the document that was written first"));
        }
        Ok(Self { serving, is_kept: false })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.serving.store(false, Ordering::SeqCst);
        }
    }
}

/// Writes `lab.yaml`, and the secrets that the lab holds, into a folder that only
/// its owner may read, and has the lab keep its secrets there from now on.
///
/// # Errors
///
/// Those of [`Lab::options`] and of the stores; [`ErrorKind::AlreadyExists`] if the
/// lab is served already, or another one was served from that folder;
/// [`ErrorKind::PermissionDenied`] if others may enter the folder, or it cannot be
/// written.
pub async fn serve(lab: &Lab, place: &Place, folder: &Path) -> Result<PathBuf> {
    // Before anything is written: a second call must leave no trace.
    let mut claim = Claim::of(&place.serving)?;
    let run = lab.new_run();
    let mut options = lab.options(run)?;
    // Each client process is a run of its own; one document cannot tell them apart.
    options.source = None;
    let folder = private(folder)?;
    let secrets = folder.join("secrets");
    is_unused(&secrets)?;
    options.secrets = SecretsAccess::Files(secrets.clone());
    let document = folder.join(DOCUMENT);
    // Whole or not at all: what a failed call left there would be taken for another lab's.
    let mut fresh = Fresh::beside(&secrets)?;
    copy(lab.secrets(run).as_ref(), &FileSecrets::open(&fresh.at)?).await?;
    fresh.become_of(&secrets)?;
    write_private(&document, options.render().expose()).map_err(|error| unwritable(&document, error))?;
    fresh.is_kept = true;
    // The claim was this call's alone, so nobody else has set it.
    place.secrets.get_or_init(|| secrets);
    claim.is_kept = true;
    Ok(document)
}

/// A folder that this call made. Removed with all that is in it if the call comes to
/// nothing.
struct Fresh {
    at: PathBuf,
    is_kept: bool,
}

impl Fresh {
    /// An empty one, in the place of what a process that was killed may have left.
    fn beside(folder: &Path) -> Result<Self> {
        let at = folder.with_extension("new");
        let emptied = match fs::remove_dir_all(&at) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => DirBuilder::new().mode(0o700).create(&at),
        };
        emptied.map_err(|error| unwritable(&at, error))?;
        Ok(Self { at, is_kept: false })
    }

    /// Takes its place, which holds nothing: the system refuses to replace a full folder.
    fn become_of(&mut self, folder: &Path) -> Result<()> {
        fs::rename(&self.at, folder).map_err(|error| unwritable(folder, error))?;
        folder.clone_into(&mut self.at);
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.is_kept {
            // The failure that led here is told; a disk that takes no removal adds nothing.
            let _ = fs::remove_dir_all(&self.at);
        }
    }
}

async fn copy(from: &dyn SecretStore, to: &FileSecrets) -> Result<()> {
    for key in from.list("").await? {
        if let Some(value) = from.get(&key).await? {
            to.put(&key, &value).await?;
        }
    }
    Ok(())
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::PermissionDenied, format!("{} cannot be written", path.display()))
        .hint("name a folder that this user may write to")
        .caused_by(error)
}

/// The folder, made if it is not there. One that others may enter is the user's to
/// change: it may be a home, or `/tmp`.
fn private(folder: &Path) -> Result<PathBuf> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder).and_then(|()| folder.canonicalize());
    let folder = made.map_err(|error| unwritable(folder, error))?;
    let mode = fs::metadata(&folder).map_err(|error| unwritable(&folder, error))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let told = format!("others may enter {}, whose mode is {mode:o}: a token would lie there", folder.display());
        let hint = format!("name a folder that does not exist yet, or `chmod 700 {}`", folder.display());
        return Err(Error::new(ErrorKind::PermissionDenied, told).hint(hint));
    }
    Ok(folder)
}

/// Refuses a folder of secrets that is in use: its lives are those of another lab,
/// whose machines do not stand in this one.
fn is_unused(secrets: &Path) -> Result<()> {
    let first = match fs::read_dir(secrets) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unwritable(secrets, error)),
    };
    match first {
        None => Ok(()),
        Some(Err(error)) => Err(unwritable(secrets, error)),
        Some(Ok(entry)) => {
            let told = format!("{} holds secrets of an earlier lab ({})", secrets.display(), entry.path().display());
            Err(Error::new(ErrorKind::AlreadyExists, told).hint("name another folder: each lab is served from its own"))
        }
    }
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("yaml.new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// One request, as a row of a table.
#[derive(Serialize)]
pub struct Row {
    seq: u64,
    seconds: f64,
    run: u32,
    backend: String,
    kind: String,
    entity: String,
    write: bool,
    status: Option<u16>,
    took: Option<f64>,
    fault: Option<String>,
}

/// The requests so far, in the order of arrival.
pub fn journal(lab: &Lab) -> Vec<Row> {
    let row = |entry: castle_lab::journal::Entry| Row {
        seq: entry.seq,
        seconds: entry.at.as_secs_f64(),
        run: entry.run.0,
        backend: entry.backend,
        kind: entry.kind,
        entity: entry.entity,
        write: entry.write,
        status: entry.status,
        took: entry.finished.map(|at| at.saturating_sub(entry.at).as_secs_f64()),
        fault: entry.fault,
    };
    lab.journal().entries().into_iter().map(row).collect()
}
