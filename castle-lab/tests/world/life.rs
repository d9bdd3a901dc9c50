//! Birth and death, step by step, with what each moment shows.

use serde_json::json;

use crate::house::{House, IMAGE, uuid_of};

#[test]
fn a_birth_shows_a_stub_first_and_everything_at_once_afterwards() {
    let mut house = House::new();
    let upid = house.create(421).text();
    assert!(upid.starts_with("UPID:pve:") && upid.ends_with(":qmcreate:421:castle@pve!main:"), "{upid}");
    assert_eq!(upid.split(':').count(), 9);
    house.wait(0.05);

    // The reservation holds, and nobody without rights on /vms sees what it holds.
    house.create(421).refused(500, "unable to create VM 421 - VM 421 already exists on node 'pve'");
    let taken = house.ask("GET", "/cluster/nextid", &[("vmid", "421")]);
    taken.refused(400, "Parameter verification failed.");
    assert_eq!(taken.body["errors"]["vmid"], "VM 421 already exists");
    house.ask("GET", "/nodes/pve/qemu/421/config", &[]).refused(403, "Permission check failed (/vms/421, VM.Audit)");
    assert_eq!(*house.ask("GET", "/cluster/resources", &[("type", "vm")]).data(), json!([]));
    let stub = house.root().ask("GET", "/nodes/pve/qemu/421/config", &[]);
    assert_eq!(stub.data()["lock"], "create");
    assert_eq!(stub.data().as_object().unwrap().len(), 2, "lock and digest, nothing else: {stub:?}");
    let running = house.castle().ask("GET", "/nodes/pve/tasks", &[("source", "active"), ("vmid", "421")]);
    assert_eq!(running.data()[0]["upid"], json!(upid));
    assert_eq!(running.data()[0]["status"], "RUNNING");

    assert_eq!(house.exit(&upid), "OK");
    let log = house.task_log(&upid);
    assert_eq!(log.last().unwrap(), "TASK OK");
    assert!(log[0].starts_with("efidisk0: successfully created disk 'local-lvm:vm-421-disk-0,"), "{log:?}");

    let config = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    for (key, expected) in [
        ("name", json!("blue-421")),
        ("cores", json!(4)),
        ("memory", json!("8192")),
        ("balloon", json!(0)),
        ("protection", json!(1)),
        ("tags", json!("castle;castle.c.blue;castle.r.cp")),
        ("smbios1", json!(uuid_of(421))),
        ("description", json!("castle/1 project=blue")),
        ("net0", json!("virtio=BC:24:11:00:00:01,bridge=vmbr0")),
        ("efidisk0", json!("local-lvm:vm-421-disk-0,efitype=4m,pre-enrolled-keys=0,size=4M")),
        ("ide2", json!("local-lvm:vm-421-cloudinit,media=cdrom")),
        ("scsi0", json!("local-lvm:vm-421-disk-1,discard=on,size=1246M")),
    ] {
        assert_eq!(config[key], expected, "{key}");
    }
    assert!(config.get("lock").is_none());
    assert!(config["meta"].as_str().unwrap().starts_with("creation-qemu="));
    assert_eq!(config["vmgenid"].as_str().unwrap().len(), 36);
    assert_eq!(config["digest"].as_str().unwrap().len(), 40);

    let resources = house.ask("GET", "/cluster/resources", &[("type", "vm")]).data().clone();
    assert_eq!(resources[0]["pool"], "blue");
    let members = house.ask("GET", "/pools", &[("poolid", "blue")]).data()[0]["members"].clone();
    assert_eq!(members[0]["vmid"], 421);
    house.is_tidy();
}

