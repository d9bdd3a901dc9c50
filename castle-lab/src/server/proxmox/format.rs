//! Named formats: what values must look like, and the real complaints.

use std::net::IpAddr;

use crate::hypervisor::config::{NETWORK_MODELS, PropertyString, split_list};

type Checked = Result<(), String>;

fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(allowed)
}

/// A host's name: letters and digits, dashes inside.
pub(super) fn node(text: &str) -> Checked {
    if is_label(text) { Ok(()) } else { Err("value does not look like a valid node name".to_owned()) }
}

fn is_label(text: &str) -> bool {
    all(text, |c| c.is_ascii_alphanumeric() || c == '-') && !text.starts_with('-') && !text.ends_with('-')
}

/// A DNS name.
pub(super) fn dns_name(text: &str) -> Checked {
    if !text.is_empty() && text.split('.').all(is_label) {
        Ok(())
    } else {
        Err("value does not look like a valid DNS name".to_owned())
    }
}

/// A configuration key or a snapshot's name.
pub(super) fn config_id(text: &str) -> Checked {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins && text.len() >= 2 && all(text, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        Ok(())
    } else {
        Err(format!("invalid configuration ID '{text}'"))
    }
}

/// A list of configuration keys.
pub(super) fn config_ids(text: &str) -> Checked {
    split_list(text).try_for_each(config_id)
}

/// A storage's name.
pub(super) fn storage(text: &str) -> Checked {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let ends = text.ends_with(|c: char| c.is_ascii_alphanumeric());
    if text.len() >= 2 && begins && ends && all(text, |c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        Ok(())
    } else {
        Err(format!("storage ID '{text}' contains illegal characters"))
    }
}

/// A pool's name, up to three levels.
pub(super) fn pool(text: &str) -> Checked {
    let levels: Vec<_> = text.split('/').collect();
    if levels.len() > 3 {
        return Err(format!("pool name '{text}' is nested too deeply (max levels = 3)"));
    }
    if levels.iter().all(|level| all(level, |c| c.is_ascii_alphanumeric() || "._-".contains(c))) {
        Ok(())
    } else {
        Err(format!("pool name '{text}' contains invalid characters"))
    }
}

/// A list of kinds of content.
pub(super) fn contents(text: &str) -> Checked {
    const KNOWN: [&str; 8] = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"];
    match split_list(text).find(|content| !KNOWN.contains(content)) {
        Some(unknown) => Err(format!("invalid content type '{unknown}'")),
        None => Ok(()),
    }
}

/// A list of tags.
pub(super) fn tags(text: &str) -> Checked {
    let good = |tag: &str| {
        tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && all(tag, |c| c.is_ascii_alphanumeric() || "_+.-".contains(c))
    };
    if split_list(text).all(good) { Ok(()) } else { Err("invalid characters in tag".to_owned()) }
}

/// A list of addresses.
pub(super) fn addresses(text: &str) -> Checked {
    match split_list(text).find(|address| address.parse::<IpAddr>().is_err()) {
        Some(_) => Err("value does not look like a valid IP address".to_owned()),
        None => Ok(()),
    }
}

/// A unicast hardware address.
fn hardware_address(text: &str) -> Checked {
    let pairs: Vec<_> = text.split(':').collect();
    let bytes: Vec<_> = pairs.iter().filter(|pair| pair.len() == 2).map(|pair| u8::from_str_radix(pair, 16)).collect();
    match bytes.as_slice() {
        [Ok(first), rest @ ..] if pairs.len() == 6 && rest.len() == 5 && rest.iter().all(Result::is_ok) => {
            if first & 1 == 0 {
                return Ok(());
            }
            Err("value does not look like a valid unicast MAC address".to_owned())
        }
        _ => Err("value does not look like a valid unicast MAC address".to_owned()),
    }
}

fn wrong(property: &str, complaint: &str) -> String {
    format!("format error\n{property}: {complaint}\n")
}

const NOT_DEFINED: &str = "property is not defined in schema and the schema does not allow additional properties";
const MISSING: &str = "property is missing and it is not optional";

/// Checks the keys of a property string against the known ones.
fn known_keys(value: &PropertyString, known: &[&str]) -> Checked {
    match value.iter().find(|(key, _)| !known.contains(key)) {
        Some((key, _)) => Err(wrong(key, NOT_DEFINED)),
        None => Ok(()),
    }
}

