use std::time::Duration;

use castle_core::options::{DialMap, SecretsAccess, Trust};
use castle_core::{Requests, Secret};
use serde_json::Value;
use wiremock::matchers::{body_string, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::scripted::{Reply, Scripted};

pub(super) const CANARY: &str = "8f3a-planted-canary-17c2";

fn fast() -> Clock {
    Clock::new(Pace::scaled(100.0).expect("a pace"))
}

fn counted(read: u64, write: u64) -> Requests {
    Requests { read, write }
}

#[tokio::test]
async fn a_form_has_a_length_and_a_delete_has_no_body() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api2/json/nodes/pve/qemu"))
        .and(header("Authorization", format!("PVEAPIToken=castle@pve!main={CANARY}").as_str()))
        .and(header("Content-Type", "application/x-www-form-urlencoded"))
        .and(header("Content-Length", "43"))
        .and(body_string("vmid=421&description=castle%2F1+a%3Db&x=%3B"))
        .respond_with(ResponseTemplate::new(200).set_body_json(serde_json::json!({"data": "UPID:x"})))
        .mount(&server)
        .await;
    Mock::given(method("DELETE"))
        .and(path("/api2/json/nodes/pve/qemu/421"))
        .and(query_param("purge", "1"))
        .and(body_string(""))
        .respond_with(ResponseTemplate::new(200).set_body_json(serde_json::json!({"data": null})))
        .mount(&server)
        .await;
    let client = Client::plain(&server.uri(), fast());
    let form = [("vmid", "421".to_owned()), ("description", "castle/1 a=b".to_owned()), ("x", ";".to_owned())];
    let answer: Value = client.write(Method::POST, &["nodes", "pve", "qemu"], &form).await.expect("accepted");
    assert_eq!(answer, "UPID:x");
    let query = [("purge", "1".to_owned())];
    let answer: Value = client.write(Method::DELETE, &["nodes", "pve", "qemu", "421"], &query).await.expect("accepted");
    assert_eq!(answer, Value::Null);
    assert_eq!(client.meter().total(), counted(0, 2));
}

#[tokio::test]
async fn an_empty_form_has_a_length_too_and_nothing_is_chunked() {
    let server = Scripted::start(|_, _| Reply::ok("null")).await;
    let client = Client::plain(&server.url, fast());
    let path = ["nodes", "pve", "qemu", "421", "status", "start"];
    client.write::<Value>(Method::POST, &path, &[]).await.expect("accepted");
    let text = server.met.texts().concat().to_lowercase();
    assert!(text.contains("content-length: 0\r\n") && !text.contains("transfer-encoding"), "{text}");
}

#[tokio::test]
async fn no_value_can_change_the_shape_of_a_path() {
    let server = Scripted::start(|_, _| Reply::ok("null")).await;
    let client = Client::plain(&server.url, fast());
    let upid = "UPID:pve:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:castle@pve!main:";
    client.get::<Value>(&["nodes", "../x?y#z", "tasks", upid], &[]).await.expect("accepted");
    assert_eq!(server.met.lines(), [format!("GET /api2/json/nodes/..%2Fx%3Fy%23z/tasks/{upid}")]);
}

