//! Lists: `limit`, `cursor`, filters, and the `Link` to the next page.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::seal::cursor_key::CursorKey;
use crate::views::list_page::{InvalidCursor, ListPage, PageQuery};
use crate::web::app::App;
use crate::web::body::{ShapeError, Tree, one_of};
use crate::web::list_cursor;
use crate::web::list_cursor::NOT_OURS;
use crate::web::problem::Problem;

/// The parameter that says where a list goes on.
const CURSOR: &str = "cursor";

/// Most records of a page, and as many as there are unless fewer are asked for.
pub(crate) const PAGE_MAX: usize = 200;

/// A query string, which is read once the caller has been let in.
pub(crate) struct Query<T> {
    /// The request's own address, for the link to the next page.
    pub(crate) uri: Uri,
    form: PhantomData<fn() -> T>,
}

impl<T, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self {
            uri: parts.uri.clone(),
            form: PhantomData,
        })
    }
}

impl<T: DeserializeOwned> Query<T> {
    /// What is asked, or a refusal with the name of the parameter at fault.
    pub(crate) fn read(&self) -> Result<T, Problem> {
        let query = self.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query).map_err(|_no_pairs| {
                Problem::bad_request("query_invalid", "the query is not made of name=value pairs")
            })?;
        let mut wrong_cursor = None;
        let mut field = |(name, text): (String, String)| {
            let text = match name.as_str() {
                CURSOR => list_cursor::open(self.uri.path(), &text).unwrap_or_else(|why| {
                    wrong_cursor = Some(Problem::bad_request("cursor_invalid", why.to_string()));
                    text
                }),
                _ => text,
            };
            (name, Tree::Text(text))
        };
        let tree = Tree::Map(pairs.into_iter().map(&mut field).collect());
        let read = T::deserialize(tree)
            .map_err(|why: ShapeError| Problem::invalid_query(why.path, why.message))?;
        match wrong_cursor {
            Some(wrong) => Err(wrong),
            None => Ok(read),
        }
    }
}

/// `limit` and `cursor` of a list without filters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pages {
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    cursor: Option<String>,
    pub(crate) as_of: Option<String>,
}

impl Pages {
    pub(crate) fn ask(&self) -> Result<PageQuery, Problem> {
        ask(self.limit, self.cursor.as_deref())
    }
}

/// The same of a list of records with a status.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusPages {
    status: Option<String>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    cursor: Option<String>,
    pub(crate) as_of: Option<String>,
}

impl StatusPages {
    pub(crate) fn ask(&self) -> Result<PageQuery, Problem> {
        ask(self.limit, self.cursor.as_deref())
    }

    /// The status asked for, which must be one of `known`.
    pub(crate) fn status(&self, known: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        match self.status.as_deref() {
            None => Ok(None),
            Some(name) => match known.iter().find(|known| **known == name) {
                Some(known) => Ok(Some(known)),
                None => Err(Problem::invalid_query(
                    "status",
                    one_of(known.iter().copied()),
                )),
            },
        }
    }
}

/// A number of a query, where everything is text.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    let text = String::deserialize(from)?;
    let number = text.parse();
    number
        .map(Some)
        .map_err(|_no_number| D::Error::custom("must be a whole number"))
}

/// Where a list begins and how long it may be.
pub(crate) fn ask(limit: Option<usize>, cursor: Option<&str>) -> Result<PageQuery, Problem> {
    let after = cursor.map(str::parse).transpose()?;
    Ok(PageQuery {
        after,
        limit: self::limit(limit)?,
    })
}

/// The page size of a list.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(PAGE_MAX),
        Some(limit @ 1..=PAGE_MAX) => Ok(limit),
        Some(_) => Err(Problem::invalid_query(
            "limit",
            format!("must be a whole number from 1 to {PAGE_MAX}"),
        )),
    }
}

/// The first position after one that the client names, which must be there.
pub(crate) fn first_after(app: &App, after: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = after else { return Ok(None) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::invalid_query(
            "after",
            "must be a position, a whole number",
        ));
    }
    let after: u64 = text
        .parse()
        .map_err(|_too_long| Problem::position_unknown())?;
    app.ledger.check_position(after)?;
    Ok(Some(after + 1))
}

/// A cursor that was opened from a text, if it could be: each says of its own what it was made for.
pub(crate) fn opened<T>(app: &App, text: &str, cursor: Option<T>) -> Result<T, Problem> {
    let is_restored = !app.ledger.restores().is_empty();
    cursor.ok_or_else(|| match is_restored && CursorKey::has_cursor_form(text) {
        true => Problem::gone(
            "ledger_restored",
            "this cursor is from before the ledger was restored from a backup; read the list \
             from its beginning"
                .to_owned(),
        ),
        false => Problem::bad_request("cursor_invalid", NOT_OURS),
    })
}

/// A page of records as clients see them.
pub(crate) fn page<R, T: Serialize>(
    uri: &Uri,
    found: &ListPage<R>,
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
pub(crate) fn array<T: Serialize>(uri: &Uri, records: &[T], next: Option<&str>) -> Response {
    let mut response = Json(records).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let next = next.map(|cursor| list_cursor::bind(uri.path(), cursor));
    let link = next.and_then(|cursor| link(uri, CURSOR, &cursor));
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A link to the next page: the same query, but for where it begins.
pub(crate) fn link(uri: &Uri, name: &str, value: &str) -> Option<HeaderValue> {
    let begins = |pair: &str| pair.split('=').next() == Some(name);
    let kept = uri.query().unwrap_or_default().split('&');
    let kept = kept.filter(|pair| !pair.is_empty() && !begins(pair));
    let pairs: Vec<String> = kept
        .map(str::to_owned)
        .chain([format!("{name}={value}")])
        .collect();
    let target = plain(&format!("{}?{}", uri.path(), pairs.join("&")));
    HeaderValue::from_str(&format!("<{target}>; rel=\"next\"")).ok()
}

/// An address with what a `Link` cannot hold escaped.
fn plain(target: &str) -> String {
    let mut text = String::with_capacity(target.len());
    for byte in target.bytes() {
        match byte {
            b'<' | b'>' | b'"' => {}
            0x21..=0x7e => {
                text.push(char::from(byte));
                continue;
            }
            0..=0x20 | 0x7f..=0xff => {}
        }
        text.push_str(&format!("%{byte:02X}"));
    }
    text
}

impl From<InvalidCursor> for Problem {
    fn from(why: InvalidCursor) -> Self {
        Self::bad_request("cursor_invalid", why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_any_query() {
        let target = plain("/a?q=\u{e9}<>\"%20b&limit=1");
        assert_eq!(target, "/a?q=%C3%A9%3C%3E%22%20b&limit=1");
    }
}
