//! JSON bodies: read within a bound, and refused with the name of the field at fault.
//!
//! A body is read only after the caller has been let in. Too long: 413. Compressed, or of another
//! media type: 415.
//! A header that cannot be read, or a body that is not JSON: 400. JSON of another shape: 422 naming
//! the field.

mod rule;
mod shape;

use std::error::Error;

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::web::budget::LargeBody;
use crate::web::context::Context;
use crate::web::problem::Problem;
pub(crate) use rule::one_of;
pub(crate) use shape::{ShapeError, Tree};

/// Longest body of a request that writes: the longest description, reason and metadata, escaped.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// A body with the bytes that it was read from: the digest of an idempotent command is over them.
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) bytes: Bytes,
}

/// A field of a change that may be left out but not be null: null is no way to say "leave it".
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// The body of a command that has no fields.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFields {}

/// Reads a JSON body.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    context: &Context,
) -> Result<Body<T>, Problem> {
    let bytes = unparsed(request, context, BODY_BYTES_MAX).await?;
    parse(&bytes).map(|value| Body { value, bytes })
}

/// Reads a JSON body that may be missing altogether.
pub(crate) async fn optional_json<T: DeserializeOwned + Default>(
    request: Request,
    context: &Context,
) -> Result<Body<T>, Problem> {
    let bytes = bytes(request, context.headers(), BODY_BYTES_MAX).await?;
    if !bytes.is_empty() {
        check_kind(context.headers())?;
    }
    context.check()?;
    let value = if bytes.is_empty() {
        T::default()
    } else {
        parse(&bytes)?
    };
    Ok(Body { value, bytes })
}

/// Reads a JSON body as bytes that are still to be parsed, of at most `max`.
pub(crate) async fn unparsed(
    request: Request,
    context: &Context,
    max: usize,
) -> Result<Bytes, Problem> {
    let bytes = bytes(request, context.headers(), max).await?;
    check_kind(context.headers())?;
    context.check()?;
    Ok(bytes)
}

/// A body with secrets in it, and its bytes, which are wiped when they have been used.
pub(crate) struct SecretBody<T> {
    pub(crate) value: T,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// Reads a JSON body with secrets in it: the copy that is parsed is wiped, whatever comes of it.
pub(crate) async fn secret_json<T: DeserializeOwned>(
    request: Request,
    context: &Context,
) -> Result<SecretBody<T>, Problem> {
    let bytes = unparsed(request, context, BODY_BYTES_MAX).await?;
    let bytes = Zeroizing::new(Vec::from(bytes));
    parse(&bytes).map(|value| SecretBody { value, bytes })
}

/// The same of a request that may have no body.
pub(crate) async fn optional_secret_json<T: DeserializeOwned + Default>(
    request: Request,
    context: &Context,
) -> Result<SecretBody<T>, Problem> {
    let bytes = bytes(request, context.headers(), BODY_BYTES_MAX).await?;
    if !bytes.is_empty() {
        check_kind(context.headers())?;
    }
    context.check()?;
    let bytes = Zeroizing::new(Vec::from(bytes));
    let value = if bytes.is_empty() {
        T::default()
    } else {
        parse(&bytes)?
    };
    Ok(SecretBody { value, bytes })
}

/// Reads a body of at most `max` bytes. Bodies are read as they are: one that is compressed is
/// refused with the codings that are taken (RFC 9110, 15.5.16).
pub(crate) async fn bytes(
    request: Request,
    headers: &HeaderMap,
    max: usize,
) -> Result<Bytes, Problem> {
    let bytes = received(request, max).await?;
    if !bytes.is_empty() && is_encoded(headers) {
        let detail = "send the body without Content-Encoding; it is not decompressed here";
        let problem = Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_encoding_unsupported",
            detail,
        );
        let identity = HeaderValue::from_static("identity");
        return Err(problem.with_header(header::ACCEPT_ENCODING, identity));
    }
    Ok(bytes)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

async fn received(request: Request, max: usize) -> Result<Bytes, Problem> {
    let large = request.extensions().get::<LargeBody>().cloned();
    let body = request.into_body();
    let length = body.size_hint().lower();
    let length = usize::try_from(length).ok().filter(|length| *length <= max);
    // By its `Content-Length`, so that none of it is read.
    let length = length.ok_or_else(|| too_large(max))?;
    let mut body = Limited::new(body, max);
    let Some(large) = large else {
        let collected = body.collect().await;
        let collected = collected.map_err(|why| unreadable(why.as_ref(), max))?;
        return Ok(collected.to_bytes());
    };
    large.admit(length)?;
    let mut bytes = Vec::with_capacity(length);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| unreadable(why.as_ref(), max))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let needed = bytes.len() + data.len();
        if needed > bytes.capacity() {
            // No length was given: what is allocated counts, also what is not filled yet.
            let capacity = needed.max(2 * bytes.capacity()).min(max);
            large.admit(capacity)?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes.into())
}

