//! The command line as a user runs it: processes of their own, whose output and
//! whose files are searched.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use castle_talos::SecretsBundle;

use super::Places;
use super::needle::Secrets;
use crate::rig::command_line;

const PROJECT: &str = "examples/projects/blue/proxmox";
const PACE: &str = "600x";

/// A lab in a process of its own; ends with its owner.
struct Served {
    process: Child,
    said: Option<std::thread::JoinHandle<String>>,
}

impl Served {
    fn start(castle: &Path, dir: &Path) -> Self {
        let mut process = Command::new(castle)
            .args(["lab", "serve", "--project", PROJECT, "--pace", PACE, "--seed", "77", "--dir"])
            .arg(dir)
            .env("RUST_LOG", "trace")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command line starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it was piped"));
        // The document is written before the first line.
        let mut first = String::new();
        lines.read_line(&mut first).expect("it tells where it serves");
        let said = std::thread::spawn(move || {
            let mut rest = String::new();
            // What came before an error is searched all the same.
            let _ = lines.read_to_string(&mut rest);
            first + &rest
        });
        Self { process, said: Some(said) }
    }

    fn end(&mut self) -> String {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.said.take().map_or_else(String::new, |said| said.join().expect("a reader does not panic"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs every verb in both of its forms, two lives long, then everything that goes
/// wrong; gathers what was written where.
pub fn visit(secrets: &mut Secrets, places: &mut Places) -> Vec<String> {
    let castle = match command_line() {
        Ok(castle) => castle,
        Err(missing) => return vec![missing],
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, work) = (folder.path().join("lab"), folder.path().join("work"));
    std::fs::create_dir_all(&work).expect("the folder is ours");
    let mut served = Served::start(&castle, &dir);
    let project = std::env::current_dir().expect("a current folder").join(PROJECT);
    let mut wrong = Vec::new();
    let mut run = |verb: &str, document: &Path, project: &Path, ends_well: bool| {
        let ended = Command::new(&castle)
            .args(verb.split(' '))
            .arg("--project")
            .arg(project)
            .arg("--endpoints")
            .arg(document)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "1")
            .current_dir(&work)
            .output()
            .expect("the command line starts");
        if ended.status.success() != ends_well {
            wrong.push(format!(
                "`castle {verb}` by {} ended with {}: {}",
                document.display(),
                ended.status,
                String::from_utf8_lossy(&ended.stderr)
            ));
        }
        // They print a credential: that is what they are for.
        let prints_it = verb.starts_with("kubeconfig") || verb.starts_with("talosconfig");
        if !(prints_it && ended.status.success()) {
            places.add(format!("stdout of castle {verb}"), ended.stdout);
        }
        places.add(format!("stderr of castle {verb}"), ended.stderr);
    };
    let document = dir.join("lab.yaml");
    for form in [" --json", ""] {
        for verb in ["check", "plan", "create", "status", "members", "kubeconfig", "talosconfig", "plan --destroy"] {
            run(&format!("{verb}{form}"), &document, &project, true);
        }
        for (broken, how) in broken_documents(&dir, folder.path()) {
            // A removal needs no bundle, and a credential no hypervisor.
            let verbs: &[&str] = match how {
                "bundle" => &["kubeconfig", "members"],
                "token" => &["status", "destroy --yes", "create"],
                _ => &["status", "destroy --yes", "create", "kubeconfig", "members"],
            };
            for verb in verbs {
                run(&format!("{verb}{form}"), &broken, &project, false);
            }
        }
        run(&format!("destroy --yes{form}"), &document, &project, true);
    }
    places.add("output of lab serve".into(), served.end().into_bytes());
    let text = |path: &Path| std::fs::read_to_string(path).expect("the lab wrote it");
    let token = text(&document);
    let token = token.lines().find_map(|line| line.trim().strip_prefix("token: ")).expect("it holds the token");
    let secret = token.trim_matches(['"', '\'']).rsplit('=').next().expect("it has a secret half");
    secrets.add("the served lab's API token", secret.as_bytes());
    secrets.add("the served lab's root password", text(&dir.join("administrator.txt")).trim().as_bytes());
    for path in files_below(&dir.join("secrets")) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let value = std::fs::read(&path).expect("the store is ours");
        super::add_stored(secrets, "the served lab", &name, value);
    }
    for path in files_below(folder.path()) {
        let mode = std::fs::metadata(&path).expect("it was listed").permissions().mode() & 0o777;
        let is_broken = path.parent().is_some_and(|parent| parent.ends_with("broken"));
        let keeps = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("secrets"));
        let private = ["lab.yaml", "administrator.txt"].iter().any(|name| path.ends_with(name));
        if !is_broken && (keeps || private) {
            if mode != 0o600 {
                wrong.push(format!("{} has mode {mode:o}", path.display()));
            }
        } else if !is_broken {
            places.add(format!("file {}", path.display()), std::fs::read(&path).expect("the folder is ours"));
        }
    }
    wrong
}

/// Option documents, and a store, that are damaged in ways in which the damage
/// stands beside a secret.
fn broken_documents(dir: &Path, folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let good = std::fs::read_to_string(dir.join("lab.yaml")).expect("the lab wrote it");
    let broken = folder.join("broken");
    std::fs::create_dir_all(&broken).expect("the folder is ours");
    let store = folder.join("secrets-broken");
    copy(&dir.join("secrets"), &store);
    for path in files_below(&store) {
        let text = String::from_utf8(std::fs::read(&path).expect("the copy is ours"));
        if let Some(text) = text.ok().filter(|text| SecretsBundle::parse(&text.clone().into_bytes().into()).is_ok()) {
            // The key of a value is misspelt: a reader is tempted to quote the line.
            std::fs::write(&path, text.replace("secret:", "secrett:")).expect("the copy is ours");
        }
    }
    let own = dir.join("secrets").display().to_string();
    [
        ("token", good.replace("token: ", "token: x")),
        ("key", good.replace("token: ", "tokken: ")),
        ("type", good.replace("token: ", "url: ")),
        ("end", good.split_inclusive("token: ").take(1).collect::<String>() + "[" + &good),
        ("bundle", good.replace(&own, &store.display().to_string())),
    ]
    .into_iter()
    .map(|(how, text)| {
        let path = broken.join(format!("{how}.yaml"));
        std::fs::write(&path, text).expect("the folder is ours");
        (path, how)
    })
    .collect()
}

fn copy(from: &Path, to: &Path) {
    let known = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(to);
    known.expect("the folder is ours");
    for entry in std::fs::read_dir(from).expect("the store is a folder") {
        let entry = entry.expect("it was listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("the folder is ours");
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("it was listed").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
