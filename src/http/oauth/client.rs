//! How clients of OAuth 2 say who they are: a credential's id and secret by Basic, or its secret
//! as a bearer token.
//!
//! RFC 6749, 2.3.1, asks clients to form-encode both halves before Basic. Some do, some do not, so
//! that both readings are tried; the one that is accepted must be the secret of the id beside it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::domain::record::Credential;
use crate::http::App;
use crate::http::call::Call;
use crate::http::context::single;
use crate::http::problem::Problem;
use crate::http::used;
use crate::views::index::{Caller, Code};

/// What a client has shown.
pub(super) struct Presented {
    /// The secret.
    pub(super) token: Zeroizing<String>,
    /// Whose it is, or why it is nobody's.
    pub(super) found: Result<Caller, Code>,
}

/// What `Authorization` presents, if it is there: the one credential of either scheme.
pub(super) fn presented(parts: &Parts, app: &App) -> Result<Option<Presented>, Problem> {
    let Some(value) = single(&parts.headers, &header::AUTHORIZATION)? else {
        return Ok(None);
    };
    let none = || Problem::unauthenticated(false);
    let (scheme, rest) = value.split_once(' ').ok_or_else(none)?;
    let find = |token: &str| {
        let views = app.ledger.views();
        let found = views.index.authenticate(token, app.ledger.now());
        found.map_err(|refused| {
            if let Some(secret) = refused.secret {
                used::tell(parts, app, secret, refused.code);
            }
            refused.code
        })
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        let token = Zeroizing::new(rest.trim().to_owned());
        let found = find(&token);
        return Ok(Some(Presented { token, found }));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(none());
    }
    let bytes = STANDARD.decode(rest.trim()).map(Zeroizing::new);
    let bytes = bytes.map_err(|_no_base64| Problem::unauthenticated(true))?;
    let text = std::str::from_utf8(&bytes).map_err(|_no_text| Problem::unauthenticated(true))?;
    let (id, secret) = text
        .split_once(':')
        .ok_or_else(|| Problem::unauthenticated(true))?;
    let mut presented = None;
    for (id, token) in [
        (decoded(id), decoded(secret)),
        (id.to_owned(), Zeroizing::new(secret.to_owned())),
    ] {
        let found = match find(&token) {
            Ok(caller) if caller.credential.id().to_string() == id => Ok(caller),
            // A good secret beside another id is as good as none.
            Ok(_) => Err(Code::NotFound),
            Err(code) => Err(code),
        };
        let good = found.is_ok();
        let known = !matches!(found, Err(Code::Malformed | Code::NotFound));
        if presented.is_none() || known {
            presented = Some(Presented { token, found });
        }
        if good {
            break;
        }
    }
    Ok(presented)
}

/// A half of Basic as RFC 6749 encodes it.
fn decoded<T: From<String>>(text: &str) -> T {
    let form = Zeroizing::new(format!("v={text}"));
    let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(&form);
    let value = pairs.ok().and_then(|pairs| pairs.into_iter().next());
    value.map(|(_, value)| value).unwrap_or_default().into()
}

/// A caller that must be somebody, by Basic, bearer token or session.
pub(in crate::http) struct Client {
    pub(super) call: Call,
    /// The credential, unless it is a member in person.
    pub(super) credential: Option<Arc<Credential>>,
    /// The secret of it that was presented.
    pub(super) token: Option<Zeroizing<String>>,
}

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let presented = presented(parts, app).map_err(super::in_oauth)?;
        let token = presented.as_ref().map(|presented| presented.token.clone());
        let credential = match presented {
            Some(presented) => Some(take(presented, parts)?),
            None => None,
        };
        let call = Call::from_request_parts(parts, app).await;
        let call = call.map_err(super::in_oauth)?;
        Ok(Self {
            call,
            credential,
            token,
        })
    }
}

/// The credential of who is accepted; from here on it came as a bearer token.
pub(super) fn take(presented: Presented, parts: &mut Parts) -> Result<Arc<Credential>, Problem> {
    let refused = || super::in_oauth(Problem::unauthenticated(true));
    let caller = presented.found.map_err(|_code| refused())?;
    let bearer = Zeroizing::new(format!("Bearer {}", *presented.token));
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_no_header| refused())?;
    bearer.set_sensitive(true);
    parts.headers.insert(header::AUTHORIZATION, bearer);
    Ok(caller.credential)
}
