//! What may go wrong with a vault, and what castle makes of it.

use std::time::Duration;

use castle_core::options::InfisicalAccess;
use castle_core::{ErrorKind, Retry, Secret, SecretStore};
use castle_gitops::secrets::InfisicalSecrets;
use castle_lab::infisical::Place;
use castle_lab::{Fault, FaultEffect, runtime};

use crate::house::House;
use crate::infisical::{PATH, access, bytes, house, key, lies, store};

fn refused<T: std::fmt::Debug>(answer: castle_core::Result<T>, kind: ErrorKind, words: &str) -> castle_core::Error {
    let error = answer.expect_err(words);
    let told = format!("{} | {}", error.chain(), error.advice().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{told}");
    assert!(told.contains(words), "{told}");
    assert!(!format!("{told} {error:?}").contains("5e1f"), "{told}");
    error
}

fn strike(house: &House, kind: &str, effect: FaultEffect) {
    house.lab.faults().add(Fault { kind: Some(kind.into()), ..Fault::of(effect) });
}

fn answer(status: u16, body: &str) -> FaultEffect {
    FaultEffect::Status { status, reason: None, body: body.into(), after: false }
}

#[test]
fn an_expired_token_is_renewed_once() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        store.create(&key("a"), &bytes("x")).await.unwrap();
        house.lab.with_world(|world| world.infisical.identities.end_tokens());
        let before = house.asked().len();
        store.create(&key("b"), &bytes("x")).await.unwrap();
        assert_eq!(house.asked()[before..], ["POST secret 403", "POST login 200", "POST secret 200"]);
        assert_eq!(lies(&house, PATH, "b").unwrap().1, 1);
        // A server that calls each token expired is not asked for ever more of them.
        let expired =
            r#"{"statusCode":403,"message":"Your token has expired. Please re-authenticate.","error":"TokenError"}"#;
        for _ in 0..2 {
            strike(&house, "GET secret", answer(403, expired));
        }
        let before = house.asked().len();
        refused(store.get(&key("a")).await, ErrorKind::PermissionDenied, "token has expired");
        assert_eq!(house.asked()[before..], ["GET secret 403", "POST login 200", "GET secret 403"]);
    });
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    runtime::run_virtual(|| async {
        let house = house().await;
        house.lab.with_world(|world| {
            let identity = world.infisical.identities.by_client_id.get_mut("client-id").unwrap();
            identity.token_life = Duration::from_secs(3600);
        });
        let store = store(&house);
        store.list("").await.unwrap();
        house.lab.advance(Duration::from_secs(3575)).await.unwrap();
        let before = house.asked().len();
        store.list("").await.unwrap();
        assert_eq!(house.asked()[before..], ["POST login 200", "GET secrets 404"]);
    });
}

#[test]
fn a_token_without_an_end_is_used_without_an_end() {
    runtime::run_virtual(|| async {
        let house = house().await;
        house.lab.with_world(|world| {
            let identity = world.infisical.identities.by_client_id.get_mut("client-id").unwrap();
            identity.token_life = Duration::ZERO;
        });
        let store = store(&house);
        for _ in 0..3 {
            store.list("").await.unwrap();
            house.lab.advance(Duration::from_secs(40 * 86_400)).await.unwrap();
        }
        let logins = house.asked().iter().filter(|line| line.starts_with("POST login")).count();
        assert_eq!(logins, 1, "{:?}", house.asked());
    });
}

#[test]
fn a_short_token_is_used_for_most_of_its_life() {
    runtime::run_virtual(|| async {
        let house = house().await;
        house.lab.with_world(|world| {
            let identity = world.infisical.identities.by_client_id.get_mut("client-id").unwrap();
            identity.token_life = Duration::from_secs(20);
        });
        let store = store(&house);
        for _ in 0..3 {
            store.list("").await.unwrap();
            house.lab.advance(Duration::from_secs(5)).await.unwrap();
        }
        let logins = house.asked().iter().filter(|line| line.starts_with("POST login")).count();
        assert_eq!(logins, 1, "{:?}", house.asked());
    });
}

#[test]
fn a_life_that_no_clock_reaches_is_no_panic() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        house.lab.advance(Duration::from_secs(60)).await.unwrap();
        let login = format!(r#"{{"accessToken":"t","expiresIn":{}}}"#, u64::MAX);
        strike(&house, "POST login", answer(200, &login));
        // The lab does not know the token, so castle asks for another one in the end.
        store.list("").await.unwrap_err();
    });
}

#[test]
fn what_a_server_says_is_short_and_steers_no_terminal() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        let said = format!(r#"{{"statusCode":400,"message":"\u001b[2J{}"}}"#, "x".repeat(200_000));
        strike(&house, "GET secret", answer(400, &said));
        let told = store.get(&key("a")).await.unwrap_err().chain();
        assert!(told.len() < 800 && told.contains('…'), "{} letters", told.len());
        assert!(!told.contains(char::is_control) && told.contains("\u{FFFD}[2Jxx"), "{told}");
    });
}

