//! Tokens and privileges.

use std::sync::{Arc, Mutex};

use castle_core::Secret;
use castle_core::options::ProxmoxAccess;
use castle_lab::World;
use castle_lab::hypervisor::access::Token;
use castle_lab::hypervisor::house::CASTLE_TOKEN;
use castle_lab::world::Moment;

use crate::case::{Case, End};

const WRONG: &str = "castle@pve!main=00000000-0000-4000-8000-000000000000";

#[test]
fn a_wrong_token_is_told_and_nothing_is_made() {
    Case::create("wrong token", End::Failed("unauthenticated", "pveum user token list"))
        .bent(|_, options| {
            let access =
                options.proxmox.clone().map(|access| ProxmoxAccess { token: Secret::new(WRONG.into()), ..access });
            Box::pin(async move { (castle_core::Options { proxmox: access, ..options }, Box::new(()) as _) })
        })
        .writes_nothing()
        .check();
}

#[test]
fn a_token_that_is_revoked_in_the_middle_ends_the_run() {
    for (goal, kind) in [("create", "POST qemu/status/start"), ("destroy", "DELETE qemu")] {
        let name = format!("token revoked before {kind}");
        let end = End::Failed("unauthenticated", "pveum user token list");
        let case = if goal == "create" { Case::create(name, end) } else { Case::destroy(name, end) };
        // The secret is kept aside, as the operator keeps it who made the token.
        let kept: Arc<Mutex<Option<Token>>> = Default::default();
        let given_back = kept.clone();
        case.weather(move |world| {
            *kept.lock().unwrap() = world.proxmox.access.tokens.get(CASTLE_TOKEN).cloned();
            world.when(Moment::before(kind), |world| world.revoke_token(CASTLE_TOKEN));
        })
        .clears(move |world| {
            let token = given_back.lock().unwrap().take().expect("it was kept");
            world.proxmox.access.tokens.insert(CASTLE_TOKEN.into(), token);
        })
        .check();
    }
}

#[test]
fn each_missing_privilege_is_named_before_anything_is_made() {
    let role = [
        "Pool.Audit",
        "VM.Allocate",
        "VM.Audit",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Cloudinit",
        "VM.Config.Disk",
        "VM.Config.HWType",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",
        "VM.PowerMgmt",
        "Datastore.AllocateSpace",
        "Datastore.Audit",
        "SDN.Use",
        "Sys.Audit",
    ];
    for privilege in role {
        Case::create(format!("without {privilege}"), End::Refused("missing-privilege", "pveum"))
            .weather(move |world| world.withdraw_privilege(privilege))
            .tells(privilege)
            .clears(move |world| grant(world, privilege))
            .writes_nothing()
            .check();
    }
}

/// Gives a privilege back to the roles that had it.
fn grant(world: &mut World, privilege: &str) {
    for (name, privileges) in &mut world.proxmox.access.roles {
        let is_own = match name.as_str() {
            "CastleOperator" => privilege.starts_with("VM.") || privilege.starts_with("Pool."),
            "CastleDisks" => privilege.starts_with("Datastore."),
            "CastleImages" => privilege == "Datastore.Audit",
            "CastleNetwork" => privilege == "SDN.Use",
            "CastleHost" => privilege == "Sys.Audit",
            _ => false,
        };
        if is_own {
            privileges.insert(privilege.to_owned());
        }
    }
}
