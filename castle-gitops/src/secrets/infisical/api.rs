//! Requests to Infisical, and what their answers mean.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castle_core::options::InfisicalAccess;
use castle_core::words;
use castle_core::{Clock, Env, Meter, Options, Secret, SecretText};
use futures::FutureExt as _;
use futures::future::{BoxFuture, WeakShared};
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{Error, Result};
use crate::https::{self, Answer, Client, Origin, Request, Trust};

/// How long a token must still be good to be used, if it lives long enough.
const MARGIN: Duration = Duration::from_secs(30);
/// How long castle keeps quiet after a login was refused: the server locks an
/// identity for as long, after three such logins.
const QUIET: Duration = Duration::from_secs(300);

/// One server, one identity.
pub(super) struct Api {
    client: Client,
    access: Arc<InfisicalAccess>,
    clock: Clock,
    session: Mutex<Session>,
}

/// A login that is under way; it ends with the last who waits for it.
type LoggingIn = WeakShared<BoxFuture<'static, Result<Token>>>;

#[derive(Default)]
struct Session {
    token: Option<Token>,
    login: Option<LoggingIn>,
    refusal: Option<(Error, Duration)>,
    project: Option<String>,
}

#[derive(Clone)]
struct Token {
    text: SecretText,
    /// `None`: it has no end.
    good_until: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    access_token: String,
    /// In seconds; 0 for a token without an end.
    expires_in: u64,
}

/// A project, alone or under a name; servers tell its id under one name or both.
#[derive(Deserialize)]
struct Project {
    id: Option<String>,
    #[serde(rename = "_id")]
    old_id: Option<String>,
    #[serde(alias = "workspace")]
    project: Option<Box<Project>>,
}

impl Project {
    fn into_id(self) -> Option<String> {
        self.id.or(self.old_id).or_else(|| self.project?.into_id())
    }
}

/// What the server says of a refusal.
#[derive(Deserialize, Default)]
struct Said {
    #[serde(default)]
    message: Value,
    #[serde(default)]
    error: String,
}

/// An answer that was read: success, or a refusal with its words.
pub(super) enum Reply {
    Done(Answer),
    No { status: u16, said: Words },
}

/// The server's words of a refusal.
pub(super) struct Words {
    /// As they are, to be understood: they may repeat what is secret.
    heard: String,
    /// For people.
    pub(super) shown: String,
}

impl Words {
    /// Without what castle had told the server in confidence.
    fn of(answer: &Answer, hidden: &[&SecretText]) -> Self {
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = match said.message {
            Value::String(text) => text,
            // Details of a validation may quote what was sent.
            Value::Array(_) => "the request is not valid".into(),
            _ => "no words".into(),
        };
        let heard = if said.error.is_empty() { message } else { format!("{message} ({})", said.error) };
        let repeats = |secret: &&SecretText| {
            let text = secret.expose().trim();
            !text.is_empty() && heard.contains(text)
        };
        let shown = match hidden.iter().any(repeats) {
            true => "words that repeat what is secret".to_owned(),
            false => words::heard(&heard),
        };
        Self { heard: heard.to_lowercase(), shown }
    }

    fn is_expired_token(&self, status: u16) -> bool {
        status == 401
            || (status == 403 && (self.heard.contains("tokenerror") || self.heard.contains("token has expired")))
    }

    pub(super) fn is_exists(&self) -> bool {
        self.heard.contains("already exist")
    }

    pub(super) fn is_no_folder(&self) -> bool {
        self.heard.starts_with("folder with") && self.heard.contains("not found")
    }

    /// Whether a 404 speaks of the secret or its folder. Any other (no such project,
    /// no such path of the API) must never read as "there is no such secret".
    pub(super) fn is_absent(&self) -> bool {
        self.is_no_folder() || (self.heard.starts_with("secret with") && self.heard.contains("not found"))
    }
}

