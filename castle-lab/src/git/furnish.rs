//! The repository that a project's cluster follows, before castle comes.

use castle_core::Project;

use super::account::Accounts;
use super::template;
use crate::world::World;

/// The user name by which castle and Flux read the repository.
pub const USERNAME: &str = "git";

/// Where a repository is, out of its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path on the server: `/tazlab-k8s.git`.
    pub path: String,
}

impl Location {
    /// Reads `https://host[:port]/path`. `None` for anything else.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://")?;
        let (server, path) = rest.split_once('/')?;
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (server, 443),
        };
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port, path: format!("/{path}") })
    }
}

impl Accounts {
    /// The token of the account that castle and Flux use.
    #[must_use]
    pub fn token(&self) -> Option<&castle_core::SecretText> {
        self.0.get(USERNAME).map(|account| &account.token)
    }
}

impl World {
    /// Makes the repository of a project that is handed over, and the account that
    /// reads it.
    pub(crate) fn furnish_repository(&mut self, project: &Project) {
        let Some(repository) = project.gitops.as_ref().map(|gitops| &gitops.repository) else { return };
        let Some(location) = Location::of(&repository.url) else { return };
        let token = format!("castle-lab-{}", self.draws().digits("git token"));
        self.git.accounts.add(USERNAME, token);
        self.commit_files(&location.path, &repository.branch, template(project), "Begin with the template");
    }
}

#[cfg(test)]
mod tests {
    use super::Location;

    #[test]
    fn a_url_says_where_the_repository_is() {
        let check = |url: &str, expected: Option<(&str, u16, &str)>| {
            let expected = expected.map(|(host, port, path)| Location { host: host.into(), port, path: path.into() });
            assert_eq!(Location::of(url), expected, "{url}");
        };
        check("https://git.castle.internal/tazlab-k8s.git", Some(("git.castle.internal", 443, "/tazlab-k8s.git")));
        check("https://git.lan:3000/a/b.git", Some(("git.lan", 3000, "/a/b.git")));
        check("ssh://git@git.lan/a.git", None);
        check("https://git.lan", None);
        check("https:///a.git", None);
        check("https://git.lan:port/a.git", None);
    }
}
