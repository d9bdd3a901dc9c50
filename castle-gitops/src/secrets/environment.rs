//! Secrets in variables of the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use async_trait::async_trait;
use castle_core::{Error, ErrorKind, Meter, Result, Secret, SecretBytes, SecretKey, SecretStore};

/// Secrets in variables of the environment with one prefix; read only.
///
/// A key is written in capitals, with `_` for `-` and `_`, `__` for `/` and `___`
/// for `.`: behind the prefix `CASTLE_SECRET_`, `blue/talos/1.born` is the
/// variable `CASTLE_SECRET_BLUE__TALOS__1___BORN`. The way back knows small letters
/// and `-` alone, so a list may name a key otherwise than who wrote it; reading it
/// leads to the same variable.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use castle_core::SecretStore;
/// use castle_gitops::secrets::EnvironmentSecrets;
///
/// let variables = [("CASTLE_SECRET_PROJECT_KEY".into(), "x".into()), ("HOME".into(), "/root".into())];
/// let store = EnvironmentSecrets::of("CASTLE_SECRET_", variables);
/// let value = store.get(&"project-key".parse().unwrap()).await.unwrap().expect("it is set");
/// assert_eq!(value.expose(), b"x");
/// # });
/// ```
pub struct EnvironmentSecrets {
    prefix: String,
    values: BTreeMap<String, SecretBytes>,
    meter: Meter,
}

impl EnvironmentSecrets {
    /// The secrets among `variables`; a program gives `std::env::vars_os()`. They
    /// are copied, so what changes later is not seen.
    pub fn of(prefix: impl Into<String>, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let prefix = prefix.into();
        let secret = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok()?.strip_prefix(&prefix)?.to_owned();
            Some((name, Secret::new(value.into_encoded_bytes())))
        };
        let values = variables.into_iter().filter_map(secret).collect();
        Self { prefix, values, meter: Meter::default() }
    }

    fn read_only(&self, key: &SecretKey) -> Error {
        Error::new(ErrorKind::Unsupported, format!("secret `{key}` cannot be written: the environment is read only"))
            .hint("keep the secrets in `files` or `infisical`; the environment can only give what is there")
    }
}

/// The variable of a key, without the prefix.
fn variable(key: &SecretKey) -> String {
    let letter = |letter: char| match letter {
        '/' => "__".to_owned(),
        '.' => "___".to_owned(),
        '-' => "_".to_owned(),
        letter => letter.to_ascii_uppercase().to_string(),
    };
    key.as_str().chars().map(letter).collect()
}

/// The key of a variable, if one leads to it.
fn key(variable: &str) -> Option<SecretKey> {
    let text = variable.to_lowercase().replace("___", ".").replace("__", "/").replace('_', "-");
    text.parse().ok().filter(|key| self::variable(key) == variable)
}

#[async_trait]
impl SecretStore for EnvironmentSecrets {
    fn name(&self) -> &'static str {
        "environment"
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    async fn get(&self, key: &SecretKey) -> Result<Option<SecretBytes>> {
        self.meter.count_read();
        Ok(self.values.get(&variable(key)).cloned())
    }

    async fn create(&self, key: &SecretKey, _: &SecretBytes) -> Result<()> {
        match self.values.contains_key(&variable(key)) {
            true => Err(Error::new(ErrorKind::AlreadyExists, format!("secret `{key}` exists"))
                .hint("read it: it was put into the environment")),
            false => Err(self.read_only(key)),
        }
    }

    async fn put(&self, key: &SecretKey, value: &SecretBytes) -> Result<bool> {
        match self.get(key).await? {
            Some(present) if present.same_as(value) => Ok(false),
            _ => Err(self.read_only(key)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<SecretKey>> {
        SecretKey::check_prefix(prefix)?;
        self.meter.count_read();
        let mut keys: Vec<SecretKey> =
            self.values.keys().filter_map(|variable| key(variable)).filter(|key| key.is_below(prefix)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    async fn delete(&self, key: &SecretKey) -> Result<()> {
        match self.values.contains_key(&variable(key)) {
            true => Err(self.read_only(key)),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for EnvironmentSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentSecrets").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_variable_lead_to_each_other() {
        for (text, name) in [
            ("project-key", "PROJECT_KEY"),
            ("blue/talos/1", "BLUE__TALOS__1"),
            ("blue/talos/1.born", "BLUE__TALOS__1___BORN"),
        ] {
            let parsed: SecretKey = text.parse().expect("a key");
            assert_eq!(variable(&parsed), name);
            assert_eq!(key(name), Some(parsed));
        }
        assert_eq!(variable(&"KUBECONFIG_CONTENT".parse().expect("a key")), "KUBECONFIG_CONTENT");
        assert_eq!(key("not_in_capitals"), None);
    }
}
