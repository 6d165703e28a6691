//! What a gateway requires, and the credential that its client has shown.
//!
//! A requirement that cannot be read is refused and never left out: so are one that stands twice,
//! an empty one, and one whose name is not known.

use std::borrow::Cow;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use percent_encoding::{CONTROLS, percent_encode};
use zeroize::Zeroizing;

use crate::api::verification::forward_auth::paths::{ENVOY, NGINX, ROOT};
use crate::domain::blot::holds_token;
use crate::domain::ids::ProjectId;
use crate::web::authorization::{PresentedToken, presented_token};
use crate::web::context::{once, recorded, single};
use crate::web::problem::Problem;
use crate::web::record_usage::path_of;

/// What all our headers begin with.
const OURS: &str = "x-keyledger-";
/// What all requirements begin with.
const REQUIRE: &str = "x-keyledger-require-";
const ORGANIZATION: &str = "x-keyledger-require-organization";
const PROJECT: HeaderName = HeaderName::from_static("x-keyledger-require-project");
const SCOPES: HeaderName = HeaderName::from_static("x-keyledger-require-scopes");
const QUERY_PARAMETER: HeaderName = HeaderName::from_static("x-keyledger-query-parameter");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");

/// Most scopes that a gateway requires at once: as many as a credential can list.
const SCOPES_MAX: usize = 100;

/// Where the original URI stands.
pub(crate) enum Form {
    /// In `X-Forwarded-Uri`: Caddy, Traefik.
    Forwarded,
    /// In `X-Original-URI`: nginx.
    Nginx,
    /// In the request's own, behind a prefix: Envoy.
    Behind { prefix: &'static str, uri: Uri },
}

impl Form {
    /// The form of a request. Behind the older prefix of Envoy a client's path may be nginx's own:
    /// nginx is known by the header that it sets.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path();
        let behind = |prefix| Self::Behind {
            prefix,
            uri: uri.clone(),
        };
        let envoy = path.strip_prefix(ENVOY);
        if envoy.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            behind(ENVOY)
        } else if path == ROOT {
            Self::Forwarded
        } else if path == NGINX && headers.contains_key(&ORIGINAL_URI) {
            Self::Nginx
        } else {
            behind(ROOT)
        }
    }

    /// Where the gateway asks.
    pub(crate) const fn path(&self) -> &'static str {
        match self {
            Self::Forwarded => ROOT,
            Self::Nginx => NGINX,
            Self::Behind { prefix, .. } => prefix,
        }
    }

    /// The original path, without its query; empty where the gateway does not say.
    pub(crate) fn original_path<'a>(&'a self, headers: &'a HeaderMap) -> Cow<'a, str> {
        let target = match self {
            Self::Behind { prefix, uri } => uri.path().strip_prefix(prefix).map(escaped),
            Self::Forwarded => headers.get(FORWARDED_URI).map(target),
            Self::Nginx => headers.get(ORIGINAL_URI).map(target),
        };
        match target {
            None => Cow::Borrowed(""),
            Some(Cow::Borrowed(target)) => Cow::Borrowed(path_of(target)),
            Some(Cow::Owned(target)) => Cow::Owned(path_of(&target).to_owned()),
        }
    }

    /// The original method; `None` where it is that of the request itself.
    pub(crate) fn original_method<'a>(&self, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
        let name = match self {
            Self::Behind { .. } => return None,
            Self::Forwarded => FORWARDED_METHOD,
            Self::Nginx => ORIGINAL_METHOD,
        };
        let method = headers.get(name).map(recorded);
        method.filter(|method| !method.is_empty())
    }

    /// The query of the original URI.
    fn query<'a>(&'a self, headers: &'a HeaderMap) -> Result<Cow<'a, str>, Problem> {
        let uri = match self {
            Self::Behind { uri, .. } => return Ok(uri.query().unwrap_or_default().into()),
            Self::Forwarded => once(headers, &FORWARDED_URI)?,
            Self::Nginx => once(headers, &ORIGINAL_URI)?,
        };
        Ok(match uri.map(target) {
            None => Cow::Borrowed(""),
            Some(Cow::Borrowed(uri)) => uri.split_once('?').map_or("", |(_, query)| query).into(),
            Some(Cow::Owned(uri)) => {
                let query = uri.split_once('?').map_or("", |(_, query)| query);
                query.to_owned().into()
            }
        })
    }
}

/// A URI as the client sent it to the gateway.
fn target(value: &HeaderValue) -> Cow<'_, str> {
    escaped(value.as_bytes())
}

/// A URI in which the bytes are escaped that none may hold; the rest stays as it is.
fn escaped<T: AsRef<[u8]> + ?Sized>(uri: &T) -> Cow<'_, str> {
    percent_encode(uri.as_ref(), CONTROLS).into()
}

