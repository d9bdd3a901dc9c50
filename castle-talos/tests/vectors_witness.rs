//! The witness of Talos' own test material, as a test. It lies beside the project and may be absent.

use std::path::PathBuf;

#[path = "../examples/talos_vectors/main.rs"]
#[allow(dead_code)] // Its `main` is for the program.
mod talos_vectors;

#[test]
#[allow(clippy::print_stdout)] // A skipped test says so by name.
fn nothing_of_talos_own_material_is_contradicted() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/talos-vectors"));
    let tally = talos_vectors::witness(&folder);
    if tally.passed + tally.failed == 0 {
        println!("skipped: nothing_of_talos_own_material_is_contradicted (talos-vectors is absent)");
        return;
    }
    assert_eq!(tally.failed, 0, "each is told on stderr");
    assert!(tally.passed >= 100, "{} comparisons", tally.passed);
}
