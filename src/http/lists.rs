//! Lists: `limit`, `cursor`, filters, and the `Link` to the next page.

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::views::page::{Page, PageAsk};

/// Most records of a page, and as many as there are unless fewer are asked for.
pub(super) const PAGE_MAX: usize = 200;

/// A query string, refused with the name of the parameter at fault.
pub(super) struct Query<T> {
    pub(super) asked: T,
    /// The request's own address, for the link to the next page.
    pub(super) uri: Uri,
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        serde_urlencoded::from_str(query)
            .map(|asked| Self {
                asked,
                uri: parts.uri.clone(),
            })
            .map_err(|why| Problem::bad_request("query_invalid", format!("query: {why}")))
    }
}

/// Where a list begins and how long it may be.
pub(super) fn ask(limit: Option<usize>, cursor: Option<&str>) -> Result<PageAsk, Problem> {
    let after = cursor.map(str::parse).transpose()?;
    Ok(PageAsk {
        after,
        limit: self::limit(limit)?,
    })
}

/// The page size of a list.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(PAGE_MAX),
        Some(limit @ 1..=PAGE_MAX) => Ok(limit),
        Some(_) => Err(Problem::bad_request(
            "query_invalid",
            format!("limit is 1 to {PAGE_MAX}"),
        )),
    }
}

/// A page of records as clients see them.
pub(super) fn page<R, T: Serialize>(
    uri: &Uri,
    found: &Page<R>,
    show: impl Fn(&Arc<R>) -> T,
) -> Response {
    let records: Vec<T> = found.records.iter().map(show).collect();
    array(
        uri,
        &records,
        found.next.map(|cursor| cursor.to_string()).as_deref(),
    )
}

/// A JSON array with a link to the next page.
pub(super) fn array<T: Serialize>(uri: &Uri, records: &[T], next: Option<&str>) -> Response {
    let mut response = Json(records).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cursor) = next {
        let kept = uri.query().unwrap_or_default().split('&');
        let kept = kept.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
        let pairs: Vec<String> = kept
            .map(str::to_owned)
            .chain([format!("cursor={cursor}")])
            .collect();
        let link = format!("<{}?{}>; rel=\"next\"", uri.path(), pairs.join("&"));
        if let Ok(value) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, value);
        }
    }
    response
}
