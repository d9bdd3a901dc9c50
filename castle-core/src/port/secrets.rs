//! Where the few things live that no look at the world can rebuild.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::Serialize;

use crate::{Error, ErrorKind, Meter, Result, SecretBytes};

/// The path of a secret: segments of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.` joined by `/`,
/// for example `talos/1/began`. A segment does not begin with a `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SecretKey(String);

impl SecretKey {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this key lies below `prefix`, by whole segments: `talos/1/began`
    /// lies below `talos/1`, neither `talos/10` nor `talos/1` itself does. Every
    /// key lies below the empty prefix.
    #[must_use]
    pub fn is_below(&self, prefix: &str) -> bool {
        prefix.is_empty() || self.0.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Checks what [`SecretStore::list`] was given. A prefix that cannot hold a
    /// key (`talos/`) would read as "no lives", and a new one would begin.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] unless it is empty or a secret's path.
    pub fn check_prefix(prefix: &str) -> Result<()> {
        if prefix.is_empty() { Ok(()) } else { prefix.parse::<Self>().map(drop) }
    }
}

impl FromStr for SecretKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let segment_is_good = |segment: &str| {
            !segment.is_empty()
                && !segment.starts_with('.')
                && segment.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        };
        if text.len() <= 200 && text.split('/').all(segment_is_good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(ErrorKind::InvalidSpec, format!("`{text}` is not a secret's path"))
                .hint("use segments of a-z, A-Z, 0-9, `-`, `_` and `.`, joined by `/`"))
        }
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A store of small secrets.
///
/// | rule | conformance test |
/// |---|---|
/// | what was created or put is read back, byte for byte | `reads_back_what_was_written` |
/// | an absent key reads as `None`, not as an error | `absent_is_none` |
/// | `create` of a present key fails with `AlreadyExists` and changes nothing | `create_never_overwrites` |
/// | of two concurrent `create`s exactly one succeeds | `one_creator_wins` |
/// | `put` of an equal value writes nothing and says so | `an_equal_put_is_no_write` |
/// | `list` names every key below the prefix, in order, and no other | `lists_below_a_prefix` |
/// | `delete` of an absent key succeeds | `delete_is_idempotent` |
/// | no error, no `Debug` shows a value | `values_stay_hidden` |
///
/// # Cancellation
///
/// All methods may be cancelled by dropping them. Of a `create`, a `put` or a `delete`
/// that was dropped it is not known whether it arrived; what a secret holds is the old
/// value or the new one, never a part. Each call bounds its own requests.
#[async_trait]
pub trait SecretStore: Send + Sync + fmt::Debug {
    /// The backend's name in reports.
    fn name(&self) -> &'static str;

    /// Where its requests are counted.
    fn meter(&self) -> &Meter;

    /// Reads a secret; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering: a secret that cannot be read is never
    /// `None`.
    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>>;

    /// Creates a secret.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] if it exists, whatever its value.
    async fn create(&self, key: &SecretKey, value: &SecretBytes) -> Result<()>;

    /// Makes a secret have this value. `true`: something was written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the store is read only; else what it says.
    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool>;

    /// The keys below `prefix` (whole segments; an empty prefix means all), sorted.
    /// See [`SecretKey::is_below`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] if `prefix` is neither empty nor a secret's path.
    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>>;

    /// Removes a secret; absent is success.
    ///
    /// # Errors
    ///
    /// As [`SecretStore::put`].
    async fn delete(&self, key: &SecretKey) -> Result<()>;
}
