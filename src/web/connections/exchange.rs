//! Requests and answers on a kept connection: what a proxy in front of us relies on when it sends
//! the next request over the same one.
//!
//! Owns three rules. A head that does not say for certain which request it is, and where that ends,
//! is refused: HTTP/1.1 without one valid `Host`, or with both lengths (RFC 9112, 3.2 and 6.3). And
//! an answer leaves once the body of its request has been read to its end, up to a bound; beyond
//! that it says `Connection: close`. A connection that closes without saying so may have got the
//! proxy's next request by then, which the proxy would answer with 502. And `Allow` is sent with
//! 405 alone, which is done here since the router adds it around its layers.
//!
//! The parser below us drops `Content-Length` where there is `Transfer-Encoding`, so the head is
//! looked at as it arrives. That misses a request whose head came before the answer to the one
//! ahead of it; the parser then goes by `Transfer-Encoding` and closes, as the standard allows.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use axum_server::accept::Accept;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tower::Service;

use crate::web::problem::Problem;

/// What is read and dropped of a body that was refused, so that its connection can be kept: the
/// longest body of most routes.
const UNREAD_BYTES_MAX: usize = 64 * 1_024;
/// How long an answer waits for that.
const UNREAD_WITHIN: Duration = Duration::from_secs(1);

/// A request that is refused for its head, wherever it goes.
#[derive(Clone, Debug)]
pub(crate) struct Malformed(pub(crate) Problem);

/// Accepts connections as `A` does, and keeps their requests apart.
#[derive(Clone)]
pub(crate) struct Exchanges<A>(pub(crate) A);

impl<A, S> Accept<TcpStream, S> for Exchanges<A>
where
    A: Accept<TcpStream, S, Future: Send> + 'static,
    S: 'static,
{
    type Stream = Watched<A::Stream>;
    type Service = OneByOne<A::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = self.0.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let exchange = Arc::new(Exchange::default());
            let stream = Watched {
                stream,
                head: Head::default(),
                exchange: Arc::clone(&exchange),
            };
            Ok((stream, OneByOne { service, exchange }))
        })
    }
}

/// What a connection's bytes, the request on it and its answer know of each other.
#[derive(Debug, Default)]
struct Exchange {
    /// How often the bytes of a new head began.
    heads: AtomicU32,
    /// The newest head has `Content-Length`.
    has_length: AtomicBool,
    /// There is an unread body.
    is_unread: AtomicBool,
    unread: Mutex<Option<Unread>>,
}

/// What is left of a body that was not read to its end.
#[derive(Debug)]
struct Unread {
    body: Body,
    /// Somebody has begun to read it, so that a client that waited for that goes on.
    is_begun: bool,
}

impl Exchange {
    fn head_begins(&self) {
        self.has_length.store(false, Ordering::Relaxed);
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    fn leave(&self, unread: Unread) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
        self.is_unread.store(true, Ordering::Release);
    }

    fn take_unread(&self) -> Option<Unread> {
        if !self.is_unread.swap(false, Ordering::Acquire) {
            return None;
        }
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.take()
    }
}

/// A connection's bytes, of which the heads are looked at.
pub(crate) struct Watched<S> {
    stream: S,
    head: Head,
    exchange: Arc<Exchange>,
}

const CONTENT_LENGTH: &[u8] = b"content-length:";

/// Where in a head the newest byte stands.
#[derive(Debug, Default)]
struct Head {
    number: u32,
    /// The beginning of a line that has not ended.
    line: [u8; CONTENT_LENGTH.len()],
    line_len: usize,
    has_begun: bool,
    has_ended: bool,
}

impl Head {
    /// Looks at bytes of a head, the ones after it aside; whether it has `Content-Length`.
    fn has_length(&mut self, bytes: &[u8]) -> bool {
        let mut found = false;
        let mut rest = bytes;
        while !self.has_ended && !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            rest = after;
            // Only a line that came in pieces is put together.
            let whole = if self.line_len == 0 && end.is_some() {
                line
            } else {
                let room = self.line.iter_mut().skip(self.line_len);
                for (to, from) in room.zip(line) {
                    *to = *from;
                }
                self.line_len = self.line.len().min(self.line_len + line.len());
                self.line.get(..self.line_len).unwrap_or_default()
            };
            if end.is_none() {
                break;
            }
            let is_blank = matches!(whole, b"\r\n" | b"\n");
            // Blank lines before a request count for nothing.
            self.has_ended = is_blank && self.has_begun;
            self.has_begun |= !is_blank;
            let name = whole.get(..CONTENT_LENGTH.len());
            found |= name.is_some_and(|name| name.eq_ignore_ascii_case(CONTENT_LENGTH));
            self.line_len = 0;
        }
        found
    }
}

