//! The form that both endpoints take: `token`, and whatever else a client adds.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use zeroize::Zeroizing;

use crate::http::body;
use crate::http::problem::Problem;

/// Longest form: the longest token with hints of clients, many times over.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What a form may say once. RFC 6749, 3.2, forbids more; others are ignored.
const ONCE: [&str; 2] = ["token", "token_type_hint"];

/// Reads the form and gives its token. The hint is not needed: there is one sort of token here.
pub(super) async fn token(
    request: Request,
    headers: &HeaderMap,
) -> Result<Zeroizing<String>, Problem> {
    let bytes = body::bytes(request, headers, FORM_BYTES_MAX).await?;
    check_kind(headers)?;
    parse(&Zeroizing::new(Vec::from(bytes)))
}

fn parse(bytes: &[u8]) -> Result<Zeroizing<String>, Problem> {
    let wrong = |field: &str, message: &str| {
        let problem = Problem::invalid_field("form_invalid", field, message);
        problem.turned_into(StatusCode::BAD_REQUEST, "form_invalid")
    };
    let pairs = serde_urlencoded::from_bytes::<Vec<(String, String)>>(bytes)
        .map_err(|_no_form| wrong("body", "is not a form"))?;
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| (name, Zeroizing::new(value)))
        .collect();
    for name in ONCE {
        if pairs.iter().filter(|(field, _)| field == name).count() > 1 {
            return Err(wrong(name, "is given more than once"));
        }
    }
    let token = pairs.into_iter().find(|(name, _)| name == "token");
    // A parameter without a value counts as left out (RFC 6749, 3.2).
    match token.filter(|(_, token)| !token.is_empty()) {
        Some((_, token)) => Ok(token),
        None => Err(wrong("token", "is missing")),
    }
}

fn check_kind(headers: &HeaderMap) -> Result<(), Problem> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, another) = (kinds.next(), kinds.next());
    let essence = kind
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .map(str::trim);
    let form = "application/x-www-form-urlencoded";
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case(form)) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type_not_form",
            "send Content-Type: application/x-www-form-urlencoded",
        ));
    }
    if another.is_some() {
        let detail = "the header content-type is given more than once";
        return Err(Problem::bad_request("header_twice", detail));
    }
    Ok(())
}
