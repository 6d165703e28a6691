//! What is kept of deliveries: how far each endpoint has come, what is outstanding, and attempts.
//!
//! Owns the file `DATA/webhooks/deliveries.redb`. It is no part of the ledger: without it every
//! endpoint gets again what has happened since it began, which receivers tell by `webhook-id`. What
//! was not kept before a crash is sent again for the same reason, so that outcomes are kept a tenth
//! of a second at once and no attempt waits for the disk. Must never hold a secret or a body that
//! was sent. All calls wait for the disk: they belong off the async threads.

mod damage;
mod prune;
mod rows;
mod shares;

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

use super::delivery::{Attempted, Outcome, Standing};
use super::queue::{Changes, Kept, Progress};
use crate::clock::Entropy;
use crate::degraded::DegradedParts;
use crate::domain::ids::{DeliveryId, EndpointId, OrganizationId};
use crate::seal::cursor_key::CursorKey;
use rows::{DELIVERIES, Row, note, note_skipped};
use shares::COUNTS;

pub use rows::Delivery;

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
const FORMAT_NOW: u64 = 2;
/// Without counts of each endpoint's attempts.
const FORMAT_UNCOUNTED: u64 = 1;

/// Attempts that one listing looks at: with a filter that none passes, some 50 ms.
const LOOKED_AT_MAX: usize = 10_000;

/// Stands for the organization of an endpoint while it is not known.
const NO_ORGANIZATION: OrganizationId = OrganizationId(Ulid(0));

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    Row(#[from] postcard::Error),
    /// Another program's file.
    #[error("the deliveries' file has format {found}; this program knows {FORMAT_NOW}")]
    Format {
        /// The format that it has.
        found: u64,
    },
}

macro_rules! of_the_database {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
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
pub struct Loaded {
    /// The position up to which the log had been read; `None` in a new file.
    pub seen: Option<u64>,
    /// Lines.
    pub lines: Vec<(EndpointId, Progress)>,
    /// Deliveries that are outstanding.
    pub outstanding: Vec<(EndpointId, u64, Kept)>,
}

/// What is kept at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// What changed in the queue.
    pub changes: Changes,
    /// The position up to which the log has been read.
    pub seen: u64,
    /// Attempts that ended.
    pub attempts: Vec<Attempted>,
    /// Whose the endpoints of these attempts are.
    pub organizations: BTreeMap<EndpointId, OrganizationId>,
    /// Deliveries that are not going to be made.
    pub skipped: Vec<(EndpointId, DeliveryId)>,
}

/// Which attempts of an endpoint are asked for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Only older ones than this.
    pub before: Option<u64>,
    /// How many.
    pub limit: usize,
    /// The wire name of an outcome.
    pub outcome: Option<&'static str>,
    /// The type of the event.
    pub name: Option<String>,
    /// Only tests, and events that need no leave to read the ledger.
    pub open_only: bool,
}

/// Attempts, newest first, with their numbers.
#[derive(Debug, Default)]
pub struct Attempts {
    /// The attempts.
    pub found: Vec<(u64, Attempted)>,
    /// What to ask for to see older ones; `None`: there are none.
    pub next: Option<u64>,
}

/// The deliveries' file. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Store {
    path: Arc<Path>,
    /// Gone while it is opened again, and where that failed.
    database: Arc<RwLock<Option<Database>>>,
    /// What cursors are made with, once the file has been opened.
    cursor_key: Arc<RwLock<Option<CursorKey>>>,
    /// Something has found damage: the file is to be replaced.
    is_damaged: Arc<AtomicBool>,
    degraded: DegradedParts,
}

