//! Connections of the API server: HTTP/1.1 and h2, and answers that go on.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::task::JoinSet;

use super::ApiServer;
use crate::floor::Floor;
use crate::front::{Call, Feed, Reply, Service};
use crate::gate::Connection;
use crate::kube::KubeDoor;
use crate::wire::read;

/// A connection without a request for this long is closed: Go's server as the
/// API server sets it up. Protocol timers are real at every pace.
const HEADERS_MAX: Duration = Duration::from_secs(32);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves one connection that was accepted with the door's configuration.
pub(crate) fn converse(connection: Connection, door: KubeDoor) -> BoxFuture<'static, ()> {
    async move {
        let Connection { stream, floor, run, line, .. } = connection;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let server: Arc<dyn Service> = Arc::new(ApiServer { user: door.user(shown) });
        let streams = Streams::default();
        let handler = service_fn(|request: Request<Incoming>| {
            let (floor, server, line) = (Arc::clone(&floor), Arc::clone(&server), Arc::clone(&line));
            async move {
                let call: Call = match read(request, run).await {
                    Ok(call) => call,
                    Err(reply) => return Ok::<_, Infallible>(response(reply, &floor)),
                };
                match floor.answer(server, call, &line).await {
                    Some(reply) => Ok(response(reply, &floor)),
                    // The line was ended, or will be by its client: no answer.
                    None => std::future::pending().await,
                }
            }
        });
        let mut builder = auto::Builder::new(streams.clone());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_MAX)
            .auto_date_header(false)
            .http2()
            .timer(TokioTimer::new())
            .auto_date_header(false);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), handler).await {
            tracing::debug!(%error, %run, "the connection ended");
        }
    }
    .boxed()
}

/// The streams of one h2 connection. They end with it.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

fn response(reply: Reply, floor: &Arc<Floor>) -> Response<Body> {
    let mut builder = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        builder = builder.header(name, value);
    }
    if reply.close {
        builder = builder.header(hyper::header::CONNECTION, "close");
    }
    let body = match reply.feed {
        None => Full::new(reply.body).boxed_unsync(),
        Some(feed) => StreamBody::new(helpings(feed, Arc::clone(floor))).boxed_unsync(),
    };
    builder.body(body).unwrap_or_else(|error| {
        // A status or header that HTTP cannot carry is a mistake of a model.
        tracing::error!(%error, "the lab made an answer that HTTP cannot carry");
        let mut response = Response::new(Full::new(Bytes::from(error.to_string())).boxed_unsync());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// What a feed gives, as often as the world has news for it.
fn helpings(feed: Feed, floor: Arc<Floor>) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    stream::unfold(Some((feed, floor)), |state| async move {
        let (feed, floor) = state?;
        loop {
            let news = floor.news.notified();
            // The world was carried out: nobody is left who could tell anything.
            let helping = floor.peek_world(|world| feed.next(world))?;
            if helping.is_last {
                return Some((helping.bytes, None));
            }
            if !helping.bytes.is_empty() {
                drop(news);
                return Some((helping.bytes, Some((feed, floor))));
            }
            match helping.again_at {
                None => news.await,
                Some(at) => {
                    let now = floor.clock.elapsed();
                    tokio::select! {
                        biased;
                        () = news => {}
                        () = floor.sleep(at.saturating_sub(now)) => {}
                    }
                }
            }
        }
    })
    .filter(|bytes| std::future::ready(!bytes.is_empty()))
    .map(|bytes| Ok(Frame::data(bytes)))
}