/// A network card.
pub(super) fn network_card(text: &str) -> Checked {
    const KNOWN: [&str; 9] = ["bridge", "firewall", "link_down", "macaddr", "model", "mtu", "queues", "rate", "tag"];
    let value = PropertyString::parse(text);
    let (model, mac) = crate::hypervisor::config::network_card(text);
    let Some(model) = model else { return Err(wrong("model", MISSING)) };
    if !NETWORK_MODELS.contains(&model.as_str()) {
        let complaint =
            format!("value '{model}' does not have a value in the enumeration '{}'", NETWORK_MODELS.join(", "));
        return Err(wrong("model", &complaint));
    }
    let known: Vec<&str> = KNOWN.iter().copied().chain([model.as_str(), "trunks"]).collect();
    known_keys(&value, &known)?;
    if let Some(mac) = mac {
        hardware_address(&mac).map_err(|complaint| wrong("macaddr", &format!("invalid format - {complaint}")))?;
    }
    if let Some(tag) = value.get("tag") {
        let in_range = tag.parse::<u32>().is_ok_and(|tag| (1..=4094).contains(&tag));
        if !in_range {
            return Err(wrong("tag", &format!("type check ('integer') failed - got '{tag}'")));
        }
    }
    if let Some(bridge) =
        value.get("bridge").filter(|bridge| !all(bridge, |c| c.is_alphanumeric() || "-_.".contains(c)))
    {
        return Err(wrong("bridge", &format!("invalid format - invalid bridge ID '{bridge}'")));
    }
    Ok(())
}

/// A drive.
pub(super) fn drive(text: &str) -> Checked {
    const KNOWN: [&str; 30] = [
        "aio",
        "backup",
        "cache",
        "detect_zeroes",
        "discard",
        "efitype",
        "file",
        "format",
        "import-from",
        "iothread",
        "media",
        "model",
        "ms-cert",
        "pre-enrolled-keys",
        "product",
        "queues",
        "replicate",
        "rerror",
        "ro",
        "scsiblock",
        "serial",
        "shared",
        "size",
        "snapshot",
        "ssd",
        "vendor",
        "version",
        "volume",
        "werror",
        "wwn",
    ];
    let value = PropertyString::parse(text);
    if value.first().is_none() {
        return Err(wrong("file", MISSING));
    }
    let limits = value.iter().find(|(key, _)| ["bps", "iops", "mbps"].iter().any(|limit| key.starts_with(limit)));
    if limits.is_none() {
        known_keys(&value, &KNOWN)?;
    }
    for switch in ["backup", "iothread", "replicate", "ro", "scsiblock", "shared", "snapshot", "ssd"] {
        if let Some(given) = value.get(switch).filter(|given| super::schema::boolean(given).is_none()) {
            return Err(wrong(switch, &format!("type check ('boolean') failed - got '{given}'")));
        }
    }
    for (key, words) in [
        ("discard", &["ignore", "on"][..]),
        ("cache", &["none", "writethrough", "writeback", "unsafe", "directsync"]),
        ("aio", &["native", "threads", "io_uring"]),
        ("media", &["cdrom", "disk"]),
        ("efitype", &["2m", "4m"]),
        ("format", &["raw", "qcow", "qed", "qcow2", "vmdk", "cloop"]),
    ] {
        if let Some(given) = value.get(key).filter(|given| !words.contains(given)) {
            let complaint = format!("value '{given}' does not have a value in the enumeration '{}'", words.join(", "));
            return Err(wrong(key, &complaint));
        }
    }
    Ok(())
}

/// A cloud-init address.
pub(super) fn ip_config(text: &str) -> Checked {
    let value = PropertyString::parse(text);
    known_keys(&value, &["gw", "gw6", "ip", "ip6"])?;
    let cidr = |text: &str, is_kind: fn(&IpAddr) -> bool, bits: u8| {
        text.split_once('/').is_some_and(|(address, prefix)| {
            address.parse().is_ok_and(|address: IpAddr| is_kind(&address))
                && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits)
        })
    };
    let good4 = |ip: &str| ["dhcp", "manual"].contains(&ip) || cidr(ip, IpAddr::is_ipv4, 32);
    if value.get("ip").is_some_and(|ip| !good4(ip)) {
        return Err(wrong("ip", "invalid format - value does not look like a valid ipv4 network configuration"));
    }
    let good6 = |ip: &str| ["auto", "dhcp", "manual"].contains(&ip) || cidr(ip, IpAddr::is_ipv6, 128);
    if value.get("ip6").is_some_and(|ip| !good6(ip)) {
        return Err(wrong("ip6", "invalid format - value does not look like a valid ipv6 network configuration"));
    }
    if let Some(gateway) = value.get("gw").filter(|gw| gw.parse::<std::net::Ipv4Addr>().is_err()) {
        return Err(wrong(
            "gw",
            &format!("invalid format - value '{gateway}' does not look like a valid IPv4 address"),
        ));
    }
    match (value.get("gw"), value.get("ip")) {
        (Some(_), None) => Err(wrong("gw", "missing property - 'gw' requires this property")),
        _ => Ok(()),
    }
}

/// What the firmware tells the guest about its machine.
pub(super) fn smbios(text: &str) -> Checked {
    let value = PropertyString::parse(text);
    let known = ["base64", "family", "manufacturer", "product", "serial", "sku", "uuid", "version"];
    known_keys(&value, &known)?;
    match value.get("uuid") {
        Some(uuid) if !is_uuid(uuid) => Err(wrong("uuid", "value does not match the regex pattern")),
        _ => Ok(()),
    }
}

