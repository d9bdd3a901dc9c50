//! Real ports on loopback addresses, for clients of other processes.

use castle_core::{ErrorKind, Pace};
use castle_lab::address::{Block, listen};
use castle_lab::runtime::run_scaled;

use crate::echo::{Client, HOUSE, house};

#[test]
fn two_public_labs_have_the_same_ports_at_different_addresses() {
    run_scaled(|| async {
        let (one, two) = (
            house(1).1.pace(Pace::scaled(60.0).unwrap()).public().start().await.unwrap(),
            house(1).1.pace(Pace::Real).public().start().await.unwrap(),
        );
        let (first, second) = (one.address_of(*HOUSE).unwrap(), two.address_of(*HOUSE).unwrap());
        assert_eq!((first.port(), second.port()), (HOUSE.port(), HOUSE.port()));
        assert_ne!(first.ip(), second.ip());
        assert!(one.is_public());
        for lab in [&one, &two] {
            let text = Client::of(lab, lab.new_run()).get("/latency/0").await.unwrap();
            assert!(text.starts_with("1 "), "{text}");
        }
    });
}

#[test]
fn a_block_lies_where_no_house_does() {
    let block = Block::claim(Pace::Real).unwrap();
    let std::net::IpAddr::V4(address) = block.address(11) else { panic!("{block:?}") };
    let octets = address.octets();
    assert_eq!((octets[0], octets[1] & 0b1100_0000, octets[3]), (127, 64, 11), "{address}");
}

#[test]
fn a_port_that_is_held_on_all_addresses_is_named() {
    run_scaled(|| async {
        let everywhere = listen("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = everywhere.local_addr().unwrap().port();
        let block = Block::claim(Pace::Real).unwrap();
        let error = listen((block.address(1), port).into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddressInUse);
        assert_eq!(error.to_string(), format!("port {port} of {} is taken", block.address(1)));
        assert!(error.advice().unwrap().contains(&port.to_string()), "{error:?}");
    });
}
