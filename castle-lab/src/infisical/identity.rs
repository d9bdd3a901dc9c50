//! Machine identities: universal authentication, its lock and its tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use castle_core::{Secret, SecretText};

/// How long an access token lives where an identity says nothing else.
pub const TOKEN_LIFE: Duration = Duration::from_secs(2_592_000);
/// So many wrong secrets lock an identity.
pub const FAILURES_MAX: u32 = 3;
/// After so long without a further one, wrong secrets are forgotten.
pub const FAILURES_FORGOTTEN: Duration = Duration::from_secs(30);
/// How long the lock holds.
pub const LOCKED: Duration = Duration::from_secs(300);

/// The machine identities, by client id, and the tokens they were given.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// The identities.
    pub by_client_id: BTreeMap<String, Identity>,
    tokens: Tokens,
}

/// Tokens that no formatter prints.
#[derive(Clone, Default)]
struct Tokens(BTreeMap<String, Access>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values()).finish()
    }
}

/// A machine identity.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its client secret.
    pub client_secret: SecretText,
    /// Whether it may write.
    pub may_write: bool,
    /// How long its tokens live; zero: without an end.
    pub token_life: Duration,
    /// When its client secret ends, in the world's time.
    pub secret_until: Option<Duration>,
    /// How many logins its client secret is still good for.
    pub logins_left: Option<u32>,
    failures: u32,
    /// When failures are forgotten and a lock opens.
    failures_until: Duration,
}

/// What a token gives.
#[derive(Debug, Clone)]
pub struct Access {
    /// The identity that it was given to.
    pub client_id: String,
    /// When it ends, in the world's time.
    pub until: Duration,
}

/// Why a login is refused: always 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// The client id is unknown, or the secret is not its.
    #[error("Invalid credentials")]
    Invalid,
    /// Too many wrong secrets.
    #[error("This identity auth method is temporarily locked, please try again later")]
    Locked,
    /// The client secret has ended.
    #[error("Access denied due to expired client secret")]
    Expired,
    /// The client secret was used as often as it may.
    #[error("Access denied due to client secret usage limit reached")]
    UsedUp,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Nobody was given it.
    Unknown,
    /// It has ended.
    Expired,
}

impl Identity {
    /// An identity whose secret has no end.
    #[must_use]
    pub fn new(name: &str, client_secret: String, may_write: bool) -> Self {
        Self {
            name: name.to_owned(),
            client_secret: Secret::new(client_secret),
            may_write,
            token_life: TOKEN_LIFE,
            secret_until: None,
            logins_left: None,
            failures: 0,
            failures_until: Duration::ZERO,
        }
    }

    /// Whether it is locked now.
    #[must_use]
    pub fn is_locked(&self, now: Duration) -> bool {
        self.failures >= FAILURES_MAX && now < self.failures_until
    }
}

impl Identities {
    /// Logs in: gives the token and how long it lives. `mint` makes the token's
    /// text from its number.
    ///
    /// # Errors
    ///
    /// [`LoginRefusal`]. A wrong secret counts towards the lock; while that holds,
    /// the right one is refused too.
    pub fn log_in(
        &mut self,
        client_id: &str,
        client_secret: &str,
        now: Duration,
        mint: &dyn Fn(&str) -> String,
    ) -> Result<(String, Duration), LoginRefusal> {
        let number = self.tokens.0.len();
        let identity = self.by_client_id.get_mut(client_id).ok_or(LoginRefusal::Invalid)?;
        if identity.is_locked(now) {
            return Err(LoginRefusal::Locked);
        }
        if identity.client_secret.expose() != client_secret {
            let before = if now < identity.failures_until { identity.failures } else { 0 };
            identity.failures = before + 1;
            let held = if identity.failures >= FAILURES_MAX { LOCKED } else { FAILURES_FORGOTTEN };
            identity.failures_until = now + held;
            return Err(LoginRefusal::Invalid);
        }
        identity.failures = 0;
        if identity.secret_until.is_some_and(|until| now > until) {
            return Err(LoginRefusal::Expired);
        }
        match &mut identity.logins_left {
            Some(0) => return Err(LoginRefusal::UsedUp),
            Some(left) => *left -= 1,
            None => {}
        }
        let token = mint(&format!("token {number} of {client_id}"));
        let life = identity.token_life;
        let until = if life.is_zero() { Duration::MAX } else { now + life };
        self.tokens.0.insert(token.clone(), Access { client_id: client_id.to_owned(), until });
        Ok((token, life))
    }

    /// Whose token this is.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal`].
    pub fn who(&self, token: &str, now: Duration) -> Result<&Identity, TokenRefusal> {
        let access = self.tokens.0.get(token).ok_or(TokenRefusal::Unknown)?;
        if now >= access.until {
            return Err(TokenRefusal::Expired);
        }
        // An identity that was removed takes its tokens with it.
        self.by_client_id.get(&access.client_id).ok_or(TokenRefusal::Unknown)
    }

    /// Whether these credentials would be let in, locks apart. It counts nothing.
    #[must_use]
    pub fn is_valid(&self, client_id: &str, client_secret: &str) -> bool {
        self.by_client_id
            .get(client_id)
            .is_some_and(|identity| identity.client_secret.expose() == client_secret && identity.logins_left != Some(0))
    }

    /// Ends all tokens at once.
    pub fn end_tokens(&mut self) {
        self.tokens.0.values_mut().for_each(|access| access.until = Duration::ZERO);
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let secrets = self.by_client_id.values().map(|identity| {
            (format!("the client secret of {}", identity.name), identity.client_secret.expose().clone())
        });
        secrets.chain(self.tokens.0.iter().map(|(token, access)| {
            let name = self.by_client_id.get(&access.client_id).map_or("nobody", |identity| &identity.name);
            (format!("an access token of {name}"), token.clone())
        }))
    }
}
