//! Packs: how objects travel. Written whole, read with deltas.

use std::collections::BTreeMap;
use std::io::Write as _;

use bytes::Bytes;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use sha1::{Digest, Sha1};

use super::delta;
use super::object::{Object, ObjectId, ObjectKind};

/// Above this an object is refused: no file of a GitOps repository comes near.
const OBJECT_BYTES_MAX: usize = 64 << 20;
const HEADER_BYTES: usize = 12;
const TRAILER_BYTES: usize = 20;

/// What is wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// It begins with something else, or is of a version that nobody writes.
    #[error("this is no pack of version 2 or 3")]
    NoPack,
    /// It ends too early.
    #[error("the pack is cut off at byte {at}")]
    CutOff {
        /// Where more was expected.
        at: usize,
    },
    /// The SHA-1 at its end is not its own.
    #[error("the pack's checksum does not fit its content")]
    Checksum,
    /// Bytes follow the last object.
    #[error("{bytes} bytes follow the pack's last object")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The compressed bytes of an object do not give what its header says.
    #[error("the object at byte {at} of the pack cannot be unpacked")]
    Object {
        /// Where it begins.
        at: usize,
    },
    /// Objects that stand on others which neither the pack nor the repository has.
    #[error("{count} objects of the pack stand on objects that are missing")]
    Unresolved {
        /// How many.
        count: usize,
    },
}

/// Writes objects into a pack, none as a delta.
#[must_use]
pub fn write<'a>(objects: impl ExactSizeIterator<Item = &'a Object>) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    let count = u32::try_from(objects.len()).expect("a repository of the lab has fewer than four billion objects");
    pack.extend(count.to_be_bytes());
    for object in objects {
        write_header(&mut pack, type_number(object.kind), object.data.len());
        pack.extend(deflate(&object.data));
    }
    let sum = Sha1::digest(&pack);
    pack.extend_from_slice(&sum);
    pack
}

/// Compresses bytes as zlib does.
#[must_use]
pub fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("a vector takes every byte")
}

/// Reads the objects of a pack, deltas resolved. `base` gives objects of the
/// repository, on which a thin pack may stand.
///
/// # Errors
///
/// [`PackError`], whatever is wrong first.
pub fn read(pack: &[u8], base: impl Fn(ObjectId) -> Option<Object>) -> Result<Vec<Object>, PackError> {
    let body = check(pack)?;
    let count = u32::from_be_bytes([body[8], body[9], body[10], body[11]]);
    let mut at = HEADER_BYTES;
    let mut raw = Vec::new();
    for _ in 0..count {
        let (entry, next) = read_entry(body, at)?;
        raw.push((at, entry));
        at = next;
    }
    if at != body.len() {
        return Err(PackError::Trailing { bytes: body.len() - at });
    }
    resolve(raw, base)
}

/// Header and checksum; gives what stands before the checksum.
fn check(pack: &[u8]) -> Result<&[u8], PackError> {
    if pack.len() < HEADER_BYTES + TRAILER_BYTES {
        return Err(PackError::CutOff { at: pack.len() });
    }
    let (body, sum) = pack.split_at(pack.len() - TRAILER_BYTES);
    if &body[..4] != b"PACK" || !matches!(body[4..8], [0, 0, 0, 2 | 3]) {
        return Err(PackError::NoPack);
    }
    if Sha1::digest(body)[..] != *sum {
        return Err(PackError::Checksum);
    }
    Ok(body)
}

/// What an entry of a pack stands on.
enum Base {
    Nothing(ObjectKind),
    Offset(usize),
    Id(ObjectId),
}

struct RawEntry {
    base: Base,
    data: Vec<u8>,
}

fn read_entry(body: &[u8], at: usize) -> Result<(RawEntry, usize), PackError> {
    let byte = |place: usize| body.get(place).copied().ok_or(PackError::CutOff { at: place });
    let wrong = || PackError::Object { at };
    let first = byte(at)?;
    let mut next = at + 1;
    let mut size = usize::from(first & 15);
    let mut shift = 4;
    let mut more = first & 128 != 0;
    while more {
        let byte = byte(next)?;
        next += 1;
        size |= usize::from(byte & 127).checked_shl(shift).ok_or_else(wrong)?;
        shift += 7;
        more = byte & 128 != 0;
    }
    let base = match first >> 4 & 7 {
        1 => Base::Nothing(ObjectKind::Commit),
        2 => Base::Nothing(ObjectKind::Tree),
        3 => Base::Nothing(ObjectKind::Blob),
        4 => Base::Nothing(ObjectKind::Tag),
        6 => {
            let mut back = 0_usize;
            loop {
                let byte = byte(next)?;
                next += 1;
                back = back.checked_shl(7).ok_or_else(wrong)? | usize::from(byte & 127);
                if byte & 128 == 0 {
                    break;
                }
                // Each further byte begins where the shorter ones end.
                back += 1;
            }
            Base::Offset(at.checked_sub(back).ok_or_else(wrong)?)
        }
        7 => {
            let id = body.get(next..next + 20).and_then(ObjectId::from_bytes);
            next += 20;
            Base::Id(id.ok_or(PackError::CutOff { at: body.len() })?)
        }
        _ => return Err(wrong()),
    };
    let compressed = body.get(next..).ok_or(PackError::CutOff { at: next })?;
    let (data, taken) = inflate(compressed, size).ok_or_else(wrong)?;
    Ok((RawEntry { base, data }, next + taken))
}

