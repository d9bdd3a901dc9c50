//! What nobody owns any more goes: the garbage collector, for the kinds that the
//! controllers make.

use std::collections::BTreeSet;

use super::fields;
use crate::kube::Resource;
use crate::world::World;

impl World {
    /// Removes replica sets, pods and endpoint slices whose controlling owner is
    /// gone.
    pub(super) fn control_owners(&mut self) {
        let chains = [
            ("Deployment", Resource::DEPLOYMENTS, Resource::REPLICA_SETS),
            ("ReplicaSet", Resource::REPLICA_SETS, Resource::PODS),
            ("DaemonSet", Resource::DAEMON_SETS, Resource::PODS),
            ("Service", Resource::SERVICES, Resource::ENDPOINT_SLICES),
        ];
        for (kind, owners, owned) in chains {
            let living: BTreeSet<String> =
                self.all(&owners).iter().map(|owner| fields::uid(owner).to_owned()).collect();
            for object in self.all(&owned) {
                let owner = fields::controller(&object);
                if owner.is_some_and(|(of, uid)| of == kind && !living.contains(uid)) {
                    self.remove(&owned, &object);
                }
            }
        }
    }
}
