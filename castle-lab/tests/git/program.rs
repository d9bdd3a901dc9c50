//! The git program as a witness: what it says of the lab's server. Skipped by name
//! where the machine has none.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use castle_core::Pace;
use castle_lab::{Lab, runtime};

use crate::house::{HOUSE, PATH, TOKEN, around, head, world};

/// The program in one folder, with its credentials in the environment.
#[derive(Clone)]
struct Git {
    folder: std::path::PathBuf,
    url: String,
    authority: std::path::PathBuf,
    token: String,
    version: u8,
}

impl Git {
    /// Runs it; the lab serves meanwhile.
    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let basic = BASE64.encode(format!("git:{}", self.token));
        let settings = [
            ("http.sslCAInfo", self.authority.display().to_string()),
            ("http.extraHeader", format!("Authorization: Basic {basic}")),
            ("protocol.version", self.version.to_string()),
            ("init.defaultBranch", "main".to_owned()),
            ("advice.detachedHead", "false".to_owned()),
        ];
        let mut command = Command::new("git");
        command.args(arguments).current_dir(&self.folder);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.folder).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        for (role, name) in [("AUTHOR", "NAME"), ("COMMITTER", "NAME"), ("AUTHOR", "EMAIL"), ("COMMITTER", "EMAIL")] {
            command.env(format!("GIT_{role}_{name}"), "witness@castle.internal");
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text.trim_end().to_owned())
    }

    /// Runs it and expects success.
    async fn ok(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.run(arguments).await;
        assert!(succeeded, "git {arguments:?}: {text}");
        text
    }

    /// Runs it and expects failure.
    async fn fails(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.run(arguments).await;
        assert!(!succeeded, "git {arguments:?} should have failed: {text}");
        text
    }

    fn within(&self, name: &str) -> Self {
        Self { folder: self.folder.join(name), ..self.clone() }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[allow(clippy::print_stderr)] // A skipped test says so by name.
fn in_lab(name: &str, test: impl AsyncFnOnce(&Lab, &Git) + Send) {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("skipped: {name}: this machine has no git program");
        return;
    }
    runtime::run_scaled(|| async {
        let mut world = world();
        // What is asked here is what is said, not how long it takes.
        world.request_latency = false;
        let lab = around(world).pace(Pace::Real).public().start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("authority.pem");
        std::fs::write(&authority, lab.pki().ca_pem()).unwrap();
        let url = format!("https://{}{PATH}", lab.address_of(*HOUSE).unwrap());
        let (folder_path, token) = (Path::to_owned(folder.path()), TOKEN.to_owned());
        test(&lab, &Git { folder: folder_path, url, authority, token, version: 2 }).await;
    });
}

#[test]
fn every_protocol_clones_the_same_history() {
    in_lab("every_protocol_clones_the_same_history", async |lab, git| {
        let id = head(lab, "main").unwrap().to_string();
        for version in [0, 1, 2] {
            let git = Git { version, ..git.clone() };
            let folder = format!("clone-{version}");
            git.ok(&["clone", "-q", &git.url, &folder]).await;
            let clone = git.within(&folder);
            assert_eq!(clone.ok(&["rev-parse", "HEAD"]).await, id);
            assert_eq!(clone.ok(&["log", "--format=%s"]).await, "Version 3\nVersion 2\nVersion 1");
            assert_eq!(std::fs::read_to_string(clone.folder.join("apps/blog/page.html")).unwrap(), "version 3\n");
            clone.ok(&["fsck", "--strict", "--full"]).await;
            assert_eq!(clone.ok(&["symbolic-ref", "refs/remotes/origin/HEAD"]).await, "refs/remotes/origin/main");
        }
    });
}

#[test]
fn shallow_and_partial_clones_work_and_can_be_completed() {
    in_lab("shallow_and_partial_clones_work_and_can_be_completed", async |_, git| {
        for version in [0, 2] {
            let git = Git { version, ..git.clone() };
            let folder = format!("shallow-{version}");
            git.ok(&["clone", "-q", "--depth", "1", "--branch", "main", &git.url, &folder]).await;
            let clone = git.within(&folder);
            assert_eq!(clone.ok(&["rev-list", "--count", "HEAD"]).await, "1");
            clone.ok(&["fetch", "-q", "--deepen", "1"]).await;
            assert_eq!(clone.ok(&["rev-list", "--count", "HEAD"]).await, "2");
            clone.ok(&["fetch", "-q", "--unshallow"]).await;
            assert_eq!(clone.ok(&["rev-list", "--count", "HEAD"]).await, "3");
            clone.ok(&["fsck", "--strict", "--full"]).await;
        }
        git.ok(&["clone", "-q", "--filter", "blob:none", "--no-checkout", &git.url, "partial"]).await;
        let clone = git.within("partial");
        assert_eq!(clone.ok(&["rev-list", "--objects", "--missing=print", "HEAD"]).await.matches('?').count(), 4);
        clone.ok(&["checkout", "-q", "main"]).await;
        assert_eq!(std::fs::read_to_string(clone.folder.join("README.md")).unwrap(), "read me\n");
    });
}

