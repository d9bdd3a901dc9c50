//! What would stop a birth is found beforehand, by reads, with the command.

use castle_core::{Problem, Severity};
use castle_lab::hypervisor::{MachineWish, TaskFault};
use castle_lab::{World, runtime};

use crate::house::House;

fn problems(weather: impl Fn(&mut World) + Send + Sync) -> Vec<Problem> {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        house.world(&weather);
        let guest = house.enter();
        let found = guest.preflight(house.specs()).await.expect("answers");
        assert!(house.writes(guest.run).is_empty(), "a look writes nothing");
        found
    })
}

fn check(code: &str, subject: &str, command: &str, weather: impl Fn(&mut World) + Send + Sync) {
    let found = problems(weather);
    let fits = |problem: &Problem| {
        problem.code == code
            && problem.subject == subject
            && problem.severity == Severity::Error
            && problem.hint.as_deref().is_some_and(|hint| hint.contains(command))
    };
    assert!(found.iter().any(fits), "no {code} of {subject} with `{command}` in {found:#?}");
}

#[test]
fn a_house_in_order_has_no_findings() {
    assert_eq!(problems(|_| {}), []);
}

#[test]
fn each_missing_right_is_named_with_its_path_and_command() {
    let machines = [
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
    ];
    for privilege in machines {
        let command = format!("pveum role modify CastleOperator --append 1 --privs '{privilege}'");
        check("missing-privilege", "/pool/blue", &command, |world| world.withdraw_privilege(privilege));
    }
    let acl = |path: &str, role: &str| {
        format!("pveum acl modify {path} --users 'castle@pve' --tokens 'castle@pve!main' --roles {role}")
    };
    for (privilege, path, role) in [
        ("Datastore.AllocateSpace", "/storage/local-lvm", "PVEDatastoreUser"),
        ("Datastore.Audit", "/storage/local", "PVEDatastoreUser"),
        ("SDN.Use", "/sdn/zones/localnetwork/vmbr0", "PVESDNUser"),
        ("Sys.Audit", "/nodes/pve", "PVEAuditor"),
    ] {
        check("missing-privilege", path, &acl(path, role), |world| world.withdraw_privilege(privilege));
    }
}

#[test]
fn what_is_missing_in_the_house_comes_with_its_command() {
    check(
        "image-missing",
        "local:import/talos-test.qcow2",
        "pvesh create /nodes/pve/storage/local/download-url --content import --filename talos-test.qcow2 --url \
         https://factory.example/talos-test.qcow2",
        |world| assert!(world.remove_image("pve", "local", "talos-test.qcow2")),
    );
    check("storage-full", "pve/local-lvm", "pvesm list local-lvm", |world| {
        world.fill_storage("pve", "local-lvm", true)
    });
    check("storage-offline", "pve/local-lvm", "pvesm status --storage local-lvm", |world| {
        world.set_storage_online("pve", "local-lvm", false);
    });
    check("pool-missing", "blue", "pveum pool add blue", |world| world.proxmox.pools.clear());
    check("bridge-missing", "pve/vmbr0", "network.bridge", |world| {
        world.proxmox.hosts.get_mut("pve").expect("the host").bridges.clear();
    });
}

#[test]
fn a_taken_id_is_told_as_what_takes_it() {
    check("id-taken", "blue-cp-01 (421)", "qm config 421", |world| {
        world.admin_create(MachineWish::new(421, "stranger").in_pool("blue"));
    });
    check("id-taken", "blue-cp-01 (421)", "qm config 421", |world| {
        world.admin_create(MachineWish::new(421, "hidden"));
    });
    let found = runtime::run_virtual(|| async {
        let house = House::open().await;
        house.world(|world| world.fail_task("qmcreate", None, TaskFault::Killed));
        let guest = house.enter();
        guest.ensure(&house.specs()[0]).await.expect_err("half made");
        guest.preflight(house.specs()).await.expect("answers")
    });
    let hint = found.iter().find(|problem| problem.code == "id-half-made").and_then(|problem| problem.hint.clone());
    assert!(hint.is_some_and(|hint| hint.contains("qm unlock 421")), "{found:#?}");
}
