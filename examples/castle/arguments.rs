//! What a user types.

use std::path::{Path, PathBuf};

use castle_core::{Goal, LostLife, Milestone, Name, Pace, Waiver};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::values::{MilestoneParser, member_id, read};

/// The heading of what every verb takes.
const EVERYWHERE: &str = "Options of every verb";

/// Gives birth to clusters of Talos machines on Proxmox VE, and removes them.
#[derive(Debug, Parser)]
#[command(name = "castle", version, arg_required_else_help = true, max_term_width = 80)]
pub struct Arguments {
    /// The folder that holds castle.yaml; else the nearest above this one
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    pub project: Option<PathBuf>,

    /// Use the embedded lab: a whole home in this process
    #[arg(long, global = true, help_heading = EVERYWHERE, conflicts_with = "endpoints")]
    pub lab: bool,

    /// Use the backends that this option document names
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub endpoints: Option<PathBuf>,

    /// How fast a lab runs: virtual, real, or a factor such as 60x
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PACE", value_parser = read::<Pace>)]
    pub pace: Option<Pace>,

    /// The seed of all chance in a lab
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Print one JSON object a line
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,

    /// Confirm a removal on a served lab; castle never asks. A house wants
    /// `--confirm NAME`
    #[arg(long, global = true, help_heading = EVERYWHERE)]
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
        /// Plan the rebirth
        #[arg(long, conflicts_with = "destroy")]
        rebirth: bool,
        /// Exit with 2 if there are changes
        #[arg(long)]
        detailed_exitcode: bool,
        #[command(flatten)]
        lost: Lost,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        vouched: Vouched,
    },
    /// Make the cluster stand
    Create {
        /// How far to go; else as far as castle.yaml declares
        #[arg(long, value_name = "MILESTONE", value_parser = MilestoneParser)]
        until: Option<Milestone>,
        #[command(flatten)]
        lost: Lost,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        vouched: Vouched,
        #[command(flatten)]
        keep: Keep,
    },
    /// Hand the standing cluster over to Flux, and wait until Flux holds it
    Handover {
        #[command(flatten)]
        vouched: Vouched,
        #[command(flatten)]
        keep: Keep,
    },
    /// Destroy the cluster and let it rise again, as one run; run again after a
    /// crash, it finishes the same rebirth
    Rebirth {
        /// What it begins with. An embedded lab begins standing: a castle is raised
        /// first, and time 0 is the rebirth's first request. Elsewhere it is a claim
        /// that is checked
        #[arg(long, value_enum, value_name = "BEGINNING")]
        from: Option<Beginning>,
        /// How far to go; else as far as castle.yaml declares
        #[arg(long, value_name = "MILESTONE", value_parser = MilestoneParser)]
        until: Option<Milestone>,
        /// The life that is to be replaced: a rebirth that has replaced it already is
        /// finished and not begun once more
        #[arg(long, value_name = "LIFE")]
        replaces: Option<u32>,
        /// End even a rebirth that was left half done, and begin another
        #[arg(long)]
        abandon: bool,
        /// The cluster's name, typed; needed on a house
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        #[command(flatten)]
        lost: Lost,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        vouched: Vouched,
        #[command(flatten)]
        keep: Keep,
    },
    /// Put kubeconfig and talosconfig where castle.yaml says; equal ones are not written
    Escrow,
    /// Print what is there; reads only
    Status,
    /// Print an administrator's kubeconfig; a served lab's has the addresses that it listens at
    Kubeconfig,
    /// Print an administrator's talosconfig; a served lab's has the addresses that it listens at
    Talosconfig,
    /// Print the members of etcd, as each control plane lists them, or remove one
    Members {
        /// Remove the member with this id, through a healthy control plane. One that
        /// is a living control plane is not removed
        #[arg(long, value_name = "ID", value_parser = member_id)]
        remove: Option<u64>,
        /// Vouch that this control plane is dead, though nothing proves it: its member
        /// may be removed
        #[arg(long, value_name = "NAME", requires = "remove")]
        waive_member: Option<Name>,
    },
    /// Remove the cluster without a trace
    Destroy {
        /// The cluster's name, typed; needed on a house
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        vouched: Vouched,
        #[command(flatten)]
        keep: Keep,
    },
    /// Say what a code means and what to do: of an error, of a finding, of a ghost
    Explain(Explain),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
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

/// What becomes of a life that lost its machines.
#[derive(Debug, Clone, Default, Args)]
pub struct Lost {
    /// The life that lost its machines is over: begin the next
    #[arg(long, conflicts_with = "continue_life")]
    pub new_life: bool,
    /// The life that lost its machines goes on: make them again
    #[arg(long = "continue")]
    pub continue_life: bool,
}

/// Machines that a person answers for.
#[derive(Debug, Clone, Default, Args)]
pub struct Vouched {
    /// Vouch for a machine whose mark cannot be checked; `castle status` prints ID=UUID
    #[arg(long, value_name = "ID=UUID", value_parser = read::<Waiver>)]
    pub waive_ownership: Vec<Waiver>,
}