impl Store {
    fn reading(&self) -> Result<ReadTransaction, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        Ok(database.begin_read()?)
    }

    fn writing(&self) -> Result<WriteTransaction, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        Ok(database.begin_write()?)
    }

    fn read_all(&self) -> Result<Loaded, StoreError> {
        let reading = self.reading()?;
        let mut loaded = Loaded::default();
        let numbers = reading.open_table(NUMBERS)?;
        loaded.seen = numbers.get(SEEN)?.map(|seen| seen.value());
        for line in reading.open_table(LINES)?.iter()? {
            let (endpoint, progress) = line?;
            let endpoint = EndpointId(Ulid(endpoint.value()));
            let progress = postcard::from_bytes(progress.value())?;
            loaded.lines.push((endpoint, progress));
        }
        for delivery in reading.open_table(OUTSTANDING)?.iter()? {
            let (place, kept) = delivery?;
            let (endpoint, position) = place.value();
            let (attempts, due_ms, last_ms) = kept.value();
            let kept = Kept {
                attempts,
                due_ms,
                last_ms,
            };
            let endpoint = EndpointId(Ulid(endpoint));
            loaded.outstanding.push((endpoint, position, kept));
        }
        Ok(loaded)
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let writing = self.writing()?;
        keep_lines(&writing, &batch.changes)?;
        {
            let mut numbers = writing.open_table(NUMBERS)?;
            numbers.insert(SEEN, batch.seen)?;
            let next = numbers.get(NEXT_ATTEMPT)?.map_or(0, |next| next.value());
            numbers.insert(NEXT_ATTEMPT, next + batch.attempts.len() as u64)?;
            let mut attempts = writing.open_table(ATTEMPTS)?;
            let mut of = writing.open_table(ATTEMPTS_OF)?;
            let mut deliveries = writing.open_table(DELIVERIES)?;
            let mut counts = writing.open_table(COUNTS)?;
            for (number, attempted) in (next..).zip(&batch.attempts) {
                attempts.insert(number, postcard::to_stdvec(attempted)?.as_slice())?;
                of.insert((attempted.endpoint.ulid().0, number), ())?;
                note(&mut deliveries, number, attempted)?;
                let organization = batch.organizations.get(&attempted.endpoint);
                let organization = organization.copied().unwrap_or(NO_ORGANIZATION);
                shares::add(&mut counts, (organization, attempted.endpoint))?;
            }
            for (endpoint, delivery) in &batch.skipped {
                note_skipped(&mut deliveries, *endpoint, *delivery)?;
            }
        }
        writing.commit()?;
        Ok(())
    }

    fn read_attempts(&self, endpoint: EndpointId, ask: &Ask) -> Result<Attempts, StoreError> {
        let reading = self.reading()?;
        let of = reading.open_table(ATTEMPTS_OF)?;
        let attempts = reading.open_table(ATTEMPTS)?;
        let endpoint = endpoint.ulid().0;
        let end = ask.before.unwrap_or(u64::MAX);
        let mut page = Attempts::default();
        let numbers = of.range((endpoint, 0)..(endpoint, end))?.rev();
        for (looked_at, number) in numbers.enumerate() {
            let (_, number) = number?.0.value();
            if page.found.len() == ask.limit || looked_at == LOOKED_AT_MAX {
                page.next = Some(number + 1);
                break;
            }
            let Some(attempted): Option<Attempted> = row(attempts.get(number)?)? else {
                continue;
            };
            let named = ask.name.as_ref().is_none_or(|name| *name == attempted.name);
            let outcome = attempted.outcome.name();
            let shown = !ask.open_only || attempted.is_open();
            if shown && named && ask.outcome.is_none_or(|asked| asked == outcome) {
                page.found.push((number, attempted));
            }
        }
        Ok(page)
    }

    /// The text of where an endpoint's list goes on, for a client.
    #[must_use]
    pub fn cursor_text(&self, endpoint: EndpointId, before: u64) -> String {
        let list = endpoint.ulid().0.to_le_bytes();
        let key = self.cursor_key.read();
        let key = key.unwrap_or_else(PoisonError::into_inner);
        key.unwrap_or_default().seal_numbers(&list, [before, 0])
    }

    /// Where a list goes on, if the text is of this endpoint's.
    ///
    /// # Errors
    /// While the file has not been opened yet.
    pub fn cursor(&self, endpoint: EndpointId, text: &str) -> Result<Option<u64>, StoreError> {
        let list = endpoint.ulid().0.to_le_bytes();
        let key = self.cursor_key.read();
        let key = key.unwrap_or_else(PoisonError::into_inner);
        let found = key.ok_or(StoreError::Closed)?.open_numbers(&list, text);
        Ok(found.map(|[before, _]| before))
    }

    fn read_delivery(
        &self,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<Attempted>)>, StoreError> {
        let reading = self.reading()?;
        let deliveries = reading.open_table(DELIVERIES)?;
        let attempts = reading.open_table(ATTEMPTS)?;
        let place = (endpoint.ulid().0, delivery.ulid().0);
        let Some(found): Option<Delivery> = row(deliveries.get(place)?)? else {
            return Ok(None);
        };
        let mut made = Vec::new();
        for number in &found.attempts {
            made.extend(row(attempts.get(*number)?)?);
        }
        Ok(Some((found, made)))
    }
}

/// Counts the attempts of a file that has no counts; whose endpoints they are of is learned with
/// the next attempt.
fn count_all(writing: &WriteTransaction) -> Result<(), StoreError> {
    let of = writing.open_table(ATTEMPTS_OF)?;
    let mut counts = writing.open_table(COUNTS)?;
    for attempt in of.iter()? {
        let (endpoint, _) = attempt?.0.value();
        let endpoint = EndpointId(Ulid(endpoint));
        shares::add(&mut counts, (NO_ORGANIZATION, endpoint))?;
    }
    Ok(())
}

/// What cursors are made with, if the file has it.
fn stored_cursor_key(
    numbers: &impl ReadableTable<&'static str, u64>,
) -> Result<Option<CursorKey>, StoreError> {
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
fn cursor_key(writing: &WriteTransaction) -> Result<CursorKey, StoreError> {
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

fn keep_lines(writing: &WriteTransaction, changes: &Changes) -> Result<(), StoreError> {
    let mut lines = writing.open_table(LINES)?;
    let mut outstanding = writing.open_table(OUTSTANDING)?;
    for (endpoint, progress) in &changes.lines {
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

fn row<T: DeserializeOwned>(found: Option<Row<'_>>) -> Result<Option<T>, StoreError> {
    match found {
        Some(found) => Ok(Some(postcard::from_bytes(found.value())?)),
        None => Ok(None),
    }
}

impl From<&Attempted> for Standing {
    fn from(attempted: &Attempted) -> Self {
        match attempted.outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::Failed { next_at: Some(_) } => Self::Pending,
            Outcome::Failed { next_at: None } | Outcome::Dead => Self::Dead,
        }
    }
}
