//! The layers, and what must not be in the workspace at all.
//!
//! Each check is a function of plain data, so that a test can show it failing:
//! a check that nothing can break keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each crate may know of its siblings, outside its own tests.
const LAYERS: [(&str, &[&str]); 7] = [
    ("castle-core", &[]),
    ("castle-wire", &["castle-core"]),
    ("castle-proxmox", &["castle-core", "castle-wire"]),
    ("castle-talos", &["castle-core", "castle-wire"]),
    ("castle-gitops", &["castle-core", "castle-wire"]),
    ("castle-lab", &["castle-core", "castle-wire", "castle-talos"]),
    // It wires concrete backends, as examples/ and tests/ do.
    ("castle-py", &["castle-core", "castle-wire", "castle-proxmox", "castle-talos", "castle-gitops", "castle-lab"]),
];

/// What would make castle-core know a protocol or do I/O.
const PROTOCOLS: [&str; 10] =
    ["reqwest", "hyper", "tonic", "kube", "rustls", "mio", "socket2", "h2", "tokio-rustls", "castle-wire"];

/// TLS providers and stacks other than ring under rustls.
const OTHER_TLS: [&str; 8] =
    ["aws-lc-rs", "aws-lc-sys", "boring", "native-tls", "openssl", "openssl-sys", "rustls-openssl", "s2n-tls"];

/// Packages by name, each with the versions that are built.
type Packages = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Asks cargo what is built, on this system, without the network.
fn cargo_tree(arguments: &[&str]) -> Packages {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["tree", "--offline", "--prefix", "none", "--format", "{p}"]).args(arguments);
    let output = cargo.output().expect("cargo built this test, so it can be started");
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
    packages(&String::from_utf8(output.stdout).expect("names of packages are text"))
}

/// Reads lines such as `ring v0.17.14` and `castle-core v0.1.0 (/path) (*)`.
fn packages(tree: &str) -> Packages {
    let mut packages = Packages::new();
    for line in tree.lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            packages.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    packages
}

fn present<'a>(packages: &'a Packages, unwanted: &[&str]) -> Vec<&'a str> {
    packages.keys().map(String::as_str).filter(|name| unwanted.contains(name)).collect()
}

/// The siblings that a crate is built with and may not know.
fn strangers<'a>(name: &str, packages: &'a Packages, allowed: &[&str]) -> Vec<&'a str> {
    let siblings = packages.keys().map(String::as_str).filter(|package| package.starts_with("castle-"));
    siblings.filter(|sibling| *sibling != name && !allowed.contains(sibling)).collect()
}

#[test]
fn the_core_knows_no_protocol() {
    let core = cargo_tree(&["-p", "castle-core", "-e", "normal"]);
    assert!(core.contains_key("tokio"), "cargo tree shows nothing of castle-core: {core:?}");
    let unwanted = present(&core, &PROTOCOLS);
    assert!(unwanted.is_empty(), "castle-core is built with {unwanted:?}; see: cargo tree -p castle-core -i NAME");
}

#[test]
fn no_adapter_knows_another() {
    for (name, allowed) in LAYERS {
        let built_with = cargo_tree(&["-p", name, "-e", "normal,build"]);
        assert!(built_with.contains_key(name), "cargo tree shows nothing of {name}: {built_with:?}");
        let strangers = strangers(name, &built_with, allowed);
        assert!(strangers.is_empty(), "{name} may know {allowed:?}, and is built with {strangers:?}");
    }
}

#[test]
fn every_crate_has_its_layer() {
    let layers: BTreeSet<_> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all = cargo_tree(&["--workspace", "-e", "normal,build,dev"]);
    let crates: BTreeSet<_> = all.into_keys().filter(|name| name.starts_with("castle-")).collect();
    assert_eq!(crates, layers, "the crates of the workspace beside the layers that this test knows");
}

#[test]
fn there_is_one_tls_stack() {
    let all = cargo_tree(&["--workspace", "-e", "normal,build,dev"]);
    let unwanted = present(&all, &OTHER_TLS);
    assert!(unwanted.is_empty(), "the workspace is built with {unwanted:?} beside ring; see: cargo tree -i NAME");
    for only in ["ring", "rustls"] {
        let versions = all.get(only);
        assert!(versions.is_some_and(|versions| versions.len() == 1), "versions of {only}: {versions:?}");
    }
}

