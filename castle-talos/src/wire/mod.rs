//! Talos' API as protobuf: the messages and calls that castle uses.
//!
//! Compiled from the files below `proto/`, which are castle's own words for the
//! facts of the wire: packages, names, numbers and types. With the feature
//! `server`, the traits that a node implements are here too
//! (`machine::machine_service_server`, `cosi::state_server`).
#![allow(missing_docs, clippy::all, clippy::disallowed_types, unused_qualifications)]

/// What answers share: `common`.
pub mod common {
    include!(concat!(env!("OUT_DIR"), "/common.rs"));
}

/// `google.rpc`: a status as a value.
pub mod google {
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
    }
}

/// The machine service: `machine`.
pub mod machine {
    include!(concat!(env!("OUT_DIR"), "/machine.rs"));
}

/// Resources, as COSI reads and watches them: `cosi.resource`.
pub mod cosi {
    include!(concat!(env!("OUT_DIR"), "/cosi.resource.rs"));
}

/// The descriptors of all of the above, as an encoded `FileDescriptorSet`: for
/// comparing the wire with Talos' own description of it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wire.binpb"));

impl std::fmt::Debug for machine::ApplyConfigurationRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplyConfigurationRequest")
            .field("data", &format_args!("{} bytes", self.data.len()))
            .field("mode", &self.mode())
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for cosi::Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("proto_spec", &format_args!("{} bytes", self.proto_spec.len()))
            .field("yaml_spec", &format_args!("{} bytes", self.yaml_spec.len()))
            .finish()
    }
}