impl Api {
    pub(super) fn new(access: &InfisicalAccess, options: &Options, env: &Env) -> Result<Self> {
        let bad = |why: String| Error::BadAccess { why };
        let origin =
            Origin::of(&access.url).map_err(|error| bad(format!("names a server that is not used: {error}")))?;
        if !origin.is_tls() {
            return Err(bad("names a server that does not begin with `https://`".into()));
        }
        let client = match Client::new(options, env, &origin, &Trust::of(access.trust.as_ref())) {
            Ok(client) => client,
            Err(https::Error::BadTrust { why, .. }) => return Err(bad(format!("has a `trust` that {why}"))),
            Err(source) => return Err(Error::Unreachable { request: "the server", source }),
        };
        Ok(Self { client, access: Arc::new(access.clone()), clock: env.clock.clone(), session: Mutex::default() })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn count_on(&mut self, meter: Arc<Meter>) {
        self.client = self.client.clone().counted_on(meter);
    }

    pub(super) fn access(&self) -> &InfisicalAccess {
        &self.access
    }

    /// The project's id, asked for once.
    pub(super) async fn project(&self) -> Result<String> {
        const NAME: &str = "GET projects/slug";
        if let Some(known) = &self.session().project {
            return Ok(known.clone());
        }
        let slug = encoded(&self.access.project);
        // Servers before the year 2025 know the second path only.
        for path in [format!("/api/v1/projects/slug/{slug}"), format!("/api/v1/workspace/slug/{slug}")] {
            match self.send(NAME, Method::GET, &path, None, &[]).await? {
                Reply::Done(answer) => {
                    let id = parsed::<Project>(NAME, &answer)?.into_id();
                    let id = id.ok_or_else(|| Error::Malformed { request: NAME, why: "it names no id".into() })?;
                    self.session().project = Some(id.clone());
                    return Ok(id);
                }
                Reply::No { status: 404, .. } => {}
                Reply::No { status: 403, .. } => break,
                Reply::No { status, said } => {
                    return Err(Error::Refused { request: NAME, status, said: said.shown });
                }
            }
        }
        Err(Error::NoProject { slug: self.access.project.clone() })
    }

    /// Sends a request with a good token. An expired one is renewed once, before
    /// which the server did nothing. `hidden`: what the request tells and no error
    /// may repeat.
    pub(super) async fn send(
        &self,
        name: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        hidden: &[&SecretText],
    ) -> Result<Reply> {
        let (token, is_new) = self.token().await?;
        let reply = self.send_with(&token, name, method.clone(), path, body, hidden).await?;
        match reply {
            Reply::No { status, said } if !is_new && said.is_expired_token(status) => {
                tracing::debug!(request = name, "the token has expired");
                self.session().token = None;
                let (token, _) = self.token().await?;
                self.send_with(&token, name, method, path, body, hidden).await
            }
            reply => Ok(reply),
        }
    }

    async fn send_with(
        &self,
        token: &SecretText,
        name: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        hidden: &[&SecretText],
    ) -> Result<Reply> {
        let unreachable = |source| Error::Unreachable { request: name, source };
        let mut request = Request::new(method, path).bearer(token).map_err(unreachable)?;
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = self.client.send(request).await.map_err(unreachable)?;
        if answer.is_success() {
            return Ok(Reply::Done(answer));
        }
        let hidden: Vec<&SecretText> = hidden.iter().copied().chain([token, &self.access.client_secret]).collect();
        Ok(Reply::No { status: answer.status, said: Words::of(&answer, &hidden) })
    }

    /// A good token, and whether it is a new one. Whoever needs one at the same time
    /// waits for the same login: three refused ones lock an identity.
    async fn token(&self) -> Result<(SecretText, bool)> {
        let now = self.clock.elapsed();
        let login = {
            let mut session = self.session();
            if let Some(token) = session.token.as_ref().filter(|token| token.good_until.is_none_or(|until| until > now))
            {
                return Ok((token.text.clone(), false));
            }
            if let Some((error, _)) = session.refusal.as_ref().filter(|(_, until)| *until > now) {
                return Err(error.clone());
            }
            match session.login.as_ref().and_then(WeakShared::upgrade) {
                Some(login) => login,
                None => {
                    let login = log_in(self.client.clone(), Arc::clone(&self.access), self.clock.clone());
                    let login = login.boxed().shared();
                    session.login = login.downgrade();
                    login
                }
            }
        };
        let end = login.await;
        let mut session = self.session();
        session.login = None;
        match end {
            Ok(token) => {
                let text = token.text.clone();
                (session.token, session.refusal) = (Some(token), None);
                Ok((text, true))
            }
            Err(error) => {
                if matches!(error, Error::LoginRefused { .. } | Error::Locked { .. }) {
                    session.refusal = Some((error.clone(), now + QUIET));
                }
                Err(error)
            }
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        // Every change of a session is whole, also when its maker panics later.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn log_in(client: Client, access: Arc<InfisicalAccess>, clock: Clock) -> Result<Token> {
    const NAME: &str = "POST login";
    let body = json!({ "clientId": access.client_id, "clientSecret": access.client_secret.expose() });
    let request = Request::post("/api/v1/auth/universal-auth/login", body.to_string())
        .header("content-type", "application/json")
        .reading();
    let asked_at = clock.elapsed();
    let answer = client.send(request).await.map_err(|source| Error::Unreachable { request: NAME, source })?;
    if answer.is_success() {
        let login: Login = parsed(NAME, &answer)?;
        let good_until = good_until(asked_at, login.expires_in);
        return Ok(Token { text: Secret::new(login.access_token), good_until });
    }
    let words = Words::of(&answer, &[&access.client_secret]);
    let is_locked = words.heard.contains("locked");
    let said = words.shown;
    Err(match answer.status {
        401 | 403 if is_locked => Error::Locked { said },
        401 | 403 => Error::LoginRefused { said },
        status => Error::Refused { request: NAME, status, said },
    })
}

/// Until when a token is used that was given for so many seconds. One without an
/// end, or with one that no clock reaches, is used until the server refuses it.
fn good_until(asked_at: Duration, seconds: u64) -> Option<Duration> {
    if seconds == 0 {
        return None;
    }
    let life = Duration::from_secs(seconds);
    asked_at.checked_add(life - MARGIN.min(life / 10))
}

/// Reads an answer's body. Its words are never quoted.
pub(super) fn parsed<T: DeserializeOwned>(request: &'static str, answer: &Answer) -> Result<T> {
    serde_json::from_slice(&answer.body).map_err(|error| Error::Malformed {
        request,
        why: format!("unexpected JSON at line {}, column {}", error.line(), error.column()),
    })
}

/// A text inside a URL.
pub(super) fn encoded(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_for_nearly_as_long_as_it_lives() {
        let second = Duration::from_secs;
        for (seconds, expected) in [
            (0, None),
            (1, Some(second(100) + Duration::from_millis(900))),
            (30, Some(second(127))),
            (300, Some(second(370))),
            (2_592_000, Some(second(2_592_070))),
            (u64::MAX, None),
        ] {
            assert_eq!(good_until(second(100), seconds), expected, "{seconds}");
        }
    }
}
