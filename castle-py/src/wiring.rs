//! Where the concrete backends are named.

use std::path::Path;
use std::sync::Arc;

use castle_core::{Castle, Env, Error, ErrorKind, Options, Project, Result, SecretStore, Waiver};
use castle_gitops::kubernetes::KubeClient;
use castle_gitops::{FluxGitOps, secrets};
use castle_proxmox::ProxmoxProvider;
use castle_talos::{TalosIdentity, TalosOs};

/// Reads an option document; paths in it are relative to its own folder.
///
/// # Errors
///
/// Those of [`Options::read`].
pub fn read_options(project: &Project, folder: &Path, file: &Path) -> Result<Options> {
    Options::read(project, folder, file, &Sources)
}

/// Files and environment, as a program may read them.
struct Sources;

impl castle_core::Sources for Sources {
    fn file(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Puts a castle together from an option document, for a house or for a lab.
///
/// # Errors
///
/// Those of the adapters, of access that is missing, and of a project that the
/// hypervisor cannot give birth to.
pub async fn open(
    project: &Project,
    folder: &Path,
    options: &Options,
    env: Env,
    memory: Option<Arc<dyn SecretStore>>,
    waivers: Vec<Waiver>,
) -> Result<Castle> {
    let missing = |what: &str, hint: &str| Err(Error::new(ErrorKind::InvalidSpec, what).hint(hint));
    let Some(access) = &options.proxmox else {
        let hint = "add `proxmox: {url: .., token_file: .., ca_file: ..}`";
        return missing("the option document names no Proxmox VE", hint);
    };
    let secrets = secrets::open(options, &env, memory, std::env::vars_os())?;
    let mut options = options.clone();
    // Credentials of the repository may lie in the store. One that is silent is told
    // of by the run itself, and a removal needs neither of them.
    match options.complete_git(project, secrets.as_ref()).await {
        Err(error) if error.kind() != ErrorKind::Unreachable => return Err(error),
        _ => {}
    }
    let options = &options;
    let kubernetes = KubeClient::new(options, &env);
    Castle::builder(project.clone())
        .machines(Arc::new(ProxmoxProvider::connect(access, options, &env, project.limits)?))
        .secrets(secrets)
        .identity(Arc::new(TalosIdentity))
        .node_os(Arc::new(TalosOs::new(options, &env, (&options.maintenance).into())?))
        .gitops(Arc::new(FluxGitOps::new(options, &env, kubernetes.clone(), folder)))
        .kubernetes(Arc::new(kubernetes))
        .env(env)
        .waivers(waivers)
        .build()
}
