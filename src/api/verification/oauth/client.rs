//! How clients of OAuth 2 say who they are: a credential's id and secret by Basic or in the form,
//! or its secret as a bearer token.
//!
//! RFC 6749, 2.3.1, asks clients to form-encode both halves before Basic. Some do, some do not, so
//! that both readings are tried; the one that is accepted must be the secret of the id beside it.
//! A client that its headers name is refused before its form is read; one that they do not name
//! may be named by the form, and by one of the two only.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::api::verification::oauth::form;
use crate::api::verification::oauth::form::Form;
use crate::domain::record::Credential;
use crate::views::index::{AuthenticatedCaller, VerificationCode};
use crate::web::app::App;
use crate::web::call::Call;
use crate::web::context::single;
use crate::web::cookie;
use crate::web::problem::Problem;
use crate::web::record_usage;

/// What a client has shown.
pub(crate) struct Presented {
    /// The secret.
    pub(crate) token: Zeroizing<String>,
    /// Whose it is, or why it is nobody's.
    pub(crate) found: Result<AuthenticatedCaller, VerificationCode>,
}

impl Presented {
    fn new(token: Zeroizing<String>, parts: &Parts, app: &App) -> Self {
        let views = app.ledger.views();
        let found = views.index.authenticate(&token, app.ledger.now());
        let found = found.map_err(|refused| {
            if let Some(secret) = refused.secret {
                record_usage::tell(parts, app, secret, refused.code);
            }
            refused.code
        });
        Self { token, found }
    }

    /// A secret beside the id that it should be of.
    fn of(id: &str, token: Zeroizing<String>, parts: &Parts, app: &App) -> Self {
        let mut presented = Self::new(token, parts, app);
        if let Ok(caller) = &presented.found
            && caller.credential.id().to_string() != id
        {
            // A good secret beside another id is as good as none.
            presented.found = Err(VerificationCode::NotFound);
        }
        presented
    }

    /// Whether it is no secret of a credential at all.
    pub(crate) const fn is_unknown(&self) -> bool {
        matches!(
            self.found,
            Err(VerificationCode::Malformed | VerificationCode::NotFound)
        )
    }
}

/// What `Authorization` presents, if it is there: the one credential of either scheme.
pub(crate) fn presented(parts: &Parts, app: &App) -> Result<Option<Presented>, Problem> {
    let Some(value) = single(&parts.headers, &header::AUTHORIZATION)? else {
        return Ok(None);
    };
    let none = || Problem::unauthenticated(false);
    let (scheme, rest) = value.split_once(' ').ok_or_else(none)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        let token = Zeroizing::new(rest.trim().to_owned());
        return Ok(Some(Presented::new(token, parts, app)));
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
    let id_decoded: String = decoded(id);
    let first = Presented::of(&id_decoded, decoded(secret), parts, app);
    if !first.is_unknown() {
        return Ok(Some(first));
    }
    let second = Presented::of(id, Zeroizing::new(secret.to_owned()), parts, app);
    Ok(Some(if second.is_unknown() { first } else { second }))
}

/// What the form presents (`client_secret_post`), if it is there.
pub(crate) fn in_form(form: &Form, parts: &Parts, app: &App) -> Result<Option<Presented>, Problem> {
    let shown = form.client()?;
    Ok(shown.map(|(id, secret)| {
        let secret = Zeroizing::new(secret.to_owned());
        Presented::of(id, secret, parts, app)
    }))
}

/// A half of Basic as RFC 6749 encodes it.
fn decoded<T: From<String>>(text: &str) -> T {
    let form = Zeroizing::new(format!("v={text}"));
    let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(&form);
    let value = pairs.ok().and_then(|pairs| pairs.into_iter().next());
    value.map(|(_, value)| value).unwrap_or_default().into()
}

/// A caller that must be somebody: by Basic, bearer token, form or session.
pub(crate) struct Client {
    pub(crate) call: Call,
    /// The credential, unless it is a member in person.
    pub(crate) credential: Option<Arc<Credential>>,
    /// The secret of it that was presented.
    token: Option<Zeroizing<String>>,
}

/// The form, which is read before only where it is needed to know the client.
pub(crate) enum Sent {
    Unread(Body),
    Read(Form),
}

impl Client {
    pub(crate) async fn identified(request: Request, app: &App) -> Result<(Self, Sent), Problem> {
        let (mut parts, body) = request.into_parts();
        let in_header = presented(&parts, app)?;
        let in_person = cookie::presented(&parts.headers, &app.settings.public_url)?.is_some();
        let (presented, sent) = if in_header.is_some() || in_person {
            (in_header, Sent::Unread(body))
        } else {
            if !form::is_form(&parts.headers) {
                return Err(Problem::unauthenticated(false));
            }
            let form = form::read(body, &parts.headers).await?;
            let presented = in_form(&form, &parts, app)?;
            let presented = presented.ok_or_else(|| Problem::unauthenticated(false))?;
            (Some(presented), Sent::Read(form))
        };
        let token = presented.as_ref().map(|presented| presented.token.clone());
        let credential = match presented {
            Some(presented) => Some(take(presented, &mut parts)?),
            None => None,
        };
        let client = Self {
            call: Call::from_request_parts(&mut parts, app).await?,
            credential,
            token,
        };
        Ok((client, sent))
    }

    /// Whether a form is about the very secret that the client has presented.
    pub(crate) fn asks_about_itself(&self, form: &Form) -> bool {
        let own = self.token.as_ref().map(|token| token.as_str());
        own.is_some() && form.token().ok() == own
    }
}

impl Sent {
    pub(crate) async fn form(self, headers: &HeaderMap) -> Result<Form, Problem> {
        match self {
            Self::Read(form) => Ok(form),
            Self::Unread(body) => {
                let form = form::read(body, headers).await?;
                form.refuse_client()?;
                Ok(form)
            }
        }
    }
}

/// The credential of who is accepted; from here on it came as a bearer token.
pub(crate) fn take(presented: Presented, parts: &mut Parts) -> Result<Arc<Credential>, Problem> {
    let refused = || Problem::unauthenticated(true);
    let caller = presented.found.map_err(|_code| refused())?;
    let bearer = Zeroizing::new(format!("Bearer {}", *presented.token));
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_no_header| refused())?;
    bearer.set_sensitive(true);
    parts.headers.insert(header::AUTHORIZATION, bearer);
    Ok(caller.credential)
}
