//! Events as a table, for people: where, when, what, of whom, by whom.

use std::io::Write;

use super::Chosen;
use super::export::{ExportError, each};
use crate::audit::reading::Reading;
use crate::domain::envelope::Event;
use crate::merkle::Hash;
use sha2::{Digest, Sha256};

const COLUMNS: [&str; 13] = [
    "position",
    "occurred_at",
    "type",
    "id",
    "organization_id",
    "organization_sequence",
    "subject",
    "subject_version",
    "actor_type",
    "actor_id",
    "actor_via",
    "request_id",
    "commitment",
];

/// Writes the events as CSV, and says how many there are.
///
/// # Errors
/// When the log cannot be read, or the table not written.
pub fn write(reading: &Reading, chosen: &Chosen, out: impl Write) -> Result<u64, ExportError> {
    let mut table = csv::Writer::from_writer(out);
    let io = |why: csv::Error| ExportError::Io(why.into());
    table.write_record(COLUMNS).map_err(io)?;
    let mut rows = 0;
    each(reading, reading.size(), |position, payload, found| {
        if !chosen.holds(found) {
            return Ok(());
        }
        let event = Event::from_payload(payload).map_err(|_why| ExportError::Form(position))?;
        let text = |value: Option<String>| value.unwrap_or_default();
        let place = event.organization.as_ref();
        let kind = serde_json::to_value(event.actor.kind)?;
        let commitment: Hash = Sha256::digest(payload).into();
        rows += 1;
        let row = [
            event.position.to_string(),
            event.occurred_at.to_string(),
            event.fact.name().to_owned(),
            event.id.to_string(),
            text(place.map(|place| place.id.to_string())),
            text(place.map(|place| place.sequence.to_string())),
            event.subject.to_string(),
            event.subject_version.to_string(),
            kind.as_str().unwrap_or_default().to_owned(),
            text(event.actor.id.map(|id| id.to_string())),
            text(event.actor.via.map(|via| via.to_string())),
            text(event.request_id),
            hex::encode(commitment),
        ];
        table.write_record(row).map_err(io)
    })?;
    table.flush()?;
    Ok(rows)
}
