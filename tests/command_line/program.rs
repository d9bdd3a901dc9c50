//! The built program, started in folders of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::built;

/// The declaration that most tests use.
pub const BLUE: &str = include_str!("../../examples/projects/blue/proxmox/castle.yaml");

/// Real time after which a call is taken for hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command line as its sources are now.
pub fn program() -> PathBuf {
    built::program(built::built(&["castle"]), "castle")
}

#[test]
fn the_program_that_runs_is_that_of_today() {
    built::check_freshness(built::built(&["castle"]), &["castle"]);
}

/// A new folder with a declaration.
pub fn folder(declaration: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "castle.yaml", declaration);
    folder
}

/// Writes a file into a folder.
pub fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("the folder is ours");
}

/// The names in a folder, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Starts the program in a folder. The taste of whoever runs the tests is left out.
pub fn start<A: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = A>) -> Running {
    start_in(folder, arguments, &[])
}

fn start_in<A: AsRef<OsStr>>(
    folder: &Path,
    arguments: impl IntoIterator<Item = A>,
    environment: &[(&str, &str)],
) -> Running {
    let mut command = Command::new(program());
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.envs(environment.iter().copied());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    Running { child }
}

/// Runs the program in a folder to its end, with some variables.
pub fn run_in(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> Told {
    start_in(folder, arguments.split_whitespace(), environment).finish()
}

/// What a terminal of 80 columns is sent while the program runs on it; `None` where
/// there is no `script` to make one.
pub fn on_a_terminal(folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new("script");
    let call = format!("stty cols 80; exec {} {arguments}", program().display());
    command.args(["--quiet", "--return", "--command", &call, "/dev/null"]).current_dir(folder).stdin(Stdio::null());
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    let output = command.env("TERM", "xterm-256color").envs(environment.iter().copied()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the program in a folder to its end. Arguments are separated by spaces.
pub fn run(folder: &Path, arguments: &str) -> Told {
    start(folder, arguments.split_whitespace()).finish()
}

/// Sends the interrupt of a terminal to a process that this test started.
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("there is a `kill`");
    assert!(sent.success(), "the process is there");
}

/// A call under way.
pub struct Running {
    child: Child,
}

impl Running {
    /// Interrupts it once its standard output, one JSON object a line, has held
    /// such a line, and reads the rest.
    pub fn interrupted_at(mut self, wanted: impl Fn(&Value) -> bool) -> Told {
        let mut seen = String::new();
        let mut lines = BufReader::new(self.child.stdout.take().expect("it is piped"));
        loop {
            let begin = seen.len();
            assert!(lines.read_line(&mut seen).expect("text") > 0, "it ended before the line came:\n{seen}");
            if wanted(&serde_json::from_str(&seen[begin..]).expect("an object a line")) {
                break;
            }
        }
        interrupt(&self.child);
        finish(self.child, Some((seen, lines)))
    }

    /// Waits for its end.
    pub fn finish(self) -> Told {
        finish(self.child, None)
    }
}

fn finish(child: Child, begun: Option<(String, BufReader<ChildStdout>)>) -> Told {
    let id = child.id();
    let (done, told) = mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let (mut out, rest) = begun.map_or_else(|| (String::new(), None), |(seen, lines)| (seen, Some(lines)));
        if let Some(mut lines) = rest {
            lines.read_to_string(&mut out).expect("text");
        }
        let output = child.wait_with_output().expect("it was started");
        out += &String::from_utf8(output.stdout).expect("text");
        let told = Told { code: output.status.code(), out, err: String::from_utf8(output.stderr).expect("text") };
        // The test waits for it, unless it gave up.
        let _ = done.send(told);
    });
    let Ok(told) = told.recv_timeout(PATIENCE) else {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        panic!("process {id} did not end within {} s", PATIENCE.as_secs());
    };
    reader.join().expect("it has sent what it read");
    told
}

/// What a call said and how it ended.
#[derive(Debug)]
pub struct Told {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Told {
    /// Demands an exit code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// The lines of its standard output, each an object.
    pub fn lines(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line}: {error}\n{self}"));
        self.out.lines().map(read).collect()
    }

    /// Its last line.
    pub fn report(&self) -> Value {
        let last = self.lines().pop().unwrap_or_else(|| panic!("nothing was printed\n{self}"));
        assert_eq!(last["type"], "report", "{self}");
        last
    }

    /// How many writes its report tells, of all backends.
    pub fn writes(&self) -> u64 {
        let report = self.report();
        let requests = report["requests"].as_object().unwrap_or_else(|| panic!("no requests\n{self}"));
        requests.values().map(|count| count["write"].as_u64().expect("a count")).sum()
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- out\n{}\n--- err\n{}", self.code, self.out, self.err)
    }
}

/// A lab that serves. It is killed when dropped.
pub struct Served {
    child: Child,
    /// Held open: what it says later must not meet a closed pipe.
    _notes: BufReader<ChildStderr>,
}

impl Served {
    /// Serves the project of `folder`, with its document in `lab/lab.yaml` there.
    pub fn start(folder: &Path, pace: &str) -> Self {
        let arguments = ["lab", "serve", "--project", ".", "--dir", "lab", "--pace", pace];
        let mut child = start(folder, arguments).child;
        let mut notes = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut first = String::new();
        notes.read_line(&mut first).expect("text");
        assert!(first.starts_with("serving blue at "), "{first}");
        Self { child, _notes: notes }
    }

    /// Interrupts it, and gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        interrupt(&self.child);
        self.child.wait().expect("it was started").code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail where the lab was stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
