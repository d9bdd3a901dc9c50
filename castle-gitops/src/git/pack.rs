//! Packs: many objects in one stream, some of them as changes to others.

use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress, Status};
use sha1::{Digest, Sha1};

use super::object::{Flaw, Kind, ObjectId, Objects};

/// How many bytes one object may have.
const OBJECT_MAX: u64 = 16 << 20;
/// How many bytes all objects of a pack may have together, the changes and what
/// they make counted both: as much memory does it take to read one, beside the pack.
const ALL_MAX: u64 = 128 << 20;
/// How many objects a pack may have.
const COUNT_MAX: u32 = 200_000;

/// How many times the changes of a pack are gone through, each time for those whose
/// bases came last. git packs no chains that are longer than 50 unless it is told to.
const PASSES_MAX: usize = 256;

/// What stands in a pack under one offset.
enum Entry {
    Whole(Kind, Vec<u8>),
    /// A change to the object at this offset.
    After(usize, Vec<u8>),
    /// A change to the object of this name.
    Onto(ObjectId, Vec<u8>),
}

/// Reads a pack whose objects need no others. Every object is found under the
/// name that its bytes have, so whoever asks by name gets what was meant.
///
/// # Errors
///
/// Why the pack is not taken.
pub(super) fn read(pack: &[u8]) -> Result<Objects, Flaw> {
    let end = pack.len().checked_sub(20).filter(|end| *end >= 12).ok_or("the pack ends early")?;
    let (body, sum) = pack.split_at(end);
    if Sha1::digest(body)[..] != *sum {
        return Err("the pack's checksum does not match".into());
    }
    if &body[..4] != b"PACK" || !matches!(word(&body[4..]), 2 | 3) {
        return Err("the pack is none of version 2".into());
    }
    let count = word(&body[8..]);
    if count > COUNT_MAX {
        return Err(Flaw::TooLarge(format!("has {count} objects in one commit, {COUNT_MAX} are read")));
    }
    let mut entries = BTreeMap::new();
    let (mut place, mut all) = (12, 0);
    for _ in 0..count {
        let (entry, size, next) = entry(body, place)?;
        all += size;
        if all > ALL_MAX {
            return Err(Flaw::TooLarge(all_too_large()));
        }
        entries.insert(place, entry);
        place = next;
    }
    if place != body.len() {
        return Err("the pack has bytes behind its objects".into());
    }
    resolve(entries, all)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The entry at `place`, how many bytes it has, and where the next one is.
fn entry(body: &[u8], place: usize) -> Result<(Entry, u64, usize), Flaw> {
    let early = || "an object of the pack ends early".to_owned();
    let mut at = place;
    let mut next = || -> Result<u8, Flaw> {
        let byte = *body.get(at).ok_or_else(early)?;
        at += 1;
        Ok(byte)
    };
    let first = next()?;
    let (mut size, mut shift, mut more) = (u64::from(first & 15), 4, first & 128 != 0);
    while more {
        let byte = next()?;
        size |= u64::from(byte & 127).checked_shl(shift).ok_or("an object's size cannot be read")?;
        (shift, more) = (shift + 7, byte & 128 != 0);
    }
    let kind = first >> 4 & 7;
    let mut distance = 0usize;
    if kind == 6 {
        let mut byte = next()?;
        distance = usize::from(byte & 127);
        while byte & 128 != 0 {
            byte = next()?;
            distance = distance
                .checked_add(1)
                .and_then(|distance| distance.checked_mul(128))
                .and_then(|distance| distance.checked_add(usize::from(byte & 127)))
                .ok_or("a change's base cannot be read")?;
        }
    }
    let mut base = [0; 20];
    if kind == 7 {
        for byte in &mut base {
            *byte = next()?;
        }
    }
    let (bytes, used) = inflate(&body[at..], size)?;
    let entry = match kind {
        1 => Entry::Whole(Kind::Commit, bytes),
        2 => Entry::Whole(Kind::Tree, bytes),
        3 => Entry::Whole(Kind::Blob, bytes),
        4 => Entry::Whole(Kind::Tag, bytes),
        6 => Entry::After(place.checked_sub(distance).ok_or("a change's base lies before the pack")?, bytes),
        7 => Entry::Onto(ObjectId(base), bytes),
        _ => return Err(format!("the pack has an object of type {kind}").into()),
    };
    Ok((entry, size, at + used))
}

/// Inflates one object, and says how many bytes of the pack it took.
fn inflate(packed: &[u8], size: u64) -> Result<(Vec<u8>, usize), Flaw> {
    let length = readable(size)?;
    let mut bytes = Vec::with_capacity(length + 16); // with room to see that it is longer than it says
    let mut inflater = Decompress::new(true);
    let status = inflater
        .decompress_vec(packed, &mut bytes, FlushDecompress::Finish)
        .map_err(|_| "an object of the pack cannot be inflated")?;
    if status != Status::StreamEnd || bytes.len() != length {
        return Err("an object of the pack is not as long as it says".into());
    }
    let used = usize::try_from(inflater.total_in()).map_err(|_| "an object of the pack is too long")?;
    Ok((bytes, used))
}

/// Applies the changes, bases first.
fn resolve(mut entries: BTreeMap<usize, Entry>, mut all: u64) -> Result<Objects, Flaw> {
    let mut objects = Objects::new();
    let mut at = BTreeMap::new();
    let mut passes = 0;
    while !entries.is_empty() {
        passes += 1;
        if passes > PASSES_MAX {
            return Err(format!("the pack's changes need more than {PASSES_MAX} passes").into());
        }
        let before = entries.len();
        let mut waiting = BTreeMap::new();
        for (place, entry) in entries {
            let base = match &entry {
                Entry::Whole(..) => None,
                Entry::After(base, _) => Some(at.get(base).copied()),
                Entry::Onto(base, _) => Some(objects.contains_key(base).then_some(*base)),
            };
            let (kind, bytes) = match (entry, base) {
                (Entry::Whole(kind, bytes), _) => (kind, bytes),
                (Entry::After(_, change) | Entry::Onto(_, change), Some(Some(base))) => {
                    let (kind, base) = &objects[&base];
                    let bytes = changed(base, &change)?.ok_or("a change in the pack cannot be applied")?;
                    all += bytes.len() as u64;
                    if all > ALL_MAX {
                        return Err(Flaw::TooLarge(all_too_large()));
                    }
                    (*kind, bytes)
                }
                (entry, _) => {
                    waiting.insert(place, entry);
                    continue;
                }
            };
            let id = ObjectId::of(kind, &bytes);
            at.insert(place, id);
            objects.insert(id, (kind, bytes));
        }
        if waiting.len() == before {
            return Err("a change in the pack has no base".into());
        }
        entries = waiting;
    }
    Ok(objects)
}

/// An object's size, if it is one that is read.
fn readable(size: u64) -> Result<usize, Flaw> {
    let size_max = OBJECT_MAX >> 20;
    let too_large = || Flaw::TooLarge(format!("has a file of {size} bytes, up to {size_max} MiB are read"));
    usize::try_from(size).ok().filter(|_| size <= OBJECT_MAX).ok_or_else(too_large)
}

fn all_too_large() -> String {
    format!("has more than {} MiB of files in one commit", ALL_MAX >> 20)
}

/// Applies a change: its base's length, its own, then copies and inserts. `None` if
/// it does not fit.
///
/// # Errors
///
/// If it makes more than is read.
fn changed(base: &[u8], mut change: &[u8]) -> Result<Option<Vec<u8>>, Flaw> {
    if length(&mut change) != Some(base.len() as u64) {
        return Ok(None);
    }
    let Some(wanted) = length(&mut change) else { return Ok(None) };
    Ok(rebuilt(base, change, readable(wanted)?))
}

fn rebuilt(base: &[u8], mut change: &[u8], wanted: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(wanted);
    while let Some((&order, rest)) = change.split_first() {
        change = rest;
        let piece = if order & 128 != 0 {
            let (mut offset, mut size) = (0usize, 0usize);
            for bit in 0..7 {
                if order & 1 << bit != 0 {
                    let (&byte, rest) = change.split_first()?;
                    change = rest;
                    match bit {
                        0..4 => offset |= usize::from(byte) << (8 * bit),
                        _ => size |= usize::from(byte) << (8 * (bit - 4)),
                    }
                }
            }
            base.get(offset..offset.checked_add(if size == 0 { 0x1_0000 } else { size })?)?
        } else {
            let (piece, rest) = change.split_at_checked(usize::from(order)).filter(|_| order != 0)?;
            change = rest;
            piece
        };
        out.extend_from_slice(piece);
        if out.len() > wanted {
            return None;
        }
    }
    (out.len() == wanted).then_some(out)
}

fn length(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127).checked_shl(shift)?;
        shift += 7;
        if byte & 128 == 0 {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests;
