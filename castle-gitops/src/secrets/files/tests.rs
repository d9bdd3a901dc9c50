//! What no conformance rule can see: modes, processes, cuts, links.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use castle_core::{ErrorKind, Secret};
use tempfile::TempDir;

use super::super::disk::Step;
use super::*;

const STEPS: [Step; 7] =
    [Step::Ready, Step::Made, Step::HalfWritten, Step::Written, Step::Synced, Step::Published, Step::FolderSynced];

/// Where a child of a test finds its orders. A test that needs a process of
/// its own starts itself again with this set.
const ORDERS: &str = "CASTLE_GITOPS_TEST_ORDERS";

fn key(text: &str) -> SecretKey {
    text.parse().expect("a secret's path")
}

fn value(text: &str) -> SecretBytes {
    Secret::new(text.as_bytes().to_vec())
}

fn house() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let root = folder.path().join("secrets");
    (folder, root)
}

fn open(root: &Path) -> FileSecrets {
    FileSecrets::open(root).expect("a private root")
}

fn cut_by(root: &Path, cut: impl Fn(Step) -> io::Result<()> + Send + Sync + 'static) -> FileSecrets {
    FileSecrets { disk: Disk { cut: Some(Box::new(cut)) }, ..open(root) }
}

async fn text(store: &FileSecrets, name: &str) -> Option<String> {
    let read = store.get(&key(name)).await.expect("the store answers");
    read.map(|value| String::from_utf8(value.expose().clone()).expect("a text"))
}

/// Every path below `root`, with its mode; without the lock, which stays.
fn tree(root: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let seen = fs::symlink_metadata(entry.path()).expect("it exists");
            if seen.is_dir() {
                folders.push(entry.path());
            }
            let path = entry.path().strip_prefix(root).expect("below the root").display().to_string();
            let is_lock = path.ends_with(".lock") && seen.mode() & 0o7777 == 0o600;
            found.extend((!is_lock).then_some((path, seen.mode() & 0o7777)));
        }
    }
    found
}

/// Starts `test` of this binary again, with orders, under a umask.
fn child(test: &str, orders: &str, umask: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask \"$0\" && exec \"$@\"", umask]);
    command.arg(std::env::current_exe().expect("this binary has a path"));
    command.args([&format!("secrets::files::tests::{test}"), "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ORDERS, orders);
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn reading_leaves_no_trace() {
    let (folder, root) = house();
    let store = open(&root);
    assert_eq!(text(&store, "talos/1").await, None);
    assert!(store.list("").await.expect("an empty list").is_empty());
    store.delete(&key("talos/1")).await.expect("absent is fine");
    assert!(tree(folder.path()).is_empty(), "{:?}", tree(folder.path()));
}

#[tokio::test]
async fn files_are_private_from_birth_under_any_umask() {
    if let Ok(root) = std::env::var(ORDERS) {
        // The child: the modes that `cut` sees are those between the system calls.
        let root = PathBuf::from(root);
        let watched = root.clone();
        let store = cut_by(&root, move |step| {
            let open =
                tree(watched.parent().expect("the temporary folder")).into_iter().find(|(_, mode)| mode & 0o077 != 0);
            open.map_or(Ok(()), |open| Err(io::Error::other(format!("{open:?} at {step:?}"))))
        });
        store.create(&key("talos/1/began"), &value("x")).await.expect("private at each step of create");
        store.put(&key("talos/1/began"), &value("y")).await.expect("private at each step of put");
        return;
    }
    let (folder, root) = house();
    let deep = root.join("deep");
    let output = child("files_are_private_from_birth_under_any_umask", deep.to_str().expect("a text"), "000").output();
    let output = output.expect("the child runs");
    assert!(output.status.success(), "{}", said(&output));
    let expected = [
        ("secrets", 0o700),
        ("secrets/deep", 0o700),
        ("secrets/deep/talos.d", 0o700),
        ("secrets/deep/talos.d/1.d", 0o700),
        ("secrets/deep/talos.d/1.d/began.secret", 0o600),
    ];
    assert_eq!(tree(folder.path()), expected.map(|(path, mode)| (path.to_owned(), mode)).into());
}

const RACERS: [&str; 3] = ["blue", "green", "red"];
const RACES: usize = 30;

/// One process of the race: meets the others before each key, then creates it.
async fn race(name: &str, store: &FileSecrets) {
    for round in 0..RACES {
        store.create(&key(&format!("ready/{round}/{name}")), &value("")).await.expect("a key of its own");
        let mut looks = 0;
        while store.list(&format!("ready/{round}")).await.expect("a list").len() < RACERS.len() {
            looks += 1;
            assert!(looks < 100_000, "{name} waits in round {round} for a process that died");
            std::thread::yield_now();
        }
        match store.create(&key(&format!("race/{round}")), &value(name)).await {
            Ok(()) => store.create(&key(&format!("won/{round}/{name}")), &value("")).await.expect("a key of its own"),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let winner = text(store, &format!("race/{round}")).await.expect("the winner's value, whole");
                assert!(RACERS.contains(&winner.as_str()) && winner != name, "{winner:?} for the loser {name}");
            }
            Err(error) => panic!("{}: {error:#?}", error.chain()),
        }
    }
}

#[tokio::test]
async fn of_several_processes_one_creates() {
    if let Ok(orders) = std::env::var(ORDERS) {
        let (name, root) = orders.split_once('@').expect("a name and a root");
        return race(name, &open(Path::new(root))).await;
    }
    let (_folder, root) = house();
    let racers = RACERS.map(|name| {
        let mut racer = child("of_several_processes_one_creates", &format!("{name}@{}", root.display()), "022");
        racer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the child runs")
    });
    for racer in racers {
        let output = racer.wait_with_output().expect("the child ends");
        assert!(output.status.success(), "{}", said(&output));
    }
    let store = open(&root);
    for round in 0..RACES {
        let winner = text(&store, &format!("race/{round}")).await.expect("somebody won");
        let won = store.list(&format!("won/{round}")).await.expect("a list");
        assert_eq!(won, [key(&format!("won/{round}/{winner}"))], "round {round}, the value is of {winner}");
    }
    let unfinished: Vec<_> = tree(&root).into_keys().filter(|path| path.contains(".tmp-")).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

#[tokio::test]
async fn of_many_threads_one_creates() {
    let (_folder, root) = house();
    let wins = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (root, wins) = (root.clone(), wins.clone());
            scope.spawn(move || {
                let store = open(&root);
                for round in 0..40 {
                    match store.create_file(&key(&format!("race/{round}")), &value(&thread.to_string())) {
                        Ok(()) => wins.lock().expect("no thread panics").push(round),
                        Err(Error::Exists { .. }) => {}
                        Err(error) => panic!("thread {thread}, round {round}: {error:#?}"),
                    }
                }
            });
        }
    });
    let mut wins = wins.lock().expect("no thread panicked").clone();
    wins.sort_unstable();
    assert_eq!(wins, (0..40).collect::<Vec<_>>());
}

