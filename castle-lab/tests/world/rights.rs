//! Least privilege: the role is enough, and each part of it is needed.

use crate::house::House;

/// The whole life of one machine, with what a careful client reads on the way.
/// The first refusal ends it.
fn whole_life(house: &mut House) -> Result<(), String> {
    let ask = |house: &mut House, method: &str, path: &str, parameters: &[(&str, &str)]| {
        let got = house.ask(method, path, parameters);
        if got.status != 200 {
            return Err(format!("{method} {path}: {} {}", got.status, got.reason));
        }
        if let Some(upid) = got.body["data"].as_str().filter(|text| text.starts_with("UPID:")) {
            house.world.settle();
            let task = house.world.proxmox.task("pve", upid).expect("the task exists");
            let exit = task.ended.as_ref().expect("it is over").1.status();
            assert_eq!(exit, "OK", "{method} {path}");
        }
        Ok(got)
    };
    let status = ask(house, "GET", "/nodes/pve/status", &[])?;
    assert!(status.body["data"]["memory"]["total"].as_u64().is_some());
    let bridges = ask(house, "GET", "/nodes/pve/network", &[("type", "bridge")])?;
    if bridges.body["data"].as_array().unwrap().is_empty() {
        return Err("no bridge is visible".into());
    }
    let images = ask(house, "GET", "/nodes/pve/storage/local/content", &[("content", "import")])?;
    assert_eq!(images.body["data"].as_array().unwrap().len(), 1);
    ask(house, "GET", "/nodes/pve/storage/local-lvm/status", &[])?;
    ask(house, "GET", "/pools", &[("poolid", "blue")])?;
    let created = house.create_with(421, &[("protection", "")]);
    if created.status != 200 {
        return Err(format!("POST qemu: {} {}", created.status, created.reason));
    }
    house.world.settle();
    ask(house, "GET", "/nodes/pve/qemu/421/config", &[])?;
    ask(house, "PUT", "/nodes/pve/qemu/421/resize", &[("disk", "scsi0"), ("size", "40G")])?;
    ask(house, "POST", "/nodes/pve/qemu/421/status/start", &[])?;
    ask(house, "GET", "/nodes/pve/qemu/421/status/current", &[])?;
    ask(house, "PUT", "/nodes/pve/qemu/421/config", &[("description", "dying")])?;
    ask(house, "POST", "/nodes/pve/qemu/421/status/stop", &[])?;
    ask(house, "DELETE", "/nodes/pve/qemu/421", &[("purge", "1")])?;
    Ok(())
}

#[test]
fn the_role_is_enough() {
    let mut house = House::new();
    assert_eq!(whole_life(&mut house), Ok(()));
    house.is_tidy();
}

#[test]
fn each_privilege_is_missed_by_name() {
    for (privilege, refusal) in [
        ("VM.Allocate", "POST qemu: 403 Permission check failed"),
        ("VM.Audit", "GET /nodes/pve/qemu/421/config: 403 Permission check failed (/vms/421, VM.Audit)"),
        ("VM.Config.CDROM", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.CDROM)"),
        ("VM.Config.CPU", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.CPU)"),
        ("VM.Config.Cloudinit", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.Cloudinit)"),
        ("VM.Config.Disk", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.Disk)"),
        ("VM.Config.HWType", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.HWType)"),
        ("VM.Config.Memory", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.Memory)"),
        ("VM.Config.Network", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.Network)"),
        ("VM.Config.Options", "POST qemu: 403 Permission check failed (/vms/421, VM.Config.Options)"),
        ("VM.PowerMgmt", "POST /nodes/pve/qemu/421/status/start: 403 Permission check failed (/vms/421, VM.PowerMgmt)"),
        ("Pool.Audit", "GET /pools: 403 Permission check failed (/pool/blue, Pool.Audit)"),
        (
            "Datastore.AllocateSpace",
            "POST qemu: 403 Permission check failed (/storage/local-lvm, Datastore.AllocateSpace)",
        ),
        (
            "Datastore.Audit",
            "GET /nodes/pve/storage/local/content: 403 Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)",
        ),
        ("SDN.Use", "no bridge is visible"),
        ("Sys.Audit", "GET /nodes/pve/status: 403 Permission check failed (/nodes/pve, Sys.Audit)"),
    ] {
        let mut house = House::new();
        house.world.withdraw_privilege(privilege);
        assert_eq!(whole_life(&mut house), Err(refusal.to_owned()), "{privilege}");
    }
}

