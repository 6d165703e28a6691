//! Bytes as hex in JSON: written in lower case, read in either, with nothing allocated on the way.
//!
//! For `#[serde(with)]`: every stored event holds four or five of them.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::ser::Error as _;
use serde::{Deserializer, Serializer};

/// The longest bytes that are written as hex: a SHA-256.
const BYTES_MAX: usize = 32;

/// Stands for the value of what is no hex digit.
const NONE: u8 = 0xff;

pub(super) fn serialize<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut digits = [0; 2 * BYTES_MAX];
    let digits = digits.get_mut(..2 * N).unwrap_or_default();
    hex::encode_to_slice(bytes, digits).map_err(S::Error::custom)?;
    to.serialize_str(std::str::from_utf8(digits).map_err(S::Error::custom)?)
}

pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    from: D,
) -> Result<[u8; N], D::Error> {
    struct Hex<const N: usize>;

    impl<const N: usize> Visitor<'_> for Hex<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} hex digits", 2 * N)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
            decode(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    from.deserialize_str(Hex)
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (value(*high), value(*low));
        // A value has four bits, NONE has eight: what is no digit shows in the sum.
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(bytes)
}

/// Without a branch that depends on the digit: digits are random, and a wrong guess is dear.
fn value(digit: u8) -> u8 {
    let number = digit.wrapping_sub(b'0');
    let letter = (digit | 0x20).wrapping_sub(b'a');
    let letter = if letter < 6 { letter + 10 } else { NONE };
    if number < 10 { number } else { letter }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn only_whole_hex_is_read() {
        assert_eq!(decode("00ffA0a9"), Some([0x00, 0xff, 0xa0, 0xa9]));
        for wrong in [
            "",
            "00ffa0",
            "00ffa0a",
            "00ffa0a90",
            "00ffa0a900",
            "00ffa0ag",
            "0xffa0a9",
        ] {
            assert_eq!(decode::<4>(wrong), None, "{wrong}");
        }
    }
}
