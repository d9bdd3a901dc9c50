//! Logins: tokens and their end, the lock, the client secret's end, and how often
//! somebody may ask.

use std::time::Duration;

use castle_lab::faults::{Fault, FaultEffect};
use serde_json::json;

use crate::house::{Client, READER, WRITER, in_lab};

const INVALID: &str = "Invalid credentials";
const LOCKED: &str = "This identity auth method is temporarily locked, please try again later";

#[test]
fn a_token_opens_the_vault_until_it_ends() {
    in_lab(async |lab, client| {
        let nobody = client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await;
        nobody.refused(401, "UnauthorizedError", "Token missing");
        client.token = Some("made.up".into());
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.refused(403, "TokenError", "invalid signature");
        lab.with_world(|world| {
            let identity = world.infisical.identities.by_client_id.get_mut(WRITER.0).unwrap();
            identity.token_life = Duration::from_secs(600);
        });
        let granted = client.log_in(WRITER).await;
        assert_eq!(granted.ok()["expiresIn"], 600);
        assert_eq!((&granted.body["accessTokenMaxTTL"], &granted.body["tokenType"]), (&json!(600), &json!("Bearer")));
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.ok();
        lab.advance(Duration::from_secs(590)).await.unwrap();
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.ok();
        lab.advance(Duration::from_secs(10)).await.unwrap();
        let expired = "Your token has expired. Please re-authenticate.";
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.refused(403, "TokenError", expired);
        client.log_in(WRITER).await.ok();
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.ok();
        lab.with_world(|world| world.infisical.identities.end_tokens());
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.refused(403, "TokenError", expired);
    });
}

#[test]
fn a_token_lives_for_thirty_days_where_nobody_says_otherwise() {
    in_lab(async |_, client| assert_eq!(client.log_in(WRITER).await.ok()["expiresIn"], 2_592_000));
}

#[test]
fn three_wrong_secrets_lock_the_right_one_out_for_five_minutes() {
    in_lab(async |lab, client| {
        for _ in 0..3 {
            client.log_in((WRITER.0, "wrong")).await.refused(401, "UnauthorizedError", INVALID);
        }
        client.log_in(WRITER).await.refused(401, "UnauthorizedError", LOCKED);
        client.log_in(READER).await.ok();
        lab.advance(Duration::from_secs(290)).await.unwrap();
        client.log_in(WRITER).await.refused(401, "UnauthorizedError", LOCKED);
        lab.advance(Duration::from_secs(11)).await.unwrap();
        client.log_in(WRITER).await.ok();
    });
}

#[test]
fn wrong_secrets_are_forgotten_with_time_and_with_a_right_one() {
    in_lab(async |lab, client| {
        let wrong = (WRITER.0, "wrong");
        for pause in [0, 0, 31, 0] {
            lab.advance(Duration::from_secs(pause)).await.unwrap();
            client.log_in(wrong).await.refused(401, "UnauthorizedError", INVALID);
        }
        client.log_in(WRITER).await.ok();
        for _ in 0..2 {
            client.log_in(wrong).await.refused(401, "UnauthorizedError", INVALID);
        }
        client.log_in(WRITER).await.ok();
        client.log_in(("nobody", "at all")).await.refused(401, "UnauthorizedError", INVALID);
    });
}

#[test]
fn a_client_secret_ends_by_time_or_by_use() {
    in_lab(async |lab, client| {
        lab.with_world(|world| {
            let identities = &mut world.infisical.identities.by_client_id;
            identities.get_mut(WRITER.0).unwrap().secret_until = Some(Duration::from_secs(60));
            identities.get_mut(READER.0).unwrap().logins_left = Some(1);
        });
        client.log_in(WRITER).await.ok();
        lab.advance(Duration::from_secs(61)).await.unwrap();
        client.log_in(WRITER).await.refused(401, "UnauthorizedError", "Access denied due to expired client secret");
        client.log_in(READER).await.ok();
        let used_up = "Access denied due to client secret usage limit reached";
        client.log_in(READER).await.refused(401, "UnauthorizedError", used_up);
        let is_valid = lab.with_world(|world| world.infisical.identity_is_valid(READER.0, READER.1));
        assert!(!is_valid);
    });
}

