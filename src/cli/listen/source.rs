//! The stream of a server's events, as a client that does not believe everything.
//!
//! Says of every end whether it is worth another try. Must never follow a redirect nor use a proxy
//! of the environment: both would see the token.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Response, Url};
use serde::Deserialize;
use tokio::time::timeout;

use crate::cli::exit::{Exit, Stop};
use crate::client::sse::{self, EventStream, InvalidStream, StreamError, StreamTimeouts};
use crate::domain::ids::EventId;
use crate::error_chain::error_chain;

/// Where the stream is, behind the server's own URL.
const STREAM: &str = "v1/events/stream";
/// How long the beginning of a stream may take.
const BEGIN_MAX: Duration = Duration::from_secs(15);
/// A stream promises a heartbeat every 15 s.
const TIMEOUTS: StreamTimeouts = StreamTimeouts {
    begin: BEGIN_MAX,
    silence: Duration::from_secs(45),
};
/// The longest refusal that is read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
/// The longest text of a server's that is shown.
const TEXT_CHARS_MAX: usize = 300;

/// Why a stream is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// Another try would end so too.
    Stop(Stop),
    /// Another try may go well; in a few words, why.
    Broken(String),
}

impl Ended {
    /// What the end of a stream means for the next try.
    async fn of(end: StreamError) -> Self {
        match end {
            StreamError::Refused(response) => refused(*response).await,
            // The URL that an error names is the one that was given.
            StreamError::Unreachable(ref why) | StreamError::Broken(ref why) => {
                Self::Broken(format!("{end} ({})", error_chain(why)))
            }
            StreamError::ResponseTimeout
            | StreamError::Invalid(_)
            | StreamError::Silent
            | StreamError::Closed => Self::Broken(end.to_string()),
        }
    }
}

/// What a stream tells.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// Something has happened.
    Event(Event),
    /// Everything up to here has been told.
    Reached(u64),
}

/// Something that has happened.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Event {
    pub(super) position: u64,
    pub(super) name: String,
    pub(super) id: EventId,
    pub(super) body: Bytes,
}

/// What is looked at in a body.
#[derive(Deserialize)]
struct Head {
    id: EventId,
    #[serde(rename = "type")]
    name: String,
    sequence: u64,
}

/// A server's stream.
pub(super) struct Source {
    http: Client,
    url: Url,
}

impl Source {
    /// The stream of the server at `url`.
    pub(super) fn new(
        url: &Url,
        token: &str,
        types: &[String],
        roots_pem: &[Vec<u8>],
    ) -> Result<Self, Stop> {
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            let why = "--url is the http or https URL of a server, like https://keys.acme.example";
            return Err(Stop::refused(why));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Stop::refused("--url has no user name and no password"));
        }
        let mut stream = url.clone();
        let path = format!("{}/{STREAM}", url.path().trim_end_matches('/'));
        stream.set_path(&path);
        stream.set_fragment(None);
        stream.set_query(None);
        if !types.is_empty() {
            stream
                .query_pairs_mut()
                .append_pair("types", &types.join(","));
        }
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut bearer =
            bearer.map_err(|_form| Stop::refused("the token contains invalid characters"))?;
        bearer.set_sensitive(true);
        let mut http = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(BEGIN_MAX)
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]));
        for pem in roots_pem {
            let roots = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if roots.is_empty() {
                return Err(Stop::refused("--ca holds no certificate in PEM"));
            }
            http = roots
                .into_iter()
                .fold(http, ClientBuilder::add_root_certificate);
        }
        let http = http.build();
        let http = http.map_err(|why| Stop::refused(format!("--ca: {why}")))?;
        Ok(Self { http, url: stream })
    }

    /// Asks for the stream after a position, or from now on.
    pub(super) async fn open(&self, after: Option<u64>) -> Result<Stream, Ended> {
        let request = self.http.get(self.url.clone());
        match EventStream::open(request, after, TIMEOUTS).await {
            Ok(stream) => Ok(Stream(stream)),
            Err(end) => Err(Ended::of(end).await),
        }
    }
}

/// A stream that has begun.
#[derive(Debug)]
pub(super) struct Stream(EventStream);

impl Stream {
    /// What it tells next.
    pub(super) async fn next(&mut self) -> Result<Told, Ended> {
        let read = match self.0.next().await {
            Ok(event) => read(&event).map_err(StreamError::from),
            Err(end) => Err(end),
        };
        match read {
            Ok(told) => Ok(told),
            Err(end) => Err(Ended::of(end).await),
        }
    }
}

