//! C2SP signed notes (v1.0.0): a text, a blank line, one signature line for each key.
//!
//! Owns the form of notes and of Ed25519 keys for them (signature type 0x01). Must never decide
//! what a text means, nor show a private key: `Debug` prints names and key ids alone. Other
//! signature types are carried along and ignored, as the specification demands.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// The signature type byte of Ed25519 over the note's text.
const ED25519: u8 = 0x01;

/// At most this many signature lines are read. The specification demands at least 16; a log key,
/// its successor and a few dozen witnesses fit.
pub const NOTE_SIGNATURES_MAX: usize = 64;

/// Why a note or a key was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoteError {
    /// The bytes do not have the form of a note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// The name is empty or has a space or a plus sign.
    #[error("not a key name: it is empty or holds a space, a plus sign or a control character")]
    InvalidKeyName,
    /// The verifier key is not `name+hash+base64` of an Ed25519 key.
    #[error("not an Ed25519 verifier key: {0}")]
    InvalidVerifierKey(&'static str),
    /// A signature that names a known key does not fit the text.
    #[error("a signature that names a known key does not fit the text")]
    BadSignature,
    /// None of the signatures is by a known key.
    #[error("none of the signatures is by a known key")]
    NotSigned,
}

/// A private key with the name under which it signs.
#[derive(Clone)]
pub struct NoteSigner {
    verifier: NoteVerifier,
    key: SigningKey,
}

impl NoteSigner {
    /// A signer from a name and the 32 secret bytes of an Ed25519 key.
    ///
    /// # Errors
    /// [`NoteError::InvalidKeyName`] when notes cannot carry the name.
    pub fn new(name: &str, secret: &[u8; 32]) -> Result<Self, NoteError> {
        let key = SigningKey::from_bytes(secret);
        let verifier = NoteVerifier::new(name, key.verifying_key())?;
        Ok(Self { verifier, key })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// The signed note over `text`.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when the text does not end in a newline or holds control bytes.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        check_text(text)?;
        Ok(format!("{text}\n{}", self.signature_line(text)))
    }

    /// A note that others have signed, with a line of this key behind theirs.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when it is not a note.
    pub fn cosign(&self, note: &str) -> Result<String, NoteError> {
        let parsed = Note::parse(note)?;
        Ok(format!("{note}{}", self.signature_line(&parsed.text)))
    }

    fn signature_line(&self, text: &str) -> String {
        let mut blob = self.verifier.key_id.to_vec();
        blob.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        let (name, blob) = (&self.verifier.name, STANDARD.encode(blob));
        format!("\u{2014} {name} {blob}\n")
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.verifier)
    }
}

/// A public key with the name under which it signs. Its text form is the C2SP `vkey`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteVerifier {
    name: String,
    key_id: [u8; 4],
    key: VerifyingKey,
}

impl NoteVerifier {
    fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.contains(bad) {
            return Err(NoteError::InvalidKeyName);
        }
        let digest: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize()
            .into();
        let [a, b, c, d, ..] = digest;
        Ok(Self {
            name: name.to_owned(),
            key_id: [a, b, c, d],
            key,
        })
    }

    /// Reads a verifier key: `name+hash+base64`.
    ///
    /// # Errors
    /// [`NoteError::InvalidVerifierKey`] or [`NoteError::InvalidKeyName`].
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let refuse = NoteError::InvalidVerifierKey;
        let (name, rest) = vkey.split_once('+').ok_or_else(|| refuse("no plus sign"))?;
        let (id, key) = rest
            .split_once('+')
            .ok_or_else(|| refuse("one plus sign"))?;
        let blob = STANDARD.decode(key);
        let blob = blob.map_err(|_bad_base64| refuse("the key is not base64"))?;
        let (&kind, key) = blob.split_first().ok_or_else(|| refuse("no key"))?;
        if kind != ED25519 {
            return Err(refuse("the key is of another type"));
        }
        let key = <&[u8; 32]>::try_from(key).map_err(|_length| refuse("not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(key);
        let verifier = Self::new(name, key.map_err(|_point| refuse("no point of the curve"))?)?;
        if id == hex::encode(verifier.key_id) {
            Ok(verifier)
        } else {
            Err(refuse("the hash does not fit the key"))
        }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id: the first four bytes of its hash.
    #[must_use]
    pub const fn key_id(&self) -> [u8; 4] {
        self.key_id
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blob = vec![ED25519];
        blob.extend_from_slice(self.key.as_bytes());
        let (id, key) = (hex::encode(self.key_id), STANDARD.encode(blob));
        write!(f, "{}+{id}+{key}", self.name)
    }
}

/// A parsed note, not yet verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteSignature {
    /// The name of the key.
    pub name: String,
    pub key_id: [u8; 4],
    /// The signature; what is in it depends on the key's type.
    pub bytes: Vec<u8>,
}

