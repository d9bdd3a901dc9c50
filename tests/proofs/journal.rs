//! Every request of a create, a no-op and a destroy as JSON lines, for witnesses
//! that judge them by the vendor's schema.

use castle_core::Goal;

use crate::rig::{Visit, blue};

/// Prints the requests to Proxmox.
pub fn print() {
    let project = blue();
    let mut world = None;
    for goal in [Goal::Create, Goal::Create, Goal::Destroy, Goal::Destroy] {
        let visit = Visit { world: world.take(), ..Visit::new(&project, goal) };
        let left = visit.go();
        assert!(left.is_ok(), "{goal} succeeds: {}", left.why());
        for entry in left.entries.iter().filter(|entry| entry.backend == "proxmox") {
            println!("{}", serde_json::to_string(entry).expect("an entry is plain data"));
        }
        world = Some(left.world);
    }
}