#[test]
fn a_push_is_seen_by_the_world_and_by_the_next_fetch() {
    in_lab("a_push_is_seen_by_the_world_and_by_the_next_fetch", async |lab, git| {
        let long: String = (0..20_000)
            .map(|number| format!("line {number} of a file that compresses badly {}\n", number * 7919))
            .collect();
        git.ok(&["clone", "-q", &git.url, "one"]).await;
        git.ok(&["clone", "-q", &git.url, "two"]).await;
        let (one, two) = (git.within("one"), git.within("two"));
        one.write("big/file.txt", &long);
        one.write("README.md", "written by git\n");
        one.ok(&["add", "."]).await;
        one.ok(&["commit", "-q", "-m", "By the program"]).await;
        // Above the buffer a push comes in chunks, after a question.
        one.ok(&["-c", "http.postBuffer=65536", "push", "-q", "origin", "main"]).await;
        let id = one.ok(&["rev-parse", "HEAD"]).await;
        lab.with_world(|world| {
            let branch = world.git.repositories[PATH].head("main").unwrap();
            assert_eq!(branch.commit, id);
            assert_eq!(branch.files["big/file.txt"], long.as_bytes());
            assert_eq!(branch.files["README.md"], b"written by git\n");
        });
        // A small change of a large file travels as a delta on what is here already.
        one.write("big/file.txt", &long.replace("line 7 ", "line seven "));
        one.ok(&["commit", "-q", "-a", "-m", "A line"]).await;
        let text = one.ok(&["push", "--progress", "origin", "main"]).await;
        assert!(text.contains("Total 4 (delta ") && !text.contains("Total 4 (delta 0)"), "{text}");
        let changed =
            lab.with_world(|world| world.git.repositories[PATH].head("main").unwrap().files["big/file.txt"].clone());
        assert!(String::from_utf8(changed).unwrap().contains("line seven "));
        for version in [0, 2] {
            let two = Git { version, ..two.clone() };
            two.ok(&["pull", "-q", "--ff-only"]).await;
            two.ok(&["fsck", "--strict", "--full"]).await;
            lab.with_world(|world| {
                world.edit_files(PATH, "main", "By the house", |files| {
                    files.insert(format!("house-{version}.txt"), b"from the house\n".to_vec());
                })
            });
            two.ok(&["pull", "-q", "--ff-only"]).await;
            assert!(two.folder.join(format!("house-{version}.txt")).exists());
        }
        two.ok(&["tag", "-a", "v1", "-m", "a tag"]).await;
        two.ok(&["push", "-q", "--atomic", "origin", "v1", "main:refs/heads/copy"]).await;
        assert_eq!(git.ok(&["ls-remote", "--tags", &git.url]).await.lines().count(), 2, "the tag, and what it names");
        one.ok(&["fetch", "-q", "--tags"]).await;
        assert_eq!(one.ok(&["describe", "origin/copy"]).await, "v1");
    });
}

#[test]
fn a_refusal_is_told_in_the_programs_own_words() {
    in_lab("a_refusal_is_told_in_the_programs_own_words", async |lab, git| {
        let stranger = Git { token: "wrong".into(), ..git.clone() };
        let text = stranger.fails(&["clone", "-q", &git.url, "never"]).await;
        assert!(text.contains("Authentication failed") || text.contains("could not read Username"), "{text}");
        let missing = git.url.replace("tazlab", "missing");
        let text = git.fails(&["clone", "-q", &missing, "never"]).await;
        assert!(text.contains("not found"), "{text}");

        git.ok(&["clone", "-q", &git.url, "one"]).await;
        let one = git.within("one");
        one.write("README.md", "mine\n");
        one.ok(&["commit", "-q", "-a", "-m", "Mine"]).await;
        lab.with_world(|world| {
            world.edit_files(PATH, "main", "By the house", |files| {
                files.insert("README.md".into(), b"the house's\n".to_vec());
            })
        });
        let text = one.fails(&["push", "origin", "main"]).await;
        assert!(text.contains("[rejected]") && text.contains("fetch first"), "{text}");
        let text = one.fails(&["push", "--force", "origin", "main"]).await;
        assert!(text.contains("[remote rejected]") && text.contains("non-fast-forward"), "{text}");
        one.ok(&["pull", "-q", "--rebase", "-X", "theirs"]).await;
        for (rule, expected) in [(0, "pre-receive hook declined"), (1, "protected branch hook declined")] {
            lab.with_world(|world| {
                let rules = &mut world.git.repositories.get_mut(PATH).unwrap().rules;
                rules.hook_declines = (rule == 0).then(|| "not today".to_owned());
                rules.protected.extend((rule == 1).then(|| "main".to_owned()));
            });
            let text = one.fails(&["push", "origin", "main"]).await;
            assert!(text.contains("[remote rejected]") && text.contains(expected), "{text}");
            assert_eq!(rule == 0, text.contains("remote: not today"), "{text}");
        }
    });
}
