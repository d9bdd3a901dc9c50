//! What a lab tells others: its option document, and what was asked of it.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use castle_core::options::SecretsAccess;
use castle_core::{Error, ErrorKind, Result, SecretStore};
use castle_gitops::secrets::FileSecrets;
use castle_lab::Lab;
use serde::Serialize;

/// Where a served lab can be found.
pub struct Served {
    /// The option document.
    pub document: PathBuf,
    /// The folder of its secrets.
    pub secrets: PathBuf,
}

/// Writes `lab.yaml`, and the secrets that the lab holds, into a folder that only
/// its owner may read.
///
/// # Errors
///
/// Those of [`Lab::options`] and of the stores; [`ErrorKind::PermissionDenied`] if
/// the folder cannot be written.
pub async fn serve(lab: &Lab, folder: &Path) -> Result<Served> {
    let run = lab.new_run();
    let mut options = lab.options(run)?;
    // Each client process is a run of its own; one document cannot tell them apart.
    options.source = None;
    let write = || -> std::io::Result<Served> {
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(folder)?;
        let folder = folder.canonicalize()?;
        private.create(folder.join("secrets"))?;
        Ok(Served { document: folder.join("lab.yaml"), secrets: folder.join("secrets") })
    };
    let unwritable = |error| {
        Error::new(ErrorKind::PermissionDenied, format!("{} cannot be written", folder.display()))
            .hint("name a folder that this user may write to")
            .caused_by(error)
    };
    let served = write().map_err(unwritable)?;
    let (held, kept) = (lab.secrets(run), FileSecrets::open(&served.secrets)?);
    for key in held.list("").await? {
        if let Some(value) = held.get(&key).await? {
            kept.put(&key, &value).await?;
        }
    }
    options.secrets = SecretsAccess::Files(served.secrets.clone());
    let text = options.render();
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600).open(&served.document);
    file.and_then(|mut file| file.write_all(text.expose().as_bytes())).map_err(unwritable)?;
    Ok(served)
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