fn unreadable(why: &(dyn Error + Send + Sync + 'static), max: usize) -> Problem {
    match why.is::<LengthLimitError>() {
        true => too_large(max),
        false => Problem::bad_request("body_unreadable", "the body ended too early"),
    }
}

fn too_large(max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("a body has at most {max} bytes here"),
    )
}

/// Reads a body of lines, of the media type and with the most bytes that are named.
pub(crate) async fn lines(
    request: Request,
    context: &Context,
    (kind, max): (&'static str, usize),
) -> Result<Bytes, Problem> {
    let bytes = bytes(request, context.headers(), max).await?;
    check_kind_is(kind, context.headers())?;
    context.check()?;
    Ok(bytes)
}

/// 415 unless the media type is JSON.
pub(crate) fn check_kind(headers: &HeaderMap) -> Result<(), Problem> {
    check_kind_is("application/json", headers)
}

fn check_kind_is(wanted: &'static str, headers: &HeaderMap) -> Result<(), Problem> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, another) = (kinds.next(), kinds.next());
    let essence = kind
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .map(str::trim);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted)) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type_not_json",
            format!("send Content-Type: {wanted}"),
        ));
    }
    if another.is_some() {
        return Err(Problem::bad_request(
            "header_twice",
            "the header content-type is given more than once",
        ));
    }
    Ok(())
}

/// Parses JSON into `T`, or names the field at fault.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    parse_item(bytes, "")
}

/// The same of one item of several: its name stands before those of its fields.
pub(crate) fn parse_item<T: DeserializeOwned>(bytes: &[u8], item: &str) -> Result<T, Problem> {
    let tree: Tree = serde_json::from_slice(bytes).map_err(|why| {
        let what = match item {
            "" => "the body",
            item => item,
        };
        // It names the fault and its place, and quotes nothing of the body.
        Problem::bad_request("not_json", format!("{what} is not valid JSON: {why}"))
    })?;
    T::deserialize(tree).map_err(|why| {
        let field = match (item, why.path.as_str()) {
            ("", "") => "body".to_owned(),
            ("", path) => path.to_owned(),
            (item, "") => item.to_owned(),
            (item, path) => format!("{item}.{path}"),
        };
        Problem::invalid_field(why.code, field, why.message)
    })
}

/// Tells a field that is null from one that is missing: `Some(None)` against `None`.
pub(crate) fn nullable<'de, T, D>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Sample {
        name: String,
        days: Option<u32>,
        list: Option<Vec<String>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Limited {
        expires_in_days: Option<u32>,
        scopes: Option<Vec<String>>,
        metadata: Option<std::collections::BTreeMap<String, String>>,
        active: Option<bool>,
        kind: Option<Sort>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Sort {
        One,
        Two,
    }

    #[test]
    fn a_bad_body_names_its_field() {
        for (body, expected) in [
            (r#"{"name":"a"}"#, "Ok"),
            (r#"{"name":1}"#, "name: must be a string"),
            ("{}", "name: is missing"),
            (
                r#"{"name":"a","x":1}"#,
                "x: is unknown; known are name, days, list",
            ),
            (
                r#"{"name":"a","days":-1}"#,
                "days: must be a whole number from 0 to 4294967295",
            ),
            (
                r#"{"name":"a","list":["b",2]}"#,
                "list[1]: must be a string",
            ),
            ("[]", "body: must be an object"),
            (
                r#"{"name":"a","name":"b"}"#,
                "name: is given more than once",
            ),
            (
                r#"{"name":"a","days":1e2}"#,
                "days: must be a whole number from 0 to 4294967295",
            ),
            (
                "{",
                "the body is not valid JSON: EOF while parsing an object at line 1 column 1",
            ),
            (
                r#"{"nmae":"a"}"#,
                "nmae: is unknown; did you mean name? Known are name, days, list",
            ),
            (r#"{"name":"a","list":"b"}"#, "list: must be an array"),
        ] {
            let outcome = match parse::<Sample>(body.as_bytes()) {
                Ok(_) => "Ok".to_owned(),
                Err(problem) => problem.detail().to_owned(),
            };
            assert_eq!(outcome, expected, "{body}");
        }
    }

    #[test]
    fn a_field_says_its_limits() {
        let days = "expires_in_days: must be a whole number from 1 to 3650";
        for (body, expected) in [
            (r#"{"expires_in_days":"x"}"#, days),
            (r#"{"expires_in_days":-1}"#, days),
            (r#"{"scopes":"x"}"#, "scopes: must be an array of strings"),
            (
                r#"{"metadata":[]}"#,
                "metadata: must be an object whose values are strings",
            ),
            (r#"{"active":1}"#, "active: must be true or false"),
            (r#"{"kind":"b"}"#, "kind: must be one of: one, two"),
            (r#"{"kind":1}"#, "kind: must be one of: one, two"),
        ] {
            let refused = parse::<Limited>(body.as_bytes()).unwrap_err();
            assert_eq!(refused.detail(), expected, "{body}");
        }
    }
}
