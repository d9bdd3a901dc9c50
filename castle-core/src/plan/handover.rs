//! The way from a serving API to a cluster that Flux holds and whose applications
//! serve.

use super::create::{self, Need};
use super::{Action, Change, DEADLINE_STORE, Disruption, Goal, Plan, Symbol, judge_bundle, told_lives, unseen};
use crate::credential;
use crate::observation::Part;
use crate::{Milestone, Observation, Problem, Project};

/// The plan of the goal that hands over what stands.
pub(super) fn plan(project: &Project, observation: &Observation, until: Milestone) -> Plan {
    let mut plan = Plan::empty(Goal::Handover);
    let subject = || format!("cluster {}", project.cluster.name);
    if project.gitops.is_none() || until < Milestone::HandoverReady {
        let why = match &project.gitops {
            None => "castle.yaml declares no `gitops`: nobody is there to hand it over to",
            Some(_) => "this castle was given no GitOps engine, or nothing to reach the cluster by",
        };
        let hint = "declare `gitops: {repository: {..}, seed: [..]}`, and give access to the repository";
        plan.problems.push(Problem::error("no-gitops", subject(), why).hint(hint));
        return plan;
    }
    let Some(lives) = told_lives(observation, &mut plan.problems) else { return plan };
    let inventory = match &observation.machines {
        Part::Known(inventory) => inventory,
        Part::Unknown(why) => {
            plan.problems.push(unseen("the hypervisor", why));
            return plan;
        }
    };
    let nothing = |what: String, message: &str| {
        Problem::error("nothing-stands", what, format!("{message}: nothing stands that could be handed over"))
            .hint("`castle create` makes it stand, and hands it over as well")
    };
    let Some((life, _)) = lives.current().filter(|(_, life)| life.committed || life.lacks_its_bundle()) else {
        plan.problems.push(nothing(subject(), "no life goes on"));
        return plan;
    };
    plan.life = Some(life);
    judge_bundle(project, observation, life, &mut plan.problems);
    let judge = |spec| create::judge(spec, inventory.slots.get(&spec.id), life, &mut plan.problems);
    let needs: Vec<Need> = project.machines.iter().map(judge).collect();
    for (spec, need) in project.machines.iter().zip(&needs) {
        let what = || format!("machine {} ({})", spec.node, spec.id);
        match need {
            Need::Birth => plan.problems.push(nothing(what(), "it does not exist")),
            Need::Replace(why) | Need::Complete(why) => plan.problems.push(nothing(what(), why)),
            Need::Nothing | Need::Start | Need::Refused => {}
        }
    }
    if !plan.is_refused() {
        create::add_steps(project, observation, inventory, lives, life, &needs, until, &mut plan);
    }
    plan
}

/// Adds the steps from the API to `until`: the escrow, the seed, the handover, the
/// probes. The seed waits for the API alone: Flux' pods are pulled while the nodes
/// become ready.
pub(super) fn add_steps(
    project: &Project,
    observation: &Observation,
    until: Milestone,
    last: &mut Vec<String>,
    plan: &mut Plan,
) {
    let deadlines = &project.deadlines;
    let serving: Vec<String> = Some("cluster/api".to_owned()).filter(|api| plan.has(api)).into_iter().collect();
    for (which, key) in credential::declared(&project.escrow) {
        if observation.escrowed.contains(&which) {
            continue;
        }
        let id = format!("escrow/{}", which.name());
        let because = format!("`{key}` does not hold a valid one of this life");
        plan.changes.push(Change {
            symbol: Symbol::Update,
            subject: format!("secret {key}"),
            disruption: Disruption::None,
            detail: format!("an administrator's {}", which.name()),
        });
        plan.push(id.clone(), Action::Escrow(which), &serving, DEADLINE_STORE, because);
        last.push(id);
    }
    let Some(gitops) = project.gitops.as_ref().filter(|_| until >= Milestone::HandoverReady) else { return };
    let mut before = serving;
    let mut planted = Vec::new();
    for part in gitops.seed.iter().filter(|part| !observation.seeds.contains(part)) {
        let id = format!("seed/{part}");
        plan.push(id.clone(), Action::Seed(*part), &before, deadlines.handover, "it is not seen to stand");
        before = vec![id];
        planted.push(part.name());
    }
    let why_not = match &observation.handover {
        _ if !planted.is_empty() => Some("its seed was planted just now".to_owned()),
        Some(Part::Known(state)) => state.why_not(),
        Some(Part::Unknown(why)) => Some(why.clone()),
        None => Some("nothing is known of it".to_owned()),
    };
    if let Some(why_not) = why_not {
        let seed = if planted.is_empty() { String::new() } else { format!("; planted: {}", planted.join(", ")) };
        let repository = &gitops.repository;
        plan.changes.push(Change {
            symbol: Symbol::Update,
            subject: "handover".to_owned(),
            disruption: Disruption::None,
            detail: format!(
                "Flux follows {} of {}, branch {}{seed}",
                repository.path, repository.url, repository.branch
            ),
        });
        plan.push("handover/flux".to_owned(), Action::Handover, &before, deadlines.handover, why_not);
        before = vec!["handover/flux".to_owned()];
        last.extend(before.clone());
    }
    if until < Milestone::AppsReady {
        return;
    }
    for (place, probe) in project.probes.iter().enumerate() {
        if before.is_empty() && observation.answered.contains(&probe.name) {
            continue;
        }
        let id = format!("handover/apps/{}", probe.name);
        plan.push(id.clone(), Action::Probe(place), &before, deadlines.apps, "it is not seen to serve");
        last.push(id);
    }
}
