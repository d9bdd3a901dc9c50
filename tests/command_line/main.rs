//! The command line as scripts see it: its lines, its exit codes, its files.
//!
//! It is a contract that others rely on, so nothing here links the example: each
//! test starts the built program, in a folder of its own.

mod built;
mod calls;
mod carets;
mod cluster;
mod colour;
mod completions;
mod contract;
mod documents;
mod explain;
mod kept;
mod program;
mod refused;
mod report;
mod served;
mod text;
