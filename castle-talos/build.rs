//! Compiles castle's own protobuf files, without a protoc on the machine.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["machine.proto", "cosi.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("wire.binpb"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        .build_transport(false)
        .btree_map(".")
        // They carry configurations and secrets: a Debug of castle's own shows none.
        .skip_debug(["machine.ApplyConfigurationRequest", "cosi.resource.Spec"])
        .compile_fds(files)?;
    Ok(())
}