/// Writes in the way of `how`: to an absent key, or over `old`.
async fn write(store: &FileSecrets, how: &str) -> castle_core::Result<()> {
    match how {
        "create" => store.create(&key("talos/1"), &value("new value")).await,
        _ => store.put(&key("talos/1"), &value("new value")).await.map(drop),
    }
}

#[tokio::test]
async fn a_process_that_dies_anywhere_leaves_old_or_new() {
    if let Ok(orders) = std::env::var(ORDERS) {
        let (how, rest) = orders.split_once('@').expect("how, where, whither");
        let (last, root) = rest.split_once('@').expect("where and whither");
        let last: usize = last.parse().expect("a number");
        // Nothing is dropped, nothing tidied up: as by `kill -9`.
        let store =
            cut_by(Path::new(root), move |step| if step == STEPS[last] { std::process::abort() } else { Ok(()) });
        write(&store, how).await.expect("it never ends");
        return;
    }
    for how in ["create", "put", "replace"] {
        for (index, step) in STEPS.into_iter().enumerate() {
            let (_folder, root) = house();
            let store = open(&root);
            store.create(&key("talos/0"), &value("neighbour")).await.expect("the first secret");
            let old = (how == "replace").then_some("old");
            if let Some(old) = old {
                store.create(&key("talos/1"), &value(old)).await.expect("the old value");
            }
            let orders = format!("{how}@{index}@{}", root.display());
            let output = child("a_process_that_dies_anywhere_leaves_old_or_new", &orders, "022").output();
            let output = output.expect("the child runs");
            assert!(!output.status.success(), "{how}: nothing was cut at {step:?}: {}", said(&output));

            let published = matches!(step, Step::Published | Step::FolderSynced);
            let expected = if published { Some("new value") } else { old };
            assert_eq!(text(&store, "talos/1").await.as_deref(), expected, "{how}, cut at {step:?}");
            let keys = store.list("talos").await.expect("a list");
            let names: Vec<_> = keys.iter().map(SecretKey::as_str).collect();
            let present = if expected.is_some() { vec!["talos/0", "talos/1"] } else { vec!["talos/0"] };
            assert_eq!(names, present, "{how}, cut at {step:?}");

            // The next run finishes the work and sweeps.
            match write(&store, how).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && how == "create" && published => {
                    store.put(&key("talos/2"), &value("any")).await.expect("another write");
                    store.delete(&key("talos/2")).await.expect("its removal");
                }
                end => end.unwrap_or_else(|error| panic!("{how} after a cut at {step:?}: {}", error.chain())),
            }
            assert_eq!(text(&store, "talos/1").await.as_deref(), Some("new value"), "{how} after a cut at {step:?}");
            let files: Vec<_> = tree(&root).into_keys().collect();
            let clean = ["talos.d", "talos.d/0.secret", "talos.d/1.secret"];
            // An equal put writes nothing, so it may leave the sweeping to the next.
            let left: Vec<_> = files.iter().filter(|file| !clean.contains(&file.as_str())).collect();
            let swept = left.is_empty() || (how != "create" && published && left.iter().all(|f| f.contains(".tmp-")));
            assert!(swept, "{how} after a cut at {step:?} left {left:?}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_at_any_step_leaves_old_or_new_and_no_litter() {
    for how in ["create", "put", "replace"] {
        for step in STEPS {
            let (_folder, root) = house();
            let old = (how == "replace").then_some("old");
            if let Some(old) = old {
                open(&root).create(&key("talos/1"), &value(old)).await.expect("the old value");
            }
            let full = move |at| if at == step { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) };
            let error = write(&cut_by(&root, full), how).await.expect_err("the disk is full");
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{how} at {step:?}: {error:#?}");
            assert!(error.advice().is_some_and(|hint| hint.contains("make room")), "{error:#?}");
            assert!(!format!("{} {error:?}", error.chain()).contains("new value"), "{error:#?}");
            let published = matches!(step, Step::Published | Step::FolderSynced);
            let expected = if published { Some("new value") } else { old };
            assert_eq!(text(&open(&root), "talos/1").await.as_deref(), expected, "{how} at {step:?}");
            let litter: Vec<_> = tree(&root).into_keys().filter(|path| path.contains(".tmp-")).collect();
            assert!(litter.is_empty(), "{how} at {step:?}: {litter:?}");
        }
    }
}

#[tokio::test]
async fn a_value_is_on_the_disk_before_it_has_its_name() {
    let (_folder, root) = house();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let file = root.join("talos.d/1.secret");
    let store = cut_by(&root, move |step| {
        log.lock().expect("no panic").push((step, fs::read_to_string(&file).ok()));
        Ok(())
    });
    for how in ["create", "replace"] {
        if how == "replace" {
            open(&root).put(&key("talos/1"), &value("old")).await.expect("the old value");
        }
        seen.lock().expect("no panic").clear();
        write(&store, how).await.expect("a write");
        let before = (how == "replace").then(|| "old".to_owned());
        let holds = |index| if index < 5 { before.clone() } else { Some("new value".to_owned()) };
        let expected: Vec<_> = STEPS.into_iter().enumerate().map(|(index, step)| (step, holds(index))).collect();
        assert_eq!(*seen.lock().expect("no panic"), expected, "{how}");
    }
}

#[tokio::test]
async fn the_unfinished_file_of_a_living_writer_is_left_alone() {
    let (_folder, root) = house();
    open(&root).create(&key("a"), &value("x")).await.expect("the folder");
    fs::write(root.join(".tmp-dead"), "half").expect("a leftover");
    // Halfway through one write, another one sweeps.
    let other = root.clone();
    let store = cut_by(&root, move |step| {
        if step == Step::HalfWritten {
            open(&other).create_file(&key("b"), &value("other")).expect("the other write");
            let alive = tree(&other).into_keys().filter(|path| path.starts_with(".tmp-")).count();
            assert_eq!(alive, 1, "{:?}", tree(&other));
        }
        Ok(())
    });
    store.create(&key("c"), &value("one")).await.expect("the first write goes on");
    assert_eq!(text(&store, "b").await.as_deref(), Some("other"));
    assert_eq!(text(&store, "c").await.as_deref(), Some("one"));
    assert_eq!(tree(&root).into_keys().collect::<Vec<_>>(), ["a.secret", "b.secret", "c.secret"]);
}

/// Every call on `name` must refuse the link or folder at `place`.
async fn refuses(store: &FileSecrets, name: &str, place: &Path) {
    let key = key(name);
    let place = place.display().to_string();
    let ends = [
        ("get", store.get(&key).await.map(drop)),
        ("create", store.create(&key, &value("x")).await),
        ("put", store.put(&key, &value("x")).await.map(drop)),
        ("delete", store.delete(&key).await),
        ("list", store.list("").await.map(drop)),
    ];
    for (what, end) in ends {
        let error = end.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what} of {name}: {error:#?}");
        let chain = error.chain();
        assert!(chain.contains(&place) && chain.contains("symbolic link"), "{what} of {name}: {chain}");
        assert!(error.advice().is_some_and(|hint| hint.contains(&place)), "{what} of {name}: {error:#?}");
    }
}

#[tokio::test]
async fn no_link_below_the_root_is_followed() {
    for (link, name) in [("talos.d", "talos/1"), ("talos.d", "talos/1/began"), ("talos.d/1.secret", "talos/1")] {
        for target in ["elsewhere", "nowhere"] {
            let (folder, root) = house();
            let elsewhere = folder.path().join("elsewhere");
            fs::create_dir_all(elsewhere.join("1.d")).expect("a folder");
            for file in ["elsewhere/1.secret", "elsewhere/1.d/began.secret"] {
                fs::write(folder.path().join(file), "theirs").expect("a file");
            }
            let store = open(&root);
            store.create(&key("first"), &value("x")).await.expect("the root");
            let place = root.join(link);
            fs::create_dir_all(place.parent().expect("below the root")).expect("a folder");
            let target = folder.path().join(target);
            symlink(if link.ends_with(".secret") { target.join("1.secret") } else { target }, &place).expect("a link");
            refuses(&store, name, &place).await;
            for file in ["elsewhere/1.secret", "elsewhere/1.d/began.secret"] {
                assert_eq!(fs::read_to_string(folder.path().join(file)).expect("it is there"), "theirs", "{link}");
            }
            assert!(place.is_symlink() && !folder.path().join("nowhere").exists(), "{link} was touched");
        }
    }
}

#[tokio::test]
async fn the_lock_is_no_link_either() {
    let (folder, root) = house();
    open(&root).create(&key("a"), &value("one")).await.expect("a store");
    let victim = folder.path().join("victim");
    for target in [&victim, &root.join("a.secret")] {
        fs::remove_file(root.join(".lock")).expect("the lock");
        symlink(target, root.join(".lock")).expect("a link");
        let error = open(&root).put(&key("b"), &value("two")).await.expect_err("the lock is a link");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:#?}");
        assert!(error.chain().contains(".lock` is a symbolic link"), "{}", error.chain());
    }
    assert!(!victim.exists());
    assert_eq!(text(&open(&root), "b").await, None);
}

#[tokio::test]
async fn the_root_may_be_reached_by_a_link_that_leads_somewhere() {
    let (folder, root) = house();
    let mount = folder.path().join("mount");
    open(&mount).create(&key("a"), &value("one")).await.expect("a store");
    symlink(&mount, &root).expect("a link");
    assert_eq!(text(&open(&root), "a").await.as_deref(), Some("one"));
    fs::rename(&mount, folder.path().join("unmounted")).expect("a rename");
    // An unmounted disk must not read as an empty store.
    let error = FileSecrets::open(&root).expect_err("a link to nowhere");
    assert!(matches!(&error, Error::SymbolicLink { path } if *path == root), "{error:#?}");
}

#[tokio::test]
async fn a_root_that_others_may_enter_is_refused_with_the_cure() {
    let (folder, _) = house();
    let root = folder.path().join("it's mine");
    let store = open(&root);
    store.create(&key("a"), &value("one")).await.expect("a secret");
    for mode in [0o755, 0o750, 0o701, 0o777, 0o704] {
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).expect("a mode");
        let error = FileSecrets::open(&root).expect_err("it is open to others");
        assert!(matches!(&error, Error::OpenToOthers { mode: seen, .. } if *seen == mode), "{error:#?}");
        // Also for a store that was opened before.
        let error = store.get(&key("a")).await.expect_err("it is open to others");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:#?}");
        let hint = error.advice().expect("a way out");
        let cure = Command::new("sh").args(["-c", hint]).status().expect("a shell");
        assert!(cure.success(), "{hint}");
        assert_eq!(text(&open(&root), "a").await.as_deref(), Some("one"), "after {hint}");
    }
    let file = folder.path().join("a file");
    fs::write(&file, "").expect("a file");
    assert!(matches!(FileSecrets::open(&file), Err(Error::NotAFolder { .. })));
}

#[tokio::test]
async fn what_castle_did_not_write_is_not_listed() {
    let (_folder, root) = house();
    let store = open(&root);
    store.create(&key("talos/1/began"), &value("x")).await.expect("a secret");
    for stray in ["README", "two words.secret", ".hidden.secret", "notes.d.txt", ".tmp-0123"] {
        fs::write(root.join(stray), "x").expect("a file");
    }
    let keys = store.list("").await.expect("a list");
    assert_eq!(keys, [key("talos/1/began")]);
}
