//! The report of a run as a file that is kept.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use castle_core::page::{self, Setting};
use castle_core::{Error, ErrorKind, Report, Result};

/// A place that is known to be writable before the run begins: nobody learns after
/// ten minutes that the folder was misspelt.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl ReportFile {
    /// Makes sure that the report can be written.
    ///
    /// # Errors
    ///
    /// `InvalidSpec` if it cannot.
    pub fn prepare(path: &Path) -> Result<Self> {
        let refused = |why: &str| {
            Error::new(ErrorKind::InvalidSpec, format!("the report cannot be written to {}: {why}", path.display()))
                .hint("`--report FILE` names a file in a folder that exists")
        };
        let name = path.file_name().filter(|_| !path.is_dir()).ok_or_else(|| refused("it is a folder"))?;
        let part = path.with_file_name(format!(".{}.part", name.to_string_lossy()));
        let file = File::create(&part).map_err(|error| refused("its folder takes no file").caused_by(error))?;
        Ok(Self { path: path.to_owned(), part, file })
    }

    /// Writes it; a reader sees the former file or the whole new one.
    ///
    /// # Errors
    ///
    /// `Exhausted` if the disk does not take it.
    pub fn write(mut self, report: &Report, setting: &Setting<'_>) -> Result<PathBuf> {
        let html = page::document(report, setting);
        let written = self.file.write_all(html.as_bytes()).and_then(|()| self.file.sync_all());
        written.and_then(|()| std::fs::rename(&self.part, &self.path)).map_err(|error| {
            Error::new(ErrorKind::Exhausted, format!("the report could not be written to {}", self.path.display()))
                .hint("see whether the disk is full; the run itself is over, and its outcome stands above")
                .caused_by(error)
        })?;
        Ok(self.path.clone())
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        // After a report was written there is none.
        let _ = std::fs::remove_file(&self.part);
    }
}
