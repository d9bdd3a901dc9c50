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

/// A crate of `[dependencies]`: its name, its features, and its version.
type Dependency = (String, Vec<String>, Option<String>);

/// What a manifest, or a piece of one, asks for.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let (_, after) = manifest.split_once("[dependencies]\n").expect("it has dependencies");
    let lines = after.lines().take_while(|line| !line.starts_with('[') && !line.starts_with("```"));
    let asked = lines.filter_map(|line| line.split_once(" = ")).filter(|(name, _)| !name.starts_with('#'));
    asked
        .map(|(name, value)| {
            let features = between(value, "features = [", "]").next().unwrap_or_default();
            let version = between(value, "version = \"", "\"").next();
            (
                name.to_owned(),
                features.split('"').skip(1).step_by(2).map(str::to_owned).collect(),
                version.map(str::to_owned),
            )
        })
        .collect()
}

/// The dependencies that the README tells an embedder to write are those of the
/// embedding program, which `make embedding` builds, and the types of Kubernetes are of
/// the workspace's version.
#[test]
fn the_dependencies_of_the_readme_are_those_of_the_embedding_program() {
    let readme = text("README.md");
    let (_, block) = readme.split_once("## In Rust").expect("the README tells how castle is embedded");
    let told = dependencies(block);
    let embedding = dependencies(&text("tests/embedding/Cargo.toml"));
    for crate_told in &told {
        assert!(
            embedding.contains(crate_told),
            "README.md asks for {crate_told:?}, the embedding program: {embedding:?}"
        );
        let is_of_the_workspace = root().join(&crate_told.0).join("Cargo.toml").is_file();
        assert!(is_of_the_workspace || crate_told.0 == "k8s-openapi", "there is no crate {}", crate_told.0);
    }
    let crates: BTreeSet<&str> = told.iter().map(|(name, ..)| name.as_str()).collect();
    // The lab is for tests: the program has it to stand in for a house.
    let needed = ["castle-core", "castle-gitops", "castle-proxmox", "castle-talos", "k8s-openapi"];
    assert_eq!(crates, needed.into());
    let manifest = text("Cargo.toml");
    let (_, line) = manifest.split_once("\nk8s-openapi = ").expect("the workspace has the types of Kubernetes");
    let versions: Vec<_> =
        between(line, "version = \"", "\"").take(1).map(|version| Some(version.to_owned())).collect();
    let of_types = told.iter().find(|(name, ..)| name == "k8s-openapi").map(|(_, _, version)| version.clone());
    assert_eq!(of_types.as_slice(), versions, "the k8s-openapi of README.md is not the workspace's");
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
    let block = "[dependencies]\na = { git = \"x\" }\n# b = 1\nc = { version = \"2\", features = [\"d\", \"e\"] }\n```\nf = 3\n";
    let features = ["d", "e"].map(String::from).to_vec();
    let expected = [("a".to_owned(), Vec::new(), None), ("c".to_owned(), features, Some("2".to_owned()))];
    assert_eq!(dependencies(block), expected);
    let found = links("README.md", "[a](docs/a.md#b) [c](https://example.org) [d](#e)");
    assert_eq!(found, [("docs/a.md".to_owned(), root().join("docs/a.md"))]);
}
