//! What is kept of deliveries: how far each endpoint has come, what is outstanding, and attempts.
//!
//! Owns the file `DATA/webhooks/deliveries.redb`. It is no part of the ledger: without it every
//! endpoint gets again what has happened since it began, which receivers tell by `webhook-id`. What
//! was not kept before a crash is sent again for the same reason, so that outcomes are kept a tenth
//! of a second at once and no attempt waits for the disk. Must never hold a secret or a body that
//! was sent. All calls wait for the disk: they belong off the async threads.

mod attempt_shares;
mod delivery_rows;
mod opening;
mod prune;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use ulid::Ulid;

use super::delivery::{AttemptOutcome, AttemptRecord, DeliveryStatus};
use super::queue::{EndpointProgress, QueueChanges, RetryState};
use crate::clock::Entropy;
use crate::degraded::DegradedParts;
use crate::domain::ids::{DeliveryId, EndpointId, OrganizationId};
use crate::seal::cursor_key::CursorKey;
use attempt_shares::COUNTS;
use delivery_rows::{DELIVERIES, StoredRow, add_attempt, mark_skipped};

pub use delivery_rows::Delivery;

/// Lines, by endpoint.
const LINES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("lines");
/// Attempts that count, when the next one is due, when the last one began; by endpoint and
/// position.
const OUTSTANDING: TableDefinition<'_, (u128, u64), (u8, i64, i64)> =
    TableDefinition::new("outstanding");
/// Attempts, by their number.
const ATTEMPTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("attempts");
/// The numbers of an endpoint's attempts.
const ATTEMPTS_OF: TableDefinition<'_, (u128, u64), ()> = TableDefinition::new("attempts_of");
/// What stands once.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// The position up to which the log has been read for endpoints that are live.
const SEEN: &str = "seen";
/// The number of the next attempt.
const NEXT_ATTEMPT: &str = "next_attempt";
/// The four parts of what cursors are made with.
const CURSOR_KEY: [&str; 4] = [
    "cursor_key_0",
    "cursor_key_1",
    "cursor_key_2",
    "cursor_key_3",
];
/// The version of these tables.
const FORMAT: &str = "format";
const CURRENT_FORMAT: u64 = 2;
/// Without counts of each endpoint's attempts.
const FORMAT_WITHOUT_COUNTS: u64 = 1;

/// Attempts that one listing looks at: with a filter that none passes, some 50 ms.
const SCANNED_ATTEMPTS_MAX: usize = 10_000;

