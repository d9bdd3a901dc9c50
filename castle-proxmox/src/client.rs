//! Requests: how they are sent, counted, limited and, if they only read, repeated.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use castle_core::options::{Options, ProxmoxAccess};
use castle_core::words::heard;
use castle_core::{Clock, Meter, Pace};
use castle_wire::among_causes;
use futures::{StreamExt, stream};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::dial::Target;
use crate::tls::{Distrust, client_config};
use crate::wire::{Envelope, RefusalBody};
use crate::{Cause, Error, Refusal, Result};

/// How long a connection may take to stand, by the machine's own time.
const CONNECT_BUDGET: Duration = Duration::from_secs(5);

/// How long an answer may take, in castle's time. The host gives up on a silent
/// node after 30 s and says so; waiting a little longer hears it.
const ANSWER_BUDGET: Duration = Duration::from_secs(35);

/// The shortest wait for an answer by the machine's own time: at a fast pace the
/// handshake and the kernel are still as slow as ever.
const ANSWER_BUDGET_LEAST: Duration = Duration::from_secs(5);

/// The host closes an idle connection after 5 s; a request sent into that moment
/// is lost.
const IDLE_BUDGET: Duration = Duration::from_secs(4);

/// No answer that castle asks for comes near this.
const BODY_CAP: usize = 8 << 20;

/// How often a read is sent before its failure is believed.
const READ_ATTEMPTS: u32 = 3;

/// The wait before the second attempt, in castle's time; it doubles.
const READ_BACKOFF: Duration = Duration::from_millis(200);

