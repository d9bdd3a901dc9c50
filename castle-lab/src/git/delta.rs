//! Deltas: an object told by what it shares with another.

/// Applies a delta to its base. `None` if it does not fit the base, or gives
/// something else than it says.
pub(super) fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta;
    if take_size(&mut rest)? != base.len() {
        return None;
    }
    let size = take_size(&mut rest)?;
    let mut made = Vec::new();
    while let Some((command, after)) = rest.split_first() {
        rest = after;
        if command & 128 != 0 {
            let (offset, length) = take_copy(*command, &mut rest)?;
            made.extend_from_slice(base.get(offset..offset.checked_add(length)?)?);
        } else if *command > 0 {
            let (text, after) = rest.split_at_checked(usize::from(*command))?;
            made.extend_from_slice(text);
            rest = after;
        } else {
            // Kept for the future by git.
            return None;
        }
        if made.len() > size {
            return None;
        }
    }
    (made.len() == size).then_some(made)
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn take_size(rest: &mut &[u8]) -> Option<usize> {
    let (mut size, mut shift) = (0, 0);
    loop {
        let byte = take(rest)?;
        size |= usize::from(byte & 127).checked_shl(shift)?;
        shift += 7;
        if byte & 128 == 0 {
            return Some(size);
        }
    }
}

/// Four bits say which bytes of the offset follow, three those of the length.
fn take_copy(command: u8, rest: &mut &[u8]) -> Option<(usize, usize)> {
    let (mut offset, mut length) = (0, 0);
    for place in 0..4 {
        if command & 1 << place != 0 {
            offset |= usize::from(take(rest)?) << (8 * place);
        }
    }
    for place in 0..3 {
        if command & 16 << place != 0 {
            length |= usize::from(take(rest)?) << (8 * place);
        }
    }
    Some((offset, if length == 0 { 0x1_0000 } else { length }))
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn copies_and_words_make_the_object() {
        // 11 bytes become 11: five from the base, six told.
        assert_eq!(apply(b"hello world", b"\x0b\x0b\x90\x05\x06 there").unwrap(), b"hello there");
        // Two bytes of the offset: 256 + 1.
        let base = vec![b'a'; 257].into_iter().chain(*b"end").collect::<Vec<_>>();
        assert_eq!(apply(&base, b"\x84\x02\x03\x93\x01\x01\x03").unwrap(), b"end");
        // No length at all means 65,536.
        let base = vec![b'z'; 0x1_0000];
        assert_eq!(apply(&base, b"\x80\x80\x04\x80\x80\x04\x80").unwrap(), base);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (what, delta) in [
            ("another base", &b"\x0a\x05\x90\x05"[..]),
            ("beyond the base", b"\x0b\x05\x91\x0a\x05"),
            ("too short a result", b"\x0b\x06\x90\x05"),
            ("too long a result", b"\x0b\x04\x90\x05"),
            ("words that are cut off", b"\x0b\x05\x05hell"),
            ("the command of the future", b"\x0b\x05\x00"),
            ("nothing", b""),
        ] {
            assert_eq!(apply(b"hello world", delta), None, "{what}");
        }
    }
}
