//! The data keys beside a log: whether each that the log needs is there and whole.
//!
//! Owns the question whose keys are needed: those of members who were not erased, of
//! organizations, and of the newest secret of each webhook endpoint that was not deleted. A key
//! that is missing without an erasure is damage. Must never see a key. It holds some 60 bytes for
//! each of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::verdict::{Finding, Kind};
use crate::domain::ids::{SecretId, Subject};
use crate::seal::{DataKeyFiles, DataKeyId, SealError};

/// The keys that a log needs.
#[derive(Debug, Default)]
pub(super) struct NeededKeys(BTreeMap<Subject, DataKeyId>);

/// The part of a payload that names a new secret of an endpoint.
#[derive(Deserialize)]
struct Naming {
    data: NamedSecret,
}

#[derive(Deserialize)]
struct NamedSecret {
    secret: Option<Secret>,
}

#[derive(Deserialize)]
struct Secret {
    id: SecretId,
}

impl NeededKeys {
    /// Looks at an event of the log.
    pub(super) fn take(&mut self, (subject, name): (Subject, &str), payload: &[u8]) {
        let holder = match subject {
            Subject::Organization(id) if name == "organization.created" => Some(id.0),
            Subject::Member(id) if name == "member.added" => Some(id.0),
            Subject::WebhookEndpoint(_) if name != "webhook_endpoint.deleted" => {
                // What is not of this form names no secret; the replay says what is wrong with it.
                let naming = serde_json::from_slice::<Naming>(payload).ok();
                let secret = naming.and_then(|naming| naming.data.secret);
                secret.map(|secret| secret.id.0)
            }
            Subject::Ledger(_)
            | Subject::Organization(_)
            | Subject::Project(_)
            | Subject::Member(_)
            | Subject::ServiceAccount(_)
            | Subject::Credential(_)
            | Subject::Session(_)
            | Subject::WebhookEndpoint(_) => None,
        };
        if let Some(holder) = holder {
            self.0.insert(subject, DataKeyId::new(holder));
        } else if matches!(name, "subject.erased" | "webhook_endpoint.deleted") {
            self.0.remove(&subject);
        }
    }

    /// The first key that is missing or damaged; none where the folder has no keys at all.
    pub(super) fn check(&self, files: Option<&DataKeyFiles>) -> Result<(), Finding> {
        let Some(files) = files else {
            return Ok(());
        };
        for (subject, id) in &self.0 {
            let (kind, what) = match files.check_key_file(*id) {
                Ok(true) => continue,
                Ok(false) => (
                    Kind::DataKeyMissing,
                    format!("the data key of {subject} is missing, although nothing was erased"),
                ),
                Err(why) => (Kind::DataKeyDamaged, damaged(*subject, &why)),
            };
            return Err(Finding::new(kind, what).in_file(&files.key_path(*id)));
        }
        Ok(())
    }
}

fn damaged(subject: Subject, why: &SealError) -> String {
    let why = crate::error_chain::error_chain(why);
    format!("the data key of {subject} cannot be read: {why}")
}
