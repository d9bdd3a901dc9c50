//! Who is let in, who is dialled, and what is counted.

use std::time::Duration;

use castle_core::options::{DialMap, ProxmoxAccess, Trust};
use castle_core::{ErrorKind, Limits, MachineProvider, Options, Power, Requests};
use castle_lab::runtime;
use castle_proxmox::{Error, ProxmoxProvider};

use crate::house::House;

/// SHA-256 of the lab's certificate, as bytes.
fn pin(house: &House) -> [u8; 32] {
    let (address, _) = house.lab.addresses().next().expect("a server");
    let text = house.lab.fingerprint_of(address).expect("a certificate").replace(':', "");
    hex::decode(text).expect("hex").try_into().expect("32 bytes")
}

fn trusting(options: Options, trust: Trust) -> Options {
    let access = options.proxmox.map(|access| ProxmoxAccess { trust, ..access });
    Options { proxmox: access, ..options }
}

#[test]
fn an_address_outside_the_dial_map_is_not_dialled() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let run = house.lab.new_run();
        let options = house.lab.options(run).expect("options");
        let access =
            ProxmoxAccess { url: "https://192.168.1.99:8006".into(), ..options.proxmox.clone().expect("access") };
        let env = house.lab.env(run);
        let error = ProxmoxProvider::connect(&access, &options, &env, Limits::default()).expect_err("not in the map");
        assert!(matches!(error, Error::NotDialled { .. }), "{error:?}");

        // A name is resolved first; none of its addresses is in the map either.
        let access = ProxmoxAccess { url: "https://localhost:8006".into(), ..access };
        let provider =
            ProxmoxProvider::connect(&access, &options, &env, Limits::default()).expect("nothing is sent yet");
        let cx = castle_core::Context::new(env);
        let error = provider.list(&cx, &house.owner(), house.specs()).await.expect_err("not in the map");
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.chain().contains("is not in the dial map"), "{}", error.chain());
        assert_eq!((provider.meter().total(), house.lab.connections()), (Requests::default(), 0));
    });
}

#[test]
fn a_pinned_certificate_is_accepted_and_any_other_is_told_apart() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let right = pin(&house);
        let guest = house.enter_with(|options| trusting(options, Trust::Fingerprints(vec![[0; 32], right])));
        guest.slot(&house.specs()[0]).await;

        let guest = house.enter_with(|options| trusting(options, Trust::Fingerprints(vec![[0xAB; 32]])));
        let seen = house.lab.journal().len();
        let error = guest.provider.get(&guest.cx, &guest.owner, &house.specs()[0]).await.expect_err("another pin");
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Error>());
        let Some(Error::CertificateChanged { expected, found, .. }) = cause else { panic!("{error:?}") };
        assert_eq!((expected.as_slice(), *found), ([[0xAB; 32].into()].as_slice(), right.into()));
        assert!(error.advice().expect("a hint").contains(&found.to_string()), "{error:?}");
        assert_eq!(house.lab.journal().len(), seen, "something was sent to a server that is not trusted");
        assert_eq!(guest.provider.meter().total(), Requests::default());
    });
}

#[test]
fn a_certificate_is_judged_by_authority_name_and_castle_s_own_clock() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let refused = |guest: crate::house::Guest| {
            let spec = house.specs()[0].clone();
            async move {
                let error = guest.provider.get(&guest.cx, &guest.owner, &spec).await.expect_err("refused");
                let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<Error>());
                assert!(matches!(cause, Some(Error::CertificateRefused { .. })), "{error:?}");
                assert_eq!(guest.provider.meter().total(), Requests::default());
                error.chain()
            }
        };
        let another = castle_lab::pki::Pki::new(house.lab.clock().wall()).expect("an authority");
        let trust = Trust::Authorities(another.ca_pem().to_owned());
        let said = refused(house.enter_with(|options| trusting(options, trust))).await;
        assert!(said.contains("invalid peer certificate"), "{said}");

        // The same server under an address that its certificate does not hold.
        let (_, at) = house.lab.addresses().next().expect("a server");
        let guest = house.enter_with(|options| {
            let access =
                options.proxmox.map(|access| ProxmoxAccess { url: "https://192.168.1.98:8006".into(), ..access });
            let dial = DialMap::exclusive([("192.168.1.98:8006".parse().expect("an address"), at)]);
            Options { proxmox: access, dial, ..options }
        });
        let said = refused(guest).await;
        assert!(said.contains("192.168.1.98"), "{said}");

        house.lab.advance(Duration::from_secs(50 * 365 * 24 * 3600)).await.expect("virtual time");
        let said = refused(house.enter()).await;
        assert!(said.to_lowercase().contains("expired"), "{said}");
    });
}

#[test]
fn every_request_that_the_lab_saw_was_counted() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let guest = house.enter();
        let spec = &house.specs()[0];
        guest.preflight(house.specs()).await.expect("answers");
        guest.born(spec).await;
        guest.power(spec, Power::Running).await.expect("it starts");
        guest.provider.list(&guest.cx, &guest.owner, house.specs()).await.expect("a list");
        guest.destroy(spec).await.expect("it goes");
        let seen = house.lab.journal().requests(guest.run);
        assert_eq!(seen.get("proxmox").copied(), Some(guest.provider.meter().total()), "{seen:?}");
        assert_eq!(
            house.writes(guest.run),
            [
                "POST qemu",
                "PUT qemu/resize",
                "POST qemu/status/start",
                "PUT qemu/config",
                "POST qemu/status/stop",
                "DELETE qemu",
            ]
        );
        house.is_sound();
    });
}

#[test]
fn a_wrong_token_is_told_and_nothing_is_made() {
    runtime::run_virtual(|| async {
        let house = House::open().await;
        let guest = house.enter_with(|options| {
            let token = castle_core::Secret::new("castle@pve!main=00000000-0000-4000-8000-000000000000".to_owned());
            let access = options.proxmox.map(|access| ProxmoxAccess { token, ..access });
            Options { proxmox: access, ..options }
        });
        let error = guest.ensure(&house.specs()[0]).await.expect_err("no such token");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
        let error = guest.preflight(house.specs()).await.expect_err("no such token");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
        assert!(house.writes(guest.run).is_empty());
    });
}
