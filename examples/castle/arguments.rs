//! What a user types.

use std::path::PathBuf;

use castle_core::{Goal, LostLife, Milestone, Pace, Waiver};
use clap::{Args, Parser, Subcommand};

/// Gives birth to clusters of Talos machines on Proxmox VE, and removes them.
#[derive(Debug, Parser)]
#[command(name = "castle", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The folder that holds castle.yaml; else the nearest above this one
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,

    /// Use the embedded lab: a whole home in this process
    #[arg(long, global = true, conflicts_with = "endpoints")]
    pub lab: bool,

    /// Use the backends that this option document names
    #[arg(long, global = true, value_name = "FILE")]
    pub endpoints: Option<PathBuf>,

    /// How fast a lab runs: virtual, real, or a factor such as 60x
    #[arg(long, global = true, value_name = "PACE")]
    pub pace: Option<Pace>,

    /// The seed of all chance in a lab
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,

    /// Do not ask
    #[arg(long, global = true)]
    pub yes: bool,

    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Look for everything that would stop the first create; reads only
    Check,
    /// Print what would be done; reads only
    Plan {
        /// Plan the removal
        #[arg(long)]
        destroy: bool,
        /// Exit with 2 if there are changes
        #[arg(long)]
        detailed_exitcode: bool,
        #[command(flatten)]
        choices: Choices,
    },
    /// Make the cluster stand
    Create {
        /// How far to go: machines-running, api-serving, cni-ready or nodes-ready
        #[arg(long, value_name = "MILESTONE", default_value = "nodes-ready")]
        until: Milestone,
        #[command(flatten)]
        choices: Choices,
    },
    /// Print what is there; reads only
    Status,
    /// Print an administrator's kubeconfig; a served lab's has the addresses that it listens at
    Kubeconfig,
    /// Print an administrator's talosconfig; a served lab's has the addresses that it listens at
    Talosconfig,
    /// Print the members of etcd, as each control plane lists them
    Members,
    /// Remove the cluster without a trace
    Destroy {
        /// The cluster's name, typed; needed on a house
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        #[command(flatten)]
        choices: Choices,
    },
    /// Create, look, and destroy again, on one embedded lab
    Demo,
    /// The lab by itself
    Lab {
        /// What to do with it
        #[command(subcommand)]
        action: LabAction,
    },
}

/// Decisions that castle does not take by itself.
#[derive(Debug, Clone, Default, Args)]
pub struct Choices {
    /// The life that lost its machines is over: begin the next
    #[arg(long, conflicts_with = "continue_life")]
    pub new_life: bool,
    /// The life that lost its machines goes on: make them again
    #[arg(long = "continue")]
    pub continue_life: bool,
    /// Vouch for a machine whose mark cannot be checked
    #[arg(long, value_name = "ID=UUID")]
    pub waive_ownership: Vec<Waiver>,
}

impl Choices {
    /// What to do about a lost life.
    pub fn lost_life(&self) -> LostLife {
        match (self.new_life, self.continue_life) {
            (true, _) => LostLife::Begin,
            (_, true) => LostLife::Continue,
            _ => LostLife::Ask,
        }
    }
}

/// What to do with a lab.
#[derive(Debug, Subcommand)]
pub enum LabAction {
    /// Serve it to other processes until interrupted
    Serve {
        /// The folder for lab.yaml, the option document of this lab
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

impl Verb {
    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Plan { .. } => "plan",
            Self::Create { .. } => "create",
            Self::Status => "status",
            Self::Kubeconfig => "kubeconfig",
            Self::Talosconfig => "talosconfig",
            Self::Members => "members",
            Self::Destroy { .. } => "destroy",
            Self::Demo => "demo",
            Self::Lab { .. } => "lab",
        }
    }

    /// The decisions that came with it.
    pub fn choices(&self) -> Choices {
        match self {
            Self::Plan { choices, .. } | Self::Create { choices, .. } | Self::Destroy { choices, .. } => {
                choices.clone()
            }
            _ => Choices::default(),
        }
    }

    /// Whether, on an embedded lab, it makes sense only where a castle stands.
    pub fn needs_a_standing_castle(&self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::Kubeconfig
                | Self::Talosconfig
                | Self::Members
                | Self::Destroy { .. }
                | Self::Plan { destroy: true, .. }
        )
    }

    /// How far a create goes.
    pub fn until(&self) -> Milestone {
        match self {
            Self::Create { until, .. } => *until,
            _ => Milestone::NodesReady,
        }
    }

    /// What it plans for.
    pub fn goal(&self) -> Goal {
        match self {
            Self::Destroy { .. } | Self::Plan { destroy: true, .. } => Goal::Destroy,
            _ => Goal::Create,
        }
    }
}
