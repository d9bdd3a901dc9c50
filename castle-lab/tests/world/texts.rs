//! The error texts that clients match on, each from the call that says it.

use crate::house::{As, House};

const VM: &str = "/nodes/pve/qemu/421";

fn check(prepare: fn(&mut House), method: &str, path: &str, parameters: &[(&str, &str)], status: u16, text: &str) {
    let mut house = House::new();
    house.born(421);
    prepare(&mut house);
    let got = house.ask(method, path, parameters);
    assert_eq!((got.status, got.reason.as_str()), (status, text), "{method} {path} {parameters:?}: {got:?}");
    if status < 595 {
        assert_eq!(got.body["message"], format!("{text}\n"), "{method} {path}");
        assert!(got.body["data"].is_null());
    }
    assert!(got.close);
}

fn nothing(_: &mut House) {}

fn as_root(house: &mut House) {
    house.root();
}

fn locked(house: &mut House) {
    house.world.admin_lock(421, Some("backup"));
}

#[test]
fn refusals_say_what_the_real_server_says() {
    let missing = "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist";
    for (prepare, method, path, parameters, status, text) in [
        (nothing as fn(&mut House), "GET", "/nosuch", &[][..], 501, "Method 'GET /nosuch' not implemented"),
        (nothing, "POST", "/version", &[], 501, "Method 'POST /version' not implemented"),
        (nothing, "PATCH", "/version", &[], 501, "method 'PATCH' not available"),
        (as_root, "GET", "/nodes/pve/qemu/999/config", &[], 500, missing),
        (as_root, "GET", "/nodes/pve/qemu/999/status/current", &[], 500, missing),
        (as_root, "POST", "/nodes/pve/qemu/999/status/start", &[], 500, missing),
        (as_root, "DELETE", "/nodes/pve/qemu/999", &[], 500, missing),
        (nothing, "GET", "/nodes/pve/qemu/999/config", &[], 403, "Permission check failed (/vms/999, VM.Audit)"),
        (nothing, "DELETE", "/nodes/pve/qemu/999", &[], 403, "Permission check failed (/vms/999, VM.Allocate)"),
        (locked, "PUT", "/nodes/pve/qemu/421/config", &[("name", "x")], 500, "VM is locked (backup)"),
        (nothing, "PUT", "/nodes/pve/qemu/421/config", &[], 500, "no options specified"),
        (nothing, "PUT", "/nodes/pve/qemu/421/config", &[("args", "-no-hpet")], 500, "only root can set 'args' config"),
        (
            nothing,
            "PUT",
            "/nodes/pve/qemu/421/config",
            &[("name", "x"), ("digest", "0000000000000000000000000000000000000000")],
            500,
            "checksum mismatch (file change by other user?)",
        ),
        (
            nothing,
            "PUT",
            "/nodes/pve/qemu/421/config",
            &[("startup", "order=1")],
            403,
            "Permission check failed (/, Sys.Modify)",
        ),
        (
            as_root,
            "GET",
            "/nodes/pvex/qemu/421/config",
            &[],
            500,
            "hostname lookup 'pvex' failed - failed to get address info for: pvex: Name or service not known",
        ),
        (
            nothing,
            "GET",
            "/nodes/pve/storage/nosuch/content",
            &[],
            403,
            "Permission check failed (/storage/nosuch, Datastore.Audit|Datastore.AllocateSpace)",
        ),
        (as_root, "GET", "/nodes/pve/storage/nosuch/content", &[], 500, "storage 'nosuch' does not exist"),
        (as_root, "GET", "/pools", &[("poolid", "nosuch")], 500, "pool 'nosuch' does not exist"),
    ] {
        check(prepare, method, path, parameters, status, text);
    }
}

