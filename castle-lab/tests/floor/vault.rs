//! The house's secret store.

use std::sync::Arc;

use castle_core::conformance::{SecretsHarness, secrets};
use castle_core::{ErrorKind, Secret, SecretStore};
use castle_lab::runtime::run_virtual;
use castle_lab::{Fault, FaultEffect, Lab};

use crate::echo::house;

struct Harness(Lab);

impl SecretsHarness for Harness {
    fn store(&self) -> Arc<dyn SecretStore> {
        self.0.secrets(self.0.new_run())
    }
}

#[test]
fn the_vault_keeps_every_rule_of_the_port() {
    run_virtual(|| async {
        let mut labs = Vec::new();
        // One for each rule, and one that is asked for its name.
        for _ in 0..=secrets::RULES.len() {
            labs.push(Harness(house(1).1.start().await.unwrap()));
        }
        let labs = std::cell::RefCell::new(labs);
        let held = secrets::all(|| labs.borrow_mut().pop().unwrap()).await;
        println!("{}", held.join("\n"));
        assert_eq!(held.len(), secrets::RULES.len());
    });
}

#[test]
fn the_journal_counts_what_the_meter_counts() {
    run_virtual(|| async {
        let lab = house(1).1.start().await.unwrap();
        let run = lab.new_run();
        let store = lab.secrets(run);
        let (key, value) = ("a/b".parse().unwrap(), Secret::new(b"one".to_vec()));
        store.create(&key, &value).await.unwrap();
        assert!(!store.put(&key, &value).await.unwrap());
        store.list("a").await.unwrap();
        store.delete(&key).await.unwrap();
        let journal = lab.journal().requests(run)["secrets"];
        assert_eq!((journal.read, journal.write), (2, 2), "a put of an equal value is a read");
        assert_eq!(store.meter().total(), journal);
    });
}

#[test]
fn a_fault_strikes_a_secret_too() {
    run_virtual(|| async {
        let refuse = FaultEffect::Status { status: 403, reason: None, body: String::new(), after: false };
        let fault = Fault { backend: Some("secrets".into()), ..Fault::of(refuse) };
        let lab = house(1).1.faults(vec![fault]).start().await.unwrap();
        let store = lab.secrets(lab.new_run());
        let key = "a".parse().unwrap();
        let error = store.get(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(store.get(&key).await.unwrap().is_none(), "the next one is served");
    });
}
