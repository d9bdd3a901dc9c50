//! HTML that cannot be written unescaped.

use crate::words::harmless;

/// HTML under construction. Only literals of this program are markup; everything
/// that a run, a backend or a person has said is text, and is escaped.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Markup: a literal, never something that was found.
    pub(super) fn raw(&mut self, html: &'static str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Text, also fit for an attribute in quotes. Characters that steer a terminal
    /// or turn the direction of reading are shown as `\u{FFFD}`, so that a stranger's
    /// name cannot dress up as another.
    pub(super) fn text(&mut self, text: impl AsRef<str>) -> &mut Self {
        for c in text.as_ref().chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                c => self.0.push(harmless(c)),
            }
        }
        self
    }

    /// A sentence whose words in backticks are shown as code.
    pub(super) fn prose(&mut self, text: &str) -> &mut Self {
        if !text.matches('`').count().is_multiple_of(2) {
            return self.text(text);
        }
        for (index, part) in text.split('`').enumerate() {
            if index % 2 == 1 {
                self.raw("<code>").text(part).raw("</code>");
            } else {
                self.text(part);
            }
        }
        self
    }

    /// What other functions of this module have made.
    pub(super) fn part(&mut self, part: &Self) -> &mut Self {
        self.0.push_str(&part.0);
        self
    }

    /// The finished text.
    pub(super) fn done(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_never_markup() {
        let mut markup = Markup::default();
        markup.raw("<i title=\"").text("\"><script>'&").raw("\">").text("a\u{202E}b\u{1b}[2Jc\n").raw("</i>");
        assert_eq!(markup.done(), "<i title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">a\u{FFFD}b\u{FFFD}[2Jc\n</i>");
    }

    #[test]
    fn words_in_backticks_are_code_and_are_escaped_too() {
        let shown = |text: &str| {
            let mut markup = Markup::default();
            markup.prose(text);
            markup.done()
        };
        assert_eq!(shown("run `a < b` now"), "run <code>a &lt; b</code> now");
        assert_eq!(shown("one ` alone <i>"), "one ` alone &lt;i&gt;");
    }
}
