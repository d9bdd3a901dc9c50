//! Lines of git's protocol: four digits of length, then so many bytes.

/// A line, or one of the marks between lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A line with its content.
    Line(&'a [u8]),
    /// `0000`: the message ends.
    Flush,
    /// `0001`: the section ends.
    Delimiter,
    /// `0002`: the answer ends.
    End,
}

/// Reads the packets of an answer.
pub(super) struct Packets<'a>(pub(super) &'a [u8]);

impl<'a> Packets<'a> {
    /// The next packet; `None` at the end of the bytes.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'a>>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let digits = self.0.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
        let length = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.ok_or("a line does not begin with its length")?;
        let packet = match length {
            0 => Packet::Flush,
            1 => Packet::Delimiter,
            2 => Packet::End,
            3 => return Err("a line has the length 3".into()),
            _ => Packet::Line(self.0.get(4..length).ok_or("a line ends early")?),
        };
        self.0 = &self.0[length.max(4)..];
        Ok(Some(packet))
    }

    /// The next packet as a line of text without its line feed; `None` at a mark or
    /// at the end.
    pub(super) fn text(&mut self) -> Result<Option<&'a str>, String> {
        match self.next()? {
            Some(Packet::Line(line)) => {
                let text = std::str::from_utf8(line).map_err(|_| "a line is no text")?;
                Ok(Some(text.strip_suffix('\n').unwrap_or(text)))
            }
            _ => Ok(None),
        }
    }
}

/// A request, line by line.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// The beginning of a command of version 2.
    pub(super) fn command(name: &str) -> Self {
        let mut lines = Self::default().line(&format!("command={name}")).line("object-format=sha1");
        lines.0.extend_from_slice(b"0001");
        lines
    }

    pub(super) fn line(mut self, text: &str) -> Self {
        self.0.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
        self
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"0000");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_marks_are_told_apart() {
        let mut packets = Packets(b"000ahello\n00010000");
        assert_eq!(packets.next(), Ok(Some(Packet::Line(b"hello\n"))));
        assert_eq!(packets.next(), Ok(Some(Packet::Delimiter)));
        assert_eq!(packets.next(), Ok(Some(Packet::Flush)));
        assert_eq!(packets.next(), Ok(None));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for (bytes, why) in [
            (&b"00"[..], "a line does not begin with its length"),
            (b"zzzzhello", "a line does not begin with its length"),
            (b"0003", "a line has the length 3"),
            (b"00ffhello", "a line ends early"),
        ] {
            assert_eq!(Packets(bytes).next(), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_request_reads_back() {
        let body = Lines::command("ls-refs").line("ref-prefix refs/heads/main").end();
        assert_eq!(
            String::from_utf8(body).expect("text"),
            "0014command=ls-refs\n0017object-format=sha1\n0001001fref-prefix refs/heads/main\n0000"
        );
    }
}