impl<S> Watched<S> {
    fn look_at(&mut self, bytes: &[u8]) {
        let number = self.exchange.heads.load(Ordering::Relaxed);
        if number != self.head.number {
            self.head = Head {
                number,
                ..Head::default()
            };
        }
        if self.head.has_length(bytes) {
            self.exchange.has_length.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.look_at(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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

/// A request's body, which leaves what was not read of it to its exchange.
pub(crate) struct RequestBody<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static> {
    body: Option<B>,
    exchange: Arc<Exchange>,
    is_begun: bool,
    has_ended: bool,
}

impl<B> HttpBody for RequestBody<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.is_begun = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        self.has_ended = frame.is_none() || self.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static> Drop for RequestBody<B> {
    fn drop(&mut self) {
        match self.body.take() {
            Some(body) if !self.has_ended && !body.is_end_stream() => {
                self.exchange.leave(Unread {
                    body: Body::new(body),
                    is_begun: self.is_begun,
                });
            }
            Some(_) | None => self.exchange.head_begins(),
        }
    }
}

/// A connection's service, which reads the body of every request to its end before it answers.
#[derive(Clone, Debug)]
pub(crate) struct OneByOne<S> {
    service: S,
    exchange: Arc<Exchange>,
}

impl<S, B> Service<Request<B>> for OneByOne<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<Body>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Answering<S::Future> {
        let has_length = self.exchange.has_length.load(Ordering::Relaxed);
        if let Err(malformed) = check(request.version(), request.headers(), has_length) {
            request.extensions_mut().insert(malformed);
        }
        let waits = request.headers().contains_key(header::EXPECT);
        let request = request.map(|body| RequestBody {
            body: Some(body),
            exchange: Arc::clone(&self.exchange),
            is_begun: false,
            has_ended: false,
        });
        Answering {
            answer: self.service.call(request),
            exchange: Arc::clone(&self.exchange),
            waits,
            unread: None,
        }
    }
}

/// Refuses a head that may be read in two ways.
fn check(version: Version, headers: &HeaderMap, has_length: bool) -> Result<(), Malformed> {
    let refused = |detail: &str| Err(Malformed(Problem::bad_request("request_malformed", detail)));
    if has_length && headers.contains_key(header::TRANSFER_ENCODING) {
        return refused("send Content-Length or Transfer-Encoding, not both");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host) => Ok(()),
        (None, None) if version == Version::HTTP_10 => Ok(()),
        (Some(_), None) => refused("the header host is not a host with or without a port"),
        (None, _) => refused("HTTP/1.1 needs the header host"),
        (Some(_), Some(_)) => refused("the header host is given more than once"),
    }
}

/// Whether a value has the characters of a host and a port alone (RFC 3986, 3.2.2).
fn is_host(value: &HeaderValue) -> bool {
    let is_fit = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte) || *byte >= 0x80
    };
    value.as_bytes().iter().all(is_fit)
}

pin_project! {
    /// An answer that leaves once its request has been read.
    pub(crate) struct Answering<F> {
        #[pin]
        answer: F,
        exchange: Arc<Exchange>,
        // The client sends its body only when it is asked for it.
        waits: bool,
        unread: Option<Draining>,
    }
}

/// A body of which the rest is read and dropped before its answer leaves.
struct Draining {
    answer: Option<Response<Body>>,
    body: Body,
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let draining = match this.unread {
            Some(draining) => draining,
            None => {
                let mut answer = ready!(this.answer.poll(context))?;
                keep_allow_of_405_alone(&mut answer);
                let Some(unread) = this.exchange.take_unread() else {
                    return Poll::Ready(Ok(answer));
                };
                let least = usize::try_from(unread.body.size_hint().lower());
                let is_short = least.is_ok_and(|least| least <= UNREAD_BYTES_MAX);
                if !is_short || (*this.waits && !unread.is_begun) {
                    return Poll::Ready(Ok(closing(answer)));
                }
                this.unread.insert(Draining {
                    answer: Some(answer),
                    body: unread.body,
                    left: UNREAD_BYTES_MAX,
                    until: Box::pin(sleep(UNREAD_WITHIN)),
                })
            }
        };
        let is_whole = ready!(draining.poll(context));
        let answer = draining.answer.take().unwrap_or_default();
        if !is_whole {
            return Poll::Ready(Ok(closing(answer)));
        }
        this.exchange.head_begins();
        Poll::Ready(Ok(answer))
    }
}

impl Draining {
    /// Whether the body has been read to its end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            if self.until.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(true),
                Some(Err(_broken)) => return Poll::Ready(false),
                Some(Ok(frame)) => frame,
            };
            let len = frame.data_ref().map_or(0, Bytes::len);
            match self.left.checked_sub(len) {
                Some(left) => self.left = left,
                None => return Poll::Ready(false),
            }
        }
    }
}

/// The router names a path's methods whatever the refusal of another method is: clients without
/// permission are not to learn them.
fn keep_allow_of_405_alone(answer: &mut Response<Body>) {
    if answer.status() != StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().remove(header::ALLOW);
    }
}

/// The same answer, after which the connection closes.
fn closing(mut answer: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_a_head_however_it_arrives() {
        for (text, expected) in [
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
                true,
            ),
            ("POST / HTTP/1.1\nCONTENT-LENGTH:3\n\n", true),
            ("\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n", false),
            (
                "POST /content-length: HTTP/1.1\r\nA: content-length: 3\r\n\r\n",
                false,
            ),
            ("POST / HTTP/1.1\r\nContent-Lengt: 3\r\n\r\n", false),
            // What follows the head is none of it.
            (
                "POST / HTTP/1.1\r\nHost: a\r\n\r\nContent-Length: 3\r\n",
                false,
            ),
        ] {
            for piece in [1, 2, 7, text.len()] {
                let mut head = Head::default();
                let pieces = text.as_bytes().chunks(piece);
                let found = pieces.filter(|piece| head.has_length(piece)).count() > 0;
                assert_eq!(found, expected, "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for (host, fit) in [
            ("keys.example", true),
            ("keys.example:8080", true),
            ("[2001:db8::1]:8080", true),
            ("", true),
            ("keys.example/x", false),
            ("a b", false),
            ("user@keys.example", false),
            ("keys.example, other.example", false),
        ] {
            let fits = is_host(&HeaderValue::from_static(host));
            assert_eq!(fits, fit, "{host}");
        }
    }
}
