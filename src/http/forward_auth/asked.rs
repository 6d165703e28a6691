//! What a gateway requires, and the credential that its client has shown.
//!
//! A requirement that cannot be read is refused and never left out: so are one that stands twice,
//! an empty one, and one whose name is not known.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, Uri, header};
use zeroize::Zeroizing;

use super::NGINX;
use crate::domain::blot::holds_token;
use crate::domain::ids::ProjectId;
use crate::http::authorization::{PresentedToken, presented_token};
use crate::http::context::single;
use crate::http::problem::Problem;
use crate::http::used::path_of;

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
pub(super) enum Form {
    /// In `X-Forwarded-Uri`: Caddy, Traefik.
    Forwarded,
    /// In `X-Original-URI`: nginx.
    Nginx,
    /// In the request's own, behind the prefix: Envoy.
    Below(Uri),
}

impl Form {
    pub(super) fn of(uri: Uri) -> Self {
        let path = uri.path();
        let nginx = path.strip_prefix(NGINX);
        if nginx.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            Self::Nginx
        } else if path == super::ROOT {
            Self::Forwarded
        } else {
            Self::Below(uri)
        }
    }

    /// Where it is asked.
    pub(super) const fn path(&self) -> &'static str {
        match self {
            Self::Forwarded | Self::Below(_) => super::ROOT,
            Self::Nginx => NGINX,
        }
    }

    /// The original method and path, without its query: empty where the gateway does not say.
    pub(super) fn original<'a>(&'a self, headers: &'a HeaderMap) -> (&'a str, &'a str) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let target = match self {
            Self::Below(uri) => uri.path().strip_prefix(super::ROOT),
            Self::Forwarded => text(FORWARDED_URI),
            Self::Nginx => text(ORIGINAL_URI),
        };
        let method = match self {
            Self::Below(_) => None,
            Self::Forwarded => text(FORWARDED_METHOD),
            Self::Nginx => text(ORIGINAL_METHOD),
        };
        let path = target.map_or("", path_of);
        (method.unwrap_or_default(), path)
    }

    /// The query of the original URI.
    fn query<'a>(&'a self, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        let uri = match self {
            Self::Below(uri) => return Ok(uri.query().unwrap_or_default()),
            Self::Forwarded => single(headers, &FORWARDED_URI)?,
            Self::Nginx => single(headers, &ORIGINAL_URI)?,
        };
        let query = uri.and_then(|uri| uri.split_once('?'));
        Ok(query.map_or("", |(_, query)| query))
    }
}

/// What is asked of the index.
pub(super) struct Asked {
    pub(super) key: Option<Zeroizing<String>>,
    pub(super) scopes: Vec<String>,
    pub(super) project: Option<ProjectId>,
}

impl Asked {
    pub(super) fn read(
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
pub(super) fn check_once(headers: &HeaderMap) -> Result<(), Problem> {
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
pub(super) fn id<T: FromStr>(name: &HeaderName, text: &str) -> Result<T, Problem> {
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
        let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(query);
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
