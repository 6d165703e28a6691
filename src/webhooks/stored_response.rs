//! What is stored of a receiver's answer.
//!
//! A receiver may answer with what it was sent. Where the event was about a person, the text is
//! therefore sealed under that person's data key and cannot be read after an erasure. Must never
//! hold such a text in the clear: where it cannot be sealed, it is not stored.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{EventId, UserId};
use crate::ledger::key_holder::KeyHolder;
use crate::seal::key_store::OpenedValue;
use crate::seal::sealed_value::SEAL_NONCE_BYTES;
use crate::seal::{DataKeyId, KeyStore, SealContext, SealedValue};

/// The first byte of a sealed text: no UTF-8 begins with it.
const SEALED: u8 = 0xff;
/// Bytes of the data key's id.
const KEY_BYTES: usize = 16;
/// Where a sealed answer belongs, beside its event.
const FIELD: &str = "webhook.response";

/// The beginning of an answer's body: a text, or `SEALED`, the data key's id, the nonce and the
/// sealed text.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct StoredResponse(Vec<u8>);

impl StoredResponse {
    /// An answer to what is about no person.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// An answer to an event about a person; empty without that person's data key.
    #[must_use]
    pub fn sealed_for_person(
        keys: &KeyStore,
        (person, event): (UserId, EventId),
        text: &str,
        nonce: [u8; SEAL_NONCE_BYTES],
    ) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let key = KeyHolder::Member(person).data_key();
        let event = event.to_string();
        let sealed = keys.seal(key, text.as_bytes(), nonce, seal_context(keys, &event));
        let sealed = sealed.map(|sealed| {
            let id = sealed.key_id.ulid().0.to_be_bytes();
            [&[SEALED], id.as_slice(), &sealed.nonce, &sealed.ciphertext].concat()
        });
        Self(sealed.unwrap_or_default())
    }

    /// The text; empty where the person was erased or the data key cannot be used.
    #[must_use]
    pub fn open_text(&self, keys: &KeyStore, event: EventId) -> String {
        let Some(sealed) = self.sealed() else {
            return String::from_utf8_lossy(&self.0).into_owned();
        };
        let event = event.to_string();
        match keys.open_sealed(&sealed, seal_context(keys, &event)) {
            Ok(OpenedValue::Plain(text)) => text.expose_str().unwrap_or_default().to_owned(),
            Ok(OpenedValue::Erased | OpenedValue::KeyMissing) | Err(_) => String::new(),
        }
    }

    /// Whether there is no answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn sealed(&self) -> Option<SealedValue> {
        let sealed = self.0.strip_prefix(&[SEALED])?;
        let (key, sealed) = sealed.split_first_chunk::<KEY_BYTES>()?;
        let (nonce, text) = sealed.split_first_chunk::<SEAL_NONCE_BYTES>()?;
        Some(SealedValue {
            key_id: DataKeyId::new(ulid::Ulid(u128::from_be_bytes(*key))),
            nonce: *nonce,
            ciphertext: text.to_vec(),
        })
    }
}

fn seal_context<'a>(keys: &KeyStore, event_id: &'a str) -> SealContext<'a> {
    SealContext {
        log_id: keys.log_id(),
        event_id,
        field: FIELD,
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::clock::Entropy;

    const TEXT: &str = "{\"email\":\"dee@acme.example\"}";

    #[test]
    fn an_answer_about_a_person_is_read_with_that_persons_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut entropy = Entropy::seeded(1);
        let keys = folder.path().join("keys");
        let keys = KeyStore::create(&keys, None, [7; 16], &mut entropy).unwrap();
        let (dora, event) = (UserId(Ulid(5)), EventId(Ulid(6)));
        let key = KeyHolder::Member(dora).data_key();
        let about = |text| StoredResponse::sealed_for_person(&keys, (dora, event), text, [3; 24]);
        assert!(about(TEXT).is_empty());
        keys.create_data_key(key, &mut entropy).unwrap();
        let stored = about(TEXT);
        assert!(!stored.0.windows(4).any(|bytes| bytes == b"acme"));
        assert_eq!(stored.open_text(&keys, event), TEXT);
        assert_eq!(stored.open_text(&keys, EventId(Ulid(7))), "");
        assert!(about("").is_empty());
        keys.destroy_data_key(key).unwrap();
        assert_eq!(stored.open_text(&keys, event), "");
        assert!(about(TEXT).is_empty());
        let plain = StoredResponse::plain(TEXT);
        assert_eq!(plain.open_text(&keys, event), TEXT);
    }
}