#[test]
fn a_refused_login_is_not_repeated() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let access = InfisicalAccess { client_secret: Secret::new("wrong-5e1f".into()), ..access(&house) };
        let store = InfisicalSecrets::new(&access, &house.options(), &house.env()).unwrap();
        for _ in 0..5 {
            let error = refused(store.get(&key("a")).await, ErrorKind::Unauthenticated, "Invalid credentials");
            assert_eq!(error.retry_class(), Retry::Never);
        }
        assert_eq!(house.asked(), ["POST login 401"], "the identity would be locked otherwise");
        // After a while it may have been corrected.
        house.lab.advance(Duration::from_secs(301)).await.unwrap();
        refused(store.get(&key("a")).await, ErrorKind::Unauthenticated, "Invalid credentials");
        assert_eq!(house.asked().len(), 2);
    });
}

#[test]
fn whoever_comes_at_the_same_time_shares_one_login() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let wrong = InfisicalAccess { client_secret: Secret::new("wrong-5e1f".into()), ..access(&house) };
        let wrong = InfisicalSecrets::new(&wrong, &house.options(), &house.env()).unwrap();
        let keys: Vec<_> = (0..8).map(|number| key(&format!("talos/{number}"))).collect();
        for end in futures::future::join_all(keys.iter().map(|key| wrong.get(key))).await {
            refused(end, ErrorKind::Unauthenticated, "Invalid credentials");
        }
        assert_eq!(house.asked(), ["POST login 401"], "three of them would lock the identity");
        let store = store(&house);
        // One who leaves does not take the login of the others along.
        let mut first = store.get(&keys[0]);
        assert!(futures::poll!(&mut first).is_pending());
        let (mut left, right) = (store.get(&keys[1]), store.get(&keys[2]));
        assert!(futures::poll!(&mut left).is_pending());
        drop((first, left));
        assert!(right.await.unwrap().is_none());
        assert_eq!(house.asked().iter().filter(|line| *line == "POST login 200").count(), 1);
    });
}

#[test]
fn a_locked_identity_is_left_alone() {
    runtime::run_virtual(|| async {
        let house = house().await;
        for _ in 0..3 {
            let access = InfisicalAccess { client_secret: Secret::new("wrong-5e1f".into()), ..access(&house) };
            let store = InfisicalSecrets::new(&access, &house.options(), &house.env()).unwrap();
            refused(store.get(&key("a")).await, ErrorKind::Unauthenticated, "Invalid credentials");
        }
        let store = store(&house);
        for _ in 0..3 {
            refused(store.list("").await, ErrorKind::Unauthenticated, "wait five minutes");
        }
        assert_eq!(house.asked().len(), 4);
        house.lab.advance(Duration::from_secs(301)).await.unwrap();
        store.list("").await.unwrap();
    });
}

#[test]
fn another_run_may_be_first_at_each_moment() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let (store, place) = (store(&house), Place::new("castle", "prod", PATH));
        house.lab.with_world(|world| world.put_secret(&place, "a", "theirs"));
        refused(store.create(&key("a"), &bytes("ours")).await, ErrorKind::AlreadyExists, "another run created it");
        // Somebody creates it between the look and the write.
        let absent = r#"{"statusCode":404,"message":"Secret with name a not found","error":"NotFound"}"#;
        strike(&house, "GET secret", answer(404, absent));
        let before = house.asked().len();
        assert!(store.put(&key("a"), &bytes("ours")).await.unwrap());
        assert_eq!(house.asked()[before..], ["GET secret 404", "POST secret 400", "PATCH secret 200"]);
        assert_eq!(lies(&house, PATH, "a"), Some(("ours".into(), 2)));
        // Somebody removes it there.
        strike(&house, "PATCH secret", answer(404, absent));
        house.lab.with_world(|world| world.put_secret(&place, "a", "theirs"));
        let removed = store.put(&key("a"), &bytes("ours")).await;
        // The lab still has it, so the create finds it again, and nothing goes round for ever.
        let error = refused(removed, ErrorKind::Unexpected, "makes and removes `a`");
        assert_eq!(error.retry_class(), Retry::Never);
    });
}

#[test]
fn a_change_that_waits_for_approval_is_an_error() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let (store, place) = (store(&house), Place::new("castle", "prod", PATH));
        house.lab.with_world(|world| {
            world.put_secret(&place, "a", "old");
            world.infisical.approvals.insert(place.clone());
        });
        let words = "approve it or take the folder out of the change policy";
        refused(store.create(&key("b"), &bytes("x")).await, ErrorKind::PermissionDenied, words);
        refused(store.put(&key("a"), &bytes("new")).await, ErrorKind::PermissionDenied, words);
        refused(store.delete(&key("a")).await, ErrorKind::PermissionDenied, words);
        assert_eq!(lies(&house, PATH, "a"), Some(("old".into(), 1)));
    });
}