/// Unpacks one zlib stream of a known size; says how many bytes it took.
fn inflate(compressed: &[u8], size: usize) -> Option<(Vec<u8>, usize)> {
    if size > OBJECT_BYTES_MAX {
        return None;
    }
    let mut stream = Decompress::new(true);
    // A byte more than wanted, so that too long a stream shows itself.
    let mut data = Vec::with_capacity(size + 1);
    loop {
        let taken = usize::try_from(stream.total_in()).ok()?;
        let before = (taken, data.len());
        let status = stream.decompress_vec(compressed.get(taken..)?, &mut data, FlushDecompress::None).ok()?;
        let taken = usize::try_from(stream.total_in()).ok()?;
        match status {
            Status::StreamEnd if data.len() == size => return Some((data, taken)),
            Status::StreamEnd => return None,
            _ if before == (taken, data.len()) => return None,
            _ => {}
        }
    }
}

fn resolve(raw: Vec<(usize, RawEntry)>, base: impl Fn(ObjectId) -> Option<Object>) -> Result<Vec<Object>, PackError> {
    let mut by_offset = BTreeMap::<usize, Object>::new();
    let mut by_id = BTreeMap::<ObjectId, Object>::new();
    let mut waiting = raw;
    // A delta may stand on a later one, so this goes round until nothing moves.
    loop {
        let before = waiting.len();
        let mut still = Vec::new();
        for (at, entry) in waiting {
            let below = match &entry.base {
                Base::Nothing(kind) => {
                    let object = Object::new(*kind, entry.data);
                    by_id.insert(object.id(), object.clone());
                    by_offset.insert(at, object);
                    continue;
                }
                Base::Offset(offset) => by_offset.get(offset).cloned(),
                Base::Id(id) => by_id.get(id).cloned().or_else(|| base(*id)),
            };
            let Some(below) = below else {
                still.push((at, entry));
                continue;
            };
            let data = delta::apply(&below.data, &entry.data).ok_or(PackError::Object { at })?;
            let object = Object::new(below.kind, Bytes::from(data));
            by_id.insert(object.id(), object.clone());
            by_offset.insert(at, object);
        }
        if still.is_empty() {
            return Ok(by_offset.into_values().collect());
        }
        if still.len() == before {
            return Err(PackError::Unresolved { count: before });
        }
        waiting = still;
    }
}

fn type_number(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::Commit => 1,
        ObjectKind::Tree => 2,
        ObjectKind::Blob => 3,
        ObjectKind::Tag => 4,
    }
}

fn write_header(pack: &mut Vec<u8>, number: u8, size: usize) {
    let mut byte = number << 4 | (size & 15) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        pack.push(byte | 128);
        byte = (rest & 127) as u8;
        rest >>= 7;
    }
    pack.push(byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(text: &str) -> Object {
        Object::new(ObjectKind::Blob, text.as_bytes().to_vec())
    }

    /// A pack of entries that are already encoded.
    fn sealed(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend((entries.len() as u32).to_be_bytes());
        pack.extend(entries.concat());
        let sum = Sha1::digest(&pack);
        pack.extend_from_slice(&sum);
        pack
    }

    fn entry(number: u8, between: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_header(&mut bytes, number, data.len());
        bytes.extend(between);
        bytes.extend(deflate(data));
        bytes
    }

    /// Copies the first five bytes of the base, then says ` there`.
    const DELTA: &[u8] = b"\x0b\x0b\x90\x05\x06 there";

    #[test]
    fn what_was_written_is_read() {
        let long = "a line that comes again\n".repeat(4000);
        let objects = [blob(""), blob("hello"), blob(&long), Object::new(ObjectKind::Tree, Vec::new())];
        let pack = write(objects.iter());
        assert_eq!(read(&pack, |_| None).unwrap(), objects);
        assert!(pack.len() < long.len() / 10, "{} bytes", pack.len());
    }

    #[test]
    fn deltas_stand_on_offsets_ids_and_the_repository() {
        let base = blob("hello world");
        let wanted = blob("hello there");
        let whole = entry(3, &[], &base.data);
        let back = whole.len() as u8;
        assert!(back < 128);
        let by_offset = sealed(&[whole.clone(), entry(6, &[back], DELTA)]);
        let by_id = sealed(&[entry(7, base.id().as_bytes(), DELTA), whole]);
        let thin = sealed(&[entry(7, base.id().as_bytes(), DELTA)]);
        for (what, pack) in [("offset", &by_offset), ("a later object's id", &by_id), ("thin", &thin)] {
            let objects = read(pack, |id| (id == base.id()).then(|| base.clone())).unwrap();
            assert!(objects.contains(&wanted), "{what}: {objects:?}");
        }
        assert_eq!(read(&thin, |_| None), Err(PackError::Unresolved { count: 1 }));
    }

    #[test]
    fn every_damage_is_told() {
        let pack = write([blob("hello")].iter());
        let check = |pack: &[u8], expected: PackError| assert_eq!(read(pack, |_| None), Err(expected));
        check(b"PACK", PackError::CutOff { at: 4 });
        let mut flipped = pack.clone();
        flipped[14] ^= 1;
        check(&flipped, PackError::Checksum);
        check(&sealed(&[entry(5, &[], b"hello")]), PackError::Object { at: 12 });
        check(&sealed(&[entry(6, &[99], DELTA)]), PackError::Object { at: 12 });
        let mut lying = Vec::new();
        write_header(&mut lying, 3, 4);
        lying.extend(deflate(b"hello"));
        check(&sealed(&[lying]), PackError::Object { at: 12 });
        let mut padded = sealed(&[[entry(3, &[], b"hello"), vec![0; 3]].concat()]);
        check(&padded, PackError::Trailing { bytes: 3 });
        padded[0] = b'K';
        check(&padded, PackError::NoPack);
    }
}
