//! Strict reading of YAML documents: every refusal says where and what to write instead.

use serde::de::DeserializeOwned;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error as YamlError, Location, MessageFormatter, UserMessageFormatter};

use crate::{Problem, Span};

/// The largest document that is read, in bytes. A declaration of 500 machines
/// has about a tenth of it.
const LARGEST: usize = 1 << 20;

/// Whether a refusal may quote what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// The document holds no secrets: the offending line is quoted.
    Allowed,
    /// The document holds secrets: neither values nor keys are quoted, because a
    /// slip of indentation turns one into the other.
    Never,
}

/// Reads one document into `T`.
///
/// Keys must be known (if `T` denies unknown fields) and unique, `yes` is no
/// boolean, and a document that is built to exhaust memory or stack is refused
/// early. The name of the document, for example `castle.yaml`, is the subject of
/// the problem.
///
/// ```
/// use castle_core::yaml::{self, Quoting};
///
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Host {
///     #[allow(dead_code)]
///     memory: String,
/// }
///
/// let problem = yaml::read::<Host>("memroy: 8GiB\n", "host.yaml", Quoting::Allowed).unwrap_err();
/// assert_eq!(problem.to_string(), "host.yaml: unknown key `memroy`");
/// assert_eq!(problem.hint.as_deref(), Some("did you mean `memory`?"));
/// assert_eq!(problem.span.unwrap().line, 1);
/// ```
///
/// # Errors
///
/// The first error of syntax, type or key.
pub fn read<T: DeserializeOwned>(text: &str, document: &str, quoting: Quoting) -> Result<T, Problem> {
    if text.len() > LARGEST {
        return Err(Problem::error("yaml-budget", document, format!("has {} bytes, {LARGEST} are read", text.len())));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 24,
            flow_nesting_limit: 24,
            max_events: 200_000,
            max_nodes: 100_000,
            max_anchors: 64,
            max_aliases: 256,
            max_recorded_anchor_events: 10_000,
            max_recorded_anchor_bytes: LARGEST,
            max_documents: 2, // so that a second one is named as such
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| refusal(&error, text, document, quoting))
}

fn refusal(error: &YamlError, text: &str, document: &str, quoting: Quoting) -> Problem {
    let span = error.location().and_then(place);
    if let YamlError::AliasError { error, .. } = error {
        return refusal(error, text, document, quoting).at(span);
    }
    let open = quoting == Quoting::Allowed;
    let (code, message) = match error {
        YamlError::SerdeUnknownField { field, .. } if open => ("unknown-key", format!("unknown key `{field}`")),
        YamlError::SerdeUnknownField { .. } => ("unknown-key", "unknown key".to_owned()),
        YamlError::SerdeMissingField { field, .. } => ("missing-key", format!("key `{field}` is missing")),
        YamlError::DuplicateMappingKey { key: Some(key), .. } if open => {
            ("duplicate-key", format!("key `{key}` appears twice"))
        }
        YamlError::DuplicateMappingKey { .. } => ("duplicate-key", "a key appears twice".to_owned()),
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => {
            ("yaml-budget", "is nested, repeated or long beyond what a document of castle needs".to_owned())
        }
        YamlError::Eof { .. } => ("yaml", "is empty or ends early".to_owned()),
        YamlError::MultipleDocuments { .. } => ("yaml", "holds more than one document; one is read".to_owned()),
        YamlError::InvalidScalar { ty, .. } if open => {
            let wanted = if *ty == "bool" { "`true` or `false`" } else { "a whole number" };
            ("yaml", format!("`{}` is not {wanted}", found(text, span)))
        }
        YamlError::Unexpected { expected, .. } if open => {
            let wanted = match *expected {
                "mapping start" => "a mapping (`key: value`)",
                "sequence start" => "a list",
                "string scalar" => "a text",
                other => other,
            };
            ("yaml", format!("`{}` stands where {wanted} is expected", found(text, span)))
        }
        YamlError::NullIntoString { .. } => ("yaml", "a value is missing".to_owned()),
        other if open => (
            "yaml",
            format!("cannot be read at `{}`: {}", found(text, span), UserMessageFormatter.format_message(other)),
        ),
        _ => ("yaml", "is not the YAML that is expected here".to_owned()),
    };
    let problem = Problem::error(code, document, message).at(span);
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => problem.hint(match nearest(field, expected) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known here: {}", expected.join(", ")),
        }),
        YamlError::SerdeMissingField { .. } => problem.hint("add it to the mapping that ends here"),
        _ => problem,
    }
}

/// What stands at a place.
fn found(text: &str, span: Option<Span>) -> String {
    let line = span.and_then(|span| text.lines().nth(span.line - 1)).unwrap_or_default();
    let from_there = line.chars().skip(span.map_or(0, |span| span.column.saturating_sub(1)));
    let ends = |c: &char| matches!(c, ',' | '}' | ']' | '#') || c.is_control();
    from_there.take_while(|c| !ends(c)).take(40).collect::<String>().trim().to_owned()
}

/// The place of a node in its document, if the parser knows it.
pub(crate) fn place(location: Location) -> Option<Span> {
    let span = Span { line: usize::try_from(location.line()).ok()?, column: usize::try_from(location.column()).ok()? };
    (span.line > 0).then_some(span)
}

/// The known word that `found` is probably a slip of: at most a third of its
/// letters differ.
///
/// ```
/// use castle_core::yaml::nearest;
///
/// assert_eq!(nearest("memroy", &["memory", "reserve"]), Some("memory"));
/// assert_eq!(nearest("gitops", &["memory", "reserve"]), None);
/// ```
#[must_use]
pub fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let found: Vec<char> = found.to_lowercase().chars().take(64).collect();
    known
        .iter()
        .map(|word| (distance(&found, &word.to_lowercase().chars().collect::<Vec<_>>()), *word))
        .filter(|(distance, word)| *distance <= (word.chars().count() / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

/// How many letters must be changed, added, dropped or swapped with their neighbour.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, wanted) in to.iter().enumerate() {
            let changed = rows[i][j] + usize::from(letter != wanted);
            let mut best = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *wanted {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_a_swap_as_one_slip() {
        let count = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(
            [count("", "vip"), count("memroy", "memory"), count("hots", "hosts"), count("a", "a")],
            [3, 1, 1, 0]
        );
    }

    #[test]
    fn a_document_with_secrets_is_never_quoted() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Access {
            #[allow(dead_code)]
            token: String,
        }
        for text in [
            "hunter2: x",
            "token: [hunter2]",
            "token: 'hunter2",
            "hunter2: 1\nhunter2: 2",
            "token: *hunter2",
            "hunter2",
        ] {
            let problem = read::<Access>(text, "options", Quoting::Never).expect_err(text);
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }
}
