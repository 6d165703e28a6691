//! What a client puts in the wrong place must not come back in an error, nor be kept: texts with
//! every secret of ours blotted out.

use super::endpoint_secret::without_endpoint_secrets;
use super::secret::without_tokens;
use super::sign_in::without_opaque_tokens;

/// A text without tokens of credentials, links and sessions, and without signing secrets.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    without_endpoint_secrets(&without_opaque_tokens(&without_tokens(text)))
}