/// Stands for the organization of an endpoint while it is not known.
const NO_ORGANIZATION: OrganizationId = OrganizationId(Ulid(0));

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryStoreError {
    /// The folder.
    #[error("the folder of webhooks cannot be used")]
    Folder(#[from] io::Error),
    /// The database.
    #[error("the deliveries' file cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// It could not be opened, at the start or again after a failed write.
    #[error("the deliveries' file is closed")]
    Closed,
    /// It is there and is no file, or is empty.
    #[error("the deliveries' file is {0}")]
    NotAFile(&'static str),
    /// The database stopped with a panic.
    #[error("the deliveries' file is damaged: {0}")]
    Panicked(String),
    /// Damage was found while reading.
    #[error("the deliveries' file is damaged")]
    Damaged,
    /// A row.
    #[error("a row of the deliveries' file cannot be read")]
    StoredRow(#[from] postcard::Error),
    /// Another program's file.
    #[error("the deliveries' file has format {found}; this program knows {CURRENT_FORMAT}")]
    Format {
        /// The format that it has.
        found: u64,
    },
}

macro_rules! of_the_database {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for DeliveryStoreError {
            fn from(why: redb::$error) -> Self {
                Self::Database(Box::new(why.into()))
            }
        })*
    };
}

of_the_database!(
    CommitError,
    DatabaseError,
    StorageError,
    TableError,
    TransactionError
);

/// All that a start needs.
#[derive(Debug, Default)]
pub struct StoredQueue {
    /// The position up to which the log had been read; `None` in a new file.
    pub read_to: Option<u64>,
    /// Lines.
    pub endpoints: Vec<(EndpointId, EndpointProgress)>,
    /// Deliveries that are outstanding.
    pub outstanding: Vec<(EndpointId, u64, RetryState)>,
}

/// What is kept at once.
#[derive(Debug, Default)]
pub struct DeliveryBatch {
    /// What changed in the queue.
    pub changes: QueueChanges,
    /// The position up to which the log has been read.
    pub read_to: u64,
    /// Attempts that ended.
    pub attempts: Vec<AttemptRecord>,
    /// Whose the endpoints of these attempts are.
    pub organizations: BTreeMap<EndpointId, OrganizationId>,
    /// Deliveries that are not going to be made.
    pub skipped: Vec<(EndpointId, DeliveryId)>,
}

/// Which attempts of an endpoint are asked for.
#[derive(Clone, Debug, Default)]
pub struct AttemptQuery {
    /// Only older ones than this.
    pub before_number: Option<u64>,
    /// How many.
    pub limit: usize,
    /// The wire name of an outcome.
    pub outcome: Option<&'static str>,
    /// The type of the event.
    pub name: Option<String>,
    /// Only tests, and events that need no leave to read the ledger.
    pub exclude_ledger_reads: bool,
}

/// Attempts, newest first, with their numbers.
#[derive(Debug, Default)]
pub struct AttemptPage {
    /// The attempts.
    pub attempts: Vec<(u64, AttemptRecord)>,
    /// What to ask for to see older ones; `None`: there are none.
    pub next: Option<u64>,
}

/// The deliveries' file. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct DeliveryStore {
    path: Arc<Path>,
    /// Gone while it is opened again, and where that failed.
    database: Arc<RwLock<Option<Database>>>,
    /// What cursors are made with, once the file has been opened.
    cursor_key: Arc<RwLock<Option<CursorKey>>>,
    /// Something has found damage: the file is to be replaced.
    is_damaged: Arc<AtomicBool>,
    degraded: DegradedParts,
}

