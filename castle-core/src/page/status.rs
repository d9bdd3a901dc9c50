//! What is there, as HTML.

use super::markup::Markup;
use crate::handover::{HandoverState, Health};
use crate::{Inventory, NodeState, Observation, Part, Project, Slot};

pub(super) fn status(project: &Project, observation: &Observation) -> Markup {
    let mut page = Markup::default();
    page.raw("<section class=\"summary\">\n<h1>").text(format!("cluster {}", project.cluster.name));
    page.raw("</h1>\n<p class=\"outcome\">").text(life(observation)).raw("</p>\n");
    if let Part::Unknown(why) = &observation.has_key {
        unknown(&mut page, "the project key", why);
    }
    if let Some(Part::Unknown(why)) = &observation.bundle {
        unknown(&mut page, "the secrets of the life", why);
    }
    match &observation.api {
        None => {}
        Some(Part::Unknown(why)) => unknown(&mut page, "the Kubernetes API", why),
        Some(Part::Known(view)) => {
            let ready = view.nodes.iter().filter(|node| node.ready).count();
            page.raw("<p>").text(format!(
                "{ready} of {} nodes Ready, {} of {} pods of the network ready",
                view.nodes.len(),
                view.cni.ready,
                view.cni.wanted
            ));
            page.raw("</p>\n");
        }
    }
    page.raw("</section>\n");
    match &observation.machines {
        Part::Unknown(why) => unknown(&mut page, "which machines there are", why),
        Part::Known(inventory) => machines(&mut page, project, observation, inventory),
    }
    match &observation.handover {
        None => {}
        Some(Part::Unknown(why)) => unknown(&mut page, "the handover", why),
        Some(Part::Known(state)) => handover(&mut page, state),
    }
    page
}

fn unknown(page: &mut Markup, what: &str, why: &str) {
    page.raw("<p class=\"hint\">").text(format!("{what}: not known: {why}")).raw("</p>\n");
}

fn life(observation: &Observation) -> String {
    match &observation.lives {
        Part::Unknown(why) => format!("lives: not known: {why}"),
        Part::Known(lives) => match lives.newest() {
            None => "no life yet".to_owned(),
            Some((number, life)) => {
                format!("life {number}: {}", life.state())
            }
        },
    }
}

fn machines(page: &mut Markup, project: &Project, observation: &Observation, inventory: &Inventory) {
    page.raw("<section>\n<h2>Machines</h2>\n<div class=\"wide\">\n<table>\n<thead><tr><th>node</th>");
    page.raw("<th class=\"number\">id</th><th>state</th><th>stage</th><th>address</th><th>whose</th></tr></thead>\n<tbody>\n");
    for spec in &project.machines {
        let (state, standing) = match inventory.slots.get(&spec.id) {
            Some(Slot::Absent) => ("absent".to_owned(), String::new()),
            Some(Slot::Hidden) => ("hidden".to_owned(), "taken by a machine that the token may not see".to_owned()),
            Some(Slot::Unknown(why)) => ("unknown".to_owned(), why.clone()),
            Some(Slot::Present(machine)) => (machine.power.to_string(), machine.standing.to_string()),
            None => ("unknown".to_owned(), "it was not looked at".to_owned()),
        };
        let stage = match observation.nodes.get(&spec.id) {
            None => "–".to_owned(),
            Some(NodeState::Silent(why)) => format!("silent: {why}"),
            Some(NodeState::Maintenance { .. }) => "maintenance".to_owned(),
            Some(NodeState::Stranger(who)) => format!("stranger: {who}"),
            Some(NodeState::Ours(report)) => report.stage.to_string(),
        };
        let cells = [spec.node.to_string(), spec.id.to_string(), state, stage, spec.nic.address.to_string(), standing];
        row(page, &cells);
    }
    for machine in &inventory.others {
        let dash = || "–".to_owned();
        let (id, power) = (machine.id.to_string(), machine.power.to_string());
        row(page, &[machine.name.clone(), id, power, dash(), dash(), machine.standing.to_string()]);
    }
    page.raw("</tbody>\n</table>\n</div>\n</section>\n<section>\n<h2>Hosts</h2>\n<ul class=\"plain\">\n");
    for (name, host) in &inventory.hosts {
        let state = if host.online { "online" } else { "offline" };
        page.raw("<li>").text(format!("{name}: {state}, {} of {} in use", host.memory_used, host.memory_total));
        page.raw("</li>\n");
    }
    page.raw("</ul>\n</section>\n");
}

fn row(page: &mut Markup, cells: &[String; 6]) {
    page.raw("<tr>");
    for (index, cell) in cells.iter().enumerate() {
        page.raw(if index == 1 { "<td class=\"number\">" } else { "<td>" }).text(cell).raw("</td>");
    }
    page.raw("</tr>\n");
}

fn handover(page: &mut Markup, state: &HandoverState) {
    page.raw("<section>\n<h2>Handover</h2>\n<p>").text(match state.why_not() {
        None => "handed over: Flux holds the cluster".to_owned(),
        Some(why) => format!("not handed over: {why}"),
    });
    page.raw("</p>\n<ul class=\"items\">\n");
    for item in &state.items {
        health(page, &format!("{} {}", item.kind.to_lowercase(), item.name), &item.health);
    }
    for webhook in &state.webhooks {
        health(page, &format!("webhook {}", webhook.name), &webhook.health);
    }
    for service in &state.without_address {
        health(page, &format!("load balancer {service}"), &Health::Waiting("no address yet".to_owned()));
    }
    page.raw("</ul>\n</section>\n");
}

fn health(page: &mut Markup, name: &str, health: &Health) {
    let (class, why) = match health {
        Health::Ready => ("<li class=\"ready\">✓ ", None),
        Health::Waiting(why) => ("<li class=\"waiting\">… ", Some(why)),
        Health::Failed(why) => ("<li class=\"failed\">✗ ", Some(why)),
    };
    page.raw(class).text(name);
    if let Some(why) = why {
        page.raw(": ").text(why);
    }
    page.raw("</li>\n");
}
