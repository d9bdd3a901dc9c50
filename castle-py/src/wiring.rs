//! Where the concrete backends are named.

use std::sync::Arc;

use castle_core::{Castle, Error, ErrorKind, Project, Result};
use castle_lab::{Lab, RunId};
use castle_proxmox::ProxmoxProvider;
use castle_talos::TalosIdentity;

/// Puts a castle together for one engine run against a lab, over the adapters
/// and the option document that a real house would be reached with.
///
/// # Errors
///
/// Those of the lab's options, of the adapter, and of a project that the
/// hypervisor cannot give birth to.
pub fn open(project: &Project, lab: &Lab, run: RunId) -> Result<Castle> {
    let env = lab.env(run);
    let options = lab.options(run)?;
    let access = options
        .proxmox
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the lab has no hypervisor that castle knows"))?;
    let machines = ProxmoxProvider::connect(access, &options, &env, project.limits)?;
    Castle::builder(project.clone())
        .machines(Arc::new(machines))
        .secrets(lab.secrets(run))
        .identity(Arc::new(TalosIdentity))
        .env(env)
        .build()
}
