//! Who may read the repositories, and who may push.

use std::collections::BTreeMap;

use castle_core::{Secret, SecretText};

/// The accounts of the house's Git server, by user name.
#[derive(Debug, Clone, Default)]
pub struct Accounts(pub BTreeMap<String, Account>);

/// One account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its token, which is sent as the password.
    pub token: SecretText,
    /// Whether it may push.
    pub may_push: bool,
}

impl Accounts {
    /// Adds an account that may push.
    pub fn add(&mut self, username: &str, token: String) {
        self.0.insert(username.to_owned(), Account { token: Secret::new(token), may_push: true });
    }

    /// The account of that name, if the password is its token.
    #[must_use]
    pub fn admit(&self, username: &str, password: &str) -> Option<&Account> {
        self.0.get(username).filter(|account| account.token.expose() == password)
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.0
            .iter()
            .map(|(name, account)| (format!("the token of Git account {name}"), account.token.expose().clone()))
    }
}
