//! Requests on their way, and whole answers.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::api::tests::conforming::Asked;
use crate::api::tests::{PEER, text};
use crate::web::codes::all_codes;

/// A request on its way.
pub(super) struct Ask(pub(super) Request<Body>);

pub(super) fn ask(method: &str, path: &str) -> Ask {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = path.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(PEER));
    Ask(request)
}

impl Ask {
    pub(super) fn by(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// In a session, from one of our own pages.
    pub(super) fn in_session(self, cookie: &str) -> Self {
        self.with("cookie", cookie)
            .with("sec-fetch-site", "same-origin")
    }

    /// Adds a header, also one that is there already.
    pub(super) fn with(self, name: &str, value: &str) -> Self {
        self.with_bytes(name, value.as_bytes())
    }

    /// The same of a value that need not be text.
    pub(super) fn with_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value).unwrap();
        self.0.headers_mut().append(name, value);
        self
    }

    pub(super) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        *self.0.body_mut() = Body::from(bytes.into());
        self
    }

    pub(super) fn form(self, body: &str) -> Self {
        let kind = "application/x-www-form-urlencoded";
        self.with(header::CONTENT_TYPE.as_str(), kind).body(body)
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.with(header::CONTENT_TYPE.as_str(), "application/json")
            .body(body.to_string())
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
    /// The same where it is text.
    pub(super) text: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// The id of what was made.
    #[track_caller]
    pub(super) fn created(&self) -> String {
        text(&self.expect(201)["id"])
    }

    /// The code of a problem that must have this status.
    #[track_caller]
    pub(super) fn refused(&self, status: u16) -> String {
        let problem = self.expect(status);
        assert_eq!(problem["status"], status);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let code = text(&problem["code"]);
        let known = all_codes()
            .iter()
            .any(|(s, c, _)| (*s, *c) == (status, &code));
        assert!(known, "{status} {code} is not in the table of codes");
        code
    }

    /// The cookie that was set, as a browser sends it back.
    pub(super) fn cookie(&self) -> String {
        let set = self.header("set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What a router answers, which must be what the document says of the request.
pub(super) async fn answered(router: Router, ask: Ask) -> Reply {
    let (request, asked) = Asked::of(ask.0).await;
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    // A stream goes on for long: its beginning is enough, and it ends with its reader.
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let bytes = if kind.is_some_and(|kind| kind == "text/event-stream") {
        let first = body.into_data_stream().next().await;
        first.transpose().unwrap().unwrap_or_default()
    } else {
        body.collect().await.unwrap().to_bytes()
    };
    let reply = Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
        bytes: bytes.to_vec(),
    };
    asked.check(&reply);
    reply
}
