//! Where a castle stands: in a lab of this process, or behind an option document.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use castle_core::options::{DialMap, SecretsAccess};
use castle_core::{
    Castle, Clock, Env, Error, ErrorKind, Goal, Milestone, Options, OsEntropy, Pace, Project, RequestCounts, Result,
    Waiver,
};
use castle_lab::ideal::{Beginning, cluster_ideal, machines_ideal};
use castle_lab::{Lab, RunId, World};

use crate::wiring::open;

/// What answers behind the protocols.
#[derive(Debug, Clone)]
pub enum Backing {
    /// A lab in this process.
    Lab(Arc<Lab>),
    /// A house, or a lab that another process serves.
    Remote(Arc<Options>),
}

/// A declaration and where it is to stand.
#[derive(Debug, Clone)]
pub struct Place {
    /// The declaration.
    pub project: Arc<Project>,
    /// The folder that it lies in; files beside it are found from there.
    pub folder: Arc<PathBuf>,
    /// What answers.
    pub backing: Backing,
    /// How fast its time runs.
    pub pace: Pace,
    /// Where a lab's secrets lie since it is served: others must find what this
    /// process keeps, or two projects of one name would fight for its machines.
    pub secrets: Arc<OnceLock<PathBuf>>,
    /// Whether it is served, or a call is about to serve it.
    pub serving: Arc<AtomicBool>,
}

impl Place {
    /// The lab, if it is one of this process.
    pub fn lab(&self) -> Option<&Arc<Lab>> {
        match &self.backing {
            Backing::Lab(lab) => Some(lab),
            Backing::Remote(_) => None,
        }
    }

    /// Whether everything in it can be thrown away.
    pub fn is_lab(&self) -> bool {
        match &self.backing {
            Backing::Lab(_) => true,
            Backing::Remote(options) => options.lab,
        }
    }

    /// Where clients that know no dial map find it; `None`: where it says itself.
    pub fn served_at(&self) -> Option<DialMap> {
        match &self.backing {
            Backing::Lab(lab) => Some(lab.dial_map()),
            Backing::Remote(options) => options.lab.then(|| options.dial.clone()),
        }
    }

    /// Refuses what clients of other processes would need, in virtual time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] with the way to do it right.
    pub fn refuse_foreign_clients(&self) -> Result<()> {
        if self.pace != Pace::Virtual {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            "this lab runs in virtual time: while kubectl, talosctl or any other program blinks, hours pass in it, so \
             it is told to none of them",
        )
        .hint("open it as `Lab(project, pace=\"60x\")`: a minute there is a second here, and everybody can join"))
    }

    /// Begins a visit: a new engine that knows nothing of the earlier ones. Call it
    /// on the home's thread. It takes the machines of `waivers` for the castle's own.
    ///
    /// # Errors
    ///
    /// Those of [`open`].
    pub async fn visit(&self, waivers: Vec<Waiver>) -> Result<Visit> {
        let (castle, run) = match &self.backing {
            Backing::Lab(lab) => {
                let run = lab.new_run();
                let life = Alive { lab: Arc::clone(lab), run, is_over: false };
                let (mut options, env) = (lab.options(run)?, lab.env(run));
                if let Some(folder) = self.secrets.get() {
                    options.secrets = SecretsAccess::Files(folder.clone());
                }
                let memory = Some(lab.secrets(run));
                (open(&self.project, &self.folder, &options, env, memory, waivers).await?, Some(life))
            }
            Backing::Remote(options) => {
                let env = Env { clock: Clock::new(self.pace), entropy: Arc::new(OsEntropy) };
                (open(&self.project, &self.folder, options, env, None, waivers).await?, None)
            }
        };
        Ok(Visit { castle, run })
    }

    /// The shortest time that the lab's physics allow for `goal`. It is that of the
    /// whole way, so there is none where a part of the way lies behind.
    pub fn ideal(&self, goal: Goal, until: Milestone) -> Option<Duration> {
        self.lab()?.with_world(|world| ideal(&self.project, world, goal, until))
    }
}

fn ideal(project: &Project, world: &World, goal: Goal, until: Milestone) -> Option<Duration> {
    let is_empty = world.machines_of_castle().is_empty();
    let beginning = match goal {
        Goal::Destroy => {
            let mut slots = project.machines.iter().map(|spec| world.proxmox.vms.get(&spec.id.get()));
            let stands = slots.all(|slot| slot.is_some_and(|vm| vm.is_running()));
            return stands.then(|| machines_ideal(project, world).destroy);
        }
        Goal::Create if is_empty => Beginning::Empty,
        Goal::Rebirth if is_empty => Beginning::Empty,
        Goal::Rebirth => Beginning::Standing,
        // A part of the way; and what is newer than this text has no ideal yet.
        _ => return None,
    };
    // A repository that can never be applied has no ideal; the run will say why.
    cluster_ideal(project, world, beginning).ok().map(|ideal| ideal.at(until))
}

/// One engine at work.
#[derive(Debug)]
pub struct Visit {
    /// The castle, new.
    pub castle: Castle,
    run: Option<Alive>,
}

impl Visit {
    /// The work is done: the engine leaves as a process does that ends well.
    pub fn leave(mut self) -> RequestCounts {
        if let Some(run) = &mut self.run {
            run.is_over = true;
        }
        self.castle.requests()
    }
}

/// A run of a lab. Dropped before it is over, it dies as a process does in a power
/// cut: what it still had on the wire does not reach the world.
#[derive(Debug)]
struct Alive {
    lab: Arc<Lab>,
    run: RunId,
    is_over: bool,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if !self.is_over {
            self.lab.kill(self.run);
        }
    }
}
