//! Names and sizes that castle accepts, checked once where they enter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// A lower-case DNS label: what RFC 1123 allows for a host and what
/// Kubernetes, Proxmox and Talos all accept as a name.
///
/// 1 to 63 characters of `a-z`, `0-9` and `-`, neither first nor last a `-`.
///
/// ```
/// use castle_core::Name;
///
/// assert!("blue-cp-01".parse::<Name>().is_ok());
/// let error = "tazlab_admin".parse::<Name>().unwrap_err();
/// assert_eq!(error.advice(), Some("try `tazlab-admin`"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let complaint = if text.is_empty() {
            "a name is empty".to_owned()
        } else if text.len() > 63 {
            format!("name `{text}` has {} characters, 63 are allowed", text.len())
        } else if let Some(bad) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            format!("name `{text}` holds {bad:?}; RFC 1123 allows a-z, 0-9 and `-`")
        } else if text.starts_with('-') || text.ends_with('-') {
            format!("name `{text}` begins or ends with `-`")
        } else {
            return Ok(Self(text.to_owned()));
        };
        let error = Error::new(ErrorKind::InvalidSpec, complaint);
        let mended: String = text
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(63)
            .collect::<String>()
            .trim_matches('-')
            .to_owned();
        Err(if mended.is_empty() { error } else { error.hint(format!("try `{mended}`")) })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| serde::de::Error::custom(error.chain()))
    }
}

/// An amount of memory or disk, in bytes. Declared with a unit: `8GiB`, `512MiB`.
///
/// ```
/// use castle_core::ByteSize;
///
/// let size: ByteSize = "8GiB".parse().unwrap();
/// assert_eq!((size.mib(), size.to_string().as_str()), (8192, "8GiB"));
/// assert!("8".parse::<ByteSize>().is_err()); // eight of what?
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many GiB (2^30 bytes).
    #[must_use]
    pub const fn gib_of(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// In bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// In MiB, rounded down.
    #[must_use]
    pub const fn mib(self) -> u64 {
        self.0 >> 20
    }

    /// In GiB, rounded up: what a disk must have to hold it.
    #[must_use]
    pub const fn gib(self) -> u64 {
        self.0.div_ceil(1 << 30)
    }

    /// The difference, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::iter::Sum for ByteSize {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), std::ops::Add::add)
    }
}

impl std::ops::Add for ByteSize {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // Figures come from outside: a host that tells nonsense must not stop the look.
        Self(self.0.saturating_add(other.0))
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |told: &str, hint: &str| {
            Error::new(ErrorKind::InvalidSpec, format!("size `{text}` {told}")).hint(hint.to_owned())
        };
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = unit.trim_start();
        if digits.is_empty() || unit.is_empty() || unit.starts_with(|c: char| !c.is_ascii_alphabetic()) {
            return Err(refuse("is not a whole number with a unit", "write it as `8GiB` or `512MiB`"));
        }
        let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let names = UNITS.map(|(name, _)| name);
            // `8GB`, `8G`, `8gib`: the power of ten is not what a machine has.
            let meant = names.into_iter().find(|name| name[..1].eq_ignore_ascii_case(&unit[..1]));
            let hint = match meant {
                Some(meant) => format!("did you mean `{digits}{meant}`?"),
                None => format!("use {}", names.join(", ")),
            };
            return Err(refuse(&format!("has the unknown unit `{unit}`"), &hint));
        };
        let size = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(*bytes));
        size.map(Self).ok_or_else(|| refuse("is too large", "nothing has so much; write it as `8GiB` or `512MiB`"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None if self.0 >= 1 << 30 => write!(f, "{:.1}GiB", self.0 as f64 / (1u64 << 30) as f64),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| serde::de::Error::custom(error.chain()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "blue", "blue-cp-01", "0a", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_as_they_read() {
        for text in ["8GiB", "512MiB", "1TiB", "1246MiB"] {
            assert_eq!(text.parse::<ByteSize>().expect(text).to_string(), text);
        }
        for (bad, told, hint) in [
            ("", "is not a whole number with a unit", "`8GiB` or `512MiB`"),
            ("8", "is not a whole number with a unit", "`8GiB` or `512MiB`"),
            ("GiB", "is not a whole number with a unit", "`8GiB` or `512MiB`"),
            ("-1GiB", "is not a whole number with a unit", "`8GiB` or `512MiB`"),
            ("1.5GiB", "is not a whole number with a unit", "`8GiB` or `512MiB`"),
            ("8GB", "has the unknown unit `GB`", "did you mean `8GiB`?"),
            ("512m", "has the unknown unit `m`", "did you mean `512MiB`?"),
            ("8 bananas", "has the unknown unit `bananas`", "use TiB, GiB, MiB, KiB"),
            ("99999999999999TiB", "is too large", "nothing has so much"),
            ("99999999999999999999GiB", "is too large", "nothing has so much"),
        ] {
            let error = bad.parse::<ByteSize>().expect_err(bad);
            assert_eq!(error.to_string(), format!("size `{bad}` {told}"));
            assert!(error.advice().is_some_and(|advice| advice.contains(hint)), "{error:?}");
        }
    }

    #[test]
    fn sums_of_what_hosts_tell_end_at_the_largest_size() {
        let most = ByteSize::bytes(u64::MAX);
        assert_eq!(most + ByteSize::gib_of(1), most);
        assert_eq!([most, most].into_iter().sum::<ByteSize>(), most);
    }
}