#[test]
fn fields_are_refused_all_at_once_and_in_the_real_words() {
    let mut house = House::new();
    let got = house
        .create_with(421, &[("cores", "many"), ("bios", "efi"), ("net0", "virtio,brigde=vmbr0"), ("frobnicate", "1")]);
    got.refused(400, "Parameter verification failed.");
    let errors = &got.body["errors"];
    assert_eq!(errors["cores"], "type check ('integer') failed - got 'many'");
    assert_eq!(errors["bios"], "value 'efi' does not have a value in the enumeration 'seabios, ovmf'");
    assert!(
        errors["net0"].as_str().unwrap().starts_with("invalid format - format error\nbrigde: property is not defined")
    );
    assert_eq!(
        errors["frobnicate"],
        "property is not defined in schema and the schema does not allow additional properties"
    );
    assert_eq!(errors.as_object().unwrap().len(), 4);
    assert!(!house.world.proxmox.vms.contains_key(&421));

    for (parameters, field, complaint) in [
        (&[("vmid", "99")][..], "vmid", "value must have a minimum value of 100"),
        (&[("vmid", "x")], "vmid", "type check ('integer') failed - got 'x'"),
    ] {
        let got = house.ask("GET", "/cluster/nextid", parameters);
        got.refused(400, "Parameter verification failed.");
        assert_eq!(got.body["errors"][field], complaint);
    }
    let missing = house.ask("POST", "/nodes/pve/qemu", &[("name", "x")]);
    assert_eq!(missing.body["errors"]["vmid"], "property is missing and it is not optional");
    let contradiction = house.ask("PUT", "/nodes/pve/qemu/421/config", &[("vmid", "422"), ("name", "x")]);
    assert_eq!(contradiction.body["errors"]["vmid"], "duplicate parameter (already defined in URI)");
    let skiplock = {
        house.born(421);
        house.ask("DELETE", VM, &[("skiplock", "1")])
    };
    assert_eq!(skiplock.body["errors"]["skiplock"], "Only root may use this option.");
}

#[test]
fn tasks_are_known_by_their_exact_id() {
    let mut house = House::new();
    house.born(421);
    for (upid, complaint) in [
        ("nonsense", "unable to parse worker upid"),
        ("UPID:pve:0003B001:01A20000:69200000:qmcreate:421:castle@pve!main", "unable to parse worker upid"),
        ("UPID:pve:00030000:01A20000:69200000:qmcreate:421:castle@pve!main:", "no such task"),
    ] {
        let got = house.ask("GET", &format!("/nodes/pve/tasks/{upid}/status"), &[]);
        got.refused(400, "Parameter verification failed.");
        assert_eq!(got.body["errors"]["upid"], complaint, "{upid}");
    }
    // The UPID may stand in the path raw or percent-encoded.
    let upid = house.ask("GET", "/nodes/pve/tasks", &[]).data()[0]["upid"].as_str().unwrap().to_owned();
    let encoded = upid.replace(':', "%3A").replace('@', "%40").replace('!', "%21");
    for spelling in [upid, encoded] {
        let status = house.ask("GET", &format!("/nodes/pve/tasks/{spelling}/status"), &[]);
        assert_eq!((&status.data()["user"], &status.data()["tokenid"]), (&"castle@pve".into(), &"main".into()));
    }
}

#[test]
fn a_create_is_refused_for_what_it_names() {
    for (changes, status, text) in [
        (&[("pool", "nosuch")][..], 403, "Permission check failed (pool 'nosuch' does not exist)"),
        (&[("pool", "")], 403, "Permission check failed"),
        (&[("scsi0", "nosuch:8")], 403, "Permission check failed (/storage/nosuch, Datastore.AllocateSpace)"),
        (&[("scsi0", "local:8")], 403, "Permission check failed (/storage/local, Datastore.AllocateSpace)"),
        (&[("net0", "virtio,bridge=vmbr9")], 403, "Permission check failed (/sdn/zones/localnetwork/vmbr9, SDN.Use)"),
        (&[("scsi0", "8")], 500, "no storage ID specified (and no default storage)"),
        (&[("scsi0", "local-lvm:0,import-from=/srv/talos.raw")], 500, "Only root can pass arbitrary filesystem paths."),
        (&[("serial0", "/dev/ttyS0")], 500, "only root can set 'serial0' config for real devices"),
        (&[("vmgenid", "1")], 500, "only root can set 'vmgenid' config"),
        (&[("vmid", "100")], 500, "unable to create VM 100 - VM 100 already exists on node 'pve'"),
    ] {
        let mut house = House::new();
        house.create_with(421, changes).refused(status, text);
        assert_eq!(house.world.proxmox.vms.keys().copied().collect::<Vec<_>>(), [100], "{changes:?}");
    }
    let mut house = House::new();
    let got = house.root().create_with(421, &[("scsi0", "local:8")]);
    assert_eq!(got.body["errors"]["storage"], "storage 'local' does not support vm images");
    house.world.proxmox.storages.get_mut(&("pve".into(), "local-lvm".into())).unwrap().enabled = false;
    house.create(421).refused(500, "storage 'local-lvm' is disabled");
}

#[test]
fn nobody_learns_nothing() {
    let mut house = House::new();
    house.who = As::Nobody;
    let got = house.ask("GET", "/version", &[]);
    got.refused(401, "No ticket");
    assert_eq!((got.penalty.as_secs(), got.body.is_null()), (3, true));
}
