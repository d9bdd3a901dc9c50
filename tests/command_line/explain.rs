//! Every code has its explanation, every explanation its code, and the documents
//! are what the command line prints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{names, run};

/// Words in the sources that look like codes and are none.
const NO_CODES: [(&str, &str); 6] = [
    ("destroy-unreferenced-disks", "a parameter of Proxmox VE"),
    ("helm-controller", "a controller of Flux"),
    ("kebab-case", "how serde writes names"),
    ("kustomize-controller", "a controller of Flux"),
    ("name-only", "a word of castle.yaml"),
    ("source-controller", "a controller of Flux"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn explanations() -> BTreeMap<String, Value> {
    let nothing = tempfile::tempdir().expect("a folder");
    let told = run(nothing.path(), "--json explain --all").exits(0);
    let all: Vec<Value> = told.lines().into_iter().filter(|line| line["type"] == "explanation").collect();
    let count = all.len();
    let by_code: BTreeMap<_, _> =
        all.into_iter().map(|one| (one["code"].as_str().expect("a text").to_owned(), one)).collect();
    assert_eq!(by_code.len(), count, "no code is explained twice");
    by_code
}

/// The sources below a folder, without their tests and without what serves tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() && !["conformance", "memory", "tests"].contains(&name.as_str()) {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The texts in quotes of a source, each with what stands before it.
fn quoted(text: &str) -> Vec<(&str, &str)> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('"') {
            let Some((inside, behind)) = after.split_once('"') else { break };
            found.push((before, inside));
            rest = behind;
        }
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.ends_with('-')
}

/// The codes of findings and ghosts in the sources, and all words that could be one.
fn codes_of_the_sources() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut codes, mut words) = (BTreeSet::new(), BTreeSet::new());
    for crate_name in ["castle-core", "castle-proxmox", "castle-talos", "castle-gitops"] {
        let mut files = Vec::new();
        sources(&root().join(crate_name).join("src"), &mut files);
        assert!(files.len() > 3, "{crate_name}");
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source is text");
            let tells = file.ends_with("ghosts.rs") || text.contains("Problem") || text.contains("Findings");
            for (before, word) in quoted(&text).into_iter().filter(|(_, word)| tells && is_word(word)) {
                words.insert(word.to_owned());
                let made = ["Problem::error(", "Problem::warning(", " refuse("].iter().any(|end| before.ends_with(end));
                if made || word.contains('-') {
                    codes.insert(word.to_owned());
                }
            }
        }
    }
    for (word, why) in NO_CODES {
        assert!(codes.remove(word), "{word}, {why}, is gone: forget it here as well");
    }
    (codes, words)
}

#[test]
fn every_code_is_explained_and_nothing_else_is() {
    let explained: BTreeSet<String> = explanations().into_keys().collect();
    let kinds: BTreeSet<String> = castle_core::ErrorKind::ALL.iter().map(|kind| kind.code().to_owned()).collect();
    let (codes, words) = codes_of_the_sources();
    let missing: Vec<_> = codes.union(&kinds).filter(|code| !explained.contains(*code)).collect();
    assert!(missing.is_empty(), "no explanation in examples/castle/explain of {missing:?}");
    let idle: Vec<_> = explained.iter().filter(|code| !kinds.contains(*code) && !words.contains(*code)).collect();
    assert!(idle.is_empty(), "explained, and nobody says it: {idle:?}");
}

#[test]
fn every_explanation_shows_how_it_looks_and_a_way_out() {
    for (code, explanation) in explanations() {
        let text = |key: &str| explanation[key].as_str().expect("a text").to_owned();
        let ghost = format!("{code} on ");
        let looks = text("looks");
        let shown = ["error", "note"].iter().any(|weight| looks.contains(&format!("{weight}[{code}]: ")));
        assert!(shown || looks.starts_with(&ghost), "{code} looks like this:\n{looks}");
        for key in ["what", "cure"] {
            let said = text(key);
            assert!(said.len() > 6 && said.ends_with(['.', '?', '`']), "{code}.{key}: {said}");
            assert!(!said.contains("  "), "{code}.{key}: {said}");
        }
    }
}

/// The texts of the sources, as they are printed: continued lines are one.
fn spoken() -> String {
    let mut files = Vec::new();
    for crate_name in ["castle-core", "castle-proxmox", "castle-talos", "castle-gitops", "castle-lab"] {
        sources(&root().join(crate_name).join("src"), &mut files);
    }
    sources(&root().join("examples/castle"), &mut files);
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "explain"));
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
    let lines: Vec<String> = texts.join("\n").split("\\\n").map(|part| part.trim_start().to_owned()).collect();
    lines.concat().replace("\\\"", "\"")
}

