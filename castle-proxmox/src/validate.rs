//! What can be told to be wrong with a declaration without asking anybody.

use castle_core::{ByteSize, MachineSpec, Problem};

/// Judges one machine's declaration.
pub(crate) fn problems(spec: &MachineSpec) -> Vec<Problem> {
    let node = spec.node.as_str();
    let mut found = Vec::new();
    let mut refuse = |code, what: &str, message: String, hint: &str| {
        found.push(Problem::error(code, format!("{node}.{what}"), message).hint(hint));
    };
    for (what, id) in [("storage", &spec.storage), ("image.storage", &spec.image.storage)] {
        if !is_storage_id(id) {
            let message = format!("`{id}` cannot be the name of a storage");
            refuse("storage-name", what, message, "use a name that `pvesm status` shows");
        }
    }
    if !is_pool_id(&spec.pool) {
        let message = format!("`{}` cannot be the name of a pool", spec.pool);
        refuse("pool-name", "pool", message, "use letters, digits, `.`, `_` and `-`, beginning with a letter");
    }
    if !is_bridge_id(&spec.nic.bridge) {
        let message = format!("`{}` cannot be the name of a bridge", spec.nic.bridge);
        refuse("bridge-name", "bridge", message, "use a name such as `vmbr0`");
    }
    if !is_image_file(&spec.image.file) {
        let message = format!("`{}` cannot be imported", spec.image.file);
        refuse("image-name", "image.file", message, "use a file that ends in .qcow2, .raw or .vmdk");
    }
    if let Some(tag) = spec.nic.vlan.filter(|tag| !(1..=4094).contains(tag)) {
        refuse("vlan", "vlan", format!("{tag} is no VLAN tag"), "use 1 to 4094");
    }
    if !(1..=512).contains(&spec.cores) {
        refuse("cores", "cores", format!("{} virtual CPUs cannot be had", spec.cores), "use 1 to 512");
    }
    if spec.memory.as_bytes() < 16 << 20 {
        refuse("memory", "memory", format!("{} is too little", spec.memory), "Talos needs 1GiB, 2GiB to control");
    }
    if !spec.memory.as_bytes().is_multiple_of(1 << 20) {
        refuse("memory", "memory", format!("{} is no whole number of MiB", spec.memory), "round it");
    }
    if spec.disk < ByteSize::gib_of(2) || !spec.disk.as_bytes().is_multiple_of(1 << 20) {
        let message = format!("{} is no size for a system disk", spec.disk);
        refuse("disk", "disk", message, "use whole MiB and at least 2GiB; Talos asks for 10GiB");
    }
    if spec.nic.address.is_ipv4() != spec.nic.gateway.is_ipv4() {
        let message = format!("{} and its gateway {} are of two families", spec.nic.address, spec.nic.gateway);
        refuse("address-family", "address", message, "declare both as IPv4 or both as IPv6");
    }
    found
}

fn is_storage_id(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_pool_id(text: &str) -> bool {
    let is_level = |level: &str| {
        level.starts_with(|c: char| c.is_ascii_alphabetic())
            && level.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    text.split('/').count() <= 3 && text.split('/').all(is_level)
}

fn is_bridge_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_image_file(text: &str) -> bool {
    let ending = [".qcow2", ".raw", ".vmdk"].iter().find_map(|ending| text.strip_suffix(ending));
    ending.is_some_and(|stem| {
        stem.starts_with(|c: char| c.is_ascii_alphanumeric())
            && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_out_of_their_place_are_refused() {
        for good in ["local", "local-lvm", "nfs.1_a"] {
            assert!(is_storage_id(good), "{good}");
        }
        for bad in ["", "a", "1nfs", "local:import", "a,b", "a/b", "local-"] {
            assert!(!is_storage_id(bad), "{bad}");
        }
        for (good, bad) in [("castle", "1castle"), ("a/b/c", "a/b/c/d"), ("a.b", "a b")] {
            assert!(is_pool_id(good) && !is_pool_id(bad), "{good} {bad}");
        }
        assert!(is_bridge_id("vmbr0") && !is_bridge_id("vmbr0,firewall=1") && !is_bridge_id(""));
        assert!(is_image_file("talos-376567988ad3-v1.13.9.qcow2"));
        for bad in ["talos.iso", "../talos.qcow2", "a,format=raw.qcow2", ".qcow2", "talos.qcow2.xz"] {
            assert!(!is_image_file(bad), "{bad}");
        }
    }
}
