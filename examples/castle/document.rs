//! The documents that a call names, as text.

use std::io;
use std::path::Path;

use castle_core::{Error, ErrorKind, Result};

/// The text of a document. `missing` is the way out where there is none.
///
/// # Errors
///
/// `NotFound`, `PermissionDenied`, and `InvalidSpec` for what is there and is no text.
pub fn read(path: &Path, missing: &str) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, missing, error))?;
    String::from_utf8(bytes).map_err(|refused| {
        let good = refused.utf8_error().valid_up_to();
        let (before, rest) = refused.as_bytes().split_at(good);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let what = match rest {
            // What Windows calls Unicode begins so.
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] if good == 0 => "it is UTF-16".to_owned(),
            [byte, ..] => format!("byte {byte:#04X} in line {line}"),
            [] => "it ends in the middle of a letter".to_owned(),
        };
        Error::new(ErrorKind::InvalidSpec, format!("{} is not UTF-8 text: {what}", path.display()))
            .hint("save it as UTF-8 in your editor; `file` says what it is now")
    })
}

fn unreadable(path: &Path, missing: &str, error: io::Error) -> Error {
    let shown = path.display();
    let (kind, message, hint) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, format!("{shown} cannot be read"), missing),
        io::ErrorKind::IsADirectory => {
            return Error::new(ErrorKind::InvalidSpec, format!("{shown} is a folder, and a file is read"))
                .hint(missing);
        }
        io::ErrorKind::PermissionDenied => (
            ErrorKind::PermissionDenied,
            format!("{shown} cannot be read"),
            "let this user read it, and enter its folder: `ls -l` shows who may",
        ),
        _ => (
            ErrorKind::InvalidSpec,
            format!("{shown} cannot be read"),
            "see whether it is a file on a disk that answers",
        ),
    };
    Error::new(kind, message).hint(hint).caused_by(error)
}
