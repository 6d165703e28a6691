//! The types that hold secrets: they print nothing, wipe their memory and cannot be copied by
//! accident. Must never implement `Display` or serialization.

use std::fmt;
use std::str::{FromStr, Utf8Error};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use ulid::Ulid;
use zeroize::Zeroizing;

/// The name of a data key, `dk_` and a ULID; also the name of its file.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DataKeyId(Ulid);

const DATA_KEY_PREFIX: &str = "dk_";

impl DataKeyId {
    /// The id of a new data key; the ULID comes from the facts.
    pub fn new(ulid: Ulid) -> Self {
        Self(ulid)
    }

    /// The ULID behind the prefix.
    pub fn ulid(self) -> Ulid {
        self.0
    }
}

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DATA_KEY_PREFIX}{}", self.0)
    }
}

/// The text is not a data key id.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a data key id")]
pub struct InvalidDataKeyId;

impl FromStr for DataKeyId {
    type Err = InvalidDataKeyId;

    /// Takes the one form that `Display` makes: the id is a file name, and two spellings of one
    /// key would be two files.
    fn from_str(text: &str) -> Result<Self, InvalidDataKeyId> {
        let digits = text.strip_prefix(DATA_KEY_PREFIX).ok_or(InvalidDataKeyId)?;
        Ulid::from_string(digits)
            .ok()
            .filter(|ulid| ulid.array_to_str(&mut [0; ulid::ULID_LEN]) == digits)
            .map(Self)
            .ok_or(InvalidDataKeyId)
    }
}

impl Serialize for DataKeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DataKeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A 32-byte key: a data key, the master key, a seed.
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Takes over the bytes of a key.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes, for a cipher and nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// An opened value.
#[derive(Eq, PartialEq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes over the bytes of a secret.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub fn expose_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}
