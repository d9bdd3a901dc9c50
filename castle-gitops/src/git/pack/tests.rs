use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

fn head(kind: u8, mut size: usize) -> Vec<u8> {
    let mut bytes = vec![kind << 4 | (size & 15) as u8];
    size >>= 4;
    while size > 0 {
        *bytes.last_mut().expect("there is one") |= 128;
        bytes.push((size & 127) as u8);
        size >>= 7;
    }
    bytes
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn pack(count: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [b"PACK".as_slice(), &2u32.to_be_bytes(), &count.to_be_bytes(), &entries.concat()].concat();
    let sum = Sha1::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn whole(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [head(kind, bytes.len()), deflated(bytes)].concat()
}

/// Copies the first `copied` bytes of a base of `base` bytes and adds some.
fn change(base: u8, copied: u8, added: &[u8]) -> Vec<u8> {
    let wanted = copied + added.len() as u8;
    [&[base, wanted, 0b1001_0000, copied, added.len() as u8][..], added].concat()
}

#[test]
fn whole_objects_and_changes_to_them_are_read() {
    let base = b"a line\nanother line\n";
    let first = whole(3, base);
    let by_offset = change(20, 7, b"two\n");
    let mut after = head(6, by_offset.len());
    after.push(first.len() as u8);
    after.extend(deflated(&by_offset));
    let by_name = change(20, 20, b"three\n");
    let mut onto = head(7, by_name.len());
    onto.extend(ObjectId::of(Kind::Blob, base).0);
    onto.extend(deflated(&by_name));
    // The change by name stands before its base, as packs may have it.
    for entries in [vec![first.clone(), after, onto.clone()], vec![onto, first]] {
        let objects = read(&pack(entries.len() as u32, &entries)).expect("a pack");
        assert_eq!(objects.len(), entries.len());
        let text = |bytes: &[u8]| objects[&ObjectId::of(Kind::Blob, bytes)].1.clone();
        assert_eq!(text(b"a line\nanother line\nthree\n"), b"a line\nanother line\nthree\n");
        assert_eq!(text(base), base);
    }
}

#[test]
fn a_pack_that_lies_is_refused() {
    let check = |bytes: Vec<u8>, why: &str| {
        let Err(Flaw::Broken(said)) = read(&bytes) else { panic!("{why}") };
        assert!(said.contains(why), "{said} instead of {why}");
    };
    let blob = whole(3, b"x");
    check(b"PACK".to_vec(), "ends early");
    let mut broken = pack(1, std::slice::from_ref(&blob));
    broken[14] ^= 1;
    check(broken, "checksum");
    check(pack(2, std::slice::from_ref(&blob)), "ends early");
    check(pack(1, &[blob.clone(), blob.clone()]), "bytes behind");
    check(pack(1, &[[head(3, 2), deflated(b"x")].concat()]), "not as long as it says");
    check(pack(1, &[[head(3, 1), deflated(&[b'x'; 4096])].concat()]), "not as long as it says");
    check(pack(1, &[whole(5, b"x")]), "type 5");
    let mut onto = head(7, 5);
    onto.extend([9; 20]);
    onto.extend(deflated(&change(1, 1, b"")[..4]));
    let mut onto_size = head(7, 4);
    onto_size.extend_from_slice(&onto[1..]);
    check(pack(1, &[onto_size]), "has no base");
}

#[test]
fn a_change_outside_its_base_is_refused() {
    for (change, what) in [
        (vec![3, 3, 0b1001_0000, 4], "copies more than there is"),
        (vec![2, 3, 0b1001_0000, 3], "of another base"),
        (vec![3, 9, 0b1001_0000, 3], "shorter than it says"),
        (vec![3, 1, 0b1001_0000, 3], "longer than it says"),
        (vec![3, 3, 0], "the order that means nothing"),
        (vec![3, 3, 5, b'a'], "inserts more than there is"),
        (vec![], "nothing"),
    ] {
        assert_eq!(changed(b"abc", &change), Ok(None), "{what}");
    }
    assert_eq!(changed(b"abc", &[3, 4, 0b1001_0001, 1, 2, 2, b'x', b'y']), Ok(Some(b"bcxy".to_vec())));
}

/// Runs git in `folder` and gives what it prints; `None` where there is no git.
fn git(folder: &std::path::Path, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    use std::process::{Command, Stdio};
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    for (name, value) in [
        ("PATH", std::env::var("PATH").unwrap_or_default().as_str()),
        ("HOME", folder.to_str().expect("a path of letters")),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "castle"),
        ("GIT_AUTHOR_EMAIL", "castle@castle.internal"),
        ("GIT_COMMITTER_NAME", "castle"),
        ("GIT_COMMITTER_EMAIL", "castle@castle.internal"),
    ] {
        command.env(name, value);
    }
    let mut child = command.spawn().ok()?;
    child.stdin.take().expect("it is piped").write_all(input).expect("git listens");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    Some(output.stdout)
}

#[test]
fn a_pack_of_the_git_program_is_read() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let folder = folder.path();
    if git(folder, &["init", "--quiet", "."], b"").is_none() {
        eprintln!("skipped: a_pack_of_the_git_program_is_read needs git");
        return;
    }
    // Files that are nearly equal, so that most of the pack is changes to others.
    let lines: String = (0..400).map(|line| format!("line {line} of a manifest that says much\n")).collect();
    let mut expected = BTreeMap::new();
    for number in 0..40 {
        let path = format!("apps/{}/{number}.yaml", number % 3);
        let text = lines.replace(&format!("line {number} "), "another line ").repeat(1 + number % 4);
        std::fs::create_dir_all(folder.join(&path).parent().expect("a folder")).expect("a folder");
        std::fs::write(folder.join(&path), &text).expect("a file");
        expected.insert(path, text.into_bytes());
    }
    for arguments in [&["add", "."][..], &["commit", "--quiet", "-m", "Begin"]] {
        git(folder, arguments, b"");
    }
    let text = |arguments: &[&str]| String::from_utf8(git(folder, arguments, b"").expect("git")).expect("text");
    let commit = ObjectId::parse(text(&["rev-parse", "HEAD"]).trim()).expect("an id");
    for form in ["--delta-base-offset", "--no-reuse-delta"] {
        let arguments = ["pack-objects", "--stdout", "--revs", "--all", "--quiet", "--window=50", form];
        let pack = git(folder, &arguments, b"").expect("git");
        let whole: usize = expected.values().map(Vec::len).sum();
        assert!(pack.len() * 20 < whole, "{} of {whole} bytes: the pack holds changes", pack.len());
        let objects = read(&pack).expect("git's own pack");
        let files = crate::git::object::files_of(&objects, commit).expect("git's own trees");
        let found: BTreeMap<String, Vec<u8>> =
            files.into_iter().map(|(path, id)| (path, objects[&id].1.clone())).collect();
        assert!(found == expected, "{:?}", found.keys());
    }
}

