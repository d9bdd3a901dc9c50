//! The keys of a machine's configuration: their kinds, and the privilege that
//! each of them needs.

use super::format;
use super::schema::{Kind, Parameter};

use Parameter as P;

const LOCKS: Kind = Kind::Word(&[
    "backup",
    "clone",
    "create",
    "migrate",
    "rollback",
    "snapshot",
    "snapshot-delete",
    "suspending",
    "suspended",
]);
const OS_TYPES: Kind = Kind::Word(&[
    "other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris",
]);
const SCSI_CONTROLLERS: Kind =
    Kind::Word(&["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"]);

/// Every key.
pub(super) const SETTINGS: [Parameter; 71] = [
    P::optional("acpi", Kind::Boolean),
    P::optional("affinity", Kind::TEXT),
    P::optional("agent", Kind::Format(format::agent)),
    P::optional("allow-ksm", Kind::Boolean),
    P::optional("arch", Kind::Word(&["x86_64", "aarch64"])),
    P::optional("args", Kind::TEXT),
    P::optional("audio0", Kind::TEXT),
    P::optional("autostart", Kind::Boolean),
    P::optional("balloon", Kind::from(0)),
    P::optional("bios", Kind::Word(&["seabios", "ovmf"])),
    P::optional("boot", Kind::Format(format::boot)),
    P::optional("cicustom", Kind::TEXT),
    P::optional("cipassword", Kind::TEXT),
    P::optional("citype", Kind::Word(&["configdrive2", "nocloud", "opennebula"])),
    P::optional("ciupgrade", Kind::Boolean),
    P::optional("ciuser", Kind::TEXT),
    P::optional("cores", Kind::from(1)),
    P::optional("cpu", Kind::TEXT),
    P::optional("cpulimit", Kind::Number { maximum: Some(128.0) }),
    P::optional("cpuunits", Kind::within(1, 262_144)),
    P::optional("description", Kind::Text { length: Some(8192) }),
    P::optional("efidisk0", Kind::Format(format::drive)),
    P::optional("freeze", Kind::Boolean),
    P::optional("hookscript", Kind::TEXT),
    P::family("hostpci", 16, Kind::TEXT),
    P::optional("hotplug", Kind::TEXT),
    P::optional("hugepages", Kind::Word(&["any", "2", "1024"])),
    P::family("ide", 4, Kind::Format(format::drive)),
    P::family("ipconfig", 32, Kind::Format(format::ip_config)),
    P::optional("ivshmem", Kind::TEXT),
    P::optional("keephugepages", Kind::Boolean),
    P::optional("keyboard", Kind::TEXT),
    P::optional("kvm", Kind::Boolean),
    P::optional("localtime", Kind::Boolean),
    P::optional("lock", LOCKS),
    P::optional("machine", Kind::TEXT),
    P::optional("memory", Kind::Format(format::memory)),
    P::optional("migrate_downtime", Kind::Number { maximum: None }),
    P::optional("migrate_speed", Kind::from(0)),
    P::optional("name", Kind::Format(format::dns_name)),
    P::optional("nameserver", Kind::Format(format::addresses)),
    P::family("net", 32, Kind::Format(format::network_card)),
    P::optional("numa", Kind::Boolean),
    P::family("numa", 8, Kind::TEXT),
    P::optional("onboot", Kind::Boolean),
    P::optional("ostype", OS_TYPES),
    P::optional("protection", Kind::Boolean),
    P::optional("reboot", Kind::Boolean),
    P::optional("rng0", Kind::TEXT),
    P::family("sata", 6, Kind::Format(format::drive)),
    P::family("scsi", 31, Kind::Format(format::drive)),
    P::optional("scsihw", SCSI_CONTROLLERS),
    P::optional("searchdomain", Kind::TEXT),
    P::family("serial", 4, Kind::Pattern(format::is_serial)),
    P::optional("shares", Kind::within(0, 50_000)),
    P::optional("smbios1", Kind::ShortFormat(512, format::smbios)),
    P::optional("sockets", Kind::from(1)),
    P::optional("sshkeys", Kind::TEXT),
    P::optional("startup", Kind::Format(format::startup)),
    P::optional("tablet", Kind::Boolean),
    P::optional("tags", Kind::Format(format::tags)),
    P::optional("tdf", Kind::Boolean),
    P::optional("template", Kind::Boolean),
    P::optional("tpmstate0", Kind::Format(format::drive)),
    P::family("usb", 14, Kind::TEXT),
    P::optional("vcpus", Kind::from(1)),
    P::optional("vga", Kind::TEXT),
    P::family("virtio", 16, Kind::Format(format::drive)),
    P::optional("vmgenid", Kind::Pattern(format::is_generation_id)),
    P::optional("vmstatestorage", Kind::Format(format::storage)),
    P::optional("watchdog", Kind::TEXT),
];

/// The setting that a key belongs to.
pub(super) fn of(key: &str) -> Option<&'static Parameter> {
    SETTINGS.iter().find(|setting| setting.covers(key))
}

/// What a key needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// All of these.
    All(&'static [&'static str]),
    /// One of these.
    Any(&'static [&'static str]),
    /// To be root, with a ticket.
    Root,
}

/// The privilege that writing a key needs, on the machine or on its pool. Drives
/// depend on their value: `placement` knows them.
pub(super) fn need(key: &str, value: &str) -> Need {
    let family = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match key {
        "cores" | "cpu" | "cpulimit" | "cpuunits" | "numa" | "sockets" | "vcpus" => Need::All(&["VM.Config.CPU"]),
        "memory" | "balloon" | "shares" => Need::All(&["VM.Config.Memory"]),
        "acpi" | "audio0" | "hotplug" | "kvm" | "machine" | "rng0" | "scsihw" | "smbios1" | "tablet" | "vga"
        | "watchdog" => Need::All(&["VM.Config.HWType"]),
        "agent" | "autostart" | "bios" | "description" | "keyboard" | "localtime" | "migrate_downtime"
        | "migrate_speed" | "name" | "onboot" | "ostype" | "protection" | "reboot" | "startup" | "tags" | "tdf"
        | "template" => Need::All(&["VM.Config.Options"]),
        "freeze" => Need::All(&["VM.PowerMgmt"]),
        "boot" | "vmstatestorage" => Need::All(&["VM.Config.Disk"]),
        "cicustom" | "cipassword" | "citype" | "ciuser" | "ciupgrade" | "nameserver" | "searchdomain" | "sshkeys" => {
            Need::Any(&["VM.Config.Cloudinit", "VM.Config.Network"])
        }
        _ => match family {
            "numa" => Need::All(&["VM.Config.CPU"]),
            "net" => Need::All(&["VM.Config.Network"]),
            "ipconfig" => Need::Any(&["VM.Config.Cloudinit", "VM.Config.Network"]),
            "serial" if value == "socket" => Need::All(&["VM.Config.HWType"]),
            _ => Need::Root,
        },
    }
}
