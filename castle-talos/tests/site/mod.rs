//! A site for tests: an example project, a bundle, a clock.
#![allow(dead_code)] // Each test file uses its own part.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use castle_core::node::{NodeSite, NodeTarget};
use castle_core::{Clock, Env, NodeRole, Pace, Project, SeededEntropy};
use castle_talos::SecretsBundle;

/// 2026-01-01T00:00:00Z.
pub const NEW_YEAR: u64 = 1_767_225_600;

pub fn env(seed: u64, wall: u64) -> Env {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(wall);
    Env { clock: Clock::resumed(Pace::Real, Duration::ZERO, wall), entropy: Arc::new(SeededEntropy::new(seed)) }
}

pub fn bundle(seed: u64) -> SecretsBundle {
    SecretsBundle::generate(&env(seed, NEW_YEAR)).expect("keys can be made")
}

pub fn text_of(project: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/projects").join(project);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn site(text: &str, bundle: &SecretsBundle) -> NodeSite {
    let project = Project::parse(text, castle_talos::image).unwrap_or_else(|problems| panic!("{problems:#?}"));
    NodeSite { project: Arc::new(project), bundle: bundle.to_yaml() }
}

pub fn blue(bundle: &SecretsBundle) -> NodeSite {
    site(&text_of("blue/proxmox/castle.yaml"), bundle)
}

pub fn fortress(bundle: &SecretsBundle) -> NodeSite {
    site(&text_of("fortress/proxmox/castle.yaml"), bundle)
}

pub fn target(site: &NodeSite, role: NodeRole) -> NodeTarget {
    let spec = site.project.with_role(role).next().expect("a node of this role").clone();
    NodeTarget { spec, uuid: uuid::Uuid::from_u128(7) }
}
