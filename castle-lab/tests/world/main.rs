//! The world and its Proxmox VE server, asked without sockets: every call goes
//! straight to the service.
#![allow(missing_docs, clippy::unwrap_used)]

mod house;
mod ideal;
mod life;
mod locks;
mod login;
mod news;
mod rights;
mod strangers;
mod texts;
mod weather;
