//! Connections: how many, how long their headers may take, and their orderly end.
//!
//! Owns the accepting of connections, plain and with TLS alike. A connection beyond the limits is
//! answered 503 where it speaks plainly, and closed. Requests are none of its business.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::{App, Tls};

/// How long connections may go on after the end was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once: each takes some 20 KB, so 200 MB.
pub(super) const CONNECTIONS_MAX: usize = 10_000;
/// Those of one address, unless it is a proxy's: nobody keeps out all others.
pub(super) const CONNECTIONS_EACH_MAX: usize = CONNECTIONS_MAX / 4;
/// Files for all else than connections: the log, its views, the usage history, listeners.
pub(super) const FILES_RESERVED: usize = 512;
/// How long the headers of a request may take, and a connection may idle before the next.
const HEADERS_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of a request's headers: many times a usual request's. There may be 100 of them, which is
/// what the parser has room for without an allocation.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// What a connection beyond the limits is told.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// Answers connections until `shutdown` is done, then lets them end.
pub(super) async fn serve(
    (listener, tls): (TcpListener, Option<Tls>),
    (router, app): (Router, App),
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = axum_server::from_tcp(listener.into_std()?)?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    let guarded = Guarded::new(app, tls.is_none().then_some(REFUSAL));
    match tls {
        Some(Tls(tls)) => {
            let server = server.acceptor(RustlsAcceptor::new(tls).acceptor(guarded));
            let serving = limited(server, &handle).serve(service);
            until(serving, &handle, shutdown).await
        }
        None => {
            let serving = limited(server.acceptor(guarded), &handle).serve(service);
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

/// How many connections there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Limits {
    all: usize,
    each: usize,
}

impl Limits {
    /// As many as are allowed and as the limit on open files has room for: one that is refused is
    /// told so, while one that cannot be accepted waits, and then no file of ours can be opened.
    fn of(open_files: Option<u64>) -> Self {
        let files = open_files.and_then(|files| usize::try_from(files).ok());
        let files = files.unwrap_or(usize::MAX);
        let all = CONNECTIONS_MAX.min(files - FILES_RESERVED.min(files / 4));
        Self {
            all,
            each: all * CONNECTIONS_EACH_MAX / CONNECTIONS_MAX,
        }
    }
}

/// Who is connected.
#[derive(Debug, Default)]
struct Connected {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Lets connections in, as far as there are places.
#[derive(Clone)]
struct Guarded {
    app: App,
    limits: Limits,
    connected: Arc<Mutex<Connected>>,
    /// What one beyond the limits is told.
    refusal: Option<&'static [u8]>,
}

impl Guarded {
    fn new(app: App, refusal: Option<&'static [u8]>) -> Self {
        let limits = Limits::of(getrlimit(Resource::Nofile).current);
        if limits.all < CONNECTIONS_MAX {
            let connections = limits.all;
            tracing::warn!(
                connections,
                "the limit on open files leaves room for so many"
            );
        }
        Self {
            app,
            limits,
            connected: Arc::default(),
            refusal,
        }
    }

    fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let own = connected.by_address.get(&address).copied().unwrap_or(0);
        let proxy = self
            .app
            .settings
            .trusted
            .iter()
            .any(|net| net.contains(&address));
        if connected.all >= self.limits.all || (own >= self.limits.each && !proxy) {
            return None;
        }
        connected.all += 1;
        connected.by_address.insert(address, own + 1);
        Some(Place {
            address,
            connected: Arc::clone(&self.connected),
        })
    }
}

impl<S> Accept<TcpStream, S> for Guarded {
    type Stream = Held;
    type Service = S;
    type Future = Ready<io::Result<(Held, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let held = stream
            .set_nodelay(true)
            .and_then(|()| stream.peer_addr())
            .and_then(|peer| {
                let place = self.enter(peer.ip().to_canonical());
                place.ok_or_else(|| self.refuse(&stream))
            });
        ready(held.map(|place| {
            let held = Held {
                stream,
                _place: place,
            };
            (held, service)
        }))
    }
}

impl Guarded {
    /// Tells a connection that there is no place for it; it is closed by whoever drops it.
    fn refuse(&self, stream: &TcpStream) -> io::Error {
        self.app.metrics.refused("connection");
        let told = self.refusal.map(|refusal| stream.try_write(refusal));
        if let Some(Err(why)) = told {
            tracing::debug!(%why, "a refused connection was not told");
        }
        io::ErrorKind::ConnectionRefused.into()
    }
}

/// One connection's place; it is free again when this is dropped.
struct Place {
    address: IpAddr,
    connected: Arc<Mutex<Connected>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connected.all -= 1;
        if let Some(own) = connected.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                connected.by_address.remove(&self.address);
            }
        }
    }
}

/// A connection with its place.
struct Held {
    stream: TcpStream,
    _place: Place,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_connections_as_files_leave_room_for() {
        for (open_files, all, each) in [
            (None, 10_000, 2_500),
            (Some(u64::MAX), 10_000, 2_500),
            (Some(1_048_576), 10_000, 2_500),
            (Some(10_512), 10_000, 2_500),
            (Some(4_096), 3_584, 896),
            (Some(1_024), 768, 192),
            (Some(200), 150, 37),
            (Some(0), 0, 0),
        ] {
            assert_eq!(
                Limits::of(open_files),
                Limits { all, each },
                "{open_files:?}"
            );
        }
    }
}
