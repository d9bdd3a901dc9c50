//! The way to the API: certificates, and servers that are not there.

use std::net::SocketAddr;

use castle_core::Options;
use castle_core::options::{DialMap, ProxmoxAccess, Trust};
use castle_lab::address::SilentHost;
use castle_lab::pki::Pki;

use crate::case::{Case, End};

fn trusting(options: Options, trust: Trust) -> Options {
    let access = options.proxmox.map(|access| ProxmoxAccess { trust, ..access });
    Options { proxmox: access, ..options }
}

/// Sends every connection to another address.
fn redirected(options: Options, at: SocketAddr) -> Options {
    let entries = options.dial.entries().expect("a lab has a dial map").keys().map(|house| (*house, at));
    Options { dial: DialMap::exclusive(entries.collect::<Vec<_>>()), ..options }
}

#[test]
fn a_certificate_that_is_not_the_pinned_one_stops_everything() {
    Case::create("pin mismatch", End::Failed("unreachable", "pvenode cert info"))
        .bent(|_, options| {
            Box::pin(async { (trusting(options, Trust::Fingerprints(vec![[0xAB; 32]])), Box::new(()) as _) })
        })
        .tells("AB:AB:AB")
        .writes_nothing()
        .check();
}

#[test]
fn a_certificate_of_another_authority_stops_everything() {
    Case::create("other authority", End::Failed("unreachable", "pve-root-ca.pem"))
        .bent(|lab, options| {
            Box::pin(async {
                let another = Pki::new(lab.clock().wall()).expect("an authority");
                (trusting(options, Trust::Authorities(another.ca_pem().to_owned())), Box::new(()) as _)
            })
        })
        .tells("certificate")
        .writes_nothing()
        .check();
}

#[test]
fn an_address_where_nothing_listens_is_unreachable() {
    Case::create("nothing listens", End::Failed("unreachable", "proxmox.url"))
        .bent(|_, options| {
            Box::pin(async {
                // Bound and never listening: the kernel refuses, and nobody else takes the port.
                let socket = socket();
                let at = socket.local_addr().expect("a bound socket has an address");
                (redirected(options, at), Box::new(socket) as _)
            })
        })
        .tells("no answer from https://")
        .writes_nothing()
        .check();
}

/// A TCP port that is taken and refuses every connection.
fn socket() -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    socket
}

#[test]
fn a_host_that_is_silent_is_unreachable() {
    Case::create("silent host", End::Failed("unreachable", "proxmox.url"))
        .bent(|_, options| {
            Box::pin(async {
                let silent = SilentHost::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
                let at = silent.address().expect("an address");
                (redirected(options, at), Box::new(silent) as _)
            })
        })
        .tells("no answer from https://")
        .writes_nothing()
        .check();
}
