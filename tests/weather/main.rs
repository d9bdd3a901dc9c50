//! Bad weather over the real adapters and the lab's Proxmox, nodes and Kubernetes:
//! how each fault ends, what the operator is told, that nothing foreign is touched
//! and nothing leaks, and that a plain run afterwards reaches the goal.

mod answers;
mod case;
mod cluster;
mod door;
mod hosts;
mod members;
mod nodes;
mod nodes_answers;
mod nodes_lost;
mod quorum;
mod rights;
mod store;
mod tasks;
