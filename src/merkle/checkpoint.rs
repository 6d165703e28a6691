//! C2SP checkpoints (v1.0.0): origin, size and root of the tree as the text of a signed note.
//!
//! Owns the form of that text. Must never sign anything itself without being handed the key, nor
//! judge whether one checkpoint may follow another: that is for the store that holds the last one.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::note::{Note, NoteError, NoteSigner, NoteVerifier};
use super::tree::Hash;

/// What a log states about itself: so many leaves, with this root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// The log's name for ever.
    pub origin: String,
    /// The number of leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a checkpoint was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// The text is not that of a checkpoint.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
    /// The checkpoint is another log's.
    #[error("the checkpoint is of the log {found:?}, not of {expected:?}")]
    WrongOrigin {
        /// The origin asked for.
        expected: String,
        /// The origin in the text.
        found: String,
    },
    /// The note is malformed or not signed by a known key.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl Checkpoint {
    /// The note text: three lines.
    #[must_use]
    pub fn note_text(&self) -> String {
        let root = STANDARD.encode(self.root);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Reads a note text. Extension lines are accepted and dropped.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with the rule that is broken.
    pub fn parse_note_text(text: &str) -> Result<Self, CheckpointError> {
        let refuse = CheckpointError::Malformed;
        let body = text
            .strip_suffix('\n')
            .ok_or_else(|| refuse("no newline at the end"))?;
        let mut lines = body.split('\n');
        let origin = lines.next().unwrap_or_default();
        if origin.is_empty() {
            return Err(refuse("no origin"));
        }
        let size = lines.next().ok_or_else(|| refuse("no size"))?;
        let digits = size.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || (size.len() > 1 && size.starts_with('0')) {
            return Err(refuse("the size is not a plain decimal number"));
        }
        let size = size.parse();
        let size = size.map_err(|_overflow| refuse("the size is no 64-bit number"))?;
        let root = lines.next().ok_or_else(|| refuse("no root"))?;
        let root = STANDARD.decode(root);
        let root = root.map_err(|_bad_base64| refuse("the root is not base64"))?;
        let root = Hash::try_from(root).map_err(|_length| refuse("the root is not 32 bytes"))?;
        if lines.any(str::is_empty) {
            return Err(refuse("an empty extension line"));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }

    /// The signed note.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] when a note cannot carry the origin.
    pub fn sign_note(&self, key: &NoteSigner) -> Result<String, CheckpointError> {
        Self::parse_note_text(&self.note_text())?;
        Ok(key.sign(&self.note_text())?)
    }

    /// The same, signed by a second key too.
    ///
    /// # Errors
    /// As [`Checkpoint::sign_note`].
    pub fn sign_note_with_two_keys(
        &self,
        key: &NoteSigner,
        other: &NoteSigner,
    ) -> Result<String, CheckpointError> {
        Ok(other.cosign(&self.sign_note(key)?)?)
    }

    /// The checkpoint in a note that one of `keys` signed, under the name of the log itself: what
    /// a witness says of a log is no statement of that log.
    ///
    /// # Errors
    /// Any of [`CheckpointError`].
    pub fn from_verified_note_of_any_log(
        note: &str,
        keys: &[NoteVerifier],
    ) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Self::parse_note_text(note.verified_text(keys)?)?;
        let own: Vec<NoteVerifier> = keys
            .iter()
            .filter(|key| key.name() == checkpoint.origin)
            .cloned()
            .collect();
        note.verified_text(&own)?;
        Ok(checkpoint)
    }

    /// The checkpoint of the log `origin` in a note that one of `keys` signed.
    ///
    /// # Errors
    /// Any of [`CheckpointError`].
    pub fn from_verified_note(
        note: &str,
        origin: &str,
        keys: &[NoteVerifier],
    ) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Self::parse_note_text(note.verified_text(keys)?)?;
        if checkpoint.origin == origin {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::WrongOrigin {
                expected: origin.to_owned(),
                found: checkpoint.origin,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_specification() {
        let checkpoint = Checkpoint {
            origin: "keyledger/00".to_owned(),
            size: 0,
            root: crate::merkle::Frontier::new().root(),
        };
        let text = "keyledger/00\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
        assert_eq!(checkpoint.note_text(), text);
        assert_eq!(Checkpoint::parse_note_text(text), Ok(checkpoint.clone()));
        assert_eq!(
            Checkpoint::parse_note_text(&format!("{text}extension\n")),
            Ok(checkpoint)
        );
    }

    #[test]
    fn malformed_texts_are_refused() {
        let root = STANDARD.encode([1; 32]);
        for text in [
            String::new(),
            format!("\n1\n{root}\n"),
            format!("o\n01\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            "o\n1\nAAAA\n".to_owned(),
            format!("o\n1\n{root}"),
            format!("o\n1\n{root}\n\n"),
            "o\n1\n".to_owned(),
        ] {
            assert!(Checkpoint::parse_note_text(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_signed_checkpoint_is_verified_with_key_and_origin() {
        let key = NoteSigner::new("log.example/a", &[3; 32]).unwrap();
        let checkpoint = Checkpoint {
            origin: "log.example/a".to_owned(),
            size: 12,
            root: [9; 32],
        };
        let note = checkpoint.sign_note(&key).unwrap();
        let keys = [key.verifier().clone()];
        assert_eq!(
            Checkpoint::from_verified_note(&note, "log.example/a", &keys),
            Ok(checkpoint.clone())
        );
        assert!(matches!(
            Checkpoint::from_verified_note(&note, "log.example/b", &keys),
            Err(CheckpointError::WrongOrigin { .. })
        ));
        assert!(
            Checkpoint::from_verified_note(&note.replace("12", "13"), "log.example/a", &keys)
                .is_err()
        );
        let two_lines = Checkpoint {
            origin: "a\nb".to_owned(),
            ..checkpoint
        };
        assert!(two_lines.sign_note(&key).is_err());
    }
}