#[test]
fn a_machine_grows_starts_and_dies_without_a_trace() {
    let mut house = House::new();
    house.born(421);

    let resize = |house: &mut House, size: &str| {
        let upid = house.ask("PUT", "/nodes/pve/qemu/421/resize", &[("disk", "scsi0"), ("size", size)]).text();
        house.exit(&upid)
    };
    assert_eq!(resize(&mut house, "40G"), "OK");
    assert_eq!(resize(&mut house, "40G"), "OK", "an equal size is no change");
    assert_eq!(resize(&mut house, "30G"), "shrinking disks is not supported");
    let config = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    assert_eq!(config["scsi0"], "local-lvm:vm-421-disk-1,discard=on,size=40G");

    let start = house.ask("POST", "/nodes/pve/qemu/421/status/start", &[]).text();
    house.wait(0.1);
    let status = |house: &mut House| house.ask("GET", "/nodes/pve/qemu/421/status/current", &[]).data().clone();
    assert_eq!(status(&mut house)["status"], "stopped", "QEMU is not up yet");
    assert_eq!(house.exit(&start), "OK");
    assert_eq!(status(&mut house)["status"], "running");
    assert_eq!(status(&mut house)["maxdisk"], json!(40_u64 << 30));
    let again = house.ask("POST", "/nodes/pve/qemu/421/status/start", &[]).text();
    assert_eq!(house.exit(&again), "VM 421 already running");

    house.ask("DELETE", "/nodes/pve/qemu/421", &[]).refused(500, "VM 421 is running - destroy failed");
    let stop = house.ask("POST", "/nodes/pve/qemu/421/status/stop", &[("overrule-shutdown", "1")]).text();
    assert_eq!(house.exit(&stop), "OK");
    let twice = house.ask("POST", "/nodes/pve/qemu/421/status/stop", &[]).text();
    assert_eq!(house.exit(&twice), "OK", "a stop of a stopped machine is no error");

    let digest = |house: &mut House| {
        house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data()["digest"].as_str().unwrap().to_owned()
    };
    let old = digest(&mut house);
    house.ask("PUT", "/nodes/pve/qemu/421/config", &[("protection", "1"), ("digest", &old)]).data();
    house
        .ask("DELETE", "/nodes/pve/qemu/421/", &[("purge", "1")])
        .refused(500, "can't remove VM 421 - protection mode enabled");
    house
        .ask("PUT", "/nodes/pve/qemu/421/config", &[("protection", "0"), ("digest", &old)])
        .refused(500, "checksum mismatch (file change by other user?)");
    let fresh = digest(&mut house);
    house.ask("PUT", "/nodes/pve/qemu/421/config", &[("protection", "0"), ("digest", &fresh)]).data();

    let destroy =
        house.ask("DELETE", "/nodes/pve/qemu/421/", &[("purge", "1"), ("destroy-unreferenced-disks", "0")]).text();
    assert_eq!(house.exit(&destroy), "OK");
    house.ask("GET", "/nodes/pve/qemu/421/config", &[]).refused(403, "Permission check failed (/vms/421, VM.Audit)");
    assert_eq!(house.ask("GET", "/cluster/nextid", &[("vmid", "421")]).text(), "421");
    assert!(house.world.machines_of_castle().is_empty());
    house.is_tidy();
}

#[test]
fn a_removal_passes_the_grave_before_the_number_is_free() {
    let mut house = House::new();
    house.born(421);
    // The last volume stays busy for a while after the others went.
    house.world.occupy_storage("pve", "local-lvm", std::time::Duration::from_secs(5));
    house.ask("DELETE", "/nodes/pve/qemu/421", &[]).text();
    house.wait(4.9);
    assert!(house.world.proxmox.vms.contains_key(&421));
    house.world.settle();
    assert!(!house.world.proxmox.vms.contains_key(&421));
    house.is_tidy();
}

#[test]
fn missing_addresses_and_ids_are_generated() {
    let mut house = House::new();
    let upid = house.create_with(421, &[("net0", "virtio,bridge=vmbr0,tag=7"), ("smbios1", ""), ("boot", "")]).text();
    assert_eq!(house.exit(&upid), "OK");
    let config = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    let card = config["net0"].as_str().unwrap();
    assert!(card.starts_with("virtio=BC:24:11:") && card.ends_with(",bridge=vmbr0,tag=7"), "{card}");
    assert!(config["smbios1"].as_str().unwrap().starts_with("uuid="));
    assert_eq!(config["boot"], "order=scsi0");
}

#[test]
fn a_change_of_a_running_machine_waits_for_its_cold_start() {
    let mut house = House::new();
    house.running(421);
    house.ask("PUT", "/nodes/pve/qemu/421/config", &[("cores", "8"), ("name", "renamed"), ("tags", "B;a")]).data();
    let current = house.ask("GET", "/nodes/pve/qemu/421/config", &[("current", "1")]).data().clone();
    assert_eq!((&current["cores"], &current["name"], &current["tags"]), (&json!(4), &json!("renamed"), &json!("a;b")));
    assert_eq!(house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data()["cores"], 8);
    let stop = house.ask("POST", "/nodes/pve/qemu/421/status/stop", &[]).text();
    assert_eq!(house.exit(&stop), "OK");
    assert_eq!(house.ask("GET", "/nodes/pve/qemu/421/config", &[("current", "1")]).data()["cores"], 8);
}

#[test]
fn keys_are_deleted_and_cards_get_new_addresses() {
    let mut house = House::new();
    house.born(421);
    house
        .ask("PUT", "/nodes/pve/qemu/421/config", &[("delete", "onboot,description"), ("net0", "virtio,bridge=vmbr0")])
        .data();
    let config = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    assert!(config.get("onboot").is_none() && config.get("description").is_none());
    assert_ne!(config["net0"], "virtio=BC:24:11:00:01:A5,bridge=vmbr0");
}

