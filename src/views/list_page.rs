//! Pages of lists: newest first, and an opaque cursor to go on from.
//!
//! A cursor is the ULID of the last record looked at, with a byte that states its form, in URL-safe
//! base64. Clients must treat it as opaque.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ulid::Ulid;

/// Most records that one call looks at: a record costs about a microsecond, so that the rarest
/// filter answers, with a cursor to go on from, within some 20 ms.
pub const PAGE_SCANNED_MAX: usize = 20_000;

/// The form of cursors; another one is no cursor of this program.
const FORM: u8 = 1;

/// Where a page begins and how long it may be.
#[derive(Clone, Copy, Debug)]
pub struct PageQuery {
    /// The end of the page before; `None`: from the newest.
    pub after: Option<ListCursor>,
    /// Most records.
    pub limit: usize,
}

impl PageQuery {
    /// Records of the page are older than this.
    pub(super) fn upper_bound(self) -> Ulid {
        self.after.map_or(Ulid(u128::MAX), |cursor| cursor.0)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListPage<T> {
    /// The records, newest first.
    pub records: Vec<Arc<T>>,
    /// Where the next page begins; `None` at the end. A page may be short of its limit, even
    /// empty, and still have a next one: a filter that seldom matches looks at so many at a time.
    pub next: Option<ListCursor>,
}

impl<T> Default for ListPage<T> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            next: None,
        }
    }
}

/// Where a list goes on: after (that is, older than) this record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListCursor(pub(super) Ulid);

/// A text that is no cursor of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the cursor is not one that this list has given out")]
pub struct InvalidCursor;

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [FORM; 17];
        if let Some(id) = bytes.last_chunk_mut() {
            *id = self.0.to_bytes();
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ListCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        match bytes.split_first() {
            Some((&FORM, id)) => match <[u8; 16]>::try_from(id) {
                Ok(id) => Ok(Self(Ulid::from_bytes(id))),
                Err(_) => Err(InvalidCursor),
            },
            Some(_) | None => Err(InvalidCursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_text_and_garbage_is_refused() {
        for id in [0, 7, u128::MAX] {
            let cursor = ListCursor(Ulid(id));
            let text = cursor.to_string();
            assert!(
                text.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            );
            assert_eq!(text.parse(), Ok(cursor));
        }
        let good = ListCursor(Ulid(7)).to_string();
        let other_form = URL_SAFE_NO_PAD.encode([2; 17]);
        for wrong in ["", "!", "AQ", &good[1..], &format!("{good}A"), &other_form] {
            assert_eq!(wrong.parse::<ListCursor>(), Err(InvalidCursor), "{wrong}");
        }
    }
}
