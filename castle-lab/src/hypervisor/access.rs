//! Users, tokens, roles and access lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use castle_core::SecretText;

use super::Refusal;

/// Who asks: a user, perhaps through one of its API tokens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal {
    /// The user with its realm, `castle@pve`.
    pub user: String,
    /// The token's name, `main`.
    pub token: Option<String>,
}

impl Principal {
    /// The administrator.
    #[must_use]
    pub fn root() -> Self {
        Self { user: "root@pam".to_owned(), token: None }
    }

    /// Reads `user@realm` or `user@realm!token`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('!') {
            Some((user, token)) => Self { user: user.to_owned(), token: Some(token.to_owned()) },
            None => Self { user: text.to_owned(), token: None },
        }
    }

    /// Whether it is the administrator with a ticket: a token of his is less.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.user == "root@pam" && self.token.is_none()
    }

    /// Whether it is a token of castle's user.
    #[must_use]
    pub fn is_castle(&self) -> bool {
        self.user == CASTLE_USER && self.token.is_some()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        match &self.token {
            Some(token) => write!(f, "!{token}"),
            None => Ok(()),
        }
    }
}

/// The user that castle works as.
pub const CASTLE_USER: &str = "castle@pve";

/// Every privilege that this lab knows: what root has.
pub const PRIVILEGES: [&str; 32] = [
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Snapshot",
];

/// An API token.
#[derive(Clone)]
pub struct Token {
    /// The secret half, a uuid.
    pub secret: String,
    /// Whether it has only what its own access lists give it.
    pub separated: bool,
    /// The second since 1970 at which it ends; 0 is never.
    pub expires: u64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { separated, expires, .. } = self;
        f.debug_struct("Token").field("separated", separated).field("expires", expires).finish_non_exhaustive()
    }
}

/// One line of an access list: whom, which role, and whether it reaches below
/// its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A user or a token, `castle@pve!main`.
    pub who: String,
    /// A role.
    pub role: String,
    /// Whether paths below inherit it.
    pub propagates: bool,
}

/// Users, tokens, roles, access lists.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Users and their passwords; a user without one logs in by token only.
    pub users: BTreeMap<String, Option<SecretText>>,
    /// Tokens, by `user@realm!name`.
    pub tokens: BTreeMap<String, Token>,
    /// Roles and their privileges.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// The access lists, by path.
    pub lists: BTreeMap<String, Vec<Entry>>,
}

impl Access {
    /// Defines a role.
    pub fn define_role(&mut self, name: &str, privileges: &[&str]) {
        self.roles.insert(name.to_owned(), privileges.iter().map(|&privilege| privilege.to_owned()).collect());
    }

    /// Grants a role on a path, and below it.
    pub fn grant(&mut self, path: &str, who: &str, role: &str) {
        self.lists.entry(path.to_owned()).or_default().push(Entry {
            who: who.to_owned(),
            role: role.to_owned(),
            propagates: true,
        });
    }

    /// The privileges that one subject's own access lists give it on a path. The
    /// list nearest to the path replaces what was inherited from above.
    fn listed(&self, who: &str, path: &str) -> BTreeSet<String> {
        let mut roles: Vec<&str> = Vec::new();
        for prefix in prefixes(path) {
            let Some(list) = self.lists.get(prefix) else { continue };
            let own: Vec<&str> = list
                .iter()
                .filter(|entry| entry.who == who && (entry.propagates || prefix == path))
                .map(|entry| entry.role.as_str())
                .collect();
            if !own.is_empty() {
                roles = own;
            }
        }
        roles.iter().filter_map(|role| self.roles.get(*role)).flatten().cloned().collect()
    }

    /// What somebody may do on a path; `pool` is the pool that the object of the
    /// path belongs to, whose access lists reach its members.
    #[must_use]
    pub fn privileges(&self, who: &Principal, path: &str, pool: Option<&str>) -> BTreeSet<String> {
        let all = || PRIVILEGES.iter().map(|&privilege| privilege.to_owned()).collect::<BTreeSet<_>>();
        let of = |subject: &str| {
            if subject == "root@pam" {
                return all();
            }
            let mut held = self.listed(subject, path);
            if let Some(pool) = pool {
                held.extend(self.listed(subject, &format!("/pool/{pool}")));
            }
            held
        };
        let user = of(&who.user);
        if who.token.is_none() {
            return user;
        }
        match self.tokens.get(&who.to_string()) {
            Some(token) if token.separated => of(&who.to_string()).intersection(&user).cloned().collect(),
            Some(_) => user,
            None => BTreeSet::new(),
        }
    }
}

/// Every prefix of a path, from `/` to the path itself.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(move |(at, _)| &path[..at]);
    let whole = (path != "/").then_some(path);
    std::iter::once("/").chain(inner).chain(whole)
}

