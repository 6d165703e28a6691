//! Whose signature counts: the verifier key that somebody brings, and those that the log names.
//!
//! Owns the question which keys are the log's. Must never see a private key. The log names its
//! first key when it is opened and each later one when it is rotated, so that a key is trusted for
//! what it has signed, and with that for the keys that are named in it.

use serde::Deserialize;

use super::verdict::{Finding, Kind};
use crate::merkle::{Checkpoint, CheckpointError, Note, NoteError, NoteVerifier};

/// What the log says of its keys.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The name of its checkpoints.
    pub(super) origin: Option<String>,
    /// Each key with the position at which it is named.
    keys: Vec<(u64, NoteVerifier)>,
}

/// The part of a payload that names a key.
#[derive(Deserialize)]
struct Naming {
    data: NamedKey,
}

#[derive(Deserialize)]
struct NamedKey {
    origin: Option<String>,
    vkey: String,
}

impl Named {
    /// Looks at an event of the log.
    pub(super) fn take(&mut self, (position, name): (u64, &str), payload: &[u8]) {
        if !matches!(name, "ledger.opened" | "signing_key.rotated") {
            return;
        }
        // What is not of this form names no key; the replay says what is wrong with it.
        let Ok(Naming { data }) = serde_json::from_slice(payload) else {
            return;
        };
        if let Ok(key) = NoteVerifier::parse(&data.vkey) {
            self.keys.push((position, key));
        }
        if name == "ledger.opened" && self.origin.is_none() {
            self.origin = data.origin;
        }
    }

    /// The keys in the order in which they are named.
    pub(super) fn all(&self) -> impl Iterator<Item = &NoteVerifier> {
        self.keys.iter().map(|(_, key)| key)
    }

    /// The keys that count. Without one from outside these are all that the log names.
    pub(super) fn trusted(
        &self,
        given: Option<&NoteVerifier>,
        notes: &[&str],
    ) -> Result<Vec<NoteVerifier>, Finding> {
        let origin = self.origin.as_deref().unwrap_or_default();
        self.trusted_under(given, notes, origin)
    }

    /// The same where the name of the checkpoints is known otherwise.
    pub(super) fn trusted_under(
        &self,
        given: Option<&NoteVerifier>,
        notes: &[&str],
        origin: &str,
    ) -> Result<Vec<NoteVerifier>, Finding> {
        let Some(given) = given else {
            return Ok(self.keys.iter().map(|(_, key)| key.clone()).collect());
        };
        let mut trusted = vec![given.clone()];
        loop {
            let signed = notes.iter().filter_map(|note| {
                let checkpoint = Checkpoint::from_verified_note(note, origin, &trusted).ok()?;
                Some(checkpoint.size)
            });
            let Some(size) = signed.max() else {
                let what = format!("nothing is signed by {}", given.name());
                return Err(Finding::new(Kind::WrongKey, what));
            };
            let vouched = self.keys.iter().filter(|(position, _)| *position < size);
            let new: Vec<_> = vouched
                .filter(|(_, key)| !trusted.contains(key))
                .map(|(_, key)| key.clone())
                .collect();
            if new.is_empty() {
                return Ok(trusted);
            }
            trusted.extend(new);
        }
    }
}

/// Reads a note as a checkpoint of the log, signed by one of the keys.
pub(super) fn checkpoint_of(
    note: &str,
    origin: &str,
    keys: &[NoteVerifier],
) -> Result<Checkpoint, Finding> {
    Checkpoint::from_verified_note(note, origin, keys).map_err(|why| {
        let kind = match &why {
            CheckpointError::Note(NoteError::BadSignature | NoteError::NotSigned) => {
                Kind::CheckpointSignature
            }
            CheckpointError::Note(
                NoteError::Malformed(_)
                | NoteError::InvalidKeyName
                | NoteError::InvalidVerifierKey(_),
            )
            | CheckpointError::Malformed(_)
            | CheckpointError::WrongOrigin { .. } => Kind::CheckpointForm,
        };
        Finding::new(kind, why.to_string())
    })
}

/// What a note says, whoever signed it: not to be believed.
pub(super) fn claimed(note: &str) -> Result<Checkpoint, String> {
    let note = Note::parse(note).map_err(|why| why.to_string())?;
    Checkpoint::parse_note_text(note.unverified_text()).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::NoteSigner;

    const ORIGIN: &str = "keyledger.example/log";

    fn payload(name: &str, vkey: &NoteVerifier) -> Vec<u8> {
        let data = format!("{{\"origin\":\"{ORIGIN}\",\"vkey\":\"{vkey}\"}}");
        format!("{{\"type\":\"{name}\",\"data\":{data}}}").into_bytes()
    }

    #[test]
    fn a_key_is_trusted_once_a_trusted_one_has_signed_what_names_it() {
        let [first, second, third] = [1, 2, 3].map(|n| NoteSigner::new(ORIGIN, &[n; 32]).unwrap());
        let keys = [&first, &second, &third].map(|signer| signer.verifier().clone());
        let mut named = Named::default();
        for (position, name, key) in [
            (0, "ledger.opened", &keys[0]),
            (5, "signing_key.rotated", &keys[1]),
            (12, "signing_key.rotated", &keys[2]),
            (13, "api_key.created", &keys[2]),
        ] {
            named.take((position, name), &payload(name, key));
        }
        assert_eq!(named.origin.as_deref(), Some(ORIGIN));
        let note = |size, signer: &NoteSigner| {
            let root = [7; 32];
            let origin = ORIGIN.to_owned();
            Checkpoint { origin, size, root }.sign_note(signer).unwrap()
        };
        let both = second.cosign(&note(9, &first)).unwrap();
        let check = |notes: &[&str], given: usize, expected: &[usize]| {
            let trusted = named.trusted(Some(&keys[given]), notes);
            let expected: Vec<_> = expected.iter().map(|n| keys[*n].clone()).collect();
            assert_eq!(trusted.unwrap_or_default(), expected);
        };
        let (old, new) = (note(3, &first), note(20, &second));
        check(&[&old], 0, &[0]);
        check(&[&old, &both], 0, &[0, 1]);
        check(&[&old, &both, &new], 0, &[0, 1, 2]);
        // Nothing that the first key has signed names the second.
        check(&[&old, &new], 0, &[0]);
        check(&[&old, &new], 1, &[1, 0, 2]);
        check(&[&old, &both], 2, &[]);
        assert_eq!(named.trusted(None, &[]).unwrap(), keys);
    }
}
