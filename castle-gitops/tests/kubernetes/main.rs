//! The Kubernetes adapter against the lab's API server, over TLS on real
//! sockets, in virtual time.
#![allow(missing_docs, clippy::unwrap_used)]

mod cluster;
mod reads;
mod trust;
mod wakes;
