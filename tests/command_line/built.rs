//! The examples as their sources are now. `cargo test` builds the tests of an example
//! that holds some and leaves its program alone, and `cargo test --test NAME` builds no
//! example at all: whatever lies there may be yesterday's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds examples, all in one call of cargo and once in a process, and gives the
/// folder that cargo puts them into. Where they are fresh this takes a second.
pub fn built(names: &[&str]) -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Beside the folder of this test's own program: target/<profile>/deps.
        let own = std::env::current_exe().expect("a running program has a path");
        let folder = own.ancestors().nth(2).expect("cargo runs tests in target/<profile>/deps");
        let profile = folder.file_name().and_then(|name| name.to_str()).expect("cargo names it by the profile");
        let target = folder.parent().expect("the profiles lie in the target folder");
        let mut build = Command::new(env!("CARGO"));
        // Cargo tells a test about its package. To cargo itself that would be a change
        // of the environment, and ring would be built anew.
        for (variable, _) in std::env::vars_os() {
            let is_told = |told: &&str| variable.to_str().is_some_and(|variable| variable.starts_with(told));
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"].iter().any(is_told) {
                build.env_remove(&variable);
            }
        }
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--target-dir"]).arg(target);
        build.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
        build.args(names.iter().flat_map(|name| ["--example", name]));
        assert!(build.status().expect("cargo starts").success(), "{names:?} are not built: cargo said why above");
        folder.join("examples")
    })
}

/// The program of an example in the folder of [`built`].
pub fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Demands that no source of these examples is newer than its program.
#[track_caller]
pub fn check_freshness(folder: &Path, names: &[&str]) {
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified());
    for name in names {
        let program = program(folder, name);
        let built_at = changed(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        // What cargo writes beside it: `program: source source ..`, a space escaped.
        let list = std::fs::read_to_string(program.with_extension("d")).expect("cargo lists the sources");
        let list = list.replace("\\ ", "\u{0}");
        let sources: Vec<_> = list.split_whitespace().skip(1).map(|path| path.replace('\u{0}', " ")).collect();
        assert!(sources.len() > 20, "{name} is made of {sources:?}");
        for source in sources {
            // A source that is gone cannot be newer.
            let is_newer = changed(Path::new(&source)).is_ok_and(|at| at > built_at);
            assert!(!is_newer, "{source} was changed after {} was built", program.display());
        }
    }
}
