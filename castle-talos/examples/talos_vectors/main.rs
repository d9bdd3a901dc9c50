//! Compares castle with Talos' own test material.
//!
//! ```text
//! cargo run --example talos_vectors -- <folder of the vectors>
//! ```
//!
//! Prints `witness talos-vectors passed=N failed=N skipped=N`, and each failure
//! on stderr. The material lies beside the project and may be absent: then one
//! thing is skipped.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a program.

mod configuration;
mod identity;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

/// What came out.
#[derive(Default)]
pub struct Tally {
    /// Comparisons that held.
    pub passed: usize,
    /// Comparisons that did not.
    pub failed: usize,
    /// What castle does not do, or what is absent.
    pub skipped: usize,
}

impl Tally {
    /// Counts a comparison. What differs is told with its values: they are public.
    pub fn check(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => {
                self.failed += 1;
                eprintln!("failed: {name}: {why}");
            }
        }
    }

    /// Counts what castle does not do.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        eprintln!("skipped: {name}: {why}");
    }
}

/// The folder of the vectors.
pub struct Vectors(PathBuf);

impl Vectors {
    /// A file as bytes.
    pub fn bytes(&self, file: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.0.join(file)).map_err(|error| format!("{file}: {error}"))
    }

    /// A file as text.
    pub fn text(&self, file: &str) -> Result<String, String> {
        String::from_utf8(self.bytes(file)?).map_err(|error| format!("{file}: {error}"))
    }

    /// A file as JSON.
    pub fn json(&self, file: &str) -> Result<Value, String> {
        serde_json::from_slice(&self.bytes(file)?).map_err(|error| format!("{file}: {error}"))
    }
}

/// `Ok` if both are the same.
pub fn same(found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    let at = found.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    let line = at.unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    let show = |text: &str| format!("{:?}", text.lines().nth(line).unwrap_or("<end>"));
    Err(format!("line {}: {} instead of {}", line + 1, show(found), show(wanted)))
}

fn run(vectors: &Vectors, tally: &mut Tally) -> Result<(), String> {
    let cases = vectors.json("cases.json")?;
    configuration::decoding(&cases["decode"], tally);
    configuration::validation(&cases["validate"], tally);
    configuration::merging(vectors, tally);
    configuration::patching(vectors, tally);
    configuration::generating(vectors, tally);
    identity::schematics(&cases["schematic"], tally);
    identity::bundles(vectors, tally);
    wire::compare(&vectors.json("proto-facts.json")?, tally);
    Ok(())
}

/// Compares everything with the material in a folder.
pub fn witness(folder: &Path) -> Tally {
    let mut tally = Tally::default();
    if folder.join("cases.json").is_file() {
        if let Err(why) = run(&Vectors(folder.into()), &mut tally) {
            tally.check("vectors", Err(why));
        }
    } else {
        tally.skip("talos-vectors", "the folder is absent");
    }
    tally
}

/// The program.
pub fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).unwrap_or_else(|| "../shared/data/talos-vectors".into());
    let Tally { passed, failed, skipped } = witness(Path::new(&folder));
    println!("witness talos-vectors passed={passed} failed={failed} skipped={skipped}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