impl DeliveryStore {
    fn begin_read(&self) -> Result<ReadTransaction, DeliveryStoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(DeliveryStoreError::Closed)?;
        Ok(database.begin_read()?)
    }

    fn begin_write(&self) -> Result<WriteTransaction, DeliveryStoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(DeliveryStoreError::Closed)?;
        Ok(database.begin_write()?)
    }

    fn read_queue(&self) -> Result<StoredQueue, DeliveryStoreError> {
        let reading = self.begin_read()?;
        let mut loaded = StoredQueue::default();
        let numbers = reading.open_table(NUMBERS)?;
        loaded.read_to = numbers.get(SEEN)?.map(|seen| seen.value());
        for line in reading.open_table(LINES)?.iter()? {
            let (endpoint, progress) = line?;
            let endpoint = EndpointId(Ulid(endpoint.value()));
            let progress = postcard::from_bytes(progress.value())?;
            loaded.endpoints.push((endpoint, progress));
        }
        for delivery in reading.open_table(OUTSTANDING)?.iter()? {
            let (place, kept) = delivery?;
            let (endpoint, position) = place.value();
            let (attempts, due_ms, last_ms) = kept.value();
            let kept = RetryState {
                attempts,
                due_ms,
                last_ms,
            };
            let endpoint = EndpointId(Ulid(endpoint));
            loaded.outstanding.push((endpoint, position, kept));
        }
        Ok(loaded)
    }

    fn write_batch_now(&self, batch: &DeliveryBatch) -> Result<(), DeliveryStoreError> {
        let writing = self.begin_write()?;
        write_queue_changes(&writing, &batch.changes)?;
        {
            let mut numbers = writing.open_table(NUMBERS)?;
            numbers.insert(SEEN, batch.read_to)?;
            let next = numbers.get(NEXT_ATTEMPT)?.map_or(0, |next| next.value());
            numbers.insert(NEXT_ATTEMPT, next + batch.attempts.len() as u64)?;
            let mut attempts = writing.open_table(ATTEMPTS)?;
            let mut of = writing.open_table(ATTEMPTS_OF)?;
            let mut deliveries = writing.open_table(DELIVERIES)?;
            let mut counts = writing.open_table(COUNTS)?;
            for (number, attempted) in (next..).zip(&batch.attempts) {
                attempts.insert(number, postcard::to_stdvec(attempted)?.as_slice())?;
                of.insert((attempted.endpoint.ulid().0, number), ())?;
                add_attempt(&mut deliveries, number, attempted)?;
                let organization = batch.organizations.get(&attempted.endpoint);
                let organization = organization.copied().unwrap_or(NO_ORGANIZATION);
                attempt_shares::count_added(&mut counts, (organization, attempted.endpoint))?;
            }
            for (endpoint, delivery) in &batch.skipped {
                mark_skipped(&mut deliveries, *endpoint, *delivery)?;
            }
        }
        writing.commit()?;
        Ok(())
    }

    fn read_attempts(
        &self,
        endpoint: EndpointId,
        ask: &AttemptQuery,
    ) -> Result<AttemptPage, DeliveryStoreError> {
        let reading = self.begin_read()?;
        let of = reading.open_table(ATTEMPTS_OF)?;
        let attempts = reading.open_table(ATTEMPTS)?;
        let endpoint = endpoint.ulid().0;
        let end = ask.before_number.unwrap_or(u64::MAX);
        let mut page = AttemptPage::default();
        let numbers = of.range((endpoint, 0)..(endpoint, end))?.rev();
        for (looked_at, number) in numbers.enumerate() {
            let (_, number) = number?.0.value();
            if page.attempts.len() == ask.limit || looked_at == SCANNED_ATTEMPTS_MAX {
                page.next = Some(number + 1);
                break;
            }
            let Some(attempted): Option<AttemptRecord> = decode_row(attempts.get(number)?)? else {
                continue;
            };
            let named = ask.name.as_ref().is_none_or(|name| *name == attempted.name);
            let outcome = attempted.outcome.name();
            let shown = !ask.exclude_ledger_reads || attempted.needs_no_ledger_read();
            if shown && named && ask.outcome.is_none_or(|asked| asked == outcome) {
                page.attempts.push((number, attempted));
            }
        }
        Ok(page)
    }

    /// The text of where an endpoint's list goes on, for a client.
    #[must_use]
    pub fn encode_cursor(&self, endpoint: EndpointId, before: u64) -> String {
        let list = endpoint.ulid().0.to_le_bytes();
        let key = self.cursor_key.read();
        let key = key.unwrap_or_else(PoisonError::into_inner);
        key.unwrap_or_default().seal_numbers(&list, [before, 0])
    }

    /// Where a list goes on, if the text is of this endpoint's.
    ///
    /// # Errors
    /// While the file has not been opened yet.
    pub fn decode_cursor(
        &self,
        endpoint: EndpointId,
        text: &str,
    ) -> Result<Option<u64>, DeliveryStoreError> {
        let list = endpoint.ulid().0.to_le_bytes();
        let key = self.cursor_key.read();
        let key = key.unwrap_or_else(PoisonError::into_inner);
        let found = key
            .ok_or(DeliveryStoreError::Closed)?
            .open_numbers(&list, text);
        Ok(found.map(|[before, _]| before))
    }

    fn read_delivery(
        &self,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<AttemptRecord>)>, DeliveryStoreError> {
        let reading = self.begin_read()?;
        let deliveries = reading.open_table(DELIVERIES)?;
        let attempts = reading.open_table(ATTEMPTS)?;
        let place = (endpoint.ulid().0, delivery.ulid().0);
        let Some(found): Option<Delivery> = decode_row(deliveries.get(place)?)? else {
            return Ok(None);
        };
        let mut made = Vec::new();
        for number in &found.attempts {
            made.extend(decode_row(attempts.get(*number)?)?);
        }
        Ok(Some((found, made)))
    }
}

