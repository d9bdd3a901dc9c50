//! The way from running machines to a cluster whose nodes are ready.

use super::{Action, DEADLINE_STORE, Plan};
use crate::observation::Part;
use crate::{Milestone, NodeRole, NodeState, Observation, Problem, Project};

/// Adds the steps from the machines to `until`. Returns the steps that the last
/// milestone waits for.
pub(super) fn add_steps(
    project: &Project,
    observation: &Observation,
    until: Milestone,
    plan: &mut Plan,
) -> Vec<String> {
    let deadlines = &project.deadlines;
    let exists = |plan: &Plan, id: &str| plan.steps.iter().any(|step| step.id == id);
    let mut last = Vec::new();
    let mut configured = Vec::new();
    for (machine, spec) in project.machines.iter().enumerate() {
        let step = |verb: &str| format!("node/{}/{verb}", spec.node);
        let start = format!("machine/{}/start", spec.node);
        let needs: Vec<String> = if exists(plan, &start) { vec![start] } else { Vec::new() };
        let state = observation.nodes.get(&spec.id).filter(|_| needs.is_empty());
        match state {
            Some(NodeState::Ours(_)) => {
                configured.push(None);
                continue;
            }
            Some(NodeState::Stranger(who)) => plan.problems.push(
                Problem::error(
                    "stranger",
                    format!("node {} ({})", spec.node, spec.nic.address),
                    format!("what answers there is not this machine's system: {who}"),
                )
                .hint("find out who uses the address (`ip neigh`); castle sends nothing there"),
            ),
            _ => {}
        }
        if !matches!(state, Some(NodeState::Maintenance { .. })) {
            plan.push(
                step("answer"),
                Action::Answer(machine),
                &needs,
                deadlines.boot,
                "nothing is known of its system",
            );
        }
        let before = if exists(plan, &step("answer")) { vec![step("answer")] } else { needs };
        plan.push(step("configure"), Action::Configure(machine), &before, deadlines.boot, "it has no configuration");
        configured.push(Some(step("configure")));
    }
    let needs_of = |machine: usize| configured.get(machine).cloned().flatten();
    let control_planes: Vec<usize> = (0..project.machines.len())
        .filter(|&machine| project.machines[machine].role == NodeRole::ControlPlane)
        .collect();
    let votes = |machine: usize| match observation.nodes.get(&project.machines[machine].id) {
        Some(NodeState::Ours(report)) => report.etcd.as_ref().is_some_and(|etcd| etcd.healthy),
        _ => false,
    };
    let noted = |life: u32| observation.lives.known().and_then(|lives| lives.get(life)).is_some_and(|life| life.born);
    if let Some(life) = plan.life.filter(|life| control_planes.iter().any(|&machine| votes(machine)) && !noted(*life)) {
        // The engine that saw the birth died before it could note it.
        let id = format!("life/{life}/born");
        plan.push(id.clone(), Action::NoteBirth(life), &[], DEADLINE_STORE, "its etcd lives");
        last.push(id);
    }
    let bootstrap = "cluster/bootstrap".to_owned();
    if let Some(&first) = control_planes.first()
        && !control_planes.iter().any(|&machine| votes(machine))
    {
        let mut needs: Vec<String> = needs_of(first).into_iter().collect();
        if plan.life.is_some_and(noted) {
            // An etcd that was born comes back with its quorum: its clock starts once
            // every control plane is on.
            let starts =
                control_planes.iter().map(|&machine| format!("machine/{}/start", project.machines[machine].node));
            needs.extend(starts.filter(|start| exists(plan, start)));
        }
        plan.push(
            bootstrap.clone(),
            Action::Bootstrap(first),
            &needs,
            deadlines.api,
            "no control plane has a running etcd",
        );
    }
    let born: Vec<String> = exists(plan, &bootstrap).then_some(bootstrap).into_iter().collect();
    // Where etcd lives already, the first control plane joins like any other.
    let joins = control_planes.iter().skip(born.len());
    let joins = joins.filter(|&&machine| until >= Milestone::NodesReady && !votes(machine));
    for &machine in joins {
        let needs: Vec<String> = needs_of(machine).into_iter().chain(born.clone()).collect();
        let id = format!("node/{}/join", project.machines[machine].node);
        plan.push(id.clone(), Action::Join(machine), &needs, deadlines.api, "it does not vote yet");
        last.push(id);
    }
    let view = match &observation.api {
        Some(Part::Known(view)) => Some(view),
        _ => None,
    };
    let api = "cluster/api".to_owned();
    if view.is_none() {
        plan.push(api.clone(), Action::Api, &born, deadlines.api, "the API does not answer");
        last.push(api.clone());
    }
    let serving: Vec<String> = exists(plan, &api).then_some(api).into_iter().collect();
    if until >= Milestone::CniReady && !view.is_some_and(|view| view.cni.is_ready()) {
        plan.push("cluster/cni".into(), Action::Cni, &serving, deadlines.nodes, "the network's pods are not ready");
        last.push("cluster/cni".into());
    }
    let ready = |view: &crate::observation::ApiView| {
        project.machines.iter().all(|spec| view.nodes.iter().any(|node| node.name == spec.node.as_str() && node.ready))
    };
    if until >= Milestone::NodesReady && !view.is_some_and(ready) {
        let mut needs = serving;
        needs.extend(configured.into_iter().flatten());
        plan.push("cluster/nodes".into(), Action::Nodes, &needs, deadlines.nodes, "not every node is Ready");
        last.push("cluster/nodes".into());
    }
    last
}
