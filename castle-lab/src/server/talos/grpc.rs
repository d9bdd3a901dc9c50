//! gRPC on a connection of the floor's: frames in, course, frames out.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::http::HeaderValue;
use hyper::{HeaderMap, Request as Http, Response, StatusCode};
use tokio::task::JoinSet;

use super::call::{Answer, Caller, Request};
use super::cosi::Watch;
use crate::floor::{Course, Floor};
use crate::front::{Call, Reply};
use crate::gate::Connection;
use crate::node::certificate;
use crate::node::request::{Code, Refused};
use crate::run::RunId;
use crate::wire::{Ending, Line};

/// The name under which the requests are counted.
pub(super) const BACKEND: &str = "talos";
/// Talos' own limit.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// What the node may send before it is told to wait.
const WINDOW: u32 = 1 << 20;

/// What all calls of one connection share.
#[derive(Clone)]
struct Shared {
    floor: Arc<Floor>,
    run: RunId,
    line: Arc<Line>,
    caller: Caller,
}

/// Serves one connection to its end.
pub(super) async fn converse(connection: Connection) {
    let Connection { stream, floor, run, ticket, line } = connection;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let organizations = shown.first().map(|leaf| certificate::identity_of(leaf).0).unwrap_or_default();
    let caller = Caller { ticket, organizations, asked: Arc::new(Mutex::new(Vec::new())) };
    let shared = Shared { floor, run, line, caller };
    let handshake = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream);
    let mut connection = match handshake.await {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, %run, "no HTTP/2"),
    };
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = calls.join_next() => {}
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    calls.spawn(serve(shared.clone(), request, respond));
                }
                Some(Err(error)) => return tracing::debug!(%error, %run, "the connection ended"),
                None => return,
            },
        }
    }
}

/// One call, from its headers to its trailers.
async fn serve(shared: Shared, request: Http<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, body) = request.into_parts();
    let Some(message) = read(body).await else {
        respond.send_reset(Reason::PROTOCOL_ERROR);
        return;
    };
    let values = |name: &str| {
        let all = head.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|value| value.split(',')).map(|value| value.trim().to_owned()).collect::<Vec<_>>()
    };
    let nodes = [values("node"), values("nodes")].concat();
    let request = Request { path: head.uri.path().to_owned(), nodes, message };
    let Shared { floor, run, line, caller } = shared;
    let (work, asker) = (Arc::clone(&floor), caller.clone());
    let course = floor.carry_out(async move { course(&work, run, &request, &asker).await }).await;
    let sent = match course {
        Some(Course::Answer(Answer::Messages(messages))) => answer(&mut respond, messages, None, &floor).await,
        Some(Course::Answer(Answer::Watch(messages, watch))) => {
            answer(&mut respond, messages, Some(watch), &floor).await
        }
        Some(Course::Answer(Answer::Refused(refused))) => refuse(&mut respond, refused.code as u32, &refused.message),
        Some(Course::Status(reply)) => {
            let text = reply.reason.unwrap_or_else(|| String::from_utf8_lossy(&reply.body).into_owned());
            refuse(&mut respond, grpc_code(reply.status), &text)
        }
        Some(Course::Ended(how)) => {
            line.end(how);
            Ok(())
        }
        Some(Course::Silence | Course::Answer(Answer::Nothing)) => std::future::pending().await,
        None => {
            line.end(Ending::HangUp);
            Ok(())
        }
    };
    if let Err(error) = sent {
        tracing::debug!(%error, %run, "the answer could not be sent");
    }
}

/// What the floor makes of a call: journal, latency, faults, effect.
async fn course(floor: &Floor, run: RunId, request: &Request, caller: &Caller) -> Course<Answer> {
    let call = Call {
        method: "POST".to_owned(),
        path: request.path.clone(),
        query: None,
        headers: Vec::new(),
        body: Bytes::new(),
        chunked: false,
        run,
    };
    let mut act = None;
    let classify = |world: &crate::World| {
        let named = request.act(world, caller);
        act = Some((named.kind.clone(), named.entity.clone()));
        named
    };
    let Some(arrival) = floor.arrive(run, BACKEND, classify, &call) else { return Course::Ended(Ending::Reset) };
    let (kind, entity) = act.unwrap_or_default();
    let course = floor
        .run_course(&arrival, run, |world| {
            world.arriving(run, &kind, &entity);
            let answer = request.serve(world, caller);
            world.answered(run, &kind, &entity);
            answer
        })
        .await;
    let status = match &course {
        Course::Answer(Answer::Messages(_) | Answer::Watch(..)) => 200,
        Course::Answer(Answer::Refused(refused)) => http_status(refused),
        Course::Status(reply) => reply.status,
        _ => return course,
    };
    match course {
        Course::Answer(answer) => floor.finish(run, arrival.place, status, answer),
        Course::Status(reply) => match floor.finish::<Reply>(run, arrival.place, status, reply) {
            Course::Answer(reply) => Course::Status(reply),
            _ => Course::Ended(Ending::Reset),
        },
        other => other,
    }
}

/// Reads the one message of a request.
async fn read(mut body: RecvStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        // The client may go on sending; it fails when the connection is gone.
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
    }
    // A flag for compression, four bytes of length, the message.
    let (head, message) = bytes.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    (head[0] == 0 && message.len() == length as usize).then(|| message.to_vec())
}

fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

async fn answer(
    respond: &mut SendResponse<Bytes>,
    messages: Vec<Vec<u8>>,
    watch: Option<Watch>,
    floor: &Floor,
) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(head(), false)?;
    for message in &messages {
        stream.send_data(frame(message), false)?;
    }
    if let Some(watch) = watch {
        follow(&mut stream, watch, floor).await?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// Sends what happens until the client leaves or the server is gone.
async fn follow(stream: &mut SendStream<Bytes>, mut watch: Watch, floor: &Floor) -> Result<(), h2::Error> {
    loop {
        let news = floor.news.notified();
        let Some(Some(messages)) = floor.peek_world(|world| watch.next(world)) else { return Ok(()) };
        for message in &messages {
            stream.send_data(frame(message), false)?;
        }
        tokio::select! {
            biased;
            left = poll_fn(|cx| stream.poll_reset(cx)) => return left.map(|_| ()),
            () = news => {}
        }
    }
}

fn refuse(respond: &mut SendResponse<Bytes>, code: u32, message: &str) -> Result<(), h2::Error> {
    let mut response = head();
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(text) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert("grpc-message", text);
    }
    respond.send_response(response, true).map(|_| ())
}

/// A text as gRPC puts it into a header.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7E).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The status of HTTP that says about the same, for the journal.
fn http_status(refused: &Refused) -> u16 {
    match refused.code {
        Code::InvalidArgument => 400,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists => 409,
        Code::FailedPrecondition => 412,
        Code::Internal => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
    }
}

/// The code of gRPC for a status that a fault puts in place of the answer.
fn grpc_code(status: u16) -> u32 {
    match status {
        200 => 0,
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 6,
        412 => 9,
        429 => 8,
        500 => 13,
        501 => 12,
        503 => 14,
        504 => 4,
        _ => 2,
    }
}
