//! Tokens, tickets, and what the transport refuses.

use castle_lab::{Call, RunId};

use crate::house::{As, House};

fn call(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Call {
    Call {
        method: method.into(),
        path: path.into(),
        query: None,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.to_owned().into(),
        chunked: false,
        run: RunId::FOREIGN,
    }
}

fn ticket(house: &mut House) -> (String, String) {
    let password = house.world.root_password().unwrap().to_owned();
    house.who = As::Nobody;
    let got = house.ask("POST", "/access/ticket", &[("username", "root@pam"), ("password", &password)]);
    let text = |name: &str| got.data()[name].as_str().unwrap().to_owned();
    assert_eq!(text("username"), "root@pam");
    (text("ticket"), text("CSRFPreventionToken"))
}

#[test]
fn a_ticket_reads_and_with_the_guard_writes() {
    let mut house = House::new();
    let (ticket, guard) = ticket(&mut house);
    assert!(ticket.starts_with("PVE:root@pam:"), "{ticket}");
    let encoded = ticket.replace(':', "%3A").replace('@', "%40");
    for spelling in [&ticket, &encoded] {
        let cookie = format!("other=1; PVEAuthCookie={spelling}");
        let read = call("GET", "/api2/json/version", &[("cookie", &cookie)], "");
        assert_eq!(house.send(&read).data()["version"], "9.2.3");
        let unguarded = call("POST", "/api2/json/nodes/pve/qemu/100/status/stop", &[("cookie", &cookie)], "");
        house.send(&unguarded).refused(401, "Permission denied - invalid csrf token");
    }
    let cookie = format!("PVEAuthCookie={ticket}");
    let headers = [("cookie", cookie.as_str()), ("csrfpreventiontoken", guard.as_str())];
    let stop = house.send(&call("POST", "/api2/json/nodes/pve/qemu/100/status/stop", &headers, "")).text();
    assert!(stop.ends_with(":qmstop:100:root@pam:"), "{stop}");
    house.who = As::Headers(headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(house.exit(&stop), "OK");
    assert!(house.world.untouched(100), "root is not castle");
}

#[test]
fn a_ticket_lives_for_two_hours_and_renews_itself() {
    let mut house = House::new();
    let (ticket, _) = ticket(&mut house);
    house.wait(7000.0);
    let renewed = house.ask("POST", "/access/ticket", &[("username", "root@pam"), ("password", &ticket)]);
    assert_ne!(renewed.data()["ticket"], ticket.as_str());
    house.wait(300.0);
    house.who = As::Headers(vec![("cookie".into(), format!("PVEAuthCookie={ticket}"))]);
    house.ask("GET", "/version", &[]).refused(401, "Authentication failed!");
}

#[test]
fn a_wrong_password_is_answered_late_and_with_a_body() {
    let mut house = House::new();
    house.who = As::Nobody;
    let got = house.ask("POST", "/access/ticket", &[("username", "root@pam"), ("password", "guess")]);
    got.refused(401, "authentication failure");
    assert_eq!((got.penalty.as_secs(), got.body["message"].as_str()), (3, Some("authentication failure\n")));
}

#[test]
fn a_token_is_refused_when_it_is_wrong_revoked_or_over() {
    let mut house = House::new();
    let token = house.world.castle_token().unwrap();
    let with = |value: String| As::Headers(vec![("authorization".into(), value)]);
    for good in [format!("PVEAPIToken={token}"), format!("PVEAPIToken {token}")] {
        house.who = with(good);
        house.ask("GET", "/version", &[]).data();
    }
    house.who = with(format!("PVEAPIToken={token}0"));
    house.ask("GET", "/version", &[]).refused(401, "Authentication failed!");

    house.castle().world.expire_token("castle@pve!main");
    house.ask("GET", "/version", &[]).refused(401, "Authentication failed!");
    let mut house = House::new();
    house.world.revoke_token("castle@pve!main");
    let got = house.ask("GET", "/version", &[]);
    got.refused(401, "Authentication failed!");
    assert_eq!(got.penalty.as_secs(), 3);
}

#[test]
fn a_token_cannot_buy_a_ticket() {
    let mut house = House::new();
    house.ask("POST", "/access/ticket", &[("username", "x"), ("password", "y")]).refused(
        403,
        "Permission check failed (URI '/access/ticket' not available with API token, need proper ticket.)",
    );
}

#[test]
fn bodies_are_forms_or_json_and_of_known_length() {
    let mut house = House::new();
    let token = format!("PVEAPIToken={}", house.world.castle_token().unwrap());
    let login = ("authorization", token.as_str());
    let json = [login, ("content-type", "application/json")];
    house.born(421);
    let body = r#"{"onboot": true, "cores": 2, "name": "json"}"#;
    house.send(&call("PUT", "/api2/json/nodes/pve/qemu/421/config", &json, body)).data();
    let config = house.ask("GET", "/nodes/pve/qemu/421/config", &[]).data().clone();
    assert_eq!((&config["onboot"], &config["cores"], &config["name"]), (&1.into(), &2.into(), &"json".into()));

    let text = [login, ("content-type", "text/plain")];
    house
        .send(&call("PUT", "/api2/json/nodes/pve/qemu/421/config", &text, "x"))
        .refused(506, "unknown content-type 'text/plain'");
    for method in ["DELETE", "GET"] {
        let refused = call(method, "/api2/json/nodes/pve/qemu/421", &[login], "purge=1");
        house.send(&refused).refused(501, &format!("Unexpected content for method '{method}'"));
    }
    let large = "x".repeat((512 << 10) + 1);
    house
        .send(&call("PUT", "/api2/json/nodes/pve/qemu/421/config", &[login], &large))
        .refused(501, "for data too large");
    let mut chunked = call("PUT", "/api2/json/nodes/pve/qemu/421/config", &[login], "name=x");
    chunked.chunked = true;
    house.send(&chunked).refused(501, "chunked transfer encoding not supported");
    house.send(&call("GET", "/", &[login], "")).refused(501, "no such uri");
}

#[test]
fn requests_are_named_without_their_secrets() {
    let house = House::new();
    let login = call("POST", "/api2/json/access/ticket", &[], "username=root%40pam&password=hunter2");
    let act = house.classify(&login);
    assert_eq!((act.kind.as_str(), act.write), ("POST access/ticket", false));
    assert_eq!(act.detail, "password=(hidden) username=root@pam");
    let create = call("POST", "/api2/json/nodes/pve/qemu", &[], "vmid=421&name=blue-cp-01");
    let act = house.classify(&create);
    assert_eq!((act.kind.as_str(), act.entity.as_str(), act.write), ("POST qemu", "421", true));
    let status = "/api2/json/nodes/pve/tasks/UPID:pve:0003B001:01A20000:69200000:qmcreate:421:castle@pve!main:/status";
    let act = house.classify(&call("GET", status, &[], ""));
    assert_eq!((act.kind.as_str(), act.entity.as_str()), ("GET tasks/status", "qmcreate:421"));
    let delete = house.classify(&call("DELETE", "/api2/json/nodes/pve/qemu/421/", &[], ""));
    assert_eq!((delete.kind.as_str(), delete.entity.as_str()), ("DELETE qemu", "421"));
}

#[test]
fn no_formatter_prints_a_secret() {
    let house = House::new();
    let token = house.world.castle_token().unwrap();
    let secret = token.split_once('=').unwrap().1;
    let password = house.world.root_password().unwrap();
    for shown in [format!("{:?}", house.world), format!("{:#?}", house.world.proxmox)] {
        assert!(!shown.contains(secret) && !shown.contains(password), "{shown}");
    }
}
