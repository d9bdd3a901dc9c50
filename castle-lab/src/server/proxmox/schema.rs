//! The little schema language of Proxmox VE, as far as its calls need it, with
//! its complaints.

/// One parameter of a call, or a family of them: `net` with 32 indices is
/// `net0` to `net31`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub indices: Option<u32>,
    pub kind: Kind,
    pub required: bool,
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Boolean,
    Integer {
        minimum: Option<i64>,
        maximum: Option<i64>,
    },
    /// A decimal number, not below zero.
    Number {
        maximum: Option<f64>,
    },
    /// Any text, of so many characters at most.
    Text {
        length: Option<usize>,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// A named format; the check says what stands after `invalid format - `.
    Format(fn(&str) -> Result<(), String>),
    /// A named format with a length.
    ShortFormat(usize, fn(&str) -> Result<(), String>),
    /// A pattern.
    Pattern(fn(&str) -> bool),
}

impl Kind {
    pub(super) const INTEGER: Self = Self::Integer { minimum: None, maximum: None };
    pub(super) const TEXT: Self = Self::Text { length: None };

    /// An integer that is not below `minimum`.
    pub(super) const fn from(minimum: i64) -> Self {
        Self::Integer { minimum: Some(minimum), maximum: None }
    }

    /// An integer within bounds.
    pub(super) const fn within(minimum: i64, maximum: i64) -> Self {
        Self::Integer { minimum: Some(minimum), maximum: Some(maximum) }
    }

    /// The type as the complaints name it.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer { .. } => "integer",
            Self::Number { .. } => "number",
            _ => "string",
        }
    }

    /// Checks one value.
    ///
    /// # Errors
    ///
    /// The complaint, in the real words.
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let wrong_type = || format!("type check ('{}') failed - got '{value}'", self.type_name());
        let too_long = |length: usize| format!("value may only be {length} characters long");
        match self {
            Self::Boolean => boolean(value).map(|_| ()).ok_or_else(wrong_type),
            Self::Integer { minimum, maximum } => {
                let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(wrong_type());
                }
                let number: i64 = value.trim_start_matches('+').parse().map_err(|_| wrong_type())?;
                match (minimum, maximum) {
                    (Some(minimum), _) if number < minimum => {
                        Err(format!("value must have a minimum value of {minimum}"))
                    }
                    (_, Some(maximum)) if number > maximum => {
                        Err(format!("value must have a maximum value of {maximum}"))
                    }
                    _ => Ok(()),
                }
            }
            Self::Number { maximum } => {
                let number: f64 = value.parse().map_err(|_| wrong_type())?;
                match maximum {
                    _ if number < 0.0 => Err("value must have a minimum value of 0".to_owned()),
                    Some(maximum) if number > maximum => Err(format!("value must have a maximum value of {maximum}")),
                    _ => Ok(()),
                }
            }
            Self::Text { length } => match length {
                Some(length) if value.chars().count() > length => Err(too_long(length)),
                _ => Ok(()),
            },
            Self::Word(words) if words.contains(&value) => Ok(()),
            Self::Word(words) => {
                Err(format!("value '{value}' does not have a value in the enumeration '{}'", words.join(", ")))
            }
            Self::ShortFormat(length, _) if value.chars().count() > length => Err(too_long(length)),
            Self::Format(check) | Self::ShortFormat(_, check) => {
                check(value).map_err(|complaint| format!("invalid format - {complaint}"))
            }
            Self::Pattern(matches) if matches(value) => Ok(()),
            Self::Pattern(_) => Err("value does not match the regex pattern".to_owned()),
        }
    }
}

impl Parameter {
    /// One that must be given.
    pub(super) const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, indices: None, kind, required: true }
    }

    /// One that may be left out.
    pub(super) const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, indices: None, kind, required: false }
    }

    /// A family.
    pub(super) const fn family(name: &'static str, count: u32, kind: Kind) -> Self {
        Self { name, indices: Some(count), kind, required: false }
    }

    /// Whether a name is this parameter's, or one of its family's.
    pub(super) fn covers(&self, name: &str) -> bool {
        match self.indices {
            None => self.name == name,
            Some(count) => name
                .strip_prefix(self.name)
                .is_some_and(|index| index.parse::<u32>().is_ok_and(|n| n < count && n.to_string() == index)),
        }
    }
}

/// Reads a switch.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_have_the_real_words() {
        for (kind, value, complaint) in [
            (Kind::INTEGER, "x", "type check ('integer') failed - got 'x'"),
            (Kind::from(100), "99", "value must have a minimum value of 100"),
            (Kind::within(1, 4), "5", "value must have a maximum value of 4"),
            (Kind::Boolean, "maybe", "type check ('boolean') failed - got 'maybe'"),
            (Kind::Word(&["a", "b"]), "x", "value 'x' does not have a value in the enumeration 'a, b'"),
            (Kind::Text { length: Some(3) }, "four", "value may only be 3 characters long"),
        ] {
            assert_eq!(kind.check(value), Err(complaint.to_owned()));
        }
    }

    #[test]
    fn a_family_covers_its_indices_only() {
        let net = Parameter::family("net", 32, Kind::TEXT);
        for (name, covered) in [("net0", true), ("net31", true), ("net32", false), ("net01", false), ("net", false)] {
            assert_eq!(net.covers(name), covered, "{name}");
        }
    }
}