/// Whether a text is a uuid with its dashes.
pub(super) fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The guest agent.
pub(super) fn agent(text: &str) -> Checked {
    let value = PropertyString::parse(text);
    let known = ["enabled", "freeze-fs", "freeze-fs-on-backup", "fstrim_cloned_disks", "guest-fsfreeze", "type"];
    known_keys(&value, &known)?;
    match value.first_or("enabled") {
        Some(enabled) if super::schema::boolean(&enabled).is_some() => Ok(()),
        Some(enabled) => Err(wrong("enabled", &format!("type check ('boolean') failed - got '{enabled}'"))),
        None => Err(wrong("enabled", MISSING)),
    }
}

/// Memory, a property string since qemu-server 8.1.
pub(super) fn memory(text: &str) -> Checked {
    let value = PropertyString::parse(text);
    known_keys(&value, &["current"])?;
    let current = value.first_or("current").unwrap_or_default();
    match current.parse::<u64>() {
        Ok(16..) => Ok(()),
        Ok(_) => Err(wrong("current", "value must have a minimum value of 16")),
        Err(_) => Err(wrong("current", &format!("type check ('integer') failed - got '{current}'"))),
    }
}

/// The order of boot devices.
pub(super) fn boot(text: &str) -> Checked {
    let value = PropertyString::parse(text);
    known_keys(&value, &["legacy", "order"])?;
    let is_device = |device: &str| {
        let indexed = |prefix: &str| device.strip_prefix(prefix).is_some_and(|n| n.parse::<u8>().is_ok());
        (crate::hypervisor::config::is_drive(device) && !["efidisk0", "tpmstate0"].contains(&device))
            || indexed("net")
            || indexed("usb")
            || indexed("hostpci")
    };
    match value.get("order").and_then(|order| split_list(order).find(|device| !is_device(device))) {
        Some(device) => Err(wrong("order", &format!("invalid format - invalid boot device '{device}'"))),
        None => Ok(()),
    }
}

/// Start and stop order.
pub(super) fn startup(text: &str) -> Checked {
    let value = PropertyString::parse(text);
    let numbers =
        value.iter().all(|(key, value)| ["down", "order", "up"].contains(&key) && value.parse::<u32>().is_ok());
    let bare = value.first().is_none_or(|order| order.parse::<u32>().is_ok());
    if numbers && bare { Ok(()) } else { Err("unable to parse startup options".to_owned()) }
}

/// A serial port: a socket, or a real device.
pub(super) fn is_serial(text: &str) -> bool {
    text == "socket" || text.starts_with("/dev/")
}

/// A size for a resize: `40G`, `+5G`.
pub(super) fn is_resize(text: &str) -> bool {
    crate::hypervisor::storage::parse_size(text.strip_prefix('+').unwrap_or(text)).is_some()
}

/// A generation id: a uuid, `0` or `1`.
pub(super) fn is_generation_id(text: &str) -> bool {
    is_uuid(text) || ["0", "1"].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(check: fn(&str) -> Checked, text: &str, complaint: &str) {
        let error = check(text).expect_err(text);
        assert!(error.contains(complaint), "{text}: {error}");
    }

    #[test]
    fn good_values_pass() {
        for (check, text) in [
            (network_card as fn(&str) -> Checked, "virtio=BC:24:11:5E:00:11,bridge=vmbr0,tag=7"),
            (network_card, "virtio,bridge=vmbr0"),
            (drive, "local-lvm:0,import-from=local:import/talos.qcow2,discard=on,ssd=1"),
            (drive, "local-lvm:1,efitype=4m,pre-enrolled-keys=0"),
            (drive, "local-lvm:cloudinit"),
            (ip_config, "ip=192.168.1.211/24,gw=192.168.1.1"),
            (smbios, "uuid=6f1c0000-0000-5000-8000-000000000000"),
            (memory, "8192"),
            (boot, "order=scsi0;net0"),
            (agent, "enabled=1"),
            (tags, "castle;castle.c.blue;castle.r.cp"),
            (pool, "blue"),
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn bad_values_are_refused_in_the_real_words() {
        refuses(network_card, "virtio=01:24:11:5E:00:11,bridge=vmbr0", "valid unicast MAC address");
        refuses(network_card, "virtio,brigde=vmbr0", "brigde: property is not defined in schema");
        refuses(network_card, "bridge=vmbr0", "model: property is missing");
        refuses(drive, "discard=on", "file: property is missing");
        refuses(drive, "local-lvm:1,discard=maybe", "does not have a value in the enumeration 'ignore, on'");
        refuses(ip_config, "ip=192.168.1.211", "valid ipv4 network configuration");
        refuses(ip_config, "ip=dhcp,gw=here", "valid IPv4 address");
        refuses(memory, "lots", "type check ('integer') failed");
        refuses(boot, "order=efidisk0", "invalid boot device 'efidisk0'");
        refuses(dns_name, "blue_cp", "valid DNS name");
        refuses(tags, "a:b", "invalid characters in tag");
        refuses(pool, "a/b/c/d", "max levels = 3");
        refuses(config_id, "x", "invalid configuration ID 'x'");
    }
}
