//! A client of a running server.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// How long an answer may take: a server that is killed must not hang a test.
const ANSWER: Duration = Duration::from_secs(30);

/// A client with a key.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    base: String,
    key: String,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as it came.
    pub(crate) text: String,
}

impl Reply {
    /// The body; null where it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The body of an answer that must have this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }
}

impl Api {
    /// A client of the server at `address`.
    pub(crate) fn new(address: &str, key: &str) -> Self {
        let client = Client::builder().timeout(ANSWER).no_proxy();
        Self {
            client: client.build().unwrap(),
            base: format!("http://{address}"),
            key: key.to_owned(),
        }
    }

    /// The same client with another key.
    #[must_use]
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// A request with the key, to be changed before it is sent.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.client.request(method, url).bearer_auth(&self.key)
    }

    /// A request without a key.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Posts JSON; an error means that there was no answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Result<Reply> {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// Gets.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<Reply> {
        send(self.request(Method::GET, path)).await
    }

    /// What verification says of a token.
    pub(crate) async fn verify(&self, token: &str) -> Value {
        let reply = self.post("/v1/verify", &json!({"key": token})).await;
        reply.unwrap().expect(200)
    }

    /// The code of what verification says.
    pub(crate) async fn verdict(&self, token: &str) -> String {
        super::text(&self.verify(token).await, "code").to_owned()
    }
}

/// Sends a request and reads the answer whole, of a stream its beginning.
pub(crate) async fn send(request: RequestBuilder) -> reqwest::Result<Reply> {
    let mut response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let kind = headers.get(CONTENT_TYPE);
    // A stream goes on for long: its beginning is enough.
    let text = if kind.is_some_and(|kind| kind == "text/event-stream") {
        let first = response.chunk().await?.unwrap_or_default();
        String::from_utf8_lossy(&first).into_owned()
    } else {
        response.text().await?
    };
    Ok(Reply {
        status,
        headers,
        text,
    })
}
