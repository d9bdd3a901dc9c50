//! A server for tests of single exchanges, on the runtime of the test, so that
//! a paused clock stands still while it works. It can say what wiremock cannot:
//! reason phrases, resets, silence.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status line without `HTTP/1.1`, and a JSON body.
    Say(&'static str, String),
    /// Hangs up without an answer.
    HangUp,
    /// Never answers.
    Silence,
}

impl Reply {
    pub(crate) fn ok(data: &str) -> Self {
        Self::Say("200 OK", format!("{{\"data\":{data}}}"))
    }
}

/// The requests it met, each as `METHOD /path?query`, and their whole texts.
#[derive(Debug, Default, Clone)]
pub(crate) struct Met(Arc<Mutex<Vec<String>>>);

impl Met {
    fn add(&self, text: String) -> usize {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.push(text);
        met.len()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let first = |text: &String| text.lines().next().unwrap_or("").trim_end_matches(" HTTP/1.1").to_owned();
        self.texts().iter().map(first).collect()
    }
}

/// A running server; it ends with the value.
pub(crate) struct Scripted {
    pub url: String,
    pub met: Met,
    _tasks: JoinSet<()>,
}

impl Scripted {
    /// Answers the n-th request (from 1) with `script(n, "METHOD /path?query")`.
    pub(crate) async fn start(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let met = Met::default();
        let (script, seen) = (Arc::new(script), met.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), seen.clone()));
            }
        });
        Self { url, met, _tasks: tasks }
    }
}

async fn serve(mut stream: TcpStream, script: Arc<impl Fn(usize, &str) -> Reply>, met: Met) {
    loop {
        let Some(text) = request(&mut stream).await else { return };
        let line = text.lines().next().unwrap_or("").trim_end_matches(" HTTP/1.1").to_owned();
        let number = met.add(text);
        match script(number, &line) {
            Reply::HangUp => return,
            Reply::Silence => pending::<()>().await,
            Reply::Say(status, body) => {
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads head and body of one request.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
