//! What surrounds every request: its id, its headers, the client's address, the rendering of
//! problems.
//!
//! The outermost layer gives a request its id, makes problems into bodies, and writes one log line
//! with the route's template: never a raw path, query or body.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tracing::Instrument;

use super::App;
use super::problem::Problem;
use crate::domain::envelope::Digest32;
use crate::domain::ids::{OrganizationId, Principal};
use crate::domain::secret::without_tokens;
use crate::ledger::{Idempotency, Network};

/// The request's id, in and out.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Position of a write's last event.
pub(super) const LEDGER_POSITION: HeaderName = HeaderName::from_static("ledger-position");
/// The position that a read must see.
const LEDGER_MIN_POSITION: HeaderName = HeaderName::from_static("ledger-min-position");
/// The client's promise that equal keys mean equal commands.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// The version that no record has: they count from 1.
const NO_VERSION: u32 = 0;
/// Longest request id.
const REQUEST_ID_MAX: usize = 128;
/// What is kept of a client's name.
const USER_AGENT_BYTES_MAX: usize = 256;
/// How long a read waits for a position.
const POSITION_WAIT: Duration = Duration::from_secs(1);

/// A request's id: the client's if it is fit to be stored, else a new one.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// The outermost layer.
pub(super) async fn frame(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(&REQUEST_ID)
        .and_then(|id| id.to_str().ok());
    let id: Arc<str> = match given.filter(|id| request_id_is_fit(id)) {
        Some(id) => id.into(),
        None => app.new_request_id().into(),
    };
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    let span = tracing::info_span!("request", request_id = &*id, route);
    let mut response = next.run(request).instrument(span).await;
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        response = Problem::timeout().into_response();
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // The router adds `Allow` outside of this layer.
        response = problem.render(&id);
    }
    let status = response.status().as_u16();
    tracing::debug!(%method, route, status, request_id = &*id, "request");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// An id is logged and stored, so that it must not hold a token that somebody put there.
fn request_id_is_fit(id: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len())
        && without_tokens(id) == id
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The one value of a header; two of it are refused, whatever they say.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        let detail = format!("the header {name} stands twice");
        return Err(Problem::bad_request("header_twice", detail));
    }
    value
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_not_text| {
            Problem::bad_request(
                "header_invalid",
                format!("the header {name} is not plain text"),
            )
        })
}

/// The headers and origin of one request, read before its body.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) request_id: Arc<str>,
    pub(super) network: Option<Network>,
    /// `METHOD path`, for the identity of idempotent commands.
    target: String,
    headers: HeaderMap,
}

impl FromRequestParts<App> for Context {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let id = parts
            .extensions
            .get::<RequestId>()
            .map(|id| Arc::clone(&id.0));
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip());
        let ip = peer.map(|peer| client_address(peer, &parts.headers, &app.settings.trusted));
        let user_agent = parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|agent| agent.to_str().ok());
        let user_agent = user_agent.map(|agent| {
            // Plain text only, so every byte is a character.
            agent
                .get(..USER_AGENT_BYTES_MAX)
                .unwrap_or(agent)
                .to_owned()
        });
        let network = ip.map(|ip| Network {
            ip: ip.to_string(),
            user_agent,
        });
        Ok(Self {
            request_id: id.unwrap_or_else(|| "-".into()),
            network,
            target: format!("{} {}", parts.method, parts.uri.path()),
            headers: parts.headers.clone(),
        })
    }
}

