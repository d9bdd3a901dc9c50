//! Who is asking: API tokens, tickets, and the guard against forged forms.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::wire;
use super::{Outcome, Request};
use crate::front::Call;
use crate::hypervisor::access::PRIVILEGES;
use crate::hypervisor::{Principal, Refusal};
use crate::world::World;

/// A ticket lives for two hours (pve-access-control).
const TICKET_LIFE: u64 = 2 * 3600;
/// Clocks of a cluster may differ by so many seconds.
const CLOCK_SKEW: u64 = 300;

/// The principal of a call.
///
/// # Errors
///
/// The reason phrase of the 401.
pub(super) fn authenticate(world: &World, call: &Call) -> Result<Principal, &'static str> {
    if let Some(token) = call.header("authorization").and_then(|value| value.strip_prefix("PVEAPIToken")) {
        return by_token(world, token.trim_start_matches(['=', ' ']));
    }
    let ticket = call.header("cookie").and_then(|cookies| {
        cookies
            .split(';')
            .find_map(|cookie| cookie.trim().strip_prefix("PVEAuthCookie="))
            .map(|t| wire::decode(t, false))
    });
    let Some(ticket) = ticket.filter(|ticket| !ticket.is_empty()) else { return Err("No ticket") };
    let who = by_ticket(world, &ticket).ok_or("Authentication failed!")?;
    if call.method != "GET" {
        let guard = call.header("csrfpreventiontoken").unwrap_or_default();
        if !guard_is_valid(world, &who.user, guard) {
            return Err("Permission denied - invalid csrf token");
        }
    }
    Ok(who)
}

fn by_token(world: &World, text: &str) -> Result<Principal, &'static str> {
    let refused = "Authentication failed!";
    let (name, secret) = text.rsplit_once('=').ok_or(refused)?;
    let token = world.proxmox.access.tokens.get(name).ok_or(refused)?;
    let expired = token.expires != 0 && token.expires <= world.unix_now();
    let who = Principal::parse(name);
    if token.secret != secret || expired || !world.proxmox.access.users.contains_key(&who.user) {
        return Err(refused);
    }
    Ok(who)
}

fn signature(world: &World, purpose: &str, text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"castle-lab ticket");
    hash.update(world.draws().seed().to_be_bytes());
    hash.update(purpose);
    hash.update([0]);
    hash.update(text);
    hex::encode(hash.finalize())
}

fn by_ticket(world: &World, ticket: &str) -> Option<Principal> {
    let (plain, signed) = ticket.split_once("::")?;
    let (user, stamp) = plain.strip_prefix("PVE:")?.rsplit_once(':')?;
    let issued = u64::from_str_radix(stamp, 16).ok()?;
    let now = world.unix_now();
    let in_time = issued <= now + CLOCK_SKEW && now <= issued + TICKET_LIFE;
    let genuine = signed == signature(world, "ticket", plain) && world.proxmox.access.users.contains_key(user);
    (in_time && genuine).then(|| Principal { user: user.to_owned(), token: None })
}

fn guard_is_valid(world: &World, user: &str, guard: &str) -> bool {
    let Some((stamp, signed)) = guard.split_once(':') else { return false };
    let Ok(issued) = u64::from_str_radix(stamp, 16) else { return false };
    let now = world.unix_now();
    issued <= now + CLOCK_SKEW
        && now <= issued + TICKET_LIFE
        && signed == signature(world, "csrf", &format!("{stamp}:{user}"))
}

/// `POST /access/ticket`: a password, or a ticket that is still good, buys a ticket.
pub(super) fn issue(request: &mut Request<'_>) -> Outcome {
    let world = &*request.world;
    let given = request.parameters.text("username").unwrap_or_default();
    let user = match request.parameters.text("realm") {
        Some(realm) if !given.contains('@') => format!("{given}@{realm}"),
        _ => given.to_owned(),
    };
    let password = request.parameters.text("password").unwrap_or_default();
    let known = world.proxmox.access.users.get(&user).and_then(Option::as_ref).map(|known| known.expose().as_str());
    let renews = by_ticket(world, password).is_some_and(|who| who.user == user);
    if !renews && (known.is_none() || known != Some(password)) {
        return Err(Refusal::other(401, "authentication failure"));
    }
    let stamp = format!("{:08X}", world.unix_now());
    let plain = format!("PVE:{user}:{stamp}");
    let ticket = format!("{plain}::{}", signature(world, "ticket", &plain));
    let guard = format!("{stamp}:{}", signature(world, "csrf", &format!("{stamp}:{user}")));
    Ok(json!({
        "username": user,
        "ticket": ticket,
        "CSRFPreventionToken": guard,
        "cap": capabilities(world, &user),
    })
    .into())
}

/// What the web interface offers to somebody, by area.
fn capabilities(world: &World, user: &str) -> Value {
    let who = Principal { user: user.to_owned(), token: None };
    let area = |path: &str, prefix: &str| {
        let held = world.proxmox.privileges(&who, path);
        let matching = PRIVILEGES.iter().filter(|name| name.starts_with(prefix) && held.contains(**name));
        Value::Object(matching.map(|name| ((*name).to_owned(), json!(1))).collect::<Map<_, _>>())
    };
    json!({
        "vms": area("/vms", "VM."),
        "nodes": area("/nodes", "Sys."),
        "storage": area("/storage", "Datastore."),
        "access": area("/access", "User."),
        "dc": area("/", "Sys."),
        "sdn": area("/sdn", "SDN."),
    })
}