#[test]
fn changes_that_stand_in_the_worst_order_end() {
    let chain = |length: usize| {
        let mut content = b"x0".to_vec();
        let mut entries = vec![whole(3, &content)];
        for number in 1..=length {
            let added = number.to_string();
            let by_name = change(content.len() as u8, 1, added.as_bytes());
            let mut entry = head(7, by_name.len());
            entry.extend(ObjectId::of(Kind::Blob, &content).0);
            entry.extend(deflated(&by_name));
            entries.push(entry);
            content = [b"x", added.as_bytes()].concat();
        }
        entries.reverse();
        read(&pack(entries.len() as u32, &entries))
    };
    assert_eq!(chain(50).expect("as deep as git packs them").len(), 51);
    assert_eq!(chain(300).expect_err("nobody packs so"), "the pack's changes need more than 256 passes".into());
}

#[test]
fn what_is_too_large_is_no_lie() {
    let check = |bytes: Vec<u8>, why: &str| match read(&bytes) {
        Err(Flaw::TooLarge(said)) => assert!(said.contains(why), "{said} instead of {why}"),
        other => panic!("{:?} instead of {why}", other.map(|objects| objects.len())),
    };
    check(pack(1, &[[head(3, 17 << 20), deflated(b"x")].concat()]), "a file of 17825792 bytes, up to 16 MiB are read");
    check(pack(200_001, &[]), "200001 objects");
    // A change of some bytes that makes 17 MiB.
    let base = whole(3, b"x");
    let change = [1, 0x80, 0x80, 0xc0, 0x08, 1, b'x'];
    let mut after = head(6, change.len());
    after.push(base.len() as u8);
    after.extend(deflated(&change));
    check(pack(2, &[base, after]), "a file of 17825792 bytes");
    let large = whole(3, &vec![0; 15 << 20]);
    check(pack(9, &vec![large; 9]), "more than 128 MiB of files");
}
