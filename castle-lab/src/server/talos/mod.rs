//! The Talos API of a node: gRPC over TLS, in maintenance and afterwards.
//!
//! gRPC itself is little enough (frames of a message, trailers with a status) to
//! be spoken here over h2 directly: the connection, its source address and its
//! end stay under the floor's control.

mod call;
mod cosi;
mod door;
mod grpc;
mod machine;
mod proto;

pub(crate) use door::{NodeApiServer, NodeDoor};