/// Granted for what later slices do: nothing of this slice misses them.
#[test]
fn some_privileges_are_for_later() {
    for privilege in ["VM.Clone", "VM.Snapshot", "VM.GuestAgent.Audit", "Datastore.AllocateTemplate"] {
        let mut house = House::new();
        house.world.withdraw_privilege(privilege);
        assert_eq!(whole_life(&mut house), Ok(()), "{privilege}");
    }
}

#[test]
fn permissions_are_told_by_path() {
    let mut house = House::new();
    let held = house.ask("GET", "/access/permissions", &[]).data().clone();
    assert_eq!(held["/pool/blue"]["VM.Allocate"], 1);
    assert_eq!(held["/storage/local-lvm"]["Datastore.AllocateSpace"], 1);
    assert_eq!(held["/sdn/zones/localnetwork/vmbr0"]["SDN.Use"], 1);
    assert!(held.get("/").is_none());
    let path = "/sdn/zones/localnetwork/vmbr0/7";
    assert_eq!(house.ask("GET", "/access/permissions", &[("path", path)]).data()[path]["SDN.Use"], 1);
    house
        .ask("GET", "/access/permissions", &[("userid", "root@pam")])
        .refused(403, "Permission check failed (/access, Sys.Audit)");
}

#[test]
fn a_stranger_is_invisible_and_untouchable() {
    let mut house = House::new();
    for (method, path, privilege) in [
        ("GET", "/nodes/pve/qemu/100/config", "VM.Audit"),
        ("GET", "/nodes/pve/qemu/100/status/current", "VM.Audit"),
        ("POST", "/nodes/pve/qemu/100/status/stop", "VM.PowerMgmt"),
        ("DELETE", "/nodes/pve/qemu/100", "VM.Allocate"),
        ("PUT", "/nodes/pve/qemu/100/resize", "VM.Config.Disk"),
    ] {
        let refusal = format!("Permission check failed (/vms/100, {privilege})");
        house.ask(method, path, &[]).refused(403, &refusal);
    }
    let wanted = "VM.Config.Disk|VM.Config.CDROM|VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.HWType|VM.Config.Options|VM.Config.Cloudinit";
    house
        .ask("PUT", "/nodes/pve/qemu/100/config", &[("name", "mine")])
        .refused(403, &format!("Permission check failed (/vms/100, {wanted})"));
    assert_eq!(house.ask("GET", "/nodes/pve/qemu", &[]).data().as_array().unwrap().len(), 0);
    assert!(house.world.untouched(100));
    let all = house.root().ask("GET", "/cluster/resources", &[("type", "vm")]).data().clone();
    assert_eq!(all[0]["vmid"], 100);
}

#[test]
fn the_tasks_of_others_need_the_right_to_audit_the_host() {
    let mut house = House::new();
    let upid = house.root().ask("POST", "/nodes/pve/qemu/100/status/stop", &[]).text();
    house.world.settle();
    house.castle();
    assert_eq!(house.ask("GET", "/nodes/pve/tasks", &[]).data().as_array().unwrap().len(), 1);
    house
        .ask("DELETE", &format!("/nodes/pve/tasks/{upid}"), &[])
        .refused(403, "Permission check failed (/nodes/pve, Sys.Modify)");
    house.world.withdraw_privilege("Sys.Audit");
    assert_eq!(house.ask("GET", "/nodes/pve/tasks", &[]).data().as_array().unwrap().len(), 0);
    house
        .ask("GET", &format!("/nodes/pve/tasks/{upid}/log"), &[])
        .refused(403, "Permission check failed (/nodes/pve, Sys.Audit)");
}
