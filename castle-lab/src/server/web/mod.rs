//! The web of the house: what browsers find at the addresses of load balancers.

mod certificate;
mod door;

pub(crate) use door::WebDoor;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::front::{Act, Call, Reply, Service};
use crate::gate::Connection;
use crate::latency::Latency;
use crate::wire::{read, response};
use crate::workload::Page;
use crate::world::World;

/// The name under which requests are counted.
const BACKEND: &str = "web";
/// A connection without a request for this long is closed. Protocol timers are
/// real at every pace.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Whatever stands behind one port of an address, as the world has it.
#[derive(Debug, Clone, Copy)]
struct Web {
    address: IpAddr,
    port: u16,
}

/// The host that a request names, without its port, in lower case.
fn host(call: &Call) -> String {
    let named = call.header("host").unwrap_or_default();
    let name = named.rsplit_once(':').map_or(named, |(name, _)| name);
    name.to_ascii_lowercase()
}

impl Service for Web {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn classify(&self, _: &World, call: &Call) -> Act {
        Act {
            kind: format!("{} page", call.method),
            entity: host(call),
            // Pages are files; whatever a browser sends changes nothing here.
            write: false,
            latency: Latency::PAGE_REQUEST,
            detail: call.path.clone(),
        }
    }

    fn serve(&self, world: &mut World, call: &Call) -> Reply {
        let Act { kind, entity, .. } = self.classify(world, call);
        world.arriving(call.run, &kind, &entity);
        let page = match call.method.as_str() {
            // It ceased to be announced while the request was under way.
            "GET" | "HEAD" => {
                world.visit(self.address, self.port, &entity, &call.path).unwrap_or_else(|| Page::status(502))
            }
            _ => Page::status(405),
        };
        world.answered(call.run, &kind, &entity);
        let body = if call.method == "HEAD" { String::new() } else { page.body };
        Reply::new(page.status, body).header("content-type", page.content_type)
    }
}

/// Serves one connection to its end.
async fn converse<S>(connection: Connection<S>, service: Arc<dyn Service>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Connection { stream, floor, run, line, .. } = connection;
    let handler = service_fn(|request: Request<Incoming>| {
        let (floor, service, line) = (Arc::clone(&floor), Arc::clone(&service), Arc::clone(&line));
        async move {
            let call = match read(request, run).await {
                Ok(call) => call,
                Err(reply) => return Ok(response(reply)),
            };
            match floor.answer(service, call, &line).await {
                Some(reply) => Ok(response(reply)),
                // The line was ended, or will be by its client: no answer.
                None => std::future::pending::<Result<_, std::convert::Infallible>>().await,
            }
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), handler);
    if let Err(error) = served.await {
        tracing::debug!(%error, %run, "the connection ended");
    }
}
