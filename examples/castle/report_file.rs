//! The report of a run as a file that is kept.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use castle_core::page::{self, Setting};
use castle_core::{Error, ErrorKind, Report, Result};
use tempfile::{Builder, NamedTempFile};

/// More symbolic links in a row than any system follows.
const LINKS_MAX: usize = 40;
/// What a file is made with, before the umask of this process.
const MODE: u32 = 0o666;

/// A place that is known to be writable before the run begins: nobody learns after
/// ten minutes that the folder was misspelt.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    way: Way,
}

/// How the report comes to its place.
#[derive(Debug)]
enum Way {
    /// A file of its own takes the place of the former one, or of nothing.
    Instead { part: NamedTempFile, of: PathBuf },
    /// A pipe, a terminal, a device: it stays what it is, and is written into.
    Into(File),
}

impl ReportFile {
    /// Makes sure that the report can be written. A symbolic link is followed; a named
    /// pipe is opened, which waits for its reader.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if it cannot.
    pub fn prepare(path: &Path) -> Result<Self> {
        let refused = |why: &str| {
            Error::new(ErrorKind::InvalidSpec, format!("the report cannot be written to {}: {why}", path.display()))
                .hint("`--report FILE` names a file in a folder that exists, or a pipe")
        };
        let way = match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(refused("it is a folder")),
            // What stands for another descriptor is never replaced, even where that is a file.
            Ok(there) if !there.is_file() || path.starts_with("/dev") || path.starts_with("/proc") => {
                let opened = OpenOptions::new().append(true).open(path);
                opened.map(Way::Into).map_err(|error| refused("it cannot be opened").caused_by(error))?
            }
            Ok(there) => {
                instead_of(path, Some(there)).map_err(|error| refused("its folder takes no file").caused_by(error))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.file_name().is_some() => {
                instead_of(path, None).map_err(|error| refused("its folder takes no file").caused_by(error))?
            }
            Err(error) => return Err(refused("it cannot be looked at").caused_by(error)),
        };
        Ok(Self { path: path.to_owned(), way })
    }

    /// Writes it; a reader of a file sees the former one or the whole new one.
    ///
    /// # Errors
    ///
    /// `Exhausted` if the disk does not take it.
    pub fn write(self, report: &Report, setting: &Setting<'_>) -> Result<PathBuf> {
        let html = page::document(report, setting);
        let written = match self.way {
            Way::Into(mut file) => file.write_all(html.as_bytes()).and_then(|()| file.flush()),
            Way::Instead { mut part, of } => {
                let written = part.write_all(html.as_bytes()).and_then(|()| part.as_file().sync_all());
                written.and_then(|()| part.persist(of).map(drop).map_err(|refused| refused.error))
            }
        };
        written.map_err(|error| {
            Error::new(ErrorKind::Exhausted, format!("the report could not be written to {}", self.path.display()))
                .hint("see whether the disk is full; the run itself is over, and its outcome stands above")
                .caused_by(error)
        })?;
        Ok(self.path)
    }
}

/// A part beside the file that is meant, by a name that nobody can foresee: whoever
/// else may write to that folder could lay a link there.
fn instead_of(path: &Path, former: Option<Metadata>) -> io::Result<Way> {
    let of = behind_links(path)?;
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = Permissions::from_mode(MODE);
    let part = Builder::new().prefix(".castle-report-").suffix(".part").permissions(mode).tempfile_in(folder)?;
    if let Some(former) = former {
        part.as_file().set_permissions(former.permissions())?;
    }
    Ok(Way::Instead { part, of })
}

/// What a path names once its last symbolic link is followed, whether it exists or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if !path.is_symlink() {
            return Ok(path);
        }
        let target = std::fs::read_link(&path)?;
        // An absolute target replaces the folder.
        path = path.parent().unwrap_or(Path::new(".")).join(target);
    }
    Err(io::Error::other("its symbolic links lead to no end"))
}