/// What is asked of the index.
pub(crate) struct Asked {
    pub(crate) key: Option<Zeroizing<String>>,
    pub(crate) scopes: Vec<String>,
    pub(crate) project: Option<ProjectId>,
}

impl Asked {
    pub(crate) fn read(
        headers: &HeaderMap,
        form: &Form,
        bound: Option<ProjectId>,
    ) -> Result<Self, Problem> {
        let project = single(headers, &PROJECT)?.map(|text| id(&PROJECT, text));
        let project = match (project.transpose()?, bound) {
            (Some(named), Some(bound)) if named != bound => {
                return Err(invalid(&PROJECT, "is not the gateway's own project"));
            }
            (named, bound) => named.or(bound),
        };
        let scopes = match single(headers, &SCOPES)? {
            Some(text) => scopes(text)?,
            None => Vec::new(),
        };
        Ok(Self {
            key: key(headers, form)?,
            scopes,
            project,
        })
    }
}

/// 400 for any header of ours that stands twice, and for a requirement that is none.
pub(crate) fn check_once(headers: &HeaderMap) -> Result<(), Problem> {
    for name in headers
        .keys()
        .filter(|name| name.as_str().starts_with(OURS))
    {
        if headers.get_all(name).iter().nth(1).is_some() {
            let detail = format!("the header {name} is given more than once");
            return Err(Problem::bad_request("header_twice", detail));
        }
        let known = *name == PROJECT || *name == SCOPES || name.as_str() == ORGANIZATION;
        if name.as_str().starts_with(REQUIRE) && !known {
            return Err(invalid(
                name,
                "is unknown; known are organization, project and scopes",
            ));
        }
    }
    Ok(())
}

/// An id that a header names.
pub(crate) fn id<T: FromStr>(name: &HeaderName, text: &str) -> Result<T, Problem> {
    let id = text.trim().parse();
    id.map_err(|_no_id| {
        invalid(
            name,
            "must be an id, such as org_01H2XA9CKEB7WZG8RMN2KPQV7D",
        )
    })
}

fn invalid(name: &HeaderName, message: &str) -> Problem {
    Problem::bad_request("header_invalid", format!("the header {name} {message}"))
}

/// Scopes between commas or spaces, of the characters that RFC 6749 gives them.
fn scopes(text: &str) -> Result<Vec<String>, Problem> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let names = text.split([',', ' ', '\t']).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() || names.len() > SCOPES_MAX {
        let message = format!("must have 1 to {SCOPES_MAX} scopes");
        return Err(invalid(&SCOPES, &message));
    }
    if names.iter().all(|name| name.bytes().all(plain)) {
        Ok(names)
    } else {
        Err(invalid(&SCOPES, "contains characters that no scope has"))
    }
}

/// The one credential that the client has shown, wherever it stands. Two that differ are refused:
/// which of them the upstream believes cannot be known.
fn key(headers: &HeaderMap, form: &Form) -> Result<Option<Zeroizing<String>>, Problem> {
    let presented = single(headers, &header::AUTHORIZATION)?.map(presented_token);
    let presented = presented.and_then(Result::ok);
    let api_key = single(headers, &API_KEY)?.map(|key| Zeroizing::new(key.trim().to_owned()));
    let mut shown: Vec<Zeroizing<String>> = api_key.into_iter().collect();
    if let Some(name) = single(headers, &QUERY_PARAMETER)? {
        let name = name.trim();
        if name.is_empty() {
            return Err(invalid(
                &QUERY_PARAMETER,
                "must name a parameter of the query",
            ));
        }
        let query = form.query(headers)?;
        let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(&query);
        let pairs = pairs.unwrap_or_default().into_iter();
        let named = pairs.filter(|(field, _)| field == name);
        shown.extend(named.map(|(_, key)| Zeroizing::new(key)));
    }
    shown.retain(|key| !key.is_empty());
    match presented {
        Some(PresentedToken::Bearer("")) | None => {}
        Some(PresentedToken::Bearer(token)) => shown.push(Zeroizing::new(token.to_owned())),
        // Beside another credential, a password that is none of our tokens is the upstream's.
        Some(PresentedToken::Password(token)) if shown.is_empty() || holds_token(&token) => {
            shown.push(token);
        }
        Some(PresentedToken::Password(_)) => {}
    }
    let first = shown.pop();
    if shown.iter().any(|other| first.as_ref() != Some(other)) {
        let detail = "the request shows two credentials; send one";
        return Err(Problem::bad_request("credentials_twice", detail));
    }
    Ok(first)
}
