//! Requests: how they are sent, counted and limited, and what their failures
//! mean.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use castle_core::words::heard;
use castle_core::{Clock, Meter};
use castle_wire::among_causes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioTimer;
use kube::client::{Body, ConfigExt};

use super::dial::Server;
use super::{Error, Result};
use crate::count::Count;
use crate::dial::{Dialer, Owned, Tasks, real};

/// How long an answer may take to begin, in the time of the house.
const ANSWER_BUDGET: Duration = Duration::from_secs(30);
/// How many bytes of one answer are read: the largest lists of a home have a few
/// MiB. A watch counts as one answer, and is opened anew every few minutes.
const ANSWER_CAP: usize = 64 << 20;
/// After this much silence the server is asked for a sign of life, and has as
/// long to give it (client-go asks after 30 s and waits 15).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A client of one server, and the tasks of its connections.
pub(super) fn client(server: &Server, dialer: Dialer, clock: &Clock, meter: Arc<Meter>) -> (kube::Client, Tasks) {
    let tasks = Tasks::default();
    let keep_alive = real(clock, KEEP_ALIVE);
    let http = legacy::Client::builder(Owned(Arc::downgrade(&tasks)))
        .http2_only(true)
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(keep_alive)
        .http2_keep_alive_timeout(keep_alive)
        .http2_keep_alive_while_idle(false)
        .build::<_, Body>(dialer);
    let mut config = kube::Config::new(server.uri.clone());
    // No silent second attempts: kube would repeat for minutes, at random intervals.
    config.default_retry = false;
    let service = tower::Layer::layer(&config.base_uri_layer(), Counted { http, meter });
    (kube::Client::new(service, "default"), tasks)
}

/// Counts what was sent.
#[derive(Clone)]
struct Counted {
    http: legacy::Client<Dialer, Body>,
    meter: Arc<Meter>,
}

impl tower::Service<Request<Body>> for Counted {
    type Response = Response<Limited<Incoming>>;
    type Error = legacy::Error;
    type Future = BoxFuture<'static, Result<Self::Response, legacy::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A dry run changes nothing, whatever its method.
        let is_dry = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "dryRun=All"));
        let is_read = request.method().is_safe() || is_dry;
        let count = Count::of(&self.meter, is_read);
        let answer = self.http.request(request);
        Box::pin(async move {
            // Whole, so that it is dropped with this future and not before it.
            let mut count = count;
            let answer = answer.await;
            if answer.as_ref().is_err_and(legacy::Error::is_connect) {
                count.never_sent();
            }
            answer.map(|answer| answer.map(|body| Limited::new(body, ANSWER_CAP)))
        })
    }
}

/// Waits for the answer to a request, and says what its failure means.
pub(super) async fn within<T>(
    clock: &Clock,
    server: &Server,
    request: &str,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    match clock.within_real(real(clock, ANSWER_BUDGET), answer).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(meaning(server, request, error)),
        None => {
            let source = Arc::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
            Err(Error::Unreachable { server: server.shown.clone(), source })
        }
    }
}

/// What an error of kube means.
pub(super) fn meaning(server: &Server, request: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => {
            let details = status.details.as_ref();
            let causes = details.into_iter().flat_map(|details| &details.causes).map(|cause| super::error::Cause {
                reason: heard(&cause.reason),
                field: heard(&cause.field),
                said: heard(&cause.message),
            });
            Error::Refused {
                request: request.to_owned(),
                status: status.code,
                reason: heard(&status.reason),
                said: heard(&status.message),
                causes: causes.collect(),
            }
        }
        // The words of the error may quote the answer; its place is enough.
        kube::Error::SerdeError(why) => Error::Malformed {
            request: request.to_owned(),
            why: format!("unexpected JSON at line {}, column {}", why.line(), why.column()),
        },
        kube::Error::FromUtf8(_) => Error::Malformed { request: request.to_owned(), why: "it is not text".into() },
        other => {
            if let Some(rustls::Error::InvalidCertificate(why)) = among_causes::<rustls::Error>(&other) {
                return Error::Distrusted { server: server.shown.clone(), why: why.to_string() };
            }
            Error::Unreachable { server: server.shown.clone(), source: Arc::new(other) }
        }
    }
}
