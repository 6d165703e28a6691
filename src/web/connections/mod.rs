//! Connections: how many, what each may hold in memory, and their orderly end.
//!
//! Owns the accepting of connections, plain and with TLS alike. A connection beyond the limits is
//! answered 503 if it has no TLS, and closed. Of what requests say only their framing is looked at
//! here (`exchange`).
//!
//! What one address can make the process and the kernel hold, at worst:
//!
//! | what | each | of 1,000 connections |
//! |---|---|---|
//! | written, not yet taken: twice [`SEND_BUFFER_BYTES`] and one packet more | 128 KiB | 128 MB |
//! | received, not yet read: twice [`RECEIVE_BUFFER_BYTES`] | 64 KiB | 64 MB |
//! | a request's headers, or the next one's: [`HEADER_BYTES_MAX`] | 32 KiB | 32 MB |
//! | small bodies and answers, up to [`budget::SMALL_BYTES`] each | 128 KiB | 128 MB |
//! | TLS and the connection's task | 64 KiB | 64 MB |
//! | larger bodies and answers: [`budget::EACH_BYTES_MAX`] each | | 80 MB |
//!
//! Together 496 MB, below the 512 MB that `docs/limits.md` states.

mod exchange;
mod stream;

use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};

use crate::web::app::App;
#[cfg(doc)]
use crate::web::budget;
use crate::web::connection_limits::{CONNECTIONS_EACH_MAX, CONNECTIONS_MAX, FILES_RESERVED};
use crate::web::shares::{FairShares, Holder, Share, ShareLimits};
use crate::web::tls::Tls;
use exchange::Exchanges;
pub(crate) use exchange::Malformed;
use stream::{Connection, InTurn, WRITE_STALL_MAX};

/// How long connections may go on after a stop was asked for: a container's runtime kills it
/// after 10 seconds, and what was taken has to be written by then.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// What the kernel may hold of what was written to a connection; it counts twice as much, for
/// itself. Enough for any usual answer, so that writing it does not wait.
const SEND_BUFFER_BYTES: usize = 32 * 1_024;
/// The same of what has arrived and was not yet read.
const RECEIVE_BUFFER_BYTES: usize = 32 * 1_024;
/// How long the headers of a request may take, and a connection may idle before the next.
const HEADERS_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of a request's headers: many times a usual request's. There may be 100 of them, which is
/// what the parser has room for without an allocation.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// The answer to a connection beyond the limits.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// Answers connections until `shutdown` is done, then lets them end.
pub(crate) async fn serve(
    (listener, tls): (TcpListener, Option<Tls>),
    (router, app): (Router, App),
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    bound_buffers(&listener)?;
    let server = axum_server::from_tcp(listener.into_std()?)?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    let guarded = Guarded::new(app, tls.is_none().then_some(REFUSAL));
    match tls {
        Some(Tls(tls)) => {
            let guarded = RustlsAcceptor::new(tls).acceptor(guarded);
            let server = server.acceptor(Exchanges(guarded));
            let serving = limited(server, &handle).serve(service);
            until(serving, &handle, shutdown).await
        }
        None => {
            let serving = limited(server.acceptor(Exchanges(guarded)), &handle).serve(service);
            until(serving, &handle, shutdown).await
        }
    }
}

fn limited<A>(server: Server<SocketAddr, A>, handle: &Handle<SocketAddr>) -> Server<SocketAddr, A> {
    let mut server = server.http1_only().handle(handle.clone());
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADER_BYTES_MAX);
    server
}

async fn until(
    serving: impl Future<Output = io::Result<()>>,
    handle: &Handle<SocketAddr>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = shutdown => {}
    }
    handle.graceful_shutdown(Some(DRAIN_TIMEOUT));
    serving.await
}

/// Warns where the limit on open files leaves room for few connections only.
pub(crate) fn warn_of_few_files() {
    let connections = limits_for(getrlimit(Resource::Nofile).current).all;
    if connections < CONNECTIONS_MAX {
        tracing::warn!(
            connections,
            "the limit on open files leaves room for only this many connections"
        );
    }
}

/// How many connections there may be: as many as are allowed and as the limit on open files has
/// room for. One that is refused gets an answer; one that cannot be accepted waits, and then no
/// file of ours can be opened.
fn limits_for(open_files: Option<u64>) -> ShareLimits {
    let files = open_files.and_then(|files| usize::try_from(files).ok());
    let files = files.unwrap_or(usize::MAX);
    let all = CONNECTIONS_MAX.min(files - FILES_RESERVED.min(files / 4));
    ShareLimits {
        all,
        each: CONNECTIONS_EACH_MAX.min(all / 4),
    }
}

/// Bounds what the kernel holds for each connection that will be accepted, which inherits this, and
/// lets it cut off a client that takes nothing, also when we have done our part.
fn bound_buffers(listener: &TcpListener) -> io::Result<()> {
    sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER_BYTES)?;
    sockopt::set_socket_recv_buffer_size(listener, RECEIVE_BUFFER_BYTES)?;
    let stall_ms = u32::try_from(WRITE_STALL_MAX.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(listener, stall_ms)?;
    Ok(())
}

/// Lets connections in, as far as there are places.
#[derive(Clone)]
struct Guarded {
    app: App,
    places: FairShares,
    /// The answer to one beyond the limits.
    refusal: Option<&'static [u8]>,
}

impl Guarded {
    fn new(app: App, refusal: Option<&'static [u8]>) -> Self {
        let limits = limits_for(getrlimit(Resource::Nofile).current);
        Self {
            app,
            places: FairShares::new(limits),
            refusal,
        }
    }

    fn enter(&self, address: IpAddr) -> Option<Share> {
        let trusted = &self.app.settings.trusted;
        if trusted.iter().any(|net| net.contains(&address)) {
            return self.places.take([], 1);
        }
        self.places.take(Holder::of_address(Some(address)), 1)
    }
}

impl<S> Accept<TcpStream, S> for Guarded {
    type Stream = Connection;
    type Service = InTurn<S>;
    type Future = Ready<io::Result<(Connection, InTurn<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream
            .set_nodelay(true)
            .and_then(|()| stream.peer_addr())
            .and_then(|peer| {
                let place = self.enter(peer.ip().to_canonical());
                place.ok_or_else(|| self.refuse(&stream))
            });
        ready(place.map(|place| {
            let connection = Connection::new(stream, place, self.app.clone());
            let service = connection.in_turn(service);
            (connection, service)
        }))
    }
}

impl Guarded {
    /// Answers a connection for which there is no place; it closes when it is dropped.
    fn refuse(&self, stream: &TcpStream) -> io::Error {
        self.app.metrics.refused("connection");
        let answered = self.refusal.map(|refusal| stream.try_write(refusal));
        if let Some(Err(why)) = answered {
            tracing::debug!(%why, "a refused connection could not be answered");
        }
        io::ErrorKind::ConnectionRefused.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_connections_as_files_leave_room_for() {
        for (open_files, all, each) in [
            (None, 10_000, 1_000),
            (Some(u64::MAX), 10_000, 1_000),
            (Some(1_048_576), 10_000, 1_000),
            (Some(10_512), 10_000, 1_000),
            (Some(4_096), 3_584, 896),
            (Some(1_024), 768, 192),
            (Some(200), 150, 37),
            (Some(0), 0, 0),
        ] {
            assert_eq!(
                limits_for(open_files),
                ShareLimits { all, each },
                "{open_files:?}"
            );
        }
    }
}
