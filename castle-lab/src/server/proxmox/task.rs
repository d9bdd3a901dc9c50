//! Tasks: lists, states, logs, and stopping them.

use serde_json::{Map, Value, json};

use super::{Answer, Outcome, Request};
use crate::hypervisor::{Exit, Principal, Refusal, Task};
use crate::world::World;

/// Whether a text has the nine fields of a UPID.
fn is_upid(text: &str) -> bool {
    let fields: Vec<_> = text.split(':').collect();
    let is_hex = |field: &str, longest: usize| {
        (8..=longest).contains(&field.len()) && field.bytes().all(|b| b.is_ascii_hexdigit())
    };
    fields.len() == 9
        && fields[0] == "UPID"
        && !fields[1].is_empty()
        && is_hex(fields[2], 8)
        && is_hex(fields[3], 9)
        && is_hex(fields[4], 8)
        && !fields[5].is_empty()
        && !fields[7].is_empty()
        && fields[8].is_empty()
}

fn find(request: &Request<'_>) -> Result<usize, Refusal> {
    let upid = request.parameters.text("upid").unwrap_or_default();
    if !is_upid(upid) {
        return Err(Refusal::parameter("upid", "unable to parse worker upid"));
    }
    let host = request.parameters.host();
    let found = request.world.proxmox.tasks.iter().position(|task| task.host == host && task.upid == upid);
    found.ok_or_else(|| Refusal::parameter("upid", "no such task"))
}

/// Whether a task is one's own: a user owns what its tokens started, a token only
/// what it started itself.
fn is_own(who: &Principal, task: &Task) -> bool {
    task.owner == *who || (who.token.is_none() && task.owner.user == who.user)
}

fn demand(request: &Request<'_>, task: &Task, privilege: &str) -> Result<(), Refusal> {
    if is_own(request.who, task) {
        return Ok(());
    }
    request.world.proxmox.require(request.who, &format!("/nodes/{}", task.host), &[privilege])
}

fn fields(world: &World, task: &Task) -> Map<String, Value> {
    Map::from_iter([
        ("upid".to_owned(), json!(task.upid)),
        ("node".to_owned(), json!(task.host)),
        ("pid".to_owned(), json!(task.pid)),
        ("pstart".to_owned(), json!(task.process_start)),
        ("starttime".to_owned(), json!(world.wall_at(task.started_at).as_secs())),
        ("type".to_owned(), json!(task.kind)),
        ("id".to_owned(), json!(task.machine.to_string())),
    ])
}

/// `GET /nodes/{node}/tasks`: newest first. The default source hides what runs.
pub(super) fn list(request: &mut Request<'_>) -> Outcome {
    let world = &*request.world;
    let given = request.parameters;
    let host = given.host();
    let sees_all = world.proxmox.may(request.who, &format!("/nodes/{host}"), &["Sys.Audit"]);
    let source = given.text("source").unwrap_or("archive");
    let machine = given.text("vmid").map(|_| given.machine());
    let at = |task: &Task| world.wall_at(task.started_at).as_secs();
    let matches = |task: &&Task| {
        let failed = matches!(task.ended, Some((_, Exit::Error(_) | Exit::Vanished)));
        task.host == host
            && (sees_all || is_own(request.who, task))
            && (source == "all" || task.is_running() == (source == "active"))
            && machine.is_none_or(|id| task.machine == id)
            && given.text("typefilter").is_none_or(|kind| task.kind == kind)
            && given.text("userfilter").is_none_or(|user| task.owner.to_string().contains(user))
            && given.number("since").is_none_or(|since| at(task) >= since)
            && given.number("until").is_none_or(|until| at(task) <= until)
            && (!given.flag("errors") || failed)
            && given.text("statusfilter").is_none_or(|wanted| status_matches(task, wanted))
    };
    let mut found: Vec<&Task> = world.proxmox.tasks.iter().filter(matches).collect();
    // Running ones stand first, then the newest.
    found.reverse();
    found.sort_by_key(|task| !task.is_running());
    let total = found.len();
    let start = given.number("start").unwrap_or(0) as usize;
    let limit = given.number("limit").unwrap_or(50) as usize;
    let page = found.into_iter().skip(start).take(limit).map(|task| {
        let mut entry = fields(world, task);
        entry.insert("user".to_owned(), json!(task.owner.to_string()));
        match &task.ended {
            Some((at, exit)) => {
                entry.insert("endtime".to_owned(), json!(world.wall_at(*at).as_secs()));
                entry.insert("status".to_owned(), json!(exit.status()));
            }
            None => {
                entry.insert("status".to_owned(), json!("RUNNING"));
            }
        }
        Value::Object(entry)
    });
    Ok(Answer { data: Value::Array(page.collect()), total: Some(total) })
}

fn status_matches(task: &Task, wanted: &str) -> bool {
    let kind = match &task.ended {
        Some((_, Exit::Ok)) => "ok",
        Some((_, Exit::Warnings(_))) => "warning",
        Some((_, Exit::Error(_))) => "error",
        Some((_, Exit::Vanished)) | None => "unknown",
    };
    crate::hypervisor::config::split_list(wanted).any(|wanted| wanted == kind)
}

/// `GET /nodes/{node}/tasks/{upid}/status`.
pub(super) fn status(request: &mut Request<'_>) -> Outcome {
    let task = &request.world.proxmox.tasks[find(request)?];
    demand(request, task, "Sys.Audit")?;
    let mut entry = fields(request.world, task);
    entry.insert("user".to_owned(), json!(task.owner.user));
    if let Some(token) = &task.owner.token {
        entry.insert("tokenid".to_owned(), json!(token));
    }
    match &task.ended {
        Some((_, exit)) => {
            entry.insert("status".to_owned(), json!("stopped"));
            entry.insert("exitstatus".to_owned(), json!(exit.status()));
        }
        None => {
            entry.insert("status".to_owned(), json!("running"));
        }
    }
    Ok(Value::Object(entry).into())
}

/// `GET /nodes/{node}/tasks/{upid}/log`: lines from `start`; a limit of 0 is all.
pub(super) fn log(request: &mut Request<'_>) -> Outcome {
    let task = &request.world.proxmox.tasks[find(request)?];
    demand(request, task, "Sys.Audit")?;
    let start = request.parameters.number("start").unwrap_or(0) as usize;
    let limit = match request.parameters.number("limit").unwrap_or(50) as usize {
        0 => usize::MAX,
        limit => limit,
    };
    let total = task.log.len();
    let mut lines: Vec<Value> = task
        .log
        .iter()
        .enumerate()
        .skip(start)
        .take(limit)
        .map(|(index, line)| json!({"n": index + 1, "t": line}))
        .collect();
    if task.log.is_empty() {
        lines.push(json!({"n": 1, "t": "no content"}));
    }
    Ok(Answer { data: Value::Array(lines), total: Some(total) })
}

/// `DELETE /nodes/{node}/tasks/{upid}`: a task that is over stays over.
pub(super) fn stop(request: &mut Request<'_>) -> Outcome {
    let index = find(request)?;
    demand(request, &request.world.proxmox.tasks[index], "Sys.Modify")?;
    request.world.interrupt(index);
    Ok(Value::Null.into())
}