impl Note {
    /// Parses a note.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] with the rule that is broken.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let refuse = NoteError::Malformed;
        let end = note.rfind("\n\n").ok_or_else(|| refuse("no blank line"))?;
        let (text, signatures) = note.split_at(end + 1);
        check_text(text)?;
        let lines = signatures.strip_prefix('\n').unwrap_or(signatures);
        let lines = lines
            .strip_suffix('\n')
            .ok_or_else(|| refuse("no signature, or no newline after the last"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == NOTE_SIGNATURES_MAX {
                return Err(refuse("too many signatures"));
            }
            signatures.push(parse_signature(line)?);
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The text, after checking that one of `known` signed it.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] when a known key's signature does not fit,
    /// [`NoteError::NotSigned`] when there is none by a known key.
    pub fn verified_text(&self, known: &[NoteVerifier]) -> Result<&str, NoteError> {
        let mut verified = false;
        for signature in &self.signatures {
            for key in known {
                if signature.name != key.name || signature.key_id != key.key_id {
                    continue;
                }
                let bytes = Signature::from_slice(&signature.bytes);
                let bytes = bytes.map_err(|_length| NoteError::BadSignature)?;
                key.key
                    .verify_strict(self.text.as_bytes(), &bytes)
                    .map_err(|_mismatch| NoteError::BadSignature)?;
                verified = true;
            }
        }
        if verified {
            Ok(&self.text)
        } else {
            Err(NoteError::NotSigned)
        }
    }

    /// The text without any check of its signatures: not to be trusted.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("the text does not end in a newline"));
    }
    if text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(NoteError::Malformed("a control character in the text"));
    }
    Ok(())
}

fn parse_signature(line: &str) -> Result<NoteSignature, NoteError> {
    let refuse = NoteError::Malformed;
    let line = line
        .strip_prefix("\u{2014} ")
        .ok_or_else(|| refuse("a signature line without its dash"))?;
    let (name, blob) = line.split_once(' ').ok_or_else(|| refuse("no signature"))?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
        return Err(NoteError::InvalidKeyName);
    }
    let blob = STANDARD.decode(blob);
    let blob = blob.map_err(|_bad_base64| refuse("a signature that is not base64"))?;
    let (key_id, bytes) = blob
        .split_first_chunk::<4>()
        .ok_or_else(|| refuse("a signature without a key id"))?;
    Ok(NoteSignature {
        name: name.to_owned(),
        key_id: *key_id,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYj\
        OBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_example_of_the_specification_verifies() {
        let key = NoteVerifier::parse(VKEY).unwrap();
        assert_eq!(key.name(), "example.com/foo");
        assert_eq!(hex::encode(key.key_id()), "530d903a");
        assert_eq!(key.to_string(), VKEY);
        let note = Note::parse(NOTE).unwrap();
        assert_eq!(
            note.verified_text(&[key]),
            Ok("This is an example message.\n")
        );
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let key = NoteVerifier::parse(VKEY).unwrap();
        for at in 0..NOTE.len() {
            for bit in 0..8 {
                let mut bytes = NOTE.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else {
                    continue;
                };
                let verified = Note::parse(&changed)
                    .is_ok_and(|note| note.verified_text(std::slice::from_ref(&key)).is_ok());
                assert!(!verified, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_signer_is_verified_by_its_public_half_alone() {
        let signer = NoteSigner::new("keyledger/test", &[7; 32]).unwrap();
        let other = NoteSigner::new("keyledger/test", &[8; 32]).unwrap();
        let note = signer.sign("one\n\ntwo\n").unwrap();
        let note = Note::parse(&note).unwrap();
        let known = [other.verifier().clone(), signer.verifier().clone()];
        assert_eq!(note.verified_text(&known), Ok("one\n\ntwo\n"));
        assert_eq!(
            note.verified_text(&[other.verifier().clone()]),
            Err(NoteError::NotSigned)
        );
        let parsed = NoteVerifier::parse(&signer.verifier().to_string());
        assert_eq!(parsed.as_ref(), Ok(signer.verifier()));
        assert!(!format!("{signer:?}").contains("07070707"));
    }

    #[test]
    fn malformed_notes_keys_and_names_are_refused() {
        for name in ["", "a b", "a+b", "a\nb"] {
            let refused = NoteSigner::new(name, &[1; 32]);
            assert_eq!(refused.unwrap_err(), NoteError::InvalidKeyName, "{name:?}");
        }
        let signer = NoteSigner::new("n", &[1; 32]).unwrap();
        assert!(signer.sign("no newline").is_err());
        assert!(signer.sign("a tab\t\n").is_err());
        for note in [
            "",
            "\n\n",
            "text\n",
            "text\n\n",
            "text\n\n\u{2014} n\n",
            "t\n\nn AAAA\n",
        ] {
            assert!(Note::parse(note).is_err(), "{note:?}");
        }
        let line = "\u{2014} witness AAAAAAAA\n";
        let many = |count| format!("text\n\n{}", line.repeat(count));
        assert!(Note::parse(&many(NOTE_SIGNATURES_MAX)).is_ok());
        assert!(Note::parse(&many(NOTE_SIGNATURES_MAX + 1)).is_err());
        for vkey in ["", "n+00000000+AAAA", &VKEY.replace("530d", "530e")] {
            assert!(NoteVerifier::parse(vkey).is_err(), "{vkey:?}");
        }
    }
}
