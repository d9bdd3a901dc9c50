//! Packet lines: how git frames what it says.

/// A line carries so many bytes at most, its length included.
const LINE_BYTES_MAX: usize = 65_520;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// `0000`: a message ends.
    Flush,
    /// `0001`: a section ends.
    Delimiter,
    /// `0002`: the answer ends.
    End,
    /// A line.
    Line(&'a [u8]),
}

impl<'a> Packet<'a> {
    /// The text of a line, without its line break.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Line(line) => std::str::from_utf8(line).ok().map(|text| text.strip_suffix('\n').unwrap_or(text)),
            _ => None,
        }
    }
}

/// Reads packets one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packets<'a> {
    rest: &'a [u8],
}

/// Bytes that are no packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPacket;

impl<'a> Packets<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What follows the packets that were read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next packet; `None` at the end of the bytes.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'a>>, BadPacket> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (head, _) = self.rest.split_at_checked(4).ok_or(BadPacket)?;
        let head = std::str::from_utf8(head).map_err(|_| BadPacket)?;
        let length = usize::from_str_radix(head, 16).map_err(|_| BadPacket)?;
        let (packet, length) = match length {
            0 => (Packet::Flush, 4),
            1 => (Packet::Delimiter, 4),
            2 => (Packet::End, 4),
            3 => return Err(BadPacket),
            _ => (Packet::Line(self.rest.get(4..length).ok_or(BadPacket)?), length),
        };
        self.rest = &self.rest[length..];
        Ok(Some(packet))
    }
}

/// Packets on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    /// One line of text; its line break is added.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> &mut Self {
        let text = text.as_ref();
        self.0.extend(format!("{:04x}", text.len() + 5).into_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(b'\n');
        self
    }

    /// Bytes as they are, in one packet.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(format!("{:04x}", bytes.len() + 4).into_bytes());
        self.0.extend(bytes);
        self
    }

    /// Bytes of a side band: 1 is data, 2 is for the user's eyes.
    pub(super) fn band(&mut self, band: u8, bytes: &[u8]) -> &mut Self {
        for part in bytes.chunks(LINE_BYTES_MAX - 5) {
            self.0.extend(format!("{:04x}", part.len() + 5).into_bytes());
            self.0.push(band);
            self.0.extend(part);
        }
        self
    }

    pub(super) fn flush(&mut self) -> &mut Self {
        self.0.extend(b"0000");
        self
    }

    pub(super) fn delimiter(&mut self) -> &mut Self {
        self.0.extend(b"0001");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard() {
        let mut answer = Answer::default();
        answer.line("want").delimiter().raw(b"\0raw").band(2, b"hi").flush();
        answer.0.extend(b"PACK");
        let mut packets = Packets::of(&answer.0);
        for expected in
            [Packet::Line(b"want\n"), Packet::Delimiter, Packet::Line(b"\0raw"), Packet::Line(b"\x02hi"), Packet::Flush]
        {
            assert_eq!(packets.next(), Ok(Some(expected)));
        }
        assert_eq!(packets.rest(), b"PACK");
        assert_eq!(packets.next(), Err(BadPacket));
    }

    #[test]
    fn a_long_band_is_several_packets() {
        let mut answer = Answer::default();
        answer.band(1, &vec![7; 100_000]);
        let (mut packets, mut lengths) = (Packets::of(&answer.0), Vec::new());
        while let Ok(Some(Packet::Line(line))) = packets.next() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [65_516, 100_000 - 65_515 + 1]);
    }

    #[test]
    fn a_cut_line_is_no_packet() {
        for bytes in [&b"00"[..], b"0003", b"0009abc", b"wxyz"] {
            assert_eq!(Packets::of(bytes).next(), Err(BadPacket), "{bytes:?}");
        }
        assert_eq!(Packets::of(b"").next(), Ok(None));
    }
}
