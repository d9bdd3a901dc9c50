//! YAML as a tree that keeps every scalar as it was written.
//!
//! A machine configuration is full of texts that look like something else:
//! tokens made of digits, versions, `off`. So no scalar is read before the type
//! of its place is known, and none is ever printed by a formatter.

use std::collections::BTreeMap;
use std::fmt;

use castle_core::{Secret, SecretText};
use granit_parser::{Event, Parser, ScalarStyle};

/// Documents of castle are six levels deep, Kubernetes' manifests in them less than twenty.
const DEPTH_MAX: usize = 64;
/// The largest generated configuration has about 200 nodes; aliases count again at each use.
const NODES_MAX: usize = 100_000;
const ANCHORS_MAX: usize = 64;

/// One value and the line it begins in.
#[derive(Clone)]
pub(crate) struct Node {
    pub line: usize,
    pub data: Data,
}

/// What a value is made of.
#[derive(Clone)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub line: usize,
    pub value: Node,
}

/// The text of a scalar, and whether its looks decide what it is: `plain` 1 is
/// a number, quoted it is a text.
#[derive(Clone)]
pub(crate) struct Scalar {
    pub text: SecretText,
    pub plain: bool,
}

/// What a scalar is where nothing says what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Null,
    Bool,
    Int,
    Float,
    Str,
}

impl Tag {
    /// As Go's YAML writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool => "!!bool",
            Self::Int => "!!int",
            Self::Float => "!!float",
            Self::Str => "!!str",
        }
    }
}

/// Where a text stops being YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    pub line: usize,
    pub column: usize,
    pub cause: Cause,
}

/// Why it stops being YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Tab,
    Syntax,
    Alias,
    TooLarge,
    Key,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match &self.data {
            Data::Scalar(_) => "scalar",
            Data::List(_) => "list",
            Data::Map(_) => "map",
        };
        write!(f, "Node({shape}, line {})", self.line)
    }
}

impl Node {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { line: 0, data: Data::Scalar(Scalar { text: Secret::new(text.into()), plain: true }) }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self { line: 0, data: Data::Scalar(Scalar { text: Secret::new(text.into()), plain: false }) }
    }

    pub fn null() -> Self {
        Self::plain("null")
    }

    pub fn list(items: Vec<Self>) -> Self {
        Self { line: 0, data: Data::List(items) }
    }

    pub fn map(entries: Vec<Entry>) -> Self {
        Self { line: 0, data: Data::Map(entries) }
    }

    pub fn scalar(&self) -> Option<&Scalar> {
        if let Data::Scalar(scalar) = &self.data { Some(scalar) } else { None }
    }

    /// The text of a scalar that is not null.
    pub fn as_text(&self) -> Option<&str> {
        self.scalar().filter(|scalar| scalar.tag() != Tag::Null).map(|scalar| scalar.text.expose().as_str())
    }

    pub fn items(&self) -> &[Self] {
        if let Data::List(items) = &self.data { items } else { &[] }
    }

    pub fn entries(&self) -> &[Entry] {
        if let Data::Map(entries) = &self.data { entries } else { &[] }
    }

    pub fn is_map(&self) -> bool {
        matches!(self.data, Data::Map(_))
    }

    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.tag() == Tag::Null)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The value at a path of keys, `machine.network.hostname`.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| node.get(key)).filter(|node| !node.is_null())
    }
}

impl Entry {
    pub fn new(key: impl Into<String>, value: Node) -> Self {
        Self { key: key.into(), line: value.line, value }
    }
}

impl Scalar {
    pub fn tag(&self) -> Tag {
        if self.plain { resolve(self.text.expose()) } else { Tag::Str }
    }
}

/// What a plain text is, as Go's YAML resolves it where any value may stand:
/// YAML 1.2's words for booleans, YAML 1.1's forms of numbers.
pub(crate) fn resolve(text: &str) -> Tag {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Tag::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Tag::Bool,
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => Tag::Float,
        _ if integer(text).is_some() => Tag::Int,
        _ if is_float(text) => Tag::Float,
        _ => Tag::Str,
    }
}

/// The value of a whole number in one of YAML's forms.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        // A leading zero is the old form of an octal number.
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || digits.starts_with(['_', '+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(if negative { -number } else { number })
}

fn is_float(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E' | b'_'))
        && text.replace('_', "").parse::<f64>().is_ok()
}

/// The documents of a text, empty ones as null.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Broken> {
    let mut reader = Reader { open: Vec::new(), anchors: BTreeMap::new(), documents: Vec::new(), nodes: 0 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                let at = |cause| Broken { line: span.start.line(), column: span.start.col() + 1, cause };
                reader.take(event, span.start.line()).map_err(at)?;
            }
            Err(error) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                return Err(broken(text, line, column));
            }
        }
    }
    Ok(reader.documents)
}