/// Parameters of a request, in the order they are sent.
pub(crate) type Params<'a> = &'a [(&'a str, String)];

/// Asks several questions, so many at once, and gives the answers in their order.
pub(crate) async fn answers<F: Future>(at_once: usize, questions: Vec<F>) -> Vec<F::Output> {
    stream::iter(questions).buffered(at_once).collect().await
}

/// One server, one token.
pub(crate) struct Client {
    http: reqwest::Client,
    shown: String,
    base: Url,
    host: Option<HeaderValue>,
    authorization: HeaderValue,
    token_id: String,
    clock: Clock,
    meter: Meter,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.shown).field("token", &self.token_id).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares connections to the declared server. Sends nothing.
    pub(crate) fn new(access: &ProxmoxAccess, options: &Options, clock: Clock) -> Result<Self> {
        let target = Target::of(&access.url, &options.dial)?;
        let tls = client_config(&access.trust, target.name.clone(), &clock)?;
        let mut builder = base_builder(options.source).https_only(true).tls_backend_preconfigured(tls);
        if let Some(names) = target.names {
            builder = builder.dns_resolver(Arc::new(names));
        }
        let http = builder.build().map_err(|why| Error::BadOption {
            option: "proxmox",
            why: format!("cannot be used: {}", why.without_url()),
        })?;
        let (authorization, token_id) = read_token(access)?;
        Ok(Self {
            http,
            shown: target.shown,
            base: target.url,
            host: target.host,
            authorization,
            token_id,
            clock,
            meter: Meter::default(),
        })
    }

    /// Where requests are counted.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The token's name, `user@realm!name`, without its secret.
    pub(crate) fn token_id(&self) -> &str {
        &self.token_id
    }

    /// Reads, and reads again if the answer is lost on the way.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: Params<'_>) -> Result<T> {
        let mut wait = READ_BACKOFF;
        for _ in 1..READ_ATTEMPTS {
            match self.get_once(path, query).await {
                Err(error) if error.is_passing() => {
                    tracing::debug!(%error, "asking again");
                    self.clock.sleep(wait).await;
                    wait *= 2;
                }
                answer => return answer,
            }
        }
        self.get_once(path, query).await
    }

    /// Reads, once: for polls, which come again anyway.
    pub(crate) async fn get_once<T: DeserializeOwned>(&self, path: &[&str], query: Params<'_>) -> Result<T> {
        self.send(Method::GET, path, query).await
    }

    /// Changes something, once. What became of a request whose answer was lost
    /// is for the caller to find out: it is never sent again from here.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if it may have had its effect.
    pub(crate) async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        params: Params<'_>,
    ) -> Result<T> {
        self.send(method, path, params).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &[&str], params: Params<'_>) -> Result<T> {
        let request = format!("{method} /{}", path.join("/"));
        let reads = method == Method::GET;
        let mut url = self.base.clone();
        // Segment by segment, so that no value can change the path's shape.
        url.path_segments_mut().expect("an https URL has a path").clear().extend(["api2", "json"]).extend(path);
        let mut builder = self.http.request(method.clone(), url).header(AUTHORIZATION, self.authorization.clone());
        if let Some(host) = &self.host {
            builder = builder.header(HOST, host.clone());
        }
        // Proxmox refuses a DELETE with a body, and any body without a length.
        builder = match reads || method == Method::DELETE {
            true => builder.query(params),
            false if params.is_empty() => builder.form(params).header(CONTENT_LENGTH, HeaderValue::from_static("0")),
            false => builder.form(params),
        };

        let mut count = Count { meter: &self.meter, reads, sent: true };
        let answered = self.clock.within_real(self.answer_budget(), self.exchange(builder)).await;
        let answer = match answered {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => {
                count.sent = !error.is_connect();
                return Err(self.transport_error(request, reads, error));
            }
            None => {
                let source: Cause = Arc::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
                return Err(self.lost(request, reads, source));
            }
        };
        drop(count);
        self.read(request, reads, answer)
    }

    async fn exchange(&self, builder: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let mut response = builder.send().await?;
        let status = response.status();
        let reason = response
            .extensions()
            .get::<hyper::ext::ReasonPhrase>()
            .map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
        let json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/json"));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > BODY_CAP {
                return Ok(Answer { status, reason, json, body: None });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, reason, json, body: Some(body) })
    }

    fn read<T: DeserializeOwned>(&self, request: String, reads: bool, answer: Answer) -> Result<T> {
        let Answer { status, reason, json, body } = answer;
        if status == StatusCode::OK {
            let why = match (&body, json) {
                (None, _) => format!("it is longer than {} MiB", BODY_CAP >> 20),
                (Some(_), false) => "it is not JSON".to_owned(),
                (Some(body), true) => match serde_json::from_slice::<Envelope<T>>(body) {
                    Ok(envelope) => return Ok(envelope.data),
                    // The words of the error may quote the answer; its place is enough.
                    Err(why) => format!("unexpected JSON at line {}, column {}", why.line(), why.column()),
                },
            };
            let malformed = Error::Malformed { request: request.clone(), why };
            return Err(if reads { malformed } else { self.lost(request, reads, Arc::new(malformed)) });
        }
        if status.is_informational() || status.is_success() || status.is_redirection() {
            return Err(Error::Malformed { request, why: format!("status {}", status.as_u16()) });
        }
        let parsed: RefusalBody =
            body.filter(|_| json).and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        // The reason phrase holds the first line only; the message holds all, but
        // exists only since Proxmox VE 8.4.
        let said = match (parsed.message.as_deref().map(str::trim), reason.as_deref().map(str::trim)) {
            (Some(message), _) if !message.is_empty() => message.to_owned(),
            (_, Some(reason)) if !reason.is_empty() => reason.to_owned(),
            _ => status.canonical_reason().unwrap_or("no reason given").to_owned(),
        };
        let refusal = Refusal::of_answer(status.as_u16(), &said, &parsed.errors);
        let fields = parsed.errors.iter().map(|(field, why)| format!("; {field}: {}", why.trim()));
        let said = heard(&fields.fold(said, |said, field| said + &field));
        let refused = Error::Refused { request: request.clone(), status: status.as_u16(), said, refusal };
        match refused.refusal() {
            Some(Refusal::ProxyTimeout) if !reads => Err(self.lost(request, reads, Arc::new(refused))),
            _ => Err(refused),
        }
    }

    fn transport_error(&self, request: String, reads: bool, error: reqwest::Error) -> Error {
        let error = error.without_url();
        match among_causes::<Distrust>(&error).cloned() {
            Some(Distrust::Changed { expected, found }) => {
                return Error::CertificateChanged { url: self.shown.clone(), expected, found };
            }
            Some(Distrust::Refused { found, why }) => {
                return Error::CertificateRefused { url: self.shown.clone(), found, why };
            }
            None => {}
        }
        // Only the dial map answers with an error of the core.
        if among_causes::<castle_core::Error>(&error).is_some() {
            return Error::NotDialled { url: self.shown.clone(), source: Arc::new(error) };
        }
        let reached = !error.is_connect();
        self.lost(request, reads || !reached, Arc::new(error))
    }

    /// The error of a request without a usable answer.
    fn lost(&self, request: String, harmless: bool, source: Cause) -> Error {
        if harmless {
            Error::Unreachable { url: self.shown.clone(), source }
        } else {
            Error::OutcomeUnknown { request, source }
        }
    }

    fn answer_budget(&self) -> Duration {
        match self.clock.pace() {
            Pace::Scaled(factor) => ANSWER_BUDGET.div_f64(factor.get()).max(ANSWER_BUDGET_LEAST),
            Pace::Virtual | Pace::Real => ANSWER_BUDGET,
        }
    }
}