#[test]
fn a_login_without_its_fields_names_them() {
    in_lab(async |_, client| {
        let answer = client.ask("POST", "/api/v1/auth/universal-auth/login", json!({ "clientId": "a" })).await;
        assert_eq!(answer.invalid(), [("clientSecret".to_owned(), "Required".to_owned())]);
    });
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    in_lab(async |lab, client| {
        lab.with_world(|world| world.infisical.requests_per_minute = Some(3));
        client.log_in(WRITER).await.ok();
        for _ in 0..2 {
            client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.ok();
        }
        lab.advance(Duration::from_secs(40)).await.unwrap();
        let answer = client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await;
        answer.refused(429, "RateLimitExceeded", "Rate limit exceeded. Please try again in 20 seconds");
        assert_eq!(answer.retry_after.as_deref(), Some("20"));
        // Another client has a count of its own.
        Client::of(lab, lab.new_run()).log_in(WRITER).await.ok();
        lab.advance(Duration::from_secs(20)).await.unwrap();
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.ok();
    });
}

#[test]
fn a_reader_may_not_write() {
    in_lab(async |_, client| {
        client.log_in(READER).await.ok();
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.ok();
        for (method, action) in [("POST", "create"), ("PATCH", "edit"), ("DELETE", "delete")] {
            let answer = client.apps(method, "/api/v4/secrets/BLOG", json!({ "secretValue": "mine" })).await;
            answer.refused(403, "PermissionDenied", &format!("You are not allowed to {action} on secrets"));
            assert!(answer.body["details"].is_array());
        }
        let answer = client.apps("POST", "/api/v2/folders", json!({ "name": "mine" })).await;
        answer.refused(403, "PermissionDenied", "You are not allowed to create on secret-folders");
    });
}

#[test]
fn requests_stand_in_the_journal_without_their_secrets() {
    in_lab(async |lab, client| {
        let effect = FaultEffect::Status { status: 502, reason: None, body: "{}".into(), after: true };
        let backend = Some("infisical".to_owned());
        lab.faults().add(Fault { backend, kind: Some("PATCH secret*".into()), ..Fault::of(effect) });
        client.log_in(WRITER).await.ok();
        let patch = json!({ "secretValue": "a-planted-value" });
        assert_eq!(client.apps("PATCH", "/api/v4/secrets/BLOG", patch).await.status, 502);
        client.apps("GET", "/api/v4/secrets/BLOG", json!({})).await.ok();
        client.apps("GET", "/api/v4/secrets", json!({})).await.ok();
        let entries = lab.journal().entries();
        let told: Vec<_> = entries.iter().map(|it| (it.kind.as_str(), it.entity.as_str(), it.write)).collect();
        assert_eq!(
            told,
            [
                ("POST login", WRITER.0, false),
                ("PATCH secret", "/apps/BLOG", true),
                ("GET secret", "/apps/BLOG", false),
                ("GET secrets", "/apps", false),
            ]
        );
        assert!(entries[1].effect && entries[1].fault.is_some());
        assert_eq!(entries[1].detail, "castle prod");
        let journal = serde_json::to_string(&entries).unwrap();
        let secrets = lab.with_world(|world| world.infisical.secrets().map(|(_, secret)| secret).collect::<Vec<_>>());
        assert!(secrets.contains(&"a-planted-value".to_owned()) && secrets.contains(client.token.as_ref().unwrap()));
        let world = lab.with_world(|world| format!("{:?} {:#?}", world.infisical, world.infisical));
        for secret in secrets {
            assert!(!journal.contains(&secret) && !world.contains(&secret), "{secret} was told");
        }
    });
}
