use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use castle_core::{ErrorKind, Secret};
use castle_gitops::https::{Client, Error, Origin, Request, Trust, connects, download};
use castle_lab::{Act, Call, Fault, FaultEffect, Latency, Reply, Service, World, runtime};

use crate::house::{AT, House, address};

/// Answers with what the path asks for.
struct Web;

impl Service for Web {
    fn backend(&self) -> &'static str {
        "web"
    }

    fn classify(&self, _: &World, call: &Call) -> Act {
        let (write, kind) = (call.method != "GET", format!("{} {}", call.method, call.path));
        Act { kind, entity: String::new(), write, latency: Latency::ZERO, detail: String::new() }
    }

    fn serve(&self, _: &mut World, call: &Call) -> Reply {
        let header = |name| call.header(name).unwrap_or("nothing").to_owned();
        match call.path.as_str() {
            "/host" => Reply::new(200, header("host")),
            "/authorization" => Reply::new(200, header("authorization")),
            "/long" => Reply::new(200, vec![b'x'; 100_000]),
            "/moved" => Reply::new(302, "").header("location", "/host"),
            "/away" => Reply::new(302, "").header("location", "https://elsewhere.example/x"),
            "/plain" => Reply::new(302, "").header("location", "http://blog.example/x"),
            "/round" => Reply::new(302, "").header("location", "/round"),
            "/echo" => Reply::new(201, call.body.clone()),
            _ => Reply::new(404, "no such page"),
        }
    }
}

const NAME: &str = "blog.example";

async fn house() -> House {
    House::with(NAME, World::empty(7), Arc::new(Web)).await
}

fn origin() -> Origin {
    Origin::of("https://blog.example").unwrap()
}

fn client(house: &House) -> Client {
    Client::new(&house.options(), &house.env(), &origin(), &Trust::of(Some(&house.trust()))).unwrap()
}

#[test]
fn an_answer_comes_with_its_status_and_is_counted() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let client = client(&house);
        assert_eq!(client.send(Request::get("/host")).await.unwrap().body, "blog.example");
        let echo = client.send(Request::post("/echo", "sent")).await.unwrap();
        assert_eq!((echo.status, echo.body.as_ref()), (201, &b"sent"[..]));
        let missing = client.send(Request::get("/nowhere")).await.unwrap();
        assert!(missing.status == 404 && !missing.is_success());
        client.send(Request::post("/echo", "dry").reading()).await.unwrap();
        let total = client.meter().total();
        assert_eq!((total.read, total.write), (3, 1));
        assert_eq!(house.lab.connections(), 1, "one connection carries all of them");
    });
}

#[test]
fn credentials_are_sent_and_never_shown() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let client = client(&house);
        let secret = Secret::new("hunter2".to_owned());
        let bearer = Request::get("/authorization").bearer(&secret).unwrap();
        let basic = Request::get("/authorization").basic("git", &secret).unwrap();
        let shown = format!("{bearer:?} {basic:?} {client:?}");
        assert_eq!(client.send(bearer).await.unwrap().body, "Bearer hunter2");
        let answer = client.send(basic).await.unwrap();
        assert_eq!(answer.body, "Basic Z2l0Omh1bnRlcjI=");
        let shown = format!("{shown} {answer:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("Z2l0"), "{shown}");
        assert!(Request::get("/").basic("a:b", &secret).is_err());
        let broken = Request::get("/").bearer(&Secret::new("hunter2\n".to_owned())).unwrap_err();
        assert!(!format!("{broken:?}").contains("hunter2"));
    });
}

#[test]
fn an_answer_has_a_length_and_a_time() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let client = client(&house);
        assert_eq!(client.send(Request::get("/long").cap(100_000)).await.unwrap().body.len(), 100_000);
        let error = client.send(Request::get("/long").cap(99_999)).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { cap: 99_999, .. }), "{error:?}");
        house.lab.faults().add(Fault::of(FaultEffect::Stall));
        let before = house.lab.clock().elapsed();
        let error = client.send(Request::get("/host").within(Duration::from_secs(12))).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert_eq!((house.lab.clock().elapsed() - before).as_secs(), 12);
        house.lab.faults().add(Fault::of(FaultEffect::AnswerLost));
        let error = client.send(Request::post("/echo", "x")).await.unwrap_err();
        assert!(error.is_passing(), "{error:?}");
        // What was sent is counted, whatever became of it.
        assert_eq!(client.meter().total().write, 1);
        assert_eq!(client.send(Request::get("/host")).await.unwrap().status, 200);
    });
}

