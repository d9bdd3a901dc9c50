//! The composition root: the only place of this program that names concrete
//! backends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use castle_core::options::DialMap;
use castle_core::yaml::Quoting;
use castle_core::{
    Castle, Clock, Env, Error, ErrorKind, Options, OsEntropy, Pace, Project, Result, SecretStore, Waiver,
};
use castle_gitops::kubernetes::KubeClient;
use castle_gitops::{FluxGitOps, secrets};
use castle_lab::{Lab, runtime};
use castle_proxmox::ProxmoxProvider;
use castle_talos::{TalosIdentity, TalosOs};

use crate::Exit;
use crate::arguments::{Arguments, Verb};
use crate::output::Output;
use crate::report_file::ReportFile;
use crate::snippet::Source;
use crate::{document, variables, verbs};

/// A castle and what surrounds it.
pub struct Home {
    /// The castle.
    pub castle: Castle,
    /// Whether everything can be thrown away.
    pub is_lab: bool,
    /// The embedded lab, if the home is one.
    pub lab: Option<Arc<Lab>>,
    /// Where a served lab listens: other clients are told these addresses.
    pub served_at: Option<DialMap>,
    /// Where it is, in words.
    pub place: String,
}

/// Finds and reads the project's castle.yaml, and says where it lies.
pub fn load(arguments: &Arguments, output: &Output) -> std::result::Result<(PathBuf, Project), Exit> {
    let usage = |error: Error| {
        output.early_failure(arguments.verb.name(), &error);
        Exit::Usage
    };
    let folder = find(arguments.project.as_deref()).map_err(usage)?;
    let path = folder.join("castle.yaml");
    let text = document::read(&path, "`--project DIR` names the folder that holds castle.yaml").map_err(usage)?;
    match Project::parse(&text, castle_talos::image) {
        Ok(project) => {
            output.reads(&path, &text, &project);
            // A check tells them among its findings.
            if !matches!(arguments.verb, Verb::Check) {
                output.warnings(&project.warnings);
            }
            Ok((folder, project))
        }
        Err(problems) => {
            let source = Source { name: path.display().to_string(), text, quoting: Quoting::Allowed };
            Err(output.invalid_document(arguments.verb.name(), &source, "a valid declaration", &problems))
        }
    }
}

fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let here = std::env::current_dir()
        .map_err(|error| Error::new(ErrorKind::NotFound, "there is no current folder").caused_by(error))?;
    here.ancestors().find(|folder| folder.join("castle.yaml").is_file()).map(Path::to_owned).ok_or_else(no_declaration)
}

/// The error of a call that names no project, from where there is none.
pub fn no_declaration() -> Error {
    Error::new(ErrorKind::NotFound, "no castle.yaml here or in a folder above")
        .hint("`--project DIR` names the folder that holds it")
}

/// Builds the home that the arguments ask for and runs the verb in it.
pub fn with_home(
    arguments: &Arguments,
    project: &Project,
    folder: &Path,
    report: Option<&ReportFile>,
    output: &Output,
) -> Exit {
    if arguments.lab || matches!(arguments.verb, Verb::Demo) {
        let pace = arguments.pace.unwrap_or(Pace::Virtual);
        let job = || async move {
            match embedded(arguments, project, folder, pace).await {
                Ok(home) => verbs::run(arguments, &home, report, output).await,
                Err(error) => output.early_failure(arguments.verb.name(), &error),
            }
        };
        return if pace == Pace::Virtual { runtime::run_virtual(job) } else { runtime::run_scaled(job) };
    }
    let Some(file) = &arguments.endpoints else {
        let error = Error::new(ErrorKind::InvalidSpec, "it is not said where to work")
            .hint("`--lab` for the embedded lab, `--endpoints FILE` for a house or a served lab");
        return output.early_failure(arguments.verb.name(), &error);
    };
    let options = match options(arguments, project, folder, file, output) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    runtime::run_scaled(|| async move {
        match remote(arguments, project, folder, file, options).await {
            Ok(home) => verbs::run(arguments, &home, report, output).await,
            Err(error) => output.early_failure(arguments.verb.name(), &error),
        }
    })
}

async fn embedded(arguments: &Arguments, project: &Project, folder: &Path, pace: Pace) -> Result<Home> {
    let lab = Arc::new(Lab::builder(project).seed(arguments.seed).pace(pace).start().await?);
    let run = lab.new_run();
    let castle =
        open(project, folder, &lab.options(run)?, lab.env(run), Some(lab.secrets(run)), arguments.verb.waivers())
            .await?;
    let place = format!("the lab ({pace} time, seed {})", arguments.seed);
    Ok(Home { castle, is_lab: true, lab: Some(lab), served_at: None, place })
}

/// Reads the option document, or tells everything that is wrong with it.
fn options(
    arguments: &Arguments,
    project: &Project,
    folder: &Path,
    file: &Path,
    output: &Output,
) -> std::result::Result<Options, Exit> {
    let verb = arguments.verb.name();
    let hint = "name the option document of a house, or the `lab.yaml` that `castle lab serve --dir DIR` wrote";
    let text = document::read(file, hint).map_err(|error| {
        output.early_failure(verb, &error);
        Exit::Usage
    })?;
    let base = file.parent().unwrap_or(Path::new("."));
    Options::parse_for(project, folder, &text, base, &Sources).map_err(|problems| {
        let source = Source { name: file.display().to_string(), text, quoting: Quoting::Never };
        output.invalid_document(verb, &source, "a valid option document", &problems)
    })
}

async fn remote(
    arguments: &Arguments,
    project: &Project,
    folder: &Path,
    file: &Path,
    options: Options,
) -> Result<Home> {
    let pace = arguments.pace.unwrap_or(options.pace);
    let refused = |why: &str| Err(Error::new(ErrorKind::InvalidSpec, why).with("file", file.display()));
    if pace == Pace::Virtual {
        return refused("endpoints cannot run in virtual time: another process keeps its own")
            .map_err(|error| error.hint("serve the lab with `--pace 60x`, or use `--lab`"));
    }
    if !options.lab && pace != Pace::Real {
        // Deadlines would end long before the host had its time.
        return refused("only a lab can be faster than the clock").map_err(|error| error.hint("leave `--pace` out"));
    }
    let env = Env { clock: Clock::new(pace), entropy: Arc::new(OsEntropy) };
    let castle = open(project, folder, &options, env, None, arguments.verb.waivers()).await?;
    let served_at = options.lab.then_some(options.dial);
    Ok(Home { castle, is_lab: options.lab, lab: None, served_at, place: file.display().to_string() })
}

/// Files and environment, as a command line may read them.
struct Sources;

impl castle_core::Sources for Sources {
    fn file(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        variables::read(name)
    }
}

/// Puts a castle together from an option document.
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
        return missing(
            "the option document names no Proxmox VE",
            "add `proxmox: {url: .., token_file: .., ca_file: ..}`",
        );
    };
    let secrets = secrets::open(options, &env, memory, variables::all())?;
    // Credentials of the repository may lie in the store. One that is silent is
    // told of by the run itself, and a removal needs neither of them.
    let mut options = options.clone();
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