struct Answer {
    status: StatusCode,
    reason: Option<String>,
    json: bool,
    /// `None`: longer than the cap.
    body: Option<Vec<u8>>,
}

/// Counts a request when it is over, however it ended: answered, failed or
/// dropped, which may have been before it was sent. One that found no server
/// was never sent.
struct Count<'a> {
    meter: &'a Meter,
    reads: bool,
    sent: bool,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        match (self.sent, self.reads) {
            (false, _) => {}
            (true, true) => self.meter.count_read(),
            (true, false) => self.meter.count_write(),
        }
    }
}

fn base_builder(source: Option<IpAddr>) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("castle/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .referer(false)
        .connect_timeout(CONNECT_BUDGET)
        .pool_idle_timeout(IDLE_BUDGET)
        .local_address(source)
}

fn read_token(access: &ProxmoxAccess) -> Result<(HeaderValue, String)> {
    let bad = || Error::BadOption {
        option: "proxmox.token",
        why: "is not a token; write `user@realm!name=secret`, as `pveum user token add` prints it".into(),
    };
    let token = access.token.expose();
    let (id, secret) = token.split_once('=').ok_or_else(bad)?;
    let (user, name) = id.split_once('!').ok_or_else(bad)?;
    if !user.contains('@') || name.is_empty() || secret.is_empty() {
        return Err(bad());
    }
    let mut authorization = HeaderValue::try_from(format!("PVEAPIToken={token}")).map_err(|_| bad())?;
    authorization.set_sensitive(true);
    Ok((authorization, id.to_owned()))
}

#[cfg(test)]
impl Client {
    /// A client of a plain server on this machine: for tests of single requests.
    pub(crate) fn plain(server: &str, clock: Clock) -> Self {
        let access = ProxmoxAccess {
            url: server.to_owned(),
            token: castle_core::Secret::new(format!("castle@pve!main={}", tests::CANARY)),
            trust: castle_core::options::Trust::Fingerprints(vec![[0; 32]]),
        };
        let (authorization, token_id) = read_token(&access).expect("a token");
        let base = Url::parse(server).expect("a URL");
        assert_eq!(base.host_str(), Some("127.0.0.1"), "the token must not leave this machine unprotected");
        // Unused over http, but without it reqwest looks for a process default.
        let pin = castle_core::options::Trust::Fingerprints(vec![[0; 32]]);
        let name = "localhost".try_into().expect("a name");
        let tls = client_config(&pin, name, &clock).expect("settings");
        let http = base_builder(None).tls_backend_preconfigured(tls).build().expect("a client");
        Self {
            http,
            shown: server.to_owned(),
            base,
            host: None,
            authorization,
            token_id,
            clock,
            meter: Meter::default(),
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
