//! Digests and nonces, which are lower-case hex in JSON.

use serde::{Deserialize, Serialize};

/// A 32-byte digest that is hex in JSON.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub struct Digest32(#[serde(with = "super::hex_text")] pub [u8; 32]);

/// A 16-byte nonce that is hex in JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Nonce16(#[serde(with = "super::hex_text")] pub [u8; 16]);
