//! Protobuf, as much of it as the lab's messages need. Written by hand, apart
//! from castle's generated code, so that one misreading is not shared.

use std::time::Duration;

use crate::node::spec::{put_bytes, put_number};

/// The fields of a received message, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    numbers: Vec<(u32, u64)>,
    bytes: Vec<(u32, &'a [u8])>,
}

impl<'a> Fields<'a> {
    /// Reads a message. `None`: it is not protobuf.
    pub(super) fn parse(mut rest: &'a [u8]) -> Option<Self> {
        let mut fields = Self::default();
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            let number = u32::try_from(tag >> 3).ok()?;
            match tag & 7 {
                0 => fields.numbers.push((number, varint(&mut rest)?)),
                1 => rest = rest.get(8..)?,
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let (value, after) = rest.split_at_checked(length)?;
                    fields.bytes.push((number, value));
                    rest = after;
                }
                5 => rest = rest.get(4..)?,
                _ => return None,
            }
        }
        Some(fields)
    }

    /// A number; zero if it is absent.
    pub(super) fn number(&self, number: u32) -> u64 {
        self.numbers.iter().rev().find(|(of, _)| *of == number).map_or(0, |(_, value)| *value)
    }

    /// A boolean; false if it is absent.
    pub(super) fn flag(&self, number: u32) -> bool {
        self.number(number) != 0
    }

    /// Bytes, if they are there.
    pub(super) fn bytes(&self, number: u32) -> Option<&'a [u8]> {
        self.bytes.iter().rev().find(|(of, _)| *of == number).map(|(_, value)| *value)
    }

    /// A text; empty if it is absent.
    pub(super) fn text(&self, number: u32) -> String {
        String::from_utf8_lossy(self.bytes(number).unwrap_or_default()).into_owned()
    }

    /// Every value of a repeated field.
    pub(super) fn all(&self, number: u32) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.iter().filter(move |(of, _)| *of == number).map(|(_, value)| *value)
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A text; left out if it is empty.
    pub(super) fn text(mut self, number: u32, text: &str) -> Self {
        if !text.is_empty() {
            put_bytes(&mut self.0, number, text.as_bytes());
        }
        self
    }

    /// Bytes; left out if there are none.
    pub(super) fn bytes(mut self, number: u32, bytes: &[u8]) -> Self {
        if !bytes.is_empty() {
            put_bytes(&mut self.0, number, bytes);
        }
        self
    }

    /// A number; left out if it is zero.
    pub(super) fn number(mut self, number: u32, value: u64) -> Self {
        put_number(&mut self.0, number, value);
        self
    }

    /// A message within, empty ones too.
    pub(super) fn message(mut self, number: u32, message: Self) -> Self {
        put_bytes(&mut self.0, number, &message.0);
        self
    }

    /// A point in time, since 1970.
    pub(super) fn time(self, number: u32, since: Duration) -> Self {
        let stamp = Self::new().number(1, since.as_secs()).number(2, u64::from(since.subsec_nanos()));
        self.message(number, stamp)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::new().text(1, "cp").number(2, 300);
        let written = Message::new().message(1, inner).number(6, 1).bytes(3, b"xyz").text(4, "").into_bytes();
        let fields = Fields::parse(&written).unwrap();
        assert!(fields.flag(6));
        assert_eq!((fields.bytes(3), fields.bytes(4)), (Some(&b"xyz"[..]), None));
        let inner = Fields::parse(fields.bytes(1).unwrap()).unwrap();
        assert_eq!((inner.text(1).as_str(), inner.number(2), inner.number(9)), ("cp", 300, 0));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(Fields::parse(&[0x0A, 5, 1]).is_none());
        assert!(Fields::parse(&[0x0F]).is_none());
        assert!(Fields::parse(&[0xFF; 11]).is_none());
    }
}