#[test]
fn patience_is_the_caller_s() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        store.create(&key("a"), &bytes("x")).await.unwrap();
        for (status, kind) in
            [(429, ErrorKind::RateLimited), (500, ErrorKind::Unreachable), (503, ErrorKind::Unreachable)]
        {
            strike(&house, "GET secret", answer(status, r#"{"message":"later","error":"Later"}"#));
            let before = house.asked().len();
            let error = refused(store.get(&key("a")).await, kind, "later (Later)");
            assert_eq!(error.retry_class(), Retry::AfterObserving);
            assert_eq!(house.asked().len(), before + 1, "it is asked once");
        }
        strike(&house, "GET secret", answer(502, "<html>bad gateway</html>"));
        refused(store.get(&key("a")).await, ErrorKind::Unreachable, "no words");
        assert!(store.get(&key("a")).await.unwrap().is_some());
        house.lab.with_world(|world| world.infisical.requests_per_minute = Some(0));
        refused(store.get(&key("a")).await, ErrorKind::RateLimited, "429");
    });
}

#[test]
fn a_lost_answer_is_for_the_caller_to_look_after() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        store.create(&key("a"), &bytes("x")).await.unwrap();
        for effect in [FaultEffect::AnswerLost, FaultEffect::ResetAfter] {
            strike(&house, "POST secret", effect);
            let before = house.asked().len();
            let error =
                refused(store.create(&key("b"), &bytes("first")).await, ErrorKind::Unreachable, "does not answer");
            assert_eq!(error.retry_class(), Retry::AfterObserving);
            assert_eq!(house.asked().len(), before + 1, "a create is never sent twice");
            assert_eq!(store.get(&key("b")).await.unwrap().unwrap().expose(), b"first");
            refused(store.create(&key("b"), &bytes("first")).await, ErrorKind::AlreadyExists, "exists");
            assert!(!store.put(&key("b"), &bytes("first")).await.unwrap());
            store.delete(&key("b")).await.unwrap();
        }
        strike(&house, "PATCH secret", FaultEffect::AnswerLost);
        refused(store.put(&key("a"), &bytes("y")).await, ErrorKind::Unreachable, "does not answer");
        assert!(!store.put(&key("a"), &bytes("y")).await.unwrap());
        assert_eq!(lies(&house, PATH, "a"), Some(("y".into(), 2)));
    });
}

#[test]
fn a_wrong_place_never_reads_as_an_empty_one() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let at = |change: fn(&mut InfisicalAccess)| {
            let mut access = access(&house);
            change(&mut access);
            InfisicalSecrets::new(&access, &house.options(), &house.env())
        };
        let elsewhere = at(|access| access.project = "elsewhere".into()).unwrap();
        refused(elsewhere.get(&key("a")).await, ErrorKind::NotFound, "no project `elsewhere`");
        refused(elsewhere.list("").await, ErrorKind::NotFound, "is a member of it");
        let staging = at(|access| access.environment = "staging".into()).unwrap();
        refused(staging.create(&key("a"), &bytes("x")).await, ErrorKind::NotFound, "Environment with slug 'staging'");
        // A server without this API answers 404 too.
        let old = r#"{"message":"Route GET:/api/v4/secrets/a not found","error":"Not Found","statusCode":404}"#;
        strike(&house, "GET secret", answer(404, old));
        refused(store(&house).get(&key("a")).await, ErrorKind::NotFound, "has the API `v4`");
        for change in [
            (|access: &mut InfisicalAccess| access.url = "http://infisical.castle.internal".into())
                as fn(&mut InfisicalAccess),
            |access| access.url = "https://infisical.castle.internal/api".into(),
            |access| access.path = "blue".into(),
            |access| access.trust = Some(castle_core::options::Trust::Authorities("no PEM".into())),
        ] {
            refused(at(change).map_err(Into::into), ErrorKind::InvalidSpec, "the access to Infisical");
        }
    });
}

#[test]
fn an_identity_that_may_only_read_is_told_so() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let (store, place) = (store(&house), Place::new("castle", "prod", PATH));
        house.lab.with_world(|world| {
            world.put_secret(&place, "a", "x");
            world.infisical.identities.by_client_id.get_mut("client-id").unwrap().may_write = false;
        });
        assert!(store.get(&key("a")).await.unwrap().is_some());
        refused(store.put(&key("a"), &bytes("y")).await, ErrorKind::PermissionDenied, "give its role the rights");
        assert!(!store.put(&key("a"), &bytes("x")).await.unwrap(), "an equal value asks for no right to write");
    });
}

#[test]
fn a_server_that_repeats_what_is_secret_is_not_repeated() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let store = store(&house);
        let body = r#"{"message":"the value planted-5e1f is too simple","error":"BadRequest"}"#;
        strike(&house, "POST secret", answer(400, body));
        let value = bytes("planted-5e1f");
        refused(store.create(&key("a"), &value).await, ErrorKind::Unexpected, "words that repeat what is secret");
        strike(&house, "POST login", answer(401, r#"{"message":"client-secret-5e1f is wrong"}"#));
        let fresh = crate::infisical::store(&house);
        refused(fresh.get(&key("a")).await, ErrorKind::Unauthenticated, "words that repeat what is secret");
        assert!(!format!("{store:?} {fresh:?}").contains("5e1f"));
    });
}
