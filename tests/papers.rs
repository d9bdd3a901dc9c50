//! What the papers say of the project, held against the project.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The papers that a reader meets.
const PAPERS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/house.md", "examples/gitops-template/README.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between `before` and the next `after`, each time.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split_once(after).map(|(found, _)| found))
}

/// The first cells of the table that follows `heading`, without their backticks.
fn first_cells(text: &str, heading: &str) -> BTreeSet<String> {
    let (_, after) = text.split_once(heading).unwrap_or_else(|| panic!("there is no `{heading}`"));
    let rows = after.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('`').nth(1));
    cells.map(str::to_owned).collect()
}

/// Where a paper points to in this repository.
fn links(paper: &str, text: &str) -> Vec<(String, PathBuf)> {
    let folder = root().join(paper).parent().expect("a file lies in a folder").to_owned();
    let targets = between(text, "](", ")").filter(|target| !target.contains("://"));
    let without_anchor = targets.map(|target| target.split('#').next().unwrap_or_default());
    without_anchor.filter(|target| !target.is_empty()).map(|target| (target.to_owned(), folder.join(target))).collect()
}

#[test]
fn the_proofs_of_the_readme_are_the_proofs_there_are() {
    let there_are: BTreeSet<String> =
        between(&text("tests/proofs/main.rs"), "if wanted(\"", "\")").map(str::to_owned).collect();
    assert!(there_are.len() > 9, "{there_are:?}");
    assert_eq!(first_cells(&text("README.md"), "## What is proved"), there_are);
}

#[test]
fn the_examples_of_the_readme_are_the_examples_there_are() {
    let manifest = text("Cargo.toml");
    let declared = between(&manifest, "[[example]]\nname = \"", "\"").filter(|name| *name != "proofs");
    assert_eq!(first_cells(&text("README.md"), "`cargo run --example ..`"), declared.map(str::to_owned).collect());
}

#[test]
fn what_the_papers_point_to_is_there() {
    let mut seen = 0;
    for paper in PAPERS {
        for (target, path) in links(paper, &text(paper)) {
            assert!(path.exists(), "{paper} points to {target}");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen} links were seen");
}

/// A command that a paper names, or a proof that it cites, must exist.
#[test]
fn what_the_papers_tell_to_type_exists() {
    let makefile = text("Makefile");
    let proofs = text("tests/proofs/main.rs");
    for paper in PAPERS {
        let text = text(paper);
        for target in between(&text, "`make ", "`") {
            assert!(makefile.contains(&format!("\n{target}:")), "{paper}: there is no `make {target}`");
        }
        for proof in between(&text, "`proof ", "`") {
            assert!(proofs.contains(&format!("wanted(\"{proof}\")")), "{paper}: there is no `proof {proof}`");
        }
    }
}

#[test]
fn the_checks_can_fail() {
    let table = "## A\n\n| x |\n|---|\n| `a` | b |\n| `c` |\n\n| `d` |\n";
    assert_eq!(first_cells(table, "## A"), ["a", "c"].map(String::from).into());
    let found = links("README.md", "[a](docs/a.md#b) [c](https://example.org) [d](#e)");
    assert_eq!(found, [("docs/a.md".to_owned(), root().join("docs/a.md"))]);
}
