//! The adapter against the lab's Proxmox VE: real sockets, real TLS, the rights
//! of the least-privilege role, and whatever weather a test asks for.

mod conformance;
mod destroy;
mod door;
mod house;
mod preflight;
mod weather;
