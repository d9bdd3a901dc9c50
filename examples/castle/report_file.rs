//! The report of a run as a file that is kept.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use castle_core::page::{self, Setting};
use castle_core::{Error, ErrorKind, Report, Result};
use tempfile::{Builder, NamedTempFile};

/// More symbolic links in a row than any system follows.
const LINKS_MAX: usize = 40;
/// What a file is made with, before the umask of this process.
const MODE: u32 = 0o666;

/// A place that is known to be writable before the run begins: nobody learns after
/// ten minutes that the folder was misspelt. Both ends may wait for the reader of a pipe,
/// so they lie outside the runtime: it would take that for a lab that hangs.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    way: Way,
    page: OnceLock<String>,
}

/// How the report comes to its place.
#[derive(Debug)]
enum Way {
    /// A file of its own takes the place of the former one, or of nothing.
    Instead { of: PathBuf, former: Option<Permissions> },
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
        let unseen = |error| refused("it cannot be looked at").caused_by(error);
        let way = match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(refused("it is a folder")),
            // What stands for another descriptor is never replaced, even where that is a file.
            Ok(there) if !there.is_file() || path.starts_with("/dev") || path.starts_with("/proc") => {
                let opened = OpenOptions::new().append(true).open(path);
                opened.map(Way::Into).map_err(|error| refused("it cannot be opened").caused_by(error))?
            }
            Ok(there) => Way::Instead { of: behind_links(path).map_err(unseen)?, former: Some(there.permissions()) },
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.file_name().is_some() => {
                Way::Instead { of: behind_links(path).map_err(unseen)?, former: None }
            }
            Err(error) => return Err(unseen(error)),
        };
        if let Way::Instead { of, .. } = &way {
            if names_a_folder(of) {
                return Err(refused("it names a folder, and there is none"));
            }
            if !folder_of(of).is_dir() {
                return Err(refused("its folder does not exist"));
            }
            // A probe that is gone at once: a run that ends abruptly leaves nothing.
            part_beside(of).map_err(|error| refused("its folder takes no file").caused_by(error))?;
        }
        Ok(Self { path: path.to_owned(), way, page: OnceLock::new() })
    }

    /// Takes the page of a run, to be written once the runtime is gone.
    pub fn take(&self, report: &Report, setting: &Setting<'_>) {
        self.page.get_or_init(|| page::document(report, setting));
    }

    /// Writes what was taken; a reader of a file sees the former one or the whole new
    /// one. `None` if no run came to a report.
    ///
    /// # Errors
    ///
    /// `Exhausted` if the disk does not take it.
    pub fn write(self) -> Result<Option<PathBuf>> {
        let Some(html) = self.page.into_inner() else { return Ok(None) };
        let written = match self.way {
            Way::Into(mut file) => file.write_all(html.as_bytes()).and_then(|()| file.flush()),
            Way::Instead { of, former } => replace(&of, former, &html),
        };
        written.map_err(|error| {
            Error::new(ErrorKind::Exhausted, format!("the report could not be written to {}", self.path.display()))
                .hint("see whether the disk is full; the run itself is over, and its outcome stands above")
                .caused_by(error)
        })?;
        Ok(Some(self.path))
    }
}

/// Puts a new file in the place of the former one, which hands on who may read it.
fn replace(of: &Path, former: Option<Permissions>, html: &str) -> io::Result<()> {
    let part = part_beside(of)?;
    let mut file = part.as_file();
    if let Some(former) = former {
        file.set_permissions(former)?;
    }
    file.write_all(html.as_bytes())?;
    file.sync_all()?;
    part.persist(of).map(drop).map_err(|refused| refused.error)
}

/// A part beside the file that is meant, by a name that nobody can foresee: whoever
/// else may write to that folder could lay a link there.
fn part_beside(of: &Path) -> io::Result<NamedTempFile> {
    let mode = Permissions::from_mode(MODE);
    let made = Builder::new().prefix(".castle-report-").suffix(".part").permissions(mode).tempfile_in(folder_of(of));
    // The whole error would tell of a name that nobody typed.
    made.map_err(|error| error.kind().into())
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a path can only be that of a folder, by how it is written: `Path` itself
/// looks past a separator at the end.
fn names_a_folder(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.")
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
