//! The rights that castle needs, and the commands that grant what is missing.

use std::collections::{BTreeMap, BTreeSet};

use castle_core::{MachineSpec, Problem};

use crate::wire::Permissions;

/// The role that castle's machines need, on their pool.
const MACHINES: &[&str] = &[
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

/// What a path needs, and the role that grants it.
struct Need {
    privileges: &'static [&'static str],
    /// A role that Proxmox brings along, or castle's own.
    role: &'static str,
    what_for: &'static str,
}

/// The role that the administrator makes for castle.
const OWN_ROLE: &str = "CastleOperator";

const POOL: Need = Need { privileges: MACHINES, role: OWN_ROLE, what_for: "its machines" };
const DISKS: Need =
    Need { privileges: &["Datastore.AllocateSpace", "Datastore.Audit"], role: "PVEDatastoreUser", what_for: "disks" };
const IMAGES: Need = Need { privileges: &["Datastore.Audit"], role: "PVEDatastoreUser", what_for: "the image" };
const BRIDGE: Need = Need { privileges: &["SDN.Use"], role: "PVESDNUser", what_for: "network cards" };
const HOST: Need = Need { privileges: &["Sys.Audit"], role: "PVEAuditor", what_for: "the host's capacity" };

/// The effective rights of the token.
#[derive(Debug)]
pub(crate) struct Rights(BTreeMap<String, BTreeMap<String, bool>>);

impl Rights {
    pub(crate) fn read(permissions: Permissions) -> Self {
        let privileges = |map: BTreeMap<String, crate::wire::Scalar>| {
            map.into_iter().map(|(privilege, reach)| (privilege, reach.0.as_deref() == Some("1"))).collect()
        };
        Self(permissions.into_iter().map(|(path, map)| (path, privileges(map))).collect())
    }

    /// Whether the token has a privilege on a path. A path that is not listed has
    /// what the nearest listed one above it hands down.
    pub(crate) fn has(&self, path: &str, privilege: &str) -> bool {
        if let Some(here) = self.0.get(path) {
            return here.contains_key(privilege);
        }
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            let parent = if parent.is_empty() { "/" } else { parent };
            if let Some(there) = self.0.get(parent) {
                return there.get(privilege) == Some(&true);
            }
            if parent == "/" {
                return false;
            }
            above = parent;
        }
        false
    }
}

/// The path that rights on a bridge are checked on.
pub(crate) fn bridge_path(spec: &MachineSpec) -> String {
    let zone = format!("/sdn/zones/localnetwork/{}", spec.nic.bridge);
    spec.nic.vlan.map_or_else(|| zone.clone(), |tag| format!("{zone}/{tag}"))
}

/// Every right that is missing for `specs`, with the command that grants it to
/// the token and to its user: a token has at most the rights of its user.
pub(crate) fn missing(rights: &Rights, specs: &[MachineSpec], token_id: &str) -> Vec<Problem> {
    let mut needs: BTreeMap<String, Need> = BTreeMap::new();
    for spec in specs {
        needs.insert(format!("/pool/{}", spec.pool), POOL);
        needs.entry(format!("/storage/{}", spec.image.storage)).or_insert(IMAGES);
        needs.insert(format!("/nodes/{}", spec.host), HOST);
        needs.insert(bridge_path(spec), BRIDGE);
    }
    for spec in specs {
        needs.insert(format!("/storage/{}", spec.storage), DISKS);
    }
    needs.iter().filter_map(|(path, need)| finding(rights, path, need, token_id)).collect()
}

fn finding(rights: &Rights, path: &str, need: &Need, token_id: &str) -> Option<Problem> {
    let missing: BTreeSet<&str> =
        need.privileges.iter().copied().filter(|privilege| !rights.has(path, privilege)).collect();
    if missing.is_empty() {
        return None;
    }
    let names = missing.iter().copied().collect::<Vec<_>>().join(", ");
    let user = token_id.split_once('!').map_or(token_id, |(user, _)| user);
    let acl = format!("pveum acl modify {path} --users '{user}' --tokens '{token_id}' --roles {}", need.role);
    let command = if need.role != OWN_ROLE {
        acl
    } else if missing.len() == need.privileges.len() {
        format!("pveum role add {OWN_ROLE} --privs '{}'; {acl}", need.privileges.join(" "))
    } else {
        let append = missing.iter().copied().collect::<Vec<_>>().join(" ");
        format!("pveum role modify {OWN_ROLE} --append 1 --privs '{append}'")
    };
    let message = format!("the token {token_id} lacks {names}, needed for {}", need.what_for);
    Some(Problem::error("missing-privilege", path, message).hint(format!("`{command}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(json: &str) -> Rights {
        Rights::read(serde_json::from_str(json).expect(json))
    }

    #[test]
    fn rights_are_handed_down_unless_a_nearer_path_speaks() {
        let rights = rights(
            r#"{"/":{"Sys.Audit":1,"Local.Only":0},"/pool/castle":{"VM.Audit":"1"},"/storage":{"Datastore.Audit":1}}"#,
        );
        for (path, privilege, expected) in [
            ("/", "Local.Only", true),
            ("/nodes/pve", "Sys.Audit", true),
            ("/nodes/pve", "Local.Only", false),
            ("/pool/castle", "VM.Audit", true),
            ("/pool/castle", "Sys.Audit", false),
            ("/storage/local-lvm", "Datastore.Audit", true),
            ("/storage/local-lvm", "Sys.Audit", false),
        ] {
            assert_eq!(rights.has(path, privilege), expected, "{path} {privilege}");
        }
        assert!(!Rights(BTreeMap::new()).has("/pool/castle", "VM.Audit"));
    }

    #[test]
    fn a_missing_right_comes_with_its_command() {
        let none = rights("{}");
        let text = |rights: &Rights, path, need: &Need| finding(rights, path, need, "castle@pve!main");
        let found = text(&none, "/storage/local", &DISKS).expect("a finding");
        assert_eq!(
            found.hint.as_deref(),
            Some(
                "`pveum acl modify /storage/local --users 'castle@pve' --tokens 'castle@pve!main' --roles \
                 PVEDatastoreUser`"
            )
        );
        let all_but_one = MACHINES[1..].iter().map(|one| format!("\"{one}\":1")).collect::<Vec<_>>().join(",");
        let rights = rights(&format!("{{\"/pool/castle\":{{{all_but_one}}}}}"));
        let found = text(&rights, "/pool/castle", &POOL).expect("a finding");
        assert_eq!(found.message, "the token castle@pve!main lacks Pool.Audit, needed for its machines");
        assert_eq!(found.hint.as_deref(), Some("`pveum role modify CastleOperator --append 1 --privs 'Pool.Audit'`"));
    }
}