/// The first absolute path of somebody's machine in a text, with its line.
fn machine_path(text: &str, places: &[String]) -> Option<(usize, String)> {
    text.lines().enumerate().find_map(|(index, line)| {
        let hit = places.iter().find(|place| {
            line.match_indices(place.as_str()).any(|(at, _)| {
                // `https://host/home/x` and `./root/x` are no paths of a machine; a
                // place that ends in a separator needs a name behind it.
                let before = line[..at].chars().next_back();
                let after = line[at + place.len()..].chars().next();
                let begins = before.is_none_or(|c| !(c.is_alphanumeric() || "._-~/".contains(c)));
                let goes_on = |c: char| c.is_alphanumeric() || "._-".contains(c);
                begins
                    && if place.ends_with(['/', '\\']) {
                        after.is_some_and(goes_on)
                    } else {
                        !after.is_some_and(goes_on)
                    }
            })
        });
        hit.map(|_| (index + 1, line.trim().to_owned()))
    })
}

/// Where people's files lie, in parts: this file is searched as well.
fn homes() -> Vec<String> {
    let mut places: Vec<_> = ["home", "Users", "root", "mnt", "media"].iter().map(|name| format!("/{name}/")).collect();
    places.push(format!("C:{}Users{}", '\\', '\\'));
    // Where this copy lies, unless that is a name that any text may hold (`/castle`).
    let here = root().display().to_string();
    if root().components().count() > 2 && !root().starts_with(std::env::temp_dir()) {
        places.push(here);
    }
    places
}

/// The project's files: what git knows of and what it would take, or, in a copy
/// without git, what lies there.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "."]);
    if let Ok(told) = git.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()) {
        // What is taken away and not committed yet is listed as well.
        let files: Vec<_> =
            told.split_terminator('\0').map(|name| root.join(name)).filter(|file| file.is_file()).collect();
        // A repository around this one may know nothing of it.
        if files.contains(&root.join("Cargo.toml")) {
            return files;
        }
    }
    walk(root)
}

/// The files of a folder; not what a build keeps beside them.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the project") {
        let entry = entry.expect("an entry of the project");
        let kind = entry.file_type().expect("an entry has a kind");
        let name = entry.file_name();
        if kind.is_dir() && !["target", ".git", ".venv", "node_modules", "__pycache__"].iter().any(|skip| name == *skip)
        {
            found.extend(walk(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn no_file_tells_where_its_author_works() {
    let (files, homes) = (files(root()), homes());
    assert!(files.iter().any(|file| file.ends_with("tests/layering.rs")), "the search sees {} files", files.len());
    let mut found = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).expect("a file of the project can be read");
        if let Some((line, text)) = machine_path(&String::from_utf8_lossy(&bytes), &homes) {
            found.push(format!("{}:{line}: {text}", file.strip_prefix(root()).expect("below the root").display()));
        }
    }
    assert!(
        found.is_empty(),
        "absolute paths of a machine; say it relative to the project, or with `~`:\n{}",
        found.join("\n")
    );
}

#[test]
fn the_checks_can_fail() {
    let tree = packages(
        "castle-proxmox v0.1.0 (/x) (*)\ncastle-lab v0.1.0 (/x)\nrustls v0.23.1\nrustls v0.22.0\nhyper v1.0.0",
    );
    assert_eq!(present(&tree, &PROTOCOLS), ["hyper", "rustls"]);
    assert_eq!(tree["rustls"].len(), 2);
    assert_eq!(strangers("castle-proxmox", &tree, &["castle-core"]), ["castle-lab"]);

    let homes = ["home", "root"].map(|name| format!("/{name}/")).into_iter().chain(["/src/castle".to_owned()]);
    let homes: Vec<_> = homes.collect();
    let check = |text: &str, expected: Option<usize>| {
        let text = text.replace("HOME", "/home").replace("ROOT", "/root");
        assert_eq!(machine_path(&text, &homes).map(|(line, _)| line), expected, "{text:?}");
    };
    check("one\nsee HOME/ann/castle", Some(2));
    check("\"ROOT/.config\"", Some(1));
    check("built in /src/castle", Some(1));
    check("built in /src/castle/target", Some(1));
    check("built in /src/castle-core", None);
    check("https://example.org/HOME/ann", None);
    check("the folder HOME/", None);
    check("in .ROOT/x", None);
}