#[tokio::test]
async fn a_refusal_is_read_from_reason_phrase_message_and_complaints() {
    let server = Scripted::start(|number, _| match number {
        1 => Reply::Say("500 VM 421 already running", r#"{"data":null}"#.into()),
        2 => Reply::Say("500 first line", r#"{"data":null,"message":"VM is locked (backup)\nsecond\n"}"#.into()),
        3 => Reply::Say(
            "400 Parameter verification failed.",
            r#"{"data":null,"errors":{"cores":"type check ('integer') failed - got 'x'\n"}}"#.into(),
        ),
        _ => Reply::Say("401 No ticket", String::new()),
    })
    .await;
    let client = Client::plain(&server.url, fast());
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(client.get::<Value>(&["version"], &[]).await.expect_err("refused").to_string());
    }
    assert_eq!(
        said,
        [
            "GET /version was refused with status 500: VM 421 already running",
            "GET /version was refused with status 500: VM is locked (backup) second",
            "GET /version was refused with status 400: Parameter verification failed.; cores: type check ('integer') \
             failed - got 'x'",
            "GET /version was refused with status 401: No ticket",
        ]
    );
}

#[tokio::test]
async fn what_a_server_says_is_short_and_steers_no_terminal() {
    let long = "x".repeat(200_000);
    let message = serde_json::json!({"data": null, "message": format!("no \u{1b}[2J{long}")}).to_string();
    let errors = serde_json::json!({"data": null, "errors": {"a": format!("\u{1b}]0;{long}")}}).to_string();
    let ended = serde_json::json!({"status": "stopped", "exitstatus": format!("\u{1b}[2J{long}")});
    let server = Scripted::start(move |number, _| match number {
        1 => Reply::Say("500 no", message.clone()),
        _ => Reply::Say("400 Parameter verification failed.", errors.clone()),
    })
    .await;
    let client = Client::plain(&server.url, fast());
    let mut said = Vec::new();
    for _ in 0..2 {
        said.push(castle_core::Error::from(client.get::<Value>(&["version"], &[]).await.expect_err("refused")));
    }
    let upid = "UPID:pve:0003B1F2:01A2B3C4:69201A0F:qmcreate:421:castle@pve!main:".parse().expect("a task");
    let exit = ended["exitstatus"].as_str().expect("a text");
    said.push(crate::task::judge(&upid, exit).expect_err("it failed").into());
    for error in said {
        let told = format!("{} {:?}", error.chain(), error.advice());
        assert!(told.len() < 1_500 && told.contains('…'), "{} letters", told.len());
        assert!(!told.contains(char::is_control) && told.contains('\u{FFFD}'), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_sent_again_and_each_time_is_counted() {
    for lost in [
        Reply::HangUp,
        Reply::Silence,
        Reply::Say("596 Connection timed out", String::new()),
        Reply::Say("595 No route to host", String::new()),
        Reply::Say("503 Service Unavailable", String::new()),
    ] {
        let shown = format!("{lost:?}");
        let server = Scripted::start(move |number, _| if number < 3 { lost.clone() } else { Reply::ok("7") }).await;
        let client = Client::plain(&server.url, Clock::new(Pace::Virtual));
        assert_eq!(client.get::<u32>(&["version"], &[]).await.ok(), Some(7), "{shown}");
        assert_eq!((client.meter().total(), server.met.lines().len()), (counted(3, 0), 3), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_gives_up_after_its_attempts() {
    let server = Scripted::start(|_, _| Reply::Silence).await;
    let clock = Clock::new(Pace::Virtual);
    let client = Client::plain(&server.url, clock.clone());
    let error = client.get::<Value>(&["version"], &[]).await.expect_err("silence");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert_eq!(client.meter().total(), counted(3, 0));
    let took = clock.elapsed();
    assert!(took > Duration::from_secs(105) && took < Duration::from_secs(107), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_never_sent_again_and_its_outcome_is_unknown() {
    for lost in [
        Reply::HangUp,
        Reply::Silence,
        Reply::Say("596 Connection timed out", String::new()),
        Reply::Say("200 OK", "<html>".into()),
        Reply::Say("200 OK", String::new()),
    ] {
        let shown = format!("{lost:?}");
        let server = Scripted::start(move |_, _| lost.clone()).await;
        let client = Client::plain(&server.url, Clock::new(Pace::Virtual));
        let error = client.write::<Value>(Method::POST, &["nodes", "pve", "qemu"], &[]).await.expect_err("lost");
        assert!(error.leaves_doubt(), "{shown}: {error:?}");
        assert_eq!((client.meter().total(), server.met.lines().len()), (counted(0, 1), 1), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_found_no_server_is_harmless_and_not_counted() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let client = Client::plain(&url, Clock::new(Pace::Virtual));
    let error = client.write::<Value>(Method::POST, &["nodes", "pve", "qemu"], &[]).await.expect_err("nobody");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let offline = Scripted::start(|_, _| Reply::Say("595 No route to host", String::new())).await;
    let behind = Client::plain(&offline.url, Clock::new(Pace::Virtual));
    let error = behind.write::<Value>(Method::POST, &["nodes", "b", "qemu"], &[]).await.expect_err("offline");
    assert_eq!(error.refusal(), Some(&Refusal::NodeOffline));
    assert_eq!((client.meter().total(), behind.meter().total()), (counted(0, 0), counted(0, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_counted() {
    let server = Scripted::start(|_, _| Reply::Silence).await;
    let client = Client::plain(&server.url, Clock::new(Pace::Virtual));
    let clock = Clock::new(Pace::Virtual);
    let call = client.write::<Value>(Method::POST, &["x"], &[]);
    assert!(clock.within(Duration::from_secs(1), call).await.is_none());
    assert_eq!(client.meter().total(), counted(0, 1));
}

#[tokio::test]
async fn what_is_not_proxmox_is_told() {
    let server = MockServer::start().await;
    let put =
        |at: &'static str, reply: ResponseTemplate| Mock::given(path(format!("/api2/json/{at}"))).respond_with(reply);
    put("html", ResponseTemplate::new(200).set_body_string("<html>login</html>")).mount(&server).await;
    put("moved", ResponseTemplate::new(301).insert_header("Location", "/api2/json/secret")).mount(&server).await;
    let huge = format!("{{\"data\":\"{}\"}}", "x".repeat(BODY_CAP));
    put("huge", ResponseTemplate::new(200).set_body_raw(huge, "application/json")).mount(&server).await;
    put("odd", ResponseTemplate::new(200).set_body_raw("{\"data\":\"a secret\"}", "application/json"))
        .mount(&server)
        .await;
    let client = Client::plain(&server.uri(), fast());
    let mut said = Vec::new();
    for at in ["html", "moved", "huge", "odd"] {
        said.push(client.get::<u32>(&[at], &[]).await.expect_err(at).to_string());
    }
    assert_eq!(
        said,
        [
            "GET /html was not answered as Proxmox VE answers: it is not JSON",
            "GET /moved was not answered as Proxmox VE answers: status 301",
            "GET /huge was not answered as Proxmox VE answers: it is longer than 8 MiB",
            "GET /odd was not answered as Proxmox VE answers: unexpected JSON at line 1, column 18",
        ]
    );
    assert!(server.received_requests().await.expect("recorded").iter().all(|met| !met.url.path().contains("secret")));
}

#[tokio::test]
async fn nobody_prints_the_token() {
    let access = ProxmoxAccess {
        url: "https://192.0.2.1:8006".into(),
        token: Secret::new(format!("castle@pve!main={CANARY}")),
        trust: Trust::Fingerprints(vec![[7; 32]]),
    };
    let options = Options {
        proxmox: Some(access.clone()),
        maintenance: castle_core::options::MaintenanceAccess::default(),
        secrets: SecretsAccess::Memory,
        git: None,
        identity: None,
        dial: DialMap::exclusive([]),
        source: None,
        pace: Pace::Real,
        lab: true,
    };
    let env = castle_core::Env::real();
    let limits = castle_core::Limits::default();
    let mut texts = Vec::new();
    let refused = crate::ProxmoxProvider::connect(&access, &options, &env, limits).expect_err("not in the map");
    texts.push(format!("{refused:?} {refused:#?} {refused}"));
    let direct = Options { dial: DialMap::direct(), ..options };
    let provider = crate::ProxmoxProvider::connect(&access, &direct, &env, limits).expect("a provider");
    texts.push(format!("{provider:?} {provider:#?}"));
    texts.push(format!("{:?}", provider.client.http));
    for token in [format!("castle@pve={CANARY}"), format!("main{CANARY}"), format!("a@b!c={CANARY}\n")] {
        let access = ProxmoxAccess { token: Secret::new(token), ..access.clone() };
        let error = crate::ProxmoxProvider::connect(&access, &direct, &env, limits).expect_err("no token");
        texts.push(format!("{error:?} {}", castle_core::Error::from(error.clone()).chain()));
    }
    let server = Scripted::start(|_, _| Reply::HangUp).await;
    let client = Client::plain(&server.url, fast());
    let error = client.write::<Value>(Method::DELETE, &["x"], &[("q", "v".to_owned())]).await.expect_err("lost");
    let port = castle_core::Error::from(error.clone());
    texts.push(format!("{client:?} {error:?} {error:#?} {port:?} {}", port.chain()));
    for text in texts {
        assert!(!text.contains(CANARY), "{text}");
    }
    assert!(server.met.texts()[0].contains(CANARY), "the canary was never in danger");
}
