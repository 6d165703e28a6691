//! Cursors of lists as clients see them: where a list goes on, bound to that list.
//!
//! What each list goes on from is its own affair, and means something else in another list. So the
//! text that leaves begins with a digest of the list's path, and a text of another path is refused.
//! The digest has no key: it keeps clients from mixing up lists, and hides nothing. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What a cursor that cannot be used is refused with.
pub(crate) const NOT_OURS: &str = "the cursor is not one that this list has given out; use the \
    Link of an answer, or begin without a cursor";

/// The form of cursors; another one is none of this program.
const FORM: u8 = 2;
/// Of the path's digest: enough that two lists of one service are never taken for one another.
const DIGEST_BYTES: usize = 8;

/// A text that is no cursor of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum WrongCursor {
    /// Another list's.
    #[error("the cursor is of another list; use the Link of an answer of this one")]
    OfAnotherList,
    /// None at all.
    #[error("{NOT_OURS}")]
    NotOurs,
}

fn digest_of(path: &str) -> [u8; DIGEST_BYTES] {
    let mut digest = [0; DIGEST_BYTES];
    let whole = Sha256::digest(path.as_bytes());
    digest.copy_from_slice(whole.split_at(DIGEST_BYTES).0);
    digest
}

/// The cursor as it leaves.
pub(crate) fn bind(path: &str, inner: &str) -> String {
    let mut bytes = vec![FORM];
    bytes.extend(digest_of(path));
    bytes.extend(inner.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What the list of this path goes on from.
pub(crate) fn open(path: &str, text: &str) -> Result<String, WrongCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    let Some((&FORM, rest)) = bytes.split_first() else {
        return Err(WrongCursor::NotOurs);
    };
    let Some((digest, inner)) = rest.split_first_chunk::<DIGEST_BYTES>() else {
        return Err(WrongCursor::NotOurs);
    };
    if *digest != digest_of(path) {
        return Err(WrongCursor::OfAnotherList);
    }
    String::from_utf8(inner.to_vec()).map_err(|_no_text| WrongCursor::NotOurs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_in_its_list_alone() {
        for inner in ["", "3", "AQAAAAA", "\u{e9}"] {
            let text = bind("/a/keys", inner);
            assert_eq!(open("/a/keys", &text).as_deref(), Ok(inner));
            for other in ["/b/keys", "/a/keys/", "/a", ""] {
                assert_eq!(
                    open(other, &text),
                    Err(WrongCursor::OfAnotherList),
                    "{other}"
                );
            }
        }
        let (good, older) = (bind("/a", "3"), URL_SAFE_NO_PAD.encode([1; 17]));
        for wrong in [
            "",
            "3",
            "!",
            &good[..8],
            &good[1..],
            &older,
            &format!("{good}="),
        ] {
            assert_eq!(open("/a", wrong), Err(WrongCursor::NotOurs), "{wrong}");
        }
    }
}
