//! The house's Infisical, over its sockets: logins and their lock, secrets and their
//! versions, folders, and every refusal in its words.
#![allow(missing_docs, clippy::unwrap_used)]

mod home;
mod house;
mod login;
mod secrets;
