//! What runs in the cluster: roll-outs, daemons, services, load balancers,
//! webhooks and the web, in a world of its own and over real sockets.
#![allow(missing_docs, clippy::unwrap_used)]

mod balancer;
mod cluster;
// The machines of a house, as the nodes' own tests have them.
#[path = "../node/house.rs"]
#[allow(dead_code)]
mod house;
mod lost_nodes;
mod machines;
mod rollout;
mod web;
mod webhook;
