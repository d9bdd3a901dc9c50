//! Where a secret lies in Infisical, and in which form.
//!
//! | castle | Infisical |
//! |---|---|
//! | key `talos/1/began` below the path `/castle/blue` | secret `began` in the folder `/castle/blue/talos/1` |
//! | a folder's segment with a `.`, which no folder's name may hold | `x2e-` and the segment in hex digits |
//! | a text that Infisical keeps as it is | itself |
//! | any other bytes | `castle:base64:` and the bytes in base64 |
//!
//! Infisical trims values and keeps one line feed at the end; such a text is the
//! same, one with other blanks at its ends is not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use castle_core::{Secret, SecretBytes, SecretKey, SecretText};

/// What stands before the base64 of bytes.
const MARK: &str = "castle:base64:";
/// What stands before the hex digits of a folder's segment.
const ESCAPED: &str = "x2e-";

/// Folder and name of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `/castle/blue/talos/1`.
    pub(super) folder: String,
    /// `began`.
    pub(super) name: String,
}

impl Place {
    /// `base` is a folder without a slash at its end; the root is empty.
    pub(super) fn of(base: &str, key: &SecretKey) -> Self {
        let (folder, name) = match key.as_str().rsplit_once('/') {
            Some((folder, name)) => (folder_of(base, folder), name),
            None => (folder_of(base, ""), key.as_str()),
        };
        Self { folder, name: name.to_owned() }
    }

    /// The key of a secret that Infisical lists; `None` if castle did not name it.
    pub(super) fn key(base: &str, folder: &str, name: &str) -> Option<SecretKey> {
        let rest = folder.trim_end_matches('/').strip_prefix(base)?;
        let mut segments = Vec::new();
        for segment in rest.split('/').skip(1) {
            segments.push(match segment.strip_prefix(ESCAPED) {
                Some(hex) => unescaped(hex)?,
                None => segment.to_owned(),
            });
        }
        segments.push(name.to_owned());
        segments.join("/").parse().ok().filter(|_| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The folder below `base` that holds the keys below `prefix`.
pub(super) fn folder_of(base: &str, prefix: &str) -> String {
    let segments = prefix.split('/').filter(|segment| !segment.is_empty());
    let folder: String = segments.map(|segment| format!("/{}", escaped(segment))).collect();
    let folder = format!("{base}{folder}");
    if folder.is_empty() { "/".into() } else { folder }
}

fn escaped(segment: &str) -> String {
    if !segment.contains('.') && !segment.starts_with(ESCAPED) {
        return segment.to_owned();
    }
    let hex: String = segment.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{ESCAPED}{hex}")
}

fn unescaped(hex: &str) -> Option<String> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    let byte = |place| u8::from_str_radix(&hex[place..place + 2], 16).ok();
    String::from_utf8((0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?).ok()
}

/// The text that Infisical is given for these bytes.
pub(super) fn stored(value: &SecretBytes) -> SecretText {
    match std::str::from_utf8(value.expose()) {
        Ok(text) if is_kept(text) && !text.starts_with(MARK) => Secret::new(text.to_owned()),
        _ => Secret::new(format!("{MARK}{}", STANDARD.encode(value.expose()))),
    }
}

/// The bytes behind a text of Infisical.
pub(super) fn read(text: SecretText) -> SecretBytes {
    let bytes = text.expose().strip_prefix(MARK).and_then(|base64| STANDARD.decode(base64.trim()).ok());
    // What somebody else wrote behind the mark is a text like any other.
    Secret::new(bytes.unwrap_or_else(|| text.expose().clone().into_bytes()))
}

/// Whether two texts are one to Infisical.
pub(super) fn is_same(one: &SecretText, other: &SecretText) -> bool {
    let trimmed = |text: &SecretText| SecretBytes::new(text.expose().trim_matches(is_blank).as_bytes().to_vec());
    trimmed(one).same_as(&trimmed(other))
}

/// Whether a text comes back as it was given.
fn is_kept(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let is_odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    body.trim_matches(is_blank) == body && (body.is_empty() == text.is_empty()) && !text.contains(is_odd)
}

/// What the server's language trims.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || letter == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, key: &str, folder: &str, name: &str) {
        let key: SecretKey = key.parse().expect("a key");
        let place = Place::of(base, &key);
        assert_eq!((place.folder.as_str(), place.name.as_str()), (folder, name));
        assert_eq!(Place::key(base, folder, name), Some(key.clone()));
        assert_eq!(Place::key(base, &format!("{folder}/"), name), Some(key));
    }

    #[test]
    fn a_key_is_a_name_in_a_folder() {
        check("", "project-key", "/", "project-key");
        check("", "talos/1/began", "/talos/1", "began");
        check("/castle/blue", "project-key", "/castle/blue", "project-key");
        check("/castle/blue", "talos/1/began", "/castle/blue/talos/1", "began");
        check("/castle", "a/c.d_e-f", "/castle/a", "c.d_e-f");
    }

    #[test]
    fn a_folder_that_infisical_would_refuse_is_written_in_hex() {
        check("/castle", "v1.2/x", "/castle/x2e-76312e32", "x");
        check("/castle", "x2e-61/x", "/castle/x2e-7832652d3631", "x");
    }

    #[test]
    fn what_castle_did_not_name_has_no_key() {
        for (folder, name) in [("/castle-x", "a"), ("/other", "a"), ("/castle", "a b"), ("/castle/x2e-zz", "a")] {
            assert_eq!(Place::key("/castle", folder, name), None, "{folder} {name}");
        }
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
        // As the server does it: blanks are cut from both ends, one line feed at the end stays.
        let kept = |text: &str| {
            let trimmed = text.trim_matches(is_blank);
            if text.ends_with('\n') { format!("{trimmed}\n") } else { trimmed.to_owned() }
        };
        let texts =
            ["", "plain", "two\nlines\n", " before", "after ", "two\n\n", "\n", " \n", "\u{feff}x", "x\0y", "x\ry"];
        let values = texts.iter().map(|text| text.as_bytes().to_vec()).chain([
            vec![0xff, 0x00],
            b"castle:base64:eA==".to_vec(),
            "castle:base64:\u{e9}".as_bytes().to_vec(),
        ]);
        for value in values {
            let given = stored(&Secret::new(value.clone()));
            let back = read(Secret::new(kept(given.expose())));
            assert_eq!(back.expose(), &value, "{:?}", given.expose());
        }
        assert_eq!(stored(&Secret::new(b"two\nlines\n".to_vec())).expose(), "two\nlines\n");
    }
}
