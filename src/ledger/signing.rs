//! Which keys sign checkpoints, and the change from one to the next.
//!
//! Owns who signs at an instant: the log's newest key, and the one before it until their overlap
//! is over and until it has signed for the event that names the new one: whoever knows the old key
//! alone learns the new one from what the old one has signed. The log says which keys there are,
//! by their public halves; the private halves stand in the keys folder. A new key is durable before
//! the event that tells of it, so that a crash between the two leaves a key that the next rotation
//! takes. Must never sign by a key that the log does not tell of. The state's record flows in,
//! signed notes flow out.

use std::sync::{Arc, PoisonError};

use super::{Ledger, Submission, SubmitError};
use crate::clock::Entropy;
use crate::domain::command::{Actor, Command, Request, RotateSigningKey};
use crate::domain::ledger_head::{LedgerHead, LedgerKey};
use crate::domain::time::Timestamp;
use crate::merkle::{Checkpoint, CheckpointError, NoteError, NoteSigner, NoteVerifier};
use crate::seal::{KeyStore, SealError};

/// A verifier key, and until when its key signs; `None`: it is the newest one.
pub(crate) type KnownKey = (String, Option<Timestamp>);

/// The keys that sign.
pub(crate) struct Signers {
    /// Newest first, each with the end of its time.
    keys: Vec<(NoteSigner, Option<Timestamp>)>,
    /// Where the newest one is named.
    named_at: u64,
    /// How many events have been signed for.
    signed: u64,
}

/// Why nobody can sign.
#[derive(Debug, thiserror::Error)]
pub enum SignersError {
    /// The newest key is not in the keys folder.
    #[error(
        "the keys folder lacks the key that signs checkpoints now, {vkey}; \
         bring it back with `keyledger keys import` from an export made after it was"
    )]
    Lost {
        /// Its public half.
        vkey: String,
    },
    /// The log's origin names no key.
    #[error("a signing key cannot be used")]
    Note(#[from] NoteError),
}

/// Why the signing key was not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The new key could not be made.
    #[error("the new signing key cannot be made")]
    Key(#[from] SealError),
    /// It cannot be used.
    #[error("the new signing key cannot be used")]
    Note(#[from] NoteError),
    /// The ledger refused.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Every key in the folder, under the origin.
fn in_folder(origin: &str, keys: &KeyStore) -> Result<Vec<NoteSigner>, NoteError> {
    let keys = keys.signing_keys();
    keys.map(|key| NoteSigner::new(origin, &key.to_bytes()))
        .collect()
}

/// The public halves of every key that has ever signed for this log.
pub(crate) fn verifiers(origin: &str, keys: &KeyStore) -> Result<Vec<NoteVerifier>, NoteError> {
    let signers = in_folder(origin, keys)?.into_iter();
    Ok(signers.map(|signer| signer.verifier().clone()).collect())
}

impl Signers {
    /// The one that a new ledger begins with.
    pub(crate) fn first(signer: NoteSigner) -> Self {
        Self {
            keys: vec![(signer, None)],
            named_at: 0,
            signed: 0,
        }
    }

    /// Those that the log tells of; `signed` events have been signed for.
    pub(crate) fn of(
        ledger: &LedgerHead,
        keys: &KeyStore,
        signed: u64,
    ) -> Result<Self, SignersError> {
        let own = in_folder(&ledger.origin, keys)?;
        let mut signers = Vec::new();
        for key in ledger.vkeys.iter().rev() {
            let LedgerKey {
                vkey, signs_until, ..
            } = key;
            let found = own.iter().find(|own| own.verifier().to_string() == *vkey);
            match found {
                Some(signer) => signers.push((signer.clone(), *signs_until)),
                None if signs_until.is_none() => {
                    return Err(SignersError::Lost { vkey: vkey.clone() });
                }
                None => {}
            }
        }
        let newest = ledger.vkeys.last();
        Ok(Self {
            keys: signers,
            named_at: newest.map_or(0, |newest| newest.named_at),
            signed,
        })
    }

    /// A note over the checkpoint, signed by all whose time is not over.
    pub(crate) fn sign(
        &self,
        checkpoint: &Checkpoint,
        now: Timestamp,
    ) -> Result<String, CheckpointError> {
        // A crash may have come between the rotation and the old key's word for it.
        let vouching = if self.signed <= self.named_at { 2 } else { 1 };
        let signing = self.keys.iter().enumerate();
        let signing = signing.filter(|(n, (_, until))| *n < vouching || signs(*until, now));
        let mut note: Option<String> = None;
        for (_, (signer, _)) in signing {
            note = Some(match note {
                None => checkpoint.sign_note(signer)?,
                Some(note) => signer.cosign(&note)?,
            });
        }
        note.ok_or(CheckpointError::Note(NoteError::NotSigned))
    }

    /// A note over so many events is durable.
    pub(crate) fn kept(&mut self, size: u64) {
        self.signed = self.signed.max(size);
    }

    /// Their public halves.
    pub(crate) fn known(&self) -> Arc<[KnownKey]> {
        let signers = self.keys.iter();
        signers
            .map(|(signer, until)| (signer.verifier().to_string(), *until))
            .collect()
    }
}

fn signs(until: Option<Timestamp>, now: Timestamp) -> bool {
    until.is_none_or(|until| until > now)
}

impl Ledger {
    /// The verifier keys that checkpoints are signed with now, the newest one first.
    #[must_use]
    pub fn vkeys(&self) -> Vec<&str> {
        let now = self.now();
        let known = self.vkeys.iter().filter(|(_, until)| signs(*until, now));
        known.map(|(vkey, _)| vkey.as_str()).collect()
    }

    /// Every key that has signed checkpoints of this log, the first one first.
    #[must_use]
    pub fn ledger_keys(&self) -> Arc<Vec<LedgerKey>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.ledger().vkeys)
    }

    /// Makes another signing key, or takes the one that an earlier attempt made, and tells of it.
    /// It signs from the next opening on.
    ///
    /// # Errors
    /// When the key cannot be made, or the ledger refuses; then nothing has changed but that there
    /// may be a key of which the log says nothing, which the next attempt takes.
    pub fn rotate_signing_key(
        &self,
        overlap_days: u32,
        entropy: &mut Entropy,
    ) -> Result<Arc<Vec<LedgerKey>>, RotateError> {
        let known = self.ledger_keys().len();
        let number = u32::try_from(known).unwrap_or(u32::MAX).saturating_add(1);
        let key = self.keys().signing_key_or_create(number, entropy)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = state.ledger().origin.clone();
        drop(state);
        let signer = NoteSigner::new(&origin, &key.to_bytes())?;
        self.submit_blocking(Submission::bare(Request {
            actor: Actor::Operator,
            command: Command::RotateSigningKey(RotateSigningKey {
                vkey: signer.verifier().to_string(),
                overlap_days,
            }),
            if_match: None,
        }))?;
        Ok(self.ledger_keys())
    }
}