impl Context {
    /// 400 for a header that a write or a verification cannot read. Asked before the form of a
    /// body is looked at.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.if_match()?;
        self.idempotency_key()?;
        self.min_position()?;
        Ok(())
    }

    /// `If-Match`: a version, or `None` where any will do. A tag that is none of ours is that of
    /// no version.
    pub(super) fn if_match(&self) -> Result<Option<u32>, Problem> {
        let tag = match single(&self.headers, &header::IF_MATCH)? {
            None | Some("*") => return Ok(None),
            Some(tag) => tag,
        };
        let (weak, tag) = tag
            .strip_prefix("W/")
            .map_or((false, tag), |tag| (true, tag));
        let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        let Some(opaque) = opaque.filter(|opaque| !opaque.contains('"')) else {
            let detail = "If-Match takes one ETag of a record, such as \"3\"";
            return Err(Problem::bad_request("if_match_invalid", detail));
        };
        let version = opaque.parse().ok().filter(|version: &u32| {
            // The strong comparison: a weak tag matches nothing, and a version has one spelling.
            !weak && version.to_string() == opaque
        });
        Ok(Some(version.unwrap_or(NO_VERSION)))
    }

    fn idempotency_key(&self) -> Result<Option<&str>, Problem> {
        match single(&self.headers, &IDEMPOTENCY_KEY)? {
            Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX => {
                let detail = "Idempotency-Key has 1 to 255 characters";
                Err(Problem::bad_request("idempotency_key_invalid", detail))
            }
            key => Ok(key),
        }
    }

    /// `Idempotency-Key`, as the identity of a command with a body.
    pub(super) fn idempotency(
        &self,
        app: &App,
        organization: Option<OrganizationId>,
        actor: Option<Principal>,
        body: &[u8],
    ) -> Result<Option<Idempotency>, Problem> {
        let Some(key) = self.idempotency_key()? else {
            return Ok(None);
        };
        let organization = organization.map(|id| id.to_string()).unwrap_or_default();
        let actor = actor.map(|id| id.to_string()).unwrap_or_default();
        let mut command = Sha256::new();
        for part in [organization.as_str(), &actor, &self.target, key] {
            command.update((part.len() as u64).to_le_bytes());
            command.update(part.as_bytes());
        }
        let digest = Digest32(app.ledger.keys().digest(body));
        Ok(Some(Idempotency {
            command: Digest32(command.finalize().into()),
            digest,
        }))
    }

    fn min_position(&self) -> Result<Option<u64>, Problem> {
        let text = single(&self.headers, &LEDGER_MIN_POSITION)?;
        text.map(str::parse).transpose().map_err(|_no_number| {
            Problem::bad_request("position_invalid", "Ledger-Min-Position is a position")
        })
    }

    /// Waits until the position of `Ledger-Min-Position` is visible.
    pub(super) async fn wait(&self, app: &App) -> Result<(), Problem> {
        let Some(position) = self.min_position()? else {
            return Ok(());
        };
        if position >= app.ledger.reader().next_position() {
            return Err(Problem::position_unknown());
        }
        if app.ledger.views().wait_for(position, POSITION_WAIT).await {
            Ok(())
        } else {
            Err(Problem::position_not_reached())
        }
    }
}

/// The client's address: the peer's, or what a trusted proxy in front of it says. From the right,
/// the first address that is not a trusted proxy's own.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[ipnet::IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    if !is_trusted(&peer) {
        return peer;
    }
    let forwarded = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok());
    let chain: Vec<&str> = forwarded
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let mut client = peer;
    for hop in chain.into_iter().rev() {
        match hop.parse() {
            Ok(ip) => client = ip,
            Err(_) => break,
        }
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_sets_the_address() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let check = |peer: &str, forwarded: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            let client = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(client.to_string(), expected, "{peer} {forwarded}");
        };
        check("203.0.113.9", "198.51.100.1", "203.0.113.9");
        check("10.0.0.1", "198.51.100.1", "198.51.100.1");
        check(
            "10.0.0.1",
            "6.6.6.6, 198.51.100.1, 10.0.0.2",
            "198.51.100.1",
        );
        check("10.0.0.1", "nonsense", "10.0.0.1");
    }

    #[test]
    fn a_request_id_is_kept_if_it_is_fit() {
        for (id, fit) in [
            ("a-B_1.2", true),
            ("", false),
            ("a b", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(request_id_is_fit(id), fit, "{id}");
        }
        assert!(!request_id_is_fit(&"a".repeat(129)));
    }
}
