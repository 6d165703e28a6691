//! One accepted connection: its bytes, and its end if its client does not read.
//!
//! A client that does not take an answer holds memory here and in the kernel, so it is cut off.
//! Until it has taken what was written, no further request of its connection is begun, so that
//! pipelined requests cannot pile answers up. When the server closes first, what the client still
//! sends is read and dropped up to a bound, so that no reset destroys the answer on its way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower::Service;

use crate::web::app::App;
use crate::web::shares::Share;

/// How long a client may take nothing of an answer.
pub(crate) const WRITE_STALL_MAX: Duration = Duration::from_secs(20);
/// Bytes that earn a client that much time again: it must take 3.2 KB a second.
const BYTES_PER_STALL: u32 = 64 * 1_024;
/// What is read and dropped of a client that still sends when its connection ends: twice the
/// longest body, so that a client that sends too much reads the refusal.
const DRAIN_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// How long that may take.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// The same of a server that stops, which closes idle connections, too: a stop waits for no client
/// that does not close its own.
const DRAIN_AT_STOP: Duration = Duration::from_millis(500);
/// How much of it is read at once.
const DRAIN_PIECE: usize = 8 * 1_024;

/// What a connection and its service know of each other.
#[derive(Clone, Debug, Default)]
struct Progress(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    has_backlog: AtomicBool,
    has_begun: AtomicBool,
}

impl Progress {
    /// Whether a client is yet to take what was written to it.
    fn has_backlog(&self) -> bool {
        self.0.has_backlog.load(Ordering::Relaxed)
    }

    fn set_backlog(&self, there: bool) {
        self.0.has_backlog.store(there, Ordering::Relaxed);
    }

    /// Whether the headers of a request have arrived.
    fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.0.has_begun.store(true, Ordering::Relaxed);
    }
}

/// A connection and its place.
pub(crate) struct Connection {
    stream: TcpStream,
    /// When the client is cut off, while it has a backlog.
    cut_off: Option<Pin<Box<Sleep>>>,
    progress: Progress,
    draining: Option<Draining>,
    app: App,
    _place: Share,
}

struct Draining {
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, place: Share, app: App) -> Self {
        Self {
            stream,
            cut_off: None,
            progress: Progress::default(),
            draining: None,
            app,
            _place: place,
        }
    }

    /// A service that begins no request while this connection's client has a backlog.
    pub(crate) fn in_turn<S>(&self, service: S) -> InTurn<S> {
        InTurn {
            service,
            progress: self.progress.clone(),
        }
    }

    fn is_stopping(&self) -> bool {
        !self.app.ready.load(Ordering::Acquire)
    }

    /// Notes what became of a write.
    fn after_write(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (&written, &mut self.cut_off) {
            (Poll::Ready(Ok(bytes)), Some(cut_off)) => {
                let latest = Instant::now() + WRITE_STALL_MAX;
                let bytes = u32::try_from(*bytes).unwrap_or(u32::MAX);
                let earned = WRITE_STALL_MAX.saturating_mul(bytes) / BYTES_PER_STALL;
                let until = latest.min(cut_off.deadline() + earned);
                cut_off.as_mut().reset(until);
                written
            }
            (Poll::Ready(_), _) => written,
            (Poll::Pending, _) => {
                self.progress.set_backlog(true);
                let until = Instant::now() + WRITE_STALL_MAX;
                let cut_off = self
                    .cut_off
                    .get_or_insert_with(|| Box::pin(sleep_until(until)));
                ready!(cut_off.as_mut().poll(context));
                tracing::debug!("a connection was cut off: its client does not read");
                // Closed with a reset: else the kernel would keep what the client does not take.
                self.stream.set_zero_linger()?;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Reads and drops what the client still sends.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_stopping = self.is_stopping();
        let draining = self.draining.get_or_insert_with(|| Draining {
            left: DRAIN_BYTES_MAX,
            until: Box::pin(sleep(if is_stopping {
                DRAIN_AT_STOP
            } else {
                DRAIN_WITHIN
            })),
        });
        let mut piece = [0; DRAIN_PIECE];
        while draining.left > 0 && draining.until.as_mut().poll(context).is_pending() {
            let mut piece = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => {
                    draining.left = draining.left.saturating_sub(piece.filled().len());
                }
                // The client has closed, too.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.progress.has_begun() && self.is_stopping() {
            // The end of its stream: a stop waits for no request that has not arrived.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.after_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.after_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Comes once all that there was to write has been written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut_off.take().is_some() {
            self.progress.set_backlog(false);
            // The next request waits in the same task.
            context.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.draining.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        self.poll_drain(context)
    }
}

/// A connection's service, which begins one request after the other has left.
#[derive(Clone, Debug)]
pub(crate) struct InTurn<S> {
    service: S,
    progress: Progress,
}

impl<R, S: Service<R>> Service<R> for InTurn<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.progress.has_backlog() {
            // The connection's task is woken when the backlog is gone.
            return Poll::Pending;
        }
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.progress.begin();
        self.service.call(request)
    }
}
