//! Bad weather over the real adapters and the lab's Proxmox: how each fault ends,
//! what the operator is told, that nothing foreign is touched and nothing leaks,
//! and that a plain run afterwards reaches the goal.

mod answers;
mod case;
mod door;
mod hosts;
mod rights;
mod tasks;