impl super::Hypervisor {
    /// What somebody may do on a path, with the rights that a pool hands to its
    /// members.
    #[must_use]
    pub fn privileges(&self, who: &Principal, path: &str) -> BTreeSet<String> {
        let pool = path.strip_prefix("/vms/").and_then(|id| id.parse().ok()).and_then(|id| self.pool_of(id));
        self.access.privileges(who, path, pool)
    }

    /// Whether somebody holds all of these privileges on a path.
    #[must_use]
    pub fn may(&self, who: &Principal, path: &str, privileges: &[&str]) -> bool {
        let held = self.privileges(who, path);
        privileges.iter().all(|privilege| held.contains(*privilege))
    }

    /// Whether somebody holds at least one of these privileges on a path.
    #[must_use]
    pub fn may_any(&self, who: &Principal, path: &str, privileges: &[&str]) -> bool {
        let held = self.privileges(who, path);
        privileges.iter().any(|privilege| held.contains(*privilege))
    }

    /// Demands all of these privileges.
    ///
    /// # Errors
    ///
    /// The 403 that names the path and the first one that is missing.
    pub fn require(&self, who: &Principal, path: &str, privileges: &[&str]) -> Result<(), Refusal> {
        let held = self.privileges(who, path);
        match privileges.iter().find(|privilege| !held.contains(**privilege)) {
            Some(missing) => Err(Refusal::forbidden(&format!("{path}, {missing}"))),
            None => Ok(()),
        }
    }

    /// Demands one of these privileges.
    ///
    /// # Errors
    ///
    /// The 403 that names the path and all of them.
    pub fn require_any(&self, who: &Principal, path: &str, privileges: &[&str]) -> Result<(), Refusal> {
        if self.may_any(who, path, privileges) {
            Ok(())
        } else {
            Err(Refusal::forbidden(&format!("{path}, {}", privileges.join("|"))))
        }
    }

    /// Demands privileges on a machine, or on the pool that it is being made in.
    ///
    /// # Errors
    ///
    /// The 403 that names the machine, whichever path was meant.
    pub fn require_on_vm(
        &self,
        who: &Principal,
        id: u32,
        pool: Option<&str>,
        privileges: &[&str],
        any: bool,
    ) -> Result<(), Refusal> {
        if let Some(pool) = pool {
            let path = format!("/pool/{pool}");
            if if any { self.may_any(who, &path, privileges) } else { self.may(who, &path, privileges) } {
                return Ok(());
            }
        }
        let path = format!("/vms/{id}");
        if any { self.require_any(who, &path, privileges) } else { self.require(who, &path, privileges) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let mut access = Access::default();
        access.define_role("Auditor", &["VM.Audit"]);
        access.define_role("Operator", &["VM.Audit", "VM.PowerMgmt"]);
        access.define_role("NoAccess", &[]);
        access.users.insert("castle@pve".into(), None);
        access.tokens.insert("castle@pve!main".into(), Token { secret: "s".into(), separated: true, expires: 0 });
        access
    }

    fn check(access: &Access, who: &str, path: &str, pool: Option<&str>, expected: &[&str]) {
        let held = access.privileges(&Principal::parse(who), path, pool);
        assert_eq!(held.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{who} on {path}");
    }

    #[test]
    fn a_separated_token_has_what_both_have() {
        let mut access = access();
        access.grant("/vms", "castle@pve", "Operator");
        check(&access, "castle@pve", "/vms/421", None, &["VM.Audit", "VM.PowerMgmt"]);
        check(&access, "castle@pve!main", "/vms/421", None, &[]);
        access.grant("/vms", "castle@pve!main", "Auditor");
        check(&access, "castle@pve!main", "/vms/421", None, &["VM.Audit"]);
    }

    #[test]
    fn the_nearest_list_replaces_the_inherited_one() {
        let mut access = access();
        access.grant("/", "castle@pve", "Operator");
        access.grant("/vms/100", "castle@pve", "NoAccess");
        check(&access, "castle@pve", "/vms/421", None, &["VM.Audit", "VM.PowerMgmt"]);
        check(&access, "castle@pve", "/vms/100", None, &[]);
    }

    #[test]
    fn a_pool_reaches_its_members() {
        let mut access = access();
        access.grant("/pool/blue", "castle@pve", "Auditor");
        check(&access, "castle@pve", "/vms/421", None, &[]);
        check(&access, "castle@pve", "/vms/421", Some("blue"), &["VM.Audit"]);
    }

    #[test]
    fn every_privilege_is_listed_once_and_in_order() {
        assert!(PRIVILEGES.is_sorted());
        assert_eq!(PRIVILEGES.iter().collect::<BTreeSet<_>>().len(), PRIVILEGES.len());
    }
}