/// Whether somebody says so: three words of it in a row or, because the sources have
/// no values, two that are long enough.
fn is_said(line: &str, spoken: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let says = |some: &[&str], least: usize| {
        let text = some.join(" ");
        text.len() >= least && spoken.contains(&text)
    };
    let least = if line.contains(|c: char| c.is_ascii_digit()) { 8 } else { 10 };
    words.windows(words.len().clamp(1, 3)).any(|some| says(some, 1)) || words.windows(2).any(|some| says(some, least))
}

#[test]
fn samples_say_what_the_sources_say() {
    let spoken = spoken();
    for kind in castle_core::ErrorKind::ALL {
        assert!(spoken.contains(&format!("ErrorKind::{kind:?}")), "no part of castle raises {kind}");
    }
    let mut strange = Vec::new();
    for (code, explanation) in explanations() {
        let looks = explanation["looks"].as_str().expect("a text").to_owned();
        // Castle itself made these while they were printed.
        if explanation["made"] == true {
            continue;
        }
        // The message first, then what concerns it, and last the way out.
        // What is seen of a ghost is mostly values.
        let is_ghost = looks.starts_with(&format!("{code} on "));
        let first = looks.lines().next().filter(|_| !is_ghost);
        for line in [first, looks.lines().last()].into_iter().flatten() {
            if !is_said(line, &spoken) {
                strange.push(format!("{code}: {line}"));
            }
        }
    }
    assert!(strange.is_empty(), "nobody says:\n{}", strange.join("\n"));
}

#[test]
fn a_code_is_understood_as_it_was_copied() {
    let nothing = tempfile::tempdir().expect("a folder");
    for code in ["unknown-key", "error[unknown-key]", "[unknown-key]"] {
        let told = run(nothing.path(), &format!("explain {code}")).exits(0);
        assert!(told.out.starts_with("unknown-key\n"), "{told}");
        assert!(told.out.contains("did you mean `bridge`?") && told.out.contains("10 |   brigde: vmbr0"), "{told}");
        assert!(told.out.lines().all(|line| line.chars().count() <= 80), "{told}");
    }
    let told = run(nothing.path(), "explain unknown-kex").exits(64);
    assert!(told.err.contains("`unknown-kex` is no code of castle") && told.err.contains("`unknown-key`?"), "{told}");
    run(nothing.path(), "explain").exits(64);
}

#[test]
fn an_error_names_the_way_to_its_explanation() {
    let nothing = tempfile::tempdir().expect("a folder");
    let told = run(nothing.path(), "--lab create").exits(64);
    assert!(told.err.contains("`castle explain not_found`"), "{told}");
}

fn is_printed(file: &str, arguments: &str) {
    let nothing = tempfile::tempdir().expect("a folder");
    let printed = run(nothing.path(), arguments).exits(0).out;
    let kept = std::fs::read_to_string(root().join(file)).expect("the document is there");
    assert!(printed == kept, "{file} is not what `castle {arguments}` prints: run `make docs`");
}

#[test]
fn the_documents_are_what_the_command_line_prints() {
    is_printed("docs/errors.md", "explain --all --markdown");
    is_printed("docs/environment.md", "explain --variables --markdown");
}

#[test]
fn the_environment_is_read_in_one_place() {
    let mut files = Vec::new();
    sources(&root().join("examples/castle"), &mut files);
    for crate_name in ["castle-core", "castle-proxmox", "castle-talos", "castle-gitops", "castle-lab"] {
        sources(&root().join(crate_name).join("src"), &mut files);
    }
    let reads = |file: &&PathBuf| {
        let text = std::fs::read_to_string(file).expect("a source is text");
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        ["env::var(", "env::vars", "env::var_os"].iter().any(|call| code.iter().any(|line| line.contains(call)))
    };
    let found: Vec<_> =
        files.iter().filter(reads).map(|file| file.strip_prefix(root()).expect("it is below")).collect();
    assert_eq!(found, [Path::new("examples/castle/variables.rs")], "docs/environment.md tells of that file alone");
    // Whatever that file reads by name is in its table.
    let nothing = tempfile::tempdir().expect("a folder");
    let told = run(nothing.path(), "explain --variables --markdown").exits(0);
    let text = std::fs::read_to_string(root().join("examples/castle/variables.rs")).expect("a source is text");
    let constants = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \""));
    let named: Vec<&str> = constants.map(|(_, rest)| rest.trim_end_matches("\";")).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    assert!(named.iter().all(|name| told.out.contains(&format!("| `{name}` |"))), "{told}");
}
