//! castle and its lab in a program that has a TLS provider of its own and a runtime
//! of many threads: before that provider is installed, when rustls finds two and
//! refuses to choose, and after, when the process has another one than castle.

#[path = "../../../examples/lab_castle/mod.rs"]
mod lab_castle;

use std::process::ExitCode;

use castle_core::{Goal, Milestone, Outcome, Result};
use castle_lab::{Lab, runtime};
use rustls::NamedGroup;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

const BLUE: &str = include_str!("../../../examples/projects/blue/proxmox/castle.yaml");

/// A create up to ready nodes: HTTPS to Proxmox, gRPC to the nodes, the Kubernetes API.
async fn raises_a_cluster() -> Result<bool> {
    // Virtual time needs a thread of its own; the runtime's other threads go on.
    let job = tokio::task::spawn_blocking(|| {
        runtime::run_virtual(|| async {
            let project = lab_castle::project(BLUE);
            let lab = Lab::builder(&project).seed(1).start().await?;
            let castle = lab_castle::castle(&project, &lab)?.build()?;
            let report = lab_castle::run(&castle, Goal::Create, Milestone::NodesReady).await;
            Ok(report.outcome == Outcome::Ok)
        })
    });
    job.await.expect("the lab does not panic")
}

/// Only aws-lc agrees on keys in this way.
fn is_aws_lc(provider: &CryptoProvider) -> bool {
    provider.kx_groups.iter().any(|group| group.name() == NamedGroup::X25519MLKEM768)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> Result<ExitCode> {
    println!("Two providers are compiled in, and none is installed:");
    let without = raises_a_cluster().await?;
    // castle has not put its own there.
    let untouched = CryptoProvider::get_default().is_none();

    println!("The program installs aws-lc for the whole process:");
    let installed = aws_lc_rs::default_provider().install_default().is_ok();
    let beside = raises_a_cluster().await?;
    let kept = CryptoProvider::get_default().is_some_and(|provider| is_aws_lc(provider));

    let well = without && untouched && installed && beside && kept;
    println!(
        "witness embedding without={without} untouched={untouched} installed={installed} beside={beside} kept={kept}"
    );
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
