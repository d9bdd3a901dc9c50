//! Planned steps, bound to the backends that carry them out.

mod handover;
mod machine;
mod node;
mod site;

use std::sync::Arc;

use crate::plan::{Action, Plan};
use crate::step::Step;

pub(crate) use site::{Backends, LivedLife, Site};

/// The steps of a plan at their site.
pub(crate) fn steps_of(plan: &Plan, site: &Arc<Site>) -> Vec<Box<dyn Step>> {
    plan.steps
        .iter()
        .map(|step| match step.action {
            Action::Answer(_)
            | Action::Configure(_)
            | Action::Bootstrap(_)
            | Action::Join(_)
            | Action::Api
            | Action::Cni
            | Action::Nodes => Box::new(node::NodeWork::new(step.clone(), site.clone())) as Box<dyn Step>,
            Action::Seed(_) | Action::Handover | Action::Probe(_) | Action::Escrow(_) => {
                Box::new(handover::HandoverWork::new(step.clone(), site.clone()))
            }
            _ => Box::new(machine::MachineWork::new(step.clone(), site.clone())),
        })
        .collect()
}
