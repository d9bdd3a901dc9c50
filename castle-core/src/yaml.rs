//! Strict reading of YAML documents: every refusal says where and what to write instead.

use serde::de::DeserializeOwned;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error as YamlError, Location, MessageFormatter, UserMessageFormatter};

use crate::{Problem, Span};

mod around;

/// The largest document that is read, in bytes. A declaration of 500 machines
/// has about a tenth of it.
const LARGEST: usize = 1 << 20;

/// The way out of a document that is too much.
const SMALLER: &str = "declare less in one document: 500 machines need a tenth of what is read";

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
        let message = format!("has {} bytes, {LARGEST} are read", text.len());
        return Err(Problem::error("yaml-budget", document, message).hint(SMALLER));
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
        YamlError::DuplicateMappingKey { key, .. } => {
            let first = key.as_ref().zip(span).and_then(|(key, span)| around::first_of(text, span, key));
            let first = first.map(|line| format!(" (line {line})")).unwrap_or_default();
            let told = key.as_ref().filter(|_| open).map_or("a key".to_owned(), |key| format!("key `{key}`"));
            ("duplicate-key", format!("{told} appears twice{first}"))
        }
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => {
            ("yaml-budget", "is nested, repeated or long beyond what a document of castle needs".to_owned())
        }
        YamlError::Eof { .. } if text.trim().is_empty() => ("yaml", "is empty".to_owned()),
        YamlError::Eof { .. } => ("yaml", "ends early".to_owned()),
        YamlError::MultipleDocuments { .. } => ("yaml", "holds more than one document; one is read".to_owned()),
        YamlError::InvalidScalar { ty, .. } => {
            let wanted = if *ty == "bool" { "`true` or `false`" } else { "a whole number" };
            match open {
                true if is_number(&found(text, span)) => ("yaml", format!("`{}` is too large", found(text, span))),
                true => ("yaml", format!("`{}` is not {wanted}", found(text, span))),
                false => ("yaml", format!("is not {wanted}")),
            }
        }
        YamlError::Unexpected { expected, .. } => {
            let wanted = match *expected {
                "mapping start" => "a mapping (`key: value`)",
                "sequence start" => "a list",
                "string scalar" => "a text",
                other => other,
            };
            match open {
                true => ("yaml", format!("`{}` stands where {wanted} is expected", found(text, span))),
                false => ("yaml", format!("is not {wanted}")),
            }
        }
        YamlError::InvalidBooleanStrict { .. } if !open => ("yaml", "is not `true` or `false`".to_owned()),
        YamlError::NullIntoString { .. } => (
            "yaml",
            match span.and_then(|span| around::key_at(text, span)) {
                Some(key) if open => format!("key `{key}` has no value"),
                _ => "a value is missing".to_owned(),
            },
        ),
        other if open => (
            "yaml",
            format!("cannot be read at `{}`: {}", found(text, span), UserMessageFormatter.format_message(other)),
        ),
        _ => ("yaml", "cannot be read as YAML from here on".to_owned()),
    };
    // What is empty has no place of its own.
    let span = if text.trim().is_empty() { Some(Span { line: 1, column: 1 }) } else { span };
    let problem = Problem::error(code, document, message).at(span);
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => problem.hint(match nearest(field, expected) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known here: {}", expected.join(", ")),
        }),
        YamlError::SerdeMissingField { .. } => problem.hint("add it to the mapping that ends here"),
        YamlError::NullIntoString { .. } => problem.hint("write one behind the colon, or leave the key out"),
        YamlError::DuplicateMappingKey { .. } => problem.hint("remove one of the two"),
        YamlError::Eof { .. } if text.trim().is_empty() => problem.hint("write the document, or name another file"),
        YamlError::MultipleDocuments { .. } => problem.hint("remove the `---` between them, or all but one"),
        _ if problem.code == "yaml-budget" => problem.hint(SMALLER),
        YamlError::InvalidScalar { .. } | YamlError::Unexpected { .. } | YamlError::InvalidBooleanStrict { .. }
            if !open =>
        {
            problem
        }
        YamlError::InvalidScalar { ty: "bool", .. } | YamlError::InvalidBooleanStrict { .. } => {
            problem.hint("write `true` or `false`, without quotes")
        }
        YamlError::InvalidScalar { .. } => {
            problem.hint("write a number in digits, such as `4`, without quotes or a unit")
        }
        YamlError::Unexpected { expected, .. } => problem.hint(match *expected {
            "mapping start" => "write `key: value`, on lines of its own that are indented, or in `{}`",
            "sequence start" => "write a line with `- ` for each item, or the items in `[]`",
            _ => "write one value; a text with signs of YAML in it needs quotes",
        }),
        YamlError::UnknownAnchor { .. } => problem.hint("put a text that begins with `*`, `&` or `!` into quotes"),
        _ if problem.code == "yaml" && has_tab(text, span) => {
            problem.hint("indent with blanks: YAML takes no tab there")
        }
        _ if problem.code == "yaml" => problem.hint(
            "see whether a quote or a bracket is left open, a blank is missing behind a colon, or a line is indented \
             unlike its neighbours",
        ),
        _ => problem,
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Whether the line of a place, or one beside it, is indented with a tab.
fn has_tab(text: &str, span: Option<Span>) -> bool {
    let Some(span) = span else { return false };
    let is_indented_so = |line: &str| line.chars().take_while(|letter| letter.is_whitespace()).any(|c| c == '\t');
    text.lines().skip(span.line.saturating_sub(2)).take(3).any(is_indented_so)
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