/// Data that a removal costs.
#[derive(Debug, Clone, Default, Args)]
pub struct Data {
    /// Destroy the declared datasets of this cluster although nothing proves that
    /// they are safe elsewhere
    #[arg(long, value_name = "CLUSTER", value_parser = read::<Name>)]
    pub waive_data: Option<Name>,
}

/// What is kept of a run.
#[derive(Debug, Clone, Default, Args)]
pub struct Keep {
    /// Write what came of it, and where the time went, as one HTML file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// What is to be explained.
#[derive(Debug, Clone, Args)]
#[command(arg_required_else_help = true)]
pub struct Explain {
    /// A code, as it is printed in brackets: `unknown-key`, `deadline_exceeded`
    #[arg(required_unless_present_any = ["all", "variables"])]
    pub code: Option<String>,
    /// Explain every code
    #[arg(long, conflicts_with = "code")]
    pub all: bool,
    /// Explain the variables of the environment that castle reads
    #[arg(long, conflicts_with_all = ["code", "all"])]
    pub variables: bool,
    /// Print Markdown, for the documents
    #[arg(long)]
    pub markdown: bool,
}

/// What a rebirth begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Beginning {
    /// A castle that stands.
    Standing,
    /// Nothing at all.
    Empty,
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
            Self::Handover { .. } => "handover",
            Self::Rebirth { .. } => "rebirth",
            Self::Escrow => "escrow",
            Self::Status => "status",
            Self::Kubeconfig => "kubeconfig",
            Self::Talosconfig => "talosconfig",
            Self::Members { .. } => "members",
            Self::Explain(_) => "explain",
            Self::Completions { .. } => "completions",
            Self::Destroy { .. } => "destroy",
            Self::Demo => "demo",
            Self::Lab { .. } => "lab",
        }
    }

    /// What to do about a lost life.
    pub fn lost_life(&self) -> LostLife {
        match self {
            Self::Plan { lost, .. } | Self::Create { lost, .. } | Self::Rebirth { lost, .. } => {
                match (lost.new_life, lost.continue_life) {
                    (true, _) => LostLife::Begin,
                    (_, true) => LostLife::Continue,
                    _ => LostLife::Ask,
                }
            }
            _ => LostLife::Ask,
        }
    }

    /// The machines that the caller vouches for.
    pub fn waivers(&self) -> Vec<Waiver> {
        match self {
            Self::Plan { vouched, .. }
            | Self::Create { vouched, .. }
            | Self::Handover { vouched, .. }
            | Self::Rebirth { vouched, .. }
            | Self::Destroy { vouched, .. } => vouched.waive_ownership.clone(),
            _ => Vec::new(),
        }
    }

    /// The cluster whose declared data the caller gives up.
    pub fn waive_data(&self) -> Option<Name> {
        match self {
            Self::Plan { data, .. }
            | Self::Create { data, .. }
            | Self::Rebirth { data, .. }
            | Self::Destroy { data, .. } => data.waive_data.clone(),
            _ => None,
        }
    }

    /// Where its report goes.
    pub fn report(&self) -> Option<&Path> {
        match self {
            Self::Create { keep, .. }
            | Self::Handover { keep, .. }
            | Self::Rebirth { keep, .. }
            | Self::Destroy { keep, .. } => keep.report.as_deref(),
            _ => None,
        }
    }

    /// Whether, on an embedded lab, it makes sense only where a castle stands.
    pub fn needs_a_standing_castle(&self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::Kubeconfig
                | Self::Talosconfig
                | Self::Members { .. }
                | Self::Escrow
                | Self::Handover { .. }
                | Self::Rebirth { from: None | Some(Beginning::Standing), .. }
                | Self::Destroy { .. }
                | Self::Plan { destroy: true, .. }
                | Self::Plan { rebirth: true, .. }
        )
    }

    /// How far it goes; `None`: as far as the declaration.
    pub fn until(&self) -> Option<Milestone> {
        match self {
            Self::Create { until, .. } | Self::Rebirth { until, .. } => *until,
            _ => None,
        }
    }

    /// How far the castle is raised before the verb begins.
    pub fn raised_until(&self) -> Option<Milestone> {
        match self {
            Self::Handover { .. } => Some(Milestone::NodesReady),
            Self::Rebirth { until, .. } => *until,
            _ => None,
        }
    }

    /// What it plans for.
    pub fn goal(&self) -> Goal {
        match self {
            Self::Destroy { .. } | Self::Plan { destroy: true, .. } => Goal::Destroy,
            Self::Plan { rebirth: true, .. } | Self::Rebirth { .. } => Goal::Rebirth,
            Self::Handover { .. } => Goal::Handover,
            _ => Goal::Create,
        }
    }
}