#[test]
fn start_with_the_create_is_a_second_task() {
    let mut house = House::new();
    let upid = house.create_with(421, &[("start", "1")]).text();
    assert_eq!(house.exit(&upid), "OK");
    let tasks = house.ask("GET", "/nodes/pve/tasks", &[("vmid", "421"), ("typefilter", "qmstart")]);
    assert_eq!(tasks.data().as_array().unwrap().len(), 1);
    assert_eq!(house.ask("GET", "/nodes/pve/qemu/421/status/current", &[]).data()["status"], "running");
}

#[test]
fn a_shutdown_ends_by_itself_by_force_or_not_at_all() {
    let mut house = House::new();
    house.running(421);
    house.world.proxmox.vms.get_mut(&421).unwrap().answers_acpi = false;
    let path = "/nodes/pve/qemu/421/status/shutdown";
    let deaf = house.ask("POST", path, &[("timeout", "20")]).text();
    assert_eq!(house.exit(&deaf), "VM quit/powerdown failed - got timeout");
    let forced = house.ask("POST", path, &[("timeout", "20"), ("forceStop", "1")]).text();
    assert_eq!(house.exit(&forced), "OK");
    let status = house.ask("GET", "/nodes/pve/qemu/421/status/current", &[]);
    assert_eq!(status.data()["status"], "stopped");
}

#[test]
fn a_hanging_shutdown_is_overruled() {
    let mut house = House::new();
    house.running(421);
    house.world.proxmox.vms.get_mut(&421).unwrap().answers_acpi = false;
    let hanging = house.ask("POST", "/nodes/pve/qemu/421/status/shutdown", &[("timeout", "600")]).text();
    house.wait(1.0);
    let blocked = house.ask("POST", "/nodes/pve/qemu/421/status/stop", &[]).text();
    house.wait(11.0);
    let status = house.ask("GET", &format!("/nodes/pve/tasks/{blocked}/status"), &[]);
    assert_eq!(status.data()["exitstatus"], "can't lock file '/var/lock/qemu-server/lock-421.conf' - got timeout");
    let stop = house.ask("POST", "/nodes/pve/qemu/421/status/stop", &[("overrule-shutdown", "1")]).text();
    assert_eq!(house.exit(&stop), "OK");
    assert_eq!(house.exit(&hanging), "interrupted by signal");
}

#[test]
fn hosts_storages_and_images_are_found() {
    let mut house = House::new();
    let nodes = house.ask("GET", "/nodes", &[]).data().clone();
    assert_eq!((&nodes[0]["node"], &nodes[0]["status"]), (&json!("pve"), &json!("online")));
    let memory = house.ask("GET", "/nodes/pve/status", &[]).data()["memory"]["total"].as_u64().unwrap();
    assert!((33_500_000_000..33_600_000_000).contains(&memory), "{memory}");
    let bridges = house.ask("GET", "/nodes/pve/network", &[("type", "any_bridge")]).data().clone();
    assert_eq!((&bridges[0]["iface"], &bridges[0]["cidr"]), (&json!("vmbr0"), &json!("192.168.1.10/24")));
    let storages = house.ask("GET", "/nodes/pve/storage", &[]).data().clone();
    let names: Vec<_> = storages.as_array().unwrap().iter().map(|storage| storage["storage"].clone()).collect();
    assert_eq!(names, ["local", "local-lvm"]);
    let images = house.ask("GET", "/nodes/pve/storage/local/content", &[("content", "import")]).data().clone();
    assert_eq!(images[0]["volid"], format!("local:import/{IMAGE}"));
    let status = house.ask("GET", "/nodes/pve/storage/local-lvm/status", &[]).data().clone();
    assert_eq!((&status["type"], &status["active"]), (&json!("lvmthin"), &json!(1)));
}

/// The one thing that least privilege cannot do: pve-storage judges the volumes
/// of a machine by the rights on the machine, and a dead one is in no pool.
#[test]
fn a_pool_token_does_not_see_what_a_dead_machine_left() {
    let mut house = House::new();
    house.born(421);
    let content = |house: &mut House| {
        let list = house.ask("GET", "/nodes/pve/storage/local-lvm/content", &[("vmid", "421")]);
        list.data().as_array().unwrap().len()
    };
    assert_eq!(content(&mut house), 3);
    let destroy = house.ask("DELETE", "/nodes/pve/qemu/421", &[]).text();
    assert_eq!(house.exit(&destroy), "OK");
    house.world.admin_leave_volume("pve", "local-lvm", 421);
    assert_eq!(content(&mut house), 0);
    assert_eq!(content(house.root()), 1);
    assert_eq!(house.world.leftovers(), ["volume local-lvm:vm-421-disk-0 on pve: VM 421 does not exist"]);
}