/// A tab where spaces belong is what most broken files are; the parser names a
/// place near it.
fn broken(text: &str, line: usize, column: usize) -> Broken {
    let indented_by_tab = |line: usize| {
        let mut letters = text.lines().nth(line.checked_sub(1)?)?.char_indices();
        letters.find(|(_, letter)| *letter != ' ').filter(|(_, letter)| *letter == '\t').map(|(at, _)| at + 1)
    };
    [line, line + 1, line.saturating_sub(1)]
        .into_iter()
        .find_map(|line| indented_by_tab(line).map(|column| Broken { line, column, cause: Cause::Tab }))
        .unwrap_or(Broken { line, column, cause: Cause::Syntax })
}

struct Reader {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    documents: Vec<Node>,
    nodes: usize,
}

/// A list or mapping that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, usize)>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Cause> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = tag.is_some_and(|tag| tag.to_string().ends_with("str"));
                let plain = style == ScalarStyle::Plain && !as_text;
                let scalar = Scalar { text: Secret::new(text.into_owned()), plain };
                self.put(Node { line, data: Data::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Data::List(Vec::new()), line, anchor),
            Event::MappingStart(_, anchor, _) => self.open(Data::Map(Vec::new()), line, anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { node, anchor, .. }) = self.open.pop() else { return Err(Cause::Syntax) };
                self.put(node, anchor)
            }
            Event::Alias(id) => {
                let node = self.anchors.get(&id).ok_or(Cause::Alias)?;
                // Weighed before it is copied.
                self.nodes += size(node);
                if self.nodes > NODES_MAX {
                    return Err(Cause::TooLarge);
                }
                let node = node.clone();
                self.put(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, data: Data, line: usize, anchor: usize) -> Result<(), Cause> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Cause::TooLarge);
        }
        self.open.push(Open { node: Node { line, data }, anchor, key: None });
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Cause> {
        if anchor > 0 {
            if self.anchors.len() >= ANCHORS_MAX {
                return Err(Cause::TooLarge);
            }
            self.anchors.insert(anchor, node.clone());
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Cause::TooLarge);
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match (&mut open.node.data, open.key.take()) {
            (Data::List(items), _) => items.push(node),
            (Data::Map(entries), Some((key, line))) => entries.push(Entry { key, line, value: node }),
            (Data::Map(_), None) => {
                let key = node.scalar().ok_or(Cause::Key)?.text.expose().clone();
                open.key = Some((key, node.line));
            }
            (Data::Scalar(_), _) => return Err(Cause::Syntax),
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(_) => 1,
        Data::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Data::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_decide_only_for_plain_scalars() {
        for (text, tag) in [
            ("", Tag::Null),
            ("true", Tag::Bool),
            ("off", Tag::Str),
            ("yes", Tag::Str),
            ("0755", Tag::Int),
            ("0o755", Tag::Int),
            ("1_000", Tag::Int),
            ("1.5", Tag::Float),
            ("1e3", Tag::Float),
            ("v1.13.9", Tag::Str),
            ("12e45z.0123456789abcdef", Tag::Str),
            ("2026-01-01", Tag::Str),
            ("10.0.0.1", Tag::Str),
            ("-", Tag::Str),
        ] {
            assert_eq!(resolve(text), tag, "{text}");
        }
        let documents = parse("a: '1'\nb: 1\nc: !!str 1\n").expect("YAML");
        let tags: Vec<_> =
            documents[0].entries().iter().filter_map(|entry| entry.value.scalar()).map(Scalar::tag).collect();
        assert_eq!(tags, [Tag::Str, Tag::Int, Tag::Str]);
    }

    #[test]
    fn a_tab_is_named_and_a_bomb_is_refused() {
        let tab = parse("a:\n\tb: 1\n").expect_err("a tab");
        assert_eq!((tab.line, tab.column, tab.cause), (2, 1, Cause::Tab));
        let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            laughs += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(","));
        }
        assert_eq!(parse(&laughs).expect_err("a bomb").cause, Cause::TooLarge);
        assert_eq!(parse(&"[".repeat(1000)).expect_err("deep").line, 1);
    }
}
