//! Permissions and pools.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Outcome, Request};
use crate::hypervisor::{Principal, Refusal};

/// `GET /access/permissions`: what somebody may do, by path.
pub(super) fn permissions(request: &mut Request<'_>) -> Outcome {
    let hypervisor = &request.world.proxmox;
    let subject = match request.parameters.text("userid").map(Principal::parse) {
        None => request.who.clone(),
        Some(other) if other == *request.who => other,
        // Somebody else's rights, or one's own token's.
        Some(other) => {
            let is_own_token = other.user == request.who.user && request.who.token.is_none();
            if !is_own_token {
                hypervisor.require(request.who, "/access", &["Sys.Audit"])?;
            }
            if !hypervisor.access.users.contains_key(&other.user) {
                return Err(Refusal::failure(format!("user '{other}' does not exist")));
            }
            other
        }
    };
    let held_on = |path: &str| {
        let held = hypervisor.privileges(&subject, path);
        Value::Object(held.into_iter().map(|privilege| (privilege, json!(1))).collect::<Map<_, _>>())
    };
    if let Some(path) = request.parameters.text("path") {
        return Ok(Value::Object(Map::from_iter([(path.to_owned(), held_on(path))])).into());
    }
    let mut paths: BTreeSet<String> =
        ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"].map(str::to_owned).into();
    paths.extend(hypervisor.access.lists.keys().cloned());
    for (pool, members) in &hypervisor.pools {
        paths.insert(format!("/pool/{pool}"));
        paths.extend(members.iter().map(|id| format!("/vms/{id}")));
    }
    let held = paths.into_iter().map(|path| (path.clone(), held_on(&path)));
    let some = held.filter(|(_, held)| held.as_object().is_some_and(|held| !held.is_empty()));
    Ok(Value::Object(some.collect::<Map<_, _>>()).into())
}

/// `GET /pools`: the pools that may be seen, or one with its members.
pub(super) fn pools(request: &mut Request<'_>) -> Outcome {
    let hypervisor = &request.world.proxmox;
    let Some(wanted) = request.parameters.text("poolid") else {
        let seen = hypervisor
            .pools
            .keys()
            .filter(|pool| hypervisor.may(request.who, &format!("/pool/{pool}"), &["Pool.Audit"]))
            .map(|pool| json!({"poolid": pool}));
        return Ok(Value::Array(seen.collect()).into());
    };
    hypervisor.require(request.who, &format!("/pool/{wanted}"), &["Pool.Audit"])?;
    let members =
        hypervisor.pools.get(wanted).ok_or_else(|| Refusal::failure(format!("pool '{wanted}' does not exist")))?;
    let kind = request.parameters.text("type").unwrap_or("qemu");
    let shown = members.iter().filter(|_| kind == "qemu").filter_map(|id| hypervisor.vms.get(id)).map(|vm| {
        json!({
            "id": format!("qemu/{}", vm.id),
            "type": "qemu",
            "vmid": vm.id,
            "node": vm.host,
            "name": vm.name(),
            "status": if vm.is_running() { "running" } else { "stopped" },
        })
    });
    Ok(json!([{"poolid": wanted, "members": shown.collect::<Vec<_>>()}]).into())
}
