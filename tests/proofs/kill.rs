//! `proof kill`: a real process is killed with SIGKILL in the middle of a create, or
//! of a rebirth, and started again in an empty folder. Nothing may depend on destructors, on
//! buffered writes or on a clean shutdown.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::rig::command_line;
use crate::{Depth, Proof};

const PROJECT: &str = "examples/projects/blue/proxmox";
/// Fast, and slow enough for a process to be killed in the middle.
const PACE: &str = "600x";

/// A lab in a process of its own; ends with its owner.
struct Served {
    process: Child,
    document: PathBuf,
}

impl Served {
    fn start(castle: &Path, folder: &Path, seed: usize) -> Self {
        let mut process = Command::new(castle)
            .args(["lab", "serve", "--project", PROJECT, "--pace", PACE, "--seed", &seed.to_string(), "--dir"])
            .arg(folder)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command line starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it was piped")).lines();
        // The document is written before the first line.
        lines.next().expect("it tells where it serves").expect("it speaks UTF-8");
        std::thread::spawn(move || lines.count());
        Self { process, document: folder.join("lab.yaml") }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is killed, and what finishes it.
#[derive(Clone, Copy)]
struct Job {
    /// The name of the proof.
    name: &'static str,
    /// What is typed.
    verb: &'static [&'static str],
    /// Whether a castle stands before.
    stands: bool,
}

const CREATE: Job = Job { name: "kill", verb: &["create"], stands: false };
const REBIRTH: Job = Job { name: "kill/rebirth", verb: &["rebirth", "--replaces", "1"], stands: true };

fn start(job: Job, castle: &Path, document: &Path, folder: &Path) -> Child {
    std::fs::create_dir_all(folder).expect("a folder for the process");
    let project = std::env::current_dir().expect("a current folder").join(PROJECT);
    Command::new(castle)
        .args(job.verb)
        .args(["--json", "--yes", "--project"])
        .arg(project)
        .arg("--endpoints")
        .arg(document)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command line starts")
}

/// Reads lines until `count` of them came, then kills. Returns whether the process
/// was still at work.
fn kill_after(mut process: Child, count: usize) -> bool {
    let lines = BufReader::new(process.stdout.take().expect("it was piped")).lines();
    let seen = lines.map_while(Result::ok).take(count).filter(|line| !line.contains("\"type\":\"report\"")).count();
    // SIGKILL: no handler, no destructor, no flush.
    let _ = process.kill();
    let status: ExitStatus = process.wait().expect("a child can be awaited");
    seen == count && !status.success()
}

/// A served lab in the state that the job begins with.
fn home(job: Job, castle: &Path, folder: &Path) -> Served {
    let lab = Served::start(castle, folder, 1);
    if job.stands {
        let (report, _) = finish(start(CREATE, castle, &lab.document, &folder.join("raised")));
        assert_eq!(report["outcome"], "ok", "the castle is raised: {report}");
    }
    lab
}

/// Lets a run come to its end: its report, and how many lines it told.
fn finish(process: Child) -> (Value, usize) {
    let output = process.wait_with_output().expect("a child can be awaited");
    let text = String::from_utf8_lossy(&output.stdout);
    let report = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    (report, text.lines().count())
}

fn writes(report: &Value) -> u64 {
    let backends = report["requests"].as_object().into_iter().flatten();
    backends.map(|(_, count)| count["write"].as_u64().unwrap_or(0)).sum()
}

/// Kills at points spread over a whole create.
pub fn create(depth: Depth) -> Proof {
    prove(CREATE, if depth == Depth::Full { 20 } else { 3 })
}

/// Kills at points spread over a whole rebirth.
pub fn rebirth(depth: Depth) -> Proof {
    prove(REBIRTH, if depth == Depth::Full { 20 } else { 3 })
}

fn prove(job: Job, points: usize) -> Proof {
    let mut proof = Proof::new(job.name);
    let castle = match command_line() {
        Ok(castle) => castle,
        Err(missing) => {
            proof.fail(missing);
            return proof;
        }
    };
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let folder = |name: String| scratch.path().join(name);
    let total = {
        let lab = home(job, &castle, &folder("reference".into()));
        finish(start(job, &castle, &lab.document, &folder("reference-run".into()))).1
    };
    let (mut killed, mut converged) = (0, 0);
    for point in 0..points {
        let after = 1 + point * total.saturating_sub(2) / points;
        let lab = home(job, &castle, &folder(format!("lab-{point}")));
        if kill_after(start(job, &castle, &lab.document, &folder(format!("first-{point}"))), after) {
            killed += 1;
        }
        let (report, _) = finish(start(job, &castle, &lab.document, &folder(format!("second-{point}"))));
        let (again, _) = finish(start(job, &castle, &lab.document, &folder(format!("third-{point}"))));
        if report["outcome"] == "ok" && again["outcome"] == "ok" && writes(&again) == 0 {
            converged += 1;
        } else {
            proof.fail(format!("killed after line {after} of {total}: {report}; again: {again}"));
        }
    }
    let refuted = {
        // The guard away: the successor has a secret store of its own.
        let lab = home(job, &castle, &folder("unguarded".into()));
        kill_after(start(job, &castle, &lab.document, &folder("unguarded-first".into())), total / 2);
        let text = std::fs::read_to_string(&lab.document).expect("the lab's document");
        let elsewhere = folder("unguarded-secrets".into());
        let moved = text.lines().map(|line| match line.trim_start().strip_prefix("files:") {
            Some(_) => format!("  files: {}", elsewhere.display()),
            None => line.to_owned(),
        });
        let document = folder("unguarded.yaml".into());
        std::fs::write(&document, moved.collect::<Vec<_>>().join("\n")).expect("a scratch file");
        finish(start(job, &castle, &document, &folder("unguarded-second".into()))).0["outcome"] != "ok"
    };
    if killed < points {
        proof.fail(format!("only {killed} of {points} processes were at work when they were killed"));
    }
    proof.figure("points", points).figure("killed", killed).figure("converged", converged);
    proof.refuted("the secret store outlives the process", refuted);
    proof
}
