//! What a request says beside its body: its headers, and the client's address.

use std::borrow::Cow;
use std::convert::Infallible;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use crate::domain::blot::without_secrets;
use crate::domain::digest::Digest32;
use crate::domain::ids::{OrganizationId, Principal};
use crate::ledger::{Idempotency, Network};
use crate::web::app::App;
use crate::web::forwarded::client_address;
use crate::web::problem::Problem;
use crate::web::request_id::RequestId;

/// The position that a read must see.
const LEDGER_MIN_POSITION: HeaderName = HeaderName::from_static("ledger-min-position");
/// The client's promise that equal keys mean equal commands.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// The version that no record has: they count from 1.
const NO_VERSION: u32 = 0;
/// What is kept of a client's name.
const USER_AGENT_BYTES_MAX: usize = 256;
/// How long a read waits for a position.
const POSITION_WAIT: Duration = Duration::from_secs(1);

/// The one value of a header; two of it are refused, whatever they say.
pub(crate) fn once<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        let detail = format!("the header {name} is given more than once");
        return Err(Problem::bad_request("header_twice", detail));
    }
    Ok(value)
}

/// A header's value as it is recorded: what is not text in it is replaced, and the rest is kept.
pub(crate) fn recorded(value: &HeaderValue) -> Cow<'_, str> {
    value.to_str().map_or_else(
        |_not_plain| {
            let text = String::from_utf8_lossy(value.as_bytes());
            Cow::Owned(text.replace(char::is_control, "\u{fffd}"))
        },
        Cow::Borrowed,
    )
}

/// The one value of a header that is plain text.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    once(headers, name)?
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_not_text| {
            Problem::bad_request(
                "header_invalid",
                format!("the header {name} is not plain text"),
            )
        })
}

/// A path with one spelling for all that are routed alike: what is percent-encoded is decoded, but
/// for what would divide a segment or be decoded again.
fn decoded_path(path: &str) -> Cow<'_, [u8]> {
    if !path.contains('%') {
        return Cow::Borrowed(path.as_bytes());
    }
    let mut decoded = Vec::with_capacity(path.len());
    for (number, segment) in path.split('/').enumerate() {
        if number > 0 {
            decoded.push(b'/');
        }
        for byte in percent_decode_str(segment) {
            match byte {
                b'/' => decoded.extend(b"%2F"),
                b'%' => decoded.extend(b"%25"),
                byte => decoded.push(byte),
            }
        }
    }
    Cow::Owned(decoded)
}

/// The headers and origin of one request, taken out of it before its body is read.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) request_id: RequestId,
    peer: Option<IpAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// The client's address, of a request whose headers have not been taken yet.
pub(crate) fn address(parts: &Parts, app: &App) -> Option<IpAddr> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
    Some(client_address(peer, &parts.headers, &app.settings.trusted))
}

/// The same of a whole request.
pub(crate) fn address_of(request: &Request, app: &App) -> Option<IpAddr> {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()?
        .0
        .ip();
    let trusted = &app.settings.trusted;
    Some(client_address(peer, request.headers(), trusted))
}

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::take(parts))
    }
}

impl Context {
    /// Takes the headers, which nothing else looks for afterwards.
    pub(crate) fn take(parts: &mut Parts) -> Self {
        let extensions = &parts.extensions;
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        Self {
            request_id: extensions.get().cloned().unwrap_or_default(),
            peer: peer.map(|info| info.0.ip()),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: mem::take(&mut parts.headers),
        }
    }

    /// The request's headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The client's address.
    pub(crate) fn address(&self, app: &App) -> Option<IpAddr> {
        let peer = self.peer?;
        Some(client_address(peer, &self.headers, &app.settings.trusted))
    }

    /// What the client calls itself.
    pub(crate) fn user_agent(&self) -> Option<Cow<'_, str>> {
        self.headers.get(header::USER_AGENT).map(recorded)
    }

    /// Where the request came from.
    pub(crate) fn network(&self, app: &App) -> Option<Network> {
        let ip = self.address(app)?;
        let user_agent = self.user_agent().map(|agent| {
            let mut agent = without_secrets(&agent).into_owned();
            agent.truncate(agent.floor_char_boundary(USER_AGENT_BYTES_MAX));
            agent
        });
        Some(Network {
            ip: ip.to_string(),
            user_agent,
        })
    }

    /// 400 for a header that a write or a verification cannot read. Asked before the form of a
    /// body is looked at.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.if_match()?;
        self.idempotency_key()?;
        self.min_position()?;
        Ok(())
    }

    /// `If-Match`: a version, or `None` where any will do. A tag that is none of ours is that of
    /// no version.
    pub(crate) fn if_match(&self) -> Result<Option<u32>, Problem> {
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
                let detail = "Idempotency-Key must have 1 to 255 characters";
                Err(Problem::bad_request("idempotency_key_invalid", detail))
            }
            key => Ok(key),
        }
    }

    /// `Idempotency-Key`, as the identity of a command with a body.
    pub(crate) fn idempotency(
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
        let target = [
            self.method.as_str().as_bytes(),
            b" ",
            &decoded_path(self.uri.path()),
        ];
        let target = target.concat();
        for part in [
            organization.as_bytes(),
            actor.as_bytes(),
            &target,
            key.as_bytes(),
        ] {
            command.update((part.len() as u64).to_le_bytes());
            command.update(part);
        }
        let digest = Digest32(app.ledger.keys().command_digest(body));
        Ok(Some(Idempotency {
            command: Digest32(command.finalize().into()),
            digest,
        }))
    }

    fn min_position(&self) -> Result<Option<u64>, Problem> {
        let text = single(&self.headers, &LEDGER_MIN_POSITION)?;
        text.map(str::parse).transpose().map_err(|_no_number| {
            Problem::bad_request(
                "position_invalid",
                "Ledger-Min-Position must be a position, as in Ledger-Position of an answer",
            )
        })
    }

    /// Waits until the position of `Ledger-Min-Position` is visible.
    pub(crate) async fn wait(&self, app: &App) -> Result<(), Problem> {
        let Some(position) = self.min_position()? else {
            return Ok(());
        };
        app.ledger.check_position(position)?;
        if app
            .ledger
            .views()
            .wait_until_shown(position, POSITION_WAIT)
            .await
        {
            Ok(())
        } else {
            Err(Problem::position_not_reached())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, expected) in [
            ("/v1/org_1/keys", "/v1/org_1/keys"),
            ("/v1/org%5F1/%6beys", "/v1/org_1/keys"),
            ("/v1/a%2Fb", "/v1/a%2Fb"),
            ("/v1/a%2fb", "/v1/a%2Fb"),
            ("/v1/a%252Fb", "/v1/a%252Fb"),
            ("/v1/a%5", "/v1/a%255"),
            ("//%20/", "// /"),
        ] {
            let decoded = decoded_path(path);
            assert_eq!(String::from_utf8_lossy(&decoded), expected, "{path}");
        }
        assert_eq!(*decoded_path("/%ff"), *b"/\xff");
    }
}
