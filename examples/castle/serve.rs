//! `lab serve`: the lab for other processes.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use castle_core::options::SecretsAccess;
use castle_core::{Error, ErrorKind, Pace, Project, Result};
use castle_lab::{Lab, runtime};

use crate::Exit;
use crate::arguments::{Arguments, LabAction};
use crate::output::Output;

/// Serves the lab until it is interrupted.
pub fn run(arguments: &Arguments, action: &LabAction, project: &Project, output: &Output) -> Exit {
    let LabAction::Serve { dir } = action;
    let pace = arguments.pace.unwrap_or_else(|| Pace::scaled(60.0).expect("60 is within the bounds"));
    if pace == Pace::Virtual {
        let error = Error::new(ErrorKind::InvalidSpec, "virtual time cannot be served: other processes keep their own")
            .hint("use `--pace 60x`, or run the verb itself with `--lab`");
        return output.early_failure("lab", &error);
    }
    runtime::run_scaled(|| async move {
        match serve(project, pace, arguments.seed, dir, output).await {
            Ok(()) => {
                output.closing_of_nothing("lab");
                Exit::Done
            }
            Err(error) => output.early_failure("lab", &error),
        }
    })
}

async fn serve(project: &Project, pace: Pace, seed: u64, dir: &Path, output: &Output) -> Result<()> {
    let lab = Lab::builder(project).seed(seed).pace(pace).public().start().await?;
    let run = lab.new_run();
    let mut options = lab.options(run)?;
    // Each client process is a run of its own; a document for all of them cannot
    // tell them apart.
    options.source = None;
    folder(dir)?;
    // The document is copied to other folders, and the secrets stay here.
    let dir = &dir.canonicalize().map_err(|error| unwritable(dir, error))?;
    options.secrets = SecretsAccess::Files(dir.join("secrets"));
    folder(&dir.join("secrets"))?;
    private_file(&dir.join("ca.pem"), lab.pki().ca_pem())?;
    private_file(
        &dir.join("administrator.txt"),
        &lab.with_world(|world| world.root_password().unwrap_or_default().to_owned()),
    )?;
    // Last, and whole at once: who waits for it finds everything else in place.
    let document = dir.join("lab.yaml");
    private_file(&document, options.render().expose())?;
    output.serving(&project.cluster.name, pace, &document);
    for (house, at) in lab.addresses() {
        output.note(&format!("  {house} is at https://{at}"));
    }
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| Error::new(ErrorKind::Unexpected, "the interrupt signal cannot be awaited").caused_by(error))
}

fn folder(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| unwritable(path, error))
}

fn private_file(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::PermissionDenied, format!("{} cannot be written", path.display()))
        .hint("`--dir` names a folder that this user may write to")
        .caused_by(error)
}