/// Counts the attempts of a file that has no counts; whose endpoints they are of is learned with
/// the next attempt.
fn count_all_attempts(writing: &WriteTransaction) -> Result<(), DeliveryStoreError> {
    let of = writing.open_table(ATTEMPTS_OF)?;
    let mut counts = writing.open_table(COUNTS)?;
    for attempt in of.iter()? {
        let (endpoint, _) = attempt?.0.value();
        let endpoint = EndpointId(Ulid(endpoint));
        attempt_shares::count_added(&mut counts, (NO_ORGANIZATION, endpoint))?;
    }
    Ok(())
}

/// What cursors are made with, if the file has it.
fn stored_cursor_key(
    numbers: &impl ReadableTable<&'static str, u64>,
) -> Result<Option<CursorKey>, DeliveryStoreError> {
    let mut key = CursorKey::default();
    for (part, name) in key.0.chunks_exact_mut(8).zip(CURSOR_KEY) {
        match numbers.get(name)?.map(|part| part.value()) {
            Some(known) => part.copy_from_slice(&known.to_le_bytes()),
            None => return Ok(None),
        }
    }
    Ok(Some(key))
}

/// The same, made where it is missing: random, and the same as long as the file is.
fn ensure_cursor_key(writing: &WriteTransaction) -> Result<CursorKey, DeliveryStoreError> {
    let mut numbers = writing.open_table(NUMBERS)?;
    let mut key = CursorKey(Entropy::system().random_bytes());
    for (part, name) in key.0.chunks_exact_mut(8).zip(CURSOR_KEY) {
        let known = numbers.get(name)?.map(|part| part.value());
        match known {
            Some(known) => part.copy_from_slice(&known.to_le_bytes()),
            None => {
                let number = part.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                part.copy_from_slice(&number.to_le_bytes());
                numbers.insert(name, number)?;
            }
        }
    }
    Ok(key)
}

fn write_queue_changes(
    writing: &WriteTransaction,
    changes: &QueueChanges,
) -> Result<(), DeliveryStoreError> {
    let mut lines = writing.open_table(LINES)?;
    let mut outstanding = writing.open_table(OUTSTANDING)?;
    for (endpoint, progress) in &changes.endpoints {
        let key = endpoint.ulid().0;
        match progress {
            Some(progress) => {
                lines.insert(key, postcard::to_stdvec(progress)?.as_slice())?;
            }
            None => {
                lines.remove(key)?;
                outstanding.retain_in((key, 0)..=(key, u64::MAX), |_, _| false)?;
            }
        }
    }
    for (endpoint, position, kept) in &changes.deliveries {
        let key = (endpoint.ulid().0, *position);
        match kept {
            Some(kept) => {
                drop(outstanding.insert(key, (kept.attempts, kept.due_ms, kept.last_ms))?);
            }
            None => drop(outstanding.remove(key)?),
        }
    }
    Ok(())
}

fn decode_row<T: DeserializeOwned>(
    found: Option<StoredRow<'_>>,
) -> Result<Option<T>, DeliveryStoreError> {
    match found {
        Some(found) => Ok(Some(postcard::from_bytes(found.value())?)),
        None => Ok(None),
    }
}

impl From<&AttemptRecord> for DeliveryStatus {
    fn from(attempted: &AttemptRecord) -> Self {
        match attempted.outcome {
            AttemptOutcome::Delivered => Self::Delivered,
            AttemptOutcome::Failed { next_at: Some(_) } => Self::Pending,
            AttemptOutcome::Failed { next_at: None } | AttemptOutcome::Dead => Self::Dead,
        }
    }
}