/// An event as it came.
fn read(event: &sse::Event) -> Result<Told, InvalidStream> {
    let position = event.id.parse();
    let position = position.map_err(|_no_number| InvalidStream("an event's id is no position"))?;
    if event.name == "heartbeat" {
        return Ok(Told::Reached(position));
    }
    let head: Head = serde_json::from_str(&event.data)
        .map_err(|_form| InvalidStream("an event is not what it should be"))?;
    if head.sequence != position || head.name != event.name {
        return Err(InvalidStream("an event contradicts itself"));
    }
    Ok(Told::Event(Event {
        position,
        name: plain(&head.name),
        id: head.id,
        body: Bytes::copy_from_slice(event.data.as_bytes()),
    }))
}

/// What a refusal means for whoever asked.
async fn refused(response: Response) -> Ended {
    let status = response.status().as_u16();
    let detail = detail(response).await;
    let detail = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    let why = format!("the server answered {status}{detail}");
    match status {
        401 | 403 => Ended::Stop(Stop {
            exit: Exit::Failed,
            why: anyhow::anyhow!("the token is refused; {why}"),
        }),
        408 | 429 | 500..=599 => Ended::Broken(why),
        _other => Ended::Stop(Stop::refused(why)),
    }
}

/// What a problem says, for people.
async fn detail(mut response: Response) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > PROBLEM_BYTES_MAX {
                return None;
            }
        }
        serde_json::from_slice::<Problem>(&bytes).ok()
    };
    let problem = timeout(BEGIN_MAX, reading).await.ok()??;
    Some(plain(&problem.detail))
}

/// A server's text without what a terminal would take for a command.
fn plain(text: &str) -> String {
    let shown = text.chars().filter(|char| !char.is_control());
    shown.take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "evt_01H2XA9CKEB7WZG8RMN2KPQV7D";

    fn event(name: &str, id: &str, data: &str) -> sse::Event {
        sse::Event {
            name: name.to_owned(),
            id: id.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_and_heartbeats_are_read_and_nothing_else_is_believed() {
        let body = format!(r#"{{"id":"{ID}","type":"api_key.created","sequence":7,"data":{{}}}}"#);
        let told = read(&event("api_key.created", "7", &body));
        let expected = Event {
            position: 7,
            name: "api_key.created".to_owned(),
            id: ID.parse().unwrap(),
            body: Bytes::from(body.clone()),
        };
        assert_eq!(told, Ok(Told::Event(expected)));
        let beat = event("heartbeat", "9", r#"{"position":9}"#);
        assert_eq!(read(&beat), Ok(Told::Reached(9)));
        for (name, id, data) in [
            ("api_key.created", "", body.as_str()),
            ("api_key.created", "-7", &body),
            ("api_key.created", "99999999999999999999", &body),
            ("api_key.created", "8", &body),
            ("api_key.revoked", "7", &body),
            ("api_key.created", "7", "{}"),
            ("api_key.created", "7", "not json"),
            ("api_key.created", "7", &body.replace(ID, "evt_1.2")),
            ("heartbeat", "x", "{}"),
        ] {
            assert!(read(&event(name, id, data)).is_err(), "{name} {id} {data}");
        }
    }

    #[test]
    fn the_stream_is_found_behind_a_servers_url() {
        let found = |url: &str, types: &[&str]| {
            let types: Vec<_> = types.iter().map(|&name| name.to_owned()).collect();
            let source = Source::new(&url.parse().unwrap(), "rfk_x", &types, &[]);
            source.map(|source| source.url.to_string())
        };
        for (url, types, expected) in [
            ("http://a:1", &[][..], "http://a:1/v1/events/stream"),
            ("https://a/b/?c#d", &[], "https://a/b/v1/events/stream"),
            (
                "https://a",
                &["api_key.*", "job.*"],
                "https://a/v1/events/stream?types=api_key.*%2Cjob.*",
            ),
        ] {
            assert_eq!(found(url, types).unwrap(), expected);
        }
        for url in ["ftp://a", "data:x", "https://user@a", "https://:p@a"] {
            assert_eq!(found(url, &[]).unwrap_err().exit, Exit::Refused, "{url}");
        }
        let url: Url = "http://a".parse().unwrap();
        let wrong = Source::new(&url, "rfk_\n", &[], &[]).err().unwrap();
        assert_eq!(wrong.exit, Exit::Refused);
        assert!(Source::new(&url, "rfk_x", &[], &[b"no pem".to_vec()]).is_err());
    }

    #[test]
    fn a_text_of_the_servers_commands_no_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a[2Jbc");
        assert_eq!(plain(&"x".repeat(1_000)).len(), TEXT_CHARS_MAX);
    }
}
