//! The form that both endpoints take: `token`, who the client is, and whatever else it adds.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use zeroize::Zeroizing;

use crate::web::body;
use crate::web::problem::Problem;

/// Longest form: the longest token with hints of clients, many times over.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What a form may say once. RFC 6749, 3.2, forbids more; others are ignored.
const ONCE: [&str; 4] = ["token", "token_type_hint", "client_id", "client_secret"];

/// The media type.
const FORM: &str = "application/x-www-form-urlencoded";

/// The form. The hint is not needed: there is one sort of token here.
pub(crate) struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// The token that it is about.
    pub(crate) fn token(&self) -> Result<&str, Problem> {
        self.value("token")
            .ok_or_else(|| wrong("token", "is missing"))
    }

    /// The client's id and secret. An id alone is a client that has none.
    pub(crate) fn client(&self) -> Result<Option<(&str, &str)>, Problem> {
        match (self.value("client_id"), self.value("client_secret")) {
            (_, None) => Ok(None),
            (Some(id), Some(secret)) => Ok(Some((id, secret))),
            (None, Some(_)) => Err(wrong("client_id", "is missing beside client_secret")),
        }
    }

    /// Refuses a client's secret beside another way to say who it is (RFC 6749, 2.3).
    pub(crate) fn refuse_client(&self) -> Result<(), Problem> {
        match self.client()? {
            None => Ok(()),
            Some(_) => {
                let detail = "send the client's secret in the form or by a header, not both";
                Err(Problem::bad_request("credentials_twice", detail))
            }
        }
    }

    /// A parameter without a value counts as left out (RFC 6749, 3.2).
    fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(field, _)| field == name);
        let value = found.map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let pairs = serde_urlencoded::from_bytes::<Vec<(String, String)>>(bytes)
            .map_err(|_no_form| wrong("body", "is not a form"))?;
        let pairs = pairs.into_iter();
        let form = Self(
            pairs
                .map(|(name, value)| (name, Zeroizing::new(value)))
                .collect(),
        );
        for name in ONCE {
            if form.0.iter().filter(|(field, _)| field == name).count() > 1 {
                return Err(wrong(name, "is given more than once"));
            }
        }
        Ok(form)
    }
}

fn wrong(field: &str, message: &str) -> Problem {
    let problem = Problem::invalid_field("form_invalid", field, message);
    problem.turned_into(StatusCode::BAD_REQUEST, "form_invalid")
}

pub(crate) async fn read(body: Body, headers: &HeaderMap) -> Result<Form, Problem> {
    let bytes = body::bytes(Request::new(body), headers, FORM_BYTES_MAX).await?;
    if !is_form(headers) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type_not_form",
            format!("send Content-Type: {FORM}"),
        ));
    }
    if headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .nth(1)
        .is_some()
    {
        let detail = "the header content-type is given more than once";
        return Err(Problem::bad_request("header_twice", detail));
    }
    Form::parse(&Zeroizing::new(Vec::from(bytes)))
}

/// Whether the body says that it is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let essence = kind
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(FORM))
}