#[test]
fn a_certificate_must_be_for_the_host_and_signed_by_the_authority() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let (options, env, authorities) = (house.options(), house.env(), Trust::of(Some(&house.trust())));
        let print = house.lab.fingerprint_of(address()).unwrap();
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(print.split(':')) {
            *byte = u8::from_str_radix(pair, 16).unwrap();
        }
        let foreign = {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
            Trust::Authorities(params.self_signed(&key).unwrap().pem())
        };
        let ask = async |host: &str, trust: &Trust| {
            let origin = Origin::new(true, host, 443).unwrap();
            let client = Client::at(&options, &env, &origin, address(), trust).unwrap();
            client.send(Request::get("/host")).await.map(|answer| answer.body)
        };
        assert_eq!(ask(NAME, &authorities).await.unwrap(), NAME);
        assert_eq!(ask(NAME, &Trust::NameOnly).await.unwrap(), NAME);
        // A pin is about the key alone: the host header is the caller's choice.
        assert_eq!(ask("shop.example", &Trust::Fingerprints(vec![pin])).await.unwrap(), "shop.example");
        for (host, trust) in [
            (NAME, &foreign),
            ("shop.example", &authorities),
            ("shop.example", &Trust::NameOnly),
            (NAME, &Trust::Fingerprints(vec![[1; 32]])),
        ] {
            let error = ask(host, trust).await.unwrap_err();
            assert!(matches!(error, Error::Distrusted { .. }), "{host} {trust:?}: {error:?}");
        }
        let read = house.asked().len();
        assert_eq!(read, 3, "nothing was sent where nobody vouched");
    });
}

#[test]
fn certificates_are_judged_by_the_lab_s_wall_clock() {
    runtime::run_virtual(|| async {
        let house = house().await;
        for trust in [Trust::of(Some(&house.trust())), Trust::NameOnly] {
            let client = Client::new(&house.options(), &house.env(), &origin(), &trust).unwrap();
            client.send(Request::get("/host")).await.unwrap();
        }
        house.lab.advance(Duration::from_secs(60 * 365 * 24 * 3600)).await.unwrap();
        for trust in [Trust::of(Some(&house.trust())), Trust::NameOnly] {
            let client = Client::new(&house.options(), &house.env(), &origin(), &trust).unwrap();
            let error = client.send(Request::get("/host")).await.unwrap_err();
            assert!(matches!(error, Error::Distrusted { .. }), "{error:?}");
        }
    });
}

#[test]
fn a_download_follows_where_it_is_sent_and_tells_nobody_anything() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let (options, env, trust) = (house.options(), house.env(), Trust::of(Some(&house.trust())));
        let get = async |path: &str| download(&options, &env, &format!("https://{NAME}{path}"), &trust, 1000).await;
        assert_eq!(get("/moved").await.unwrap(), NAME);
        assert!(
            matches!(get("/away").await.unwrap_err(), Error::NotDialled { server, .. } if server.contains("elsewhere"))
        );
        assert!(matches!(get("/plain").await.unwrap_err(), Error::BadUrl { why } if why.contains("plain http")));
        assert!(matches!(get("/round").await.unwrap_err(), Error::BadUrl { why } if why.contains("5 times")));
        assert!(matches!(get("/nowhere").await.unwrap_err(), Error::NotServed { status: 404, .. }));
        assert!(matches!(get("/long").await.unwrap_err(), Error::TooLong { cap: 1000, .. }));
    });
}

#[test]
fn what_is_not_in_the_dial_map_is_not_dialled() {
    runtime::run_virtual(|| async {
        let house = house().await;
        let (options, env) = (house.options(), house.env());
        let trust = Trust::of(Some(&house.trust()));
        for url in ["https://elsewhere.example", "https://192.168.1.8", "http://blog.example"] {
            let error = Client::new(&options, &env, &Origin::of(url).unwrap(), &trust).unwrap_err();
            assert!(matches!(error, Error::NotDialled { .. }), "{url}: {error:?}");
            assert_eq!(castle_core::Error::from(error).kind(), ErrorKind::Unreachable);
        }
        connects(&options, &env, AT.parse().unwrap()).await.unwrap();
        let error = connects(&options, &env, "192.168.1.8:443".parse().unwrap()).await.unwrap_err();
        assert!(error.source().unwrap().to_string().contains("192.168.1.8:443"), "{error:?}");
    });
}

#[test]
fn plain_http_is_spoken_where_it_is_declared() {
    runtime::run_virtual(|| async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let house = house().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut options = house.options();
        let at: std::net::SocketAddr = "192.168.1.9:80".parse().unwrap();
        options.dial = castle_core::options::DialMap::exclusive([(at, listener.local_addr().unwrap())]);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let env = house.env();
        let client =
            Client::at(&options, &env, &Origin::of("http://blog.example").unwrap(), at, &Trust::NameOnly).unwrap();
        let (request, answer) = futures::join!(serve, client.send(Request::get("/?q=1")));
        assert_eq!(answer.unwrap().body, "ok");
        assert!(request.starts_with("GET /?q=1 HTTP/1.1\r\nhost: blog.example\r\n"), "{request}");
    });
}
