//! Values that are never printed.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A value that is wiped when dropped and that no formatter, serialiser or
/// comparison can leak. Reading it is a visible act: [`Secret::expose`].
///
/// ```
/// use castle_core::Secret;
///
/// let token = Secret::new(String::from("hunter2"));
/// assert_eq!(format!("{token:?}"), "Secret(..)");
/// assert_eq!(token.expose(), "hunter2");
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

/// A secret text.
pub type SecretText = Secret<String>;
/// Secret bytes.
pub type SecretBytes = Secret<Vec<u8>>;

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. Do not format it, log it, or put it into a URL, a tag
    /// or an error.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl SecretBytes {
    /// Whether both hold the same bytes, in a time that does not depend on where
    /// they differ.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(other.0.iter()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}
