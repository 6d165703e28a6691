//! A deliveries' file that is damaged is set aside and made anew; it never stops the ledger.
//!
//! Owns the opening of the file and the judgment over a failure: what may pass (a full disk, a file
//! that this user may not open, a reader that still has it) is tried again, all else is damage.
//! redb may panic on damaged pages, so every call into it goes through
//! [`DeliveryStore::catch_damage`].

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadableDatabase};

use super::{
    ATTEMPTS, ATTEMPTS_OF, AttemptPage, AttemptQuery, COUNTS, CURRENT_FORMAT, DELIVERIES, Delivery,
    DeliveryBatch, DeliveryStore, DeliveryStoreError, FORMAT, FORMAT_WITHOUT_COUNTS, LINES,
    NUMBERS, OUTSTANDING, StoredQueue, count_all_attempts, ensure_cursor_key, stored_cursor_key,
};
use crate::degraded::{DegradedParts, Part};
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::error_chain::error_chain;
use crate::panics::caught;
use crate::private;
use crate::seal::cursor_key::CursorKey;
use crate::webhooks::delivery::AttemptRecord;

/// Every page of a file up to this length is checked when it is opened: half a second of a usual
/// disk. Damage in a longer one is found when it is met.
const CHECKED_BYTES_MAX: u64 = 256 << 20;

const REPLACED_CONSEQUENCE: &str = "it was set aside; a new one is made, and receivers get \
    again what has happened since their endpoint was created";
const RETRY_REMEDY: &str = "deliveries wait; it is tried again every few seconds. Make room on the \
    disk, or correct the folder's mode and owner";

impl DeliveryStoreError {
    /// Whether time, room or another owner may mend it; all else is damage.
    pub(super) fn is_transient(&self) -> bool {
        if let Some(why) = self.io_error() {
            return is_full(why) || private::is_denied(why.kind());
        }
        match self {
            Self::Database(why) => is_in_use(why),
            Self::Closed => true,
            Self::Folder(_)
            | Self::NotAFile(_)
            | Self::Panicked(_)
            | Self::Damaged
            | Self::StoredRow(_)
            | Self::Format { .. } => false,
        }
    }

    /// What the system said.
    fn io_error(&self) -> Option<&io::Error> {
        if let Self::Folder(why) = self {
            return Some(why);
        }
        if let Self::Database(why) = self
            && let redb::Error::Io(why) = why.as_ref()
        {
            return Some(why);
        }
        None
    }
}

/// Whether the file is fine and its handle is not.
const fn is_in_use(why: &redb::Error) -> bool {
    matches!(
        why,
        redb::Error::DatabaseAlreadyOpen
            | redb::Error::PreviousIo
            | redb::Error::TransactionInProgress
            | redb::Error::DatabaseClosed
    )
}

fn is_full(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl DeliveryStore {
    /// The file in a folder, not open yet.
    #[must_use]
    pub fn new_closed(folder: &Path, degraded: DegradedParts) -> Self {
        Self {
            path: folder.join("deliveries.redb").into(),
            database: Arc::new(RwLock::new(None)),
            cursor_key: Arc::default(),
            is_damaged: Arc::new(AtomicBool::new(false)),
            degraded,
        }
    }

    /// Opens the file in a folder, or makes both.
    ///
    /// # Errors
    /// When there is no room, or nothing can be made in the folder.
    pub fn open(folder: &Path, degraded: DegradedParts) -> Result<Self, DeliveryStoreError> {
        let store = Self::new_closed(folder, degraded);
        store.open_or_replace()?;
        Ok(store)
    }

    /// Opens the file; a damaged one is set aside and made anew, and `true` is returned.
    ///
    /// # Errors
    /// As [`DeliveryStore::open`]; the part is degraded until it succeeds.
    pub fn open_or_replace(&self) -> Result<bool, DeliveryStoreError> {
        let opened = self.try_open();
        match &opened {
            Ok(_) => self.degraded.end(Part::Deliveries),
            Err(why) => {
                let mut reason = format!("{}: {}", self.path.display(), error_chain(why));
                let kind = why.io_error().map(io::Error::kind);
                if let Some(remedy) = kind.and_then(|kind| private::remedy(&self.path, kind)) {
                    reason = format!("{reason}; {remedy}");
                }
                self.degraded.begin(Part::Deliveries, reason, RETRY_REMEDY);
            }
        }
        opened
    }

    fn try_open(&self) -> Result<bool, DeliveryStoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = database.take();
        // Closing a damaged file may panic like all else.
        drop(caught(|| drop(old)));
        let found_damaged = self.is_damaged.swap(false, Ordering::AcqRel);
        self.make_folder()?;
        let opened = match found_damaged {
            true => Err(DeliveryStoreError::Damaged),
            false => open_file(&self.path),
        };
        match opened {
            Ok(opened) => {
                self.install_database(opened, &mut database);
                Ok(false)
            }
            Err(why) if why.is_transient() => Err(why),
            Err(why) => {
                if self.path.try_exists()? {
                    let why = format!("{}; {REPLACED_CONSEQUENCE}", error_chain(&why));
                    self.degraded
                        .set_aside(Part::Deliveries, &self.path, &why)?;
                }
                self.install_database(open_file(&self.path)?, &mut database);
                Ok(true)
            }
        }
    }

    fn install_database(
        &self,
        (opened, cursor_key): (Database, CursorKey),
        database: &mut Option<Database>,
    ) {
        *database = Some(opened);
        let key = self.cursor_key.write();
        *key.unwrap_or_else(PoisonError::into_inner) = Some(cursor_key);
    }

    /// URLs and answers of receivers are in it.
    fn make_folder(&self) -> Result<(), DeliveryStoreError> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        if folder.try_exists()? && !folder.is_dir() {
            let why = "it should be a folder";
            self.degraded.set_aside(Part::Deliveries, folder, why)?;
        }
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).map_err(DeliveryStoreError::from)
    }

    /// Where the file is.
    #[must_use]
    pub fn file_path(&self) -> &Path {
        &self.path
    }

    /// What was kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_queue(&self) -> Result<StoredQueue, DeliveryStoreError> {
        self.catch_damage(|| self.read_queue())
    }

    /// Keeps what happened, all of it or nothing, and returns when it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written; what is there stays as it was.
    pub fn write_batch(&self, batch: &DeliveryBatch) -> Result<(), DeliveryStoreError> {
        if self.is_damaged.load(Ordering::Acquire) {
            return Err(DeliveryStoreError::Damaged);
        }
        self.catch_damage(|| self.write_batch_now(batch))
    }

    /// The attempts of an endpoint, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list_attempts(
        &self,
        endpoint: EndpointId,
        ask: &AttemptQuery,
    ) -> Result<AttemptPage, DeliveryStoreError> {
        self.catch_damage(|| self.read_attempts(endpoint, ask))
    }

    /// A delivery, with those of its attempts that are kept, oldest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find_delivery(
        &self,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<AttemptRecord>)>, DeliveryStoreError> {
        self.catch_damage(|| self.read_delivery(endpoint, delivery))
    }

    /// Runs a call into the database. Damage that it meets has the file replaced by the next
    /// [`DeliveryStore::open_or_replace`].
    pub(super) fn catch_damage<T>(
        &self,
        work: impl FnOnce() -> Result<T, DeliveryStoreError>,
    ) -> Result<T, DeliveryStoreError> {
        let done = caught(work).unwrap_or_else(|why| Err(DeliveryStoreError::Panicked(why)));
        if let Err(why) = &done
            && !why.is_transient()
        {
            self.is_damaged.store(true, Ordering::Release);
            let reason = format!("{}: {}", self.path.display(), error_chain(why));
            self.degraded
                .begin(Part::Deliveries, reason, REPLACED_CONSEQUENCE);
        }
        done
    }
}

/// Opens or makes the file and checks it.
fn open_file(path: &Path) -> Result<(Database, CursorKey), DeliveryStoreError> {
    let length = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(DeliveryStoreError::NotAFile("a folder")),
        Ok(found) if found.len() == 0 => return Err(DeliveryStoreError::NotAFile("empty")),
        Ok(found) => found.len(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => 0,
        Err(why) => return Err(why.into()),
    };
    let opened = caught(|| -> Result<(Database, CursorKey), DeliveryStoreError> {
        let mut database = Database::create(path)?;
        if length > 0 && length <= CHECKED_BYTES_MAX && !database.check_integrity()? {
            tracing::warn!(file = %path.display(), "the deliveries' file was repaired");
        }
        let cursor_key = create_missing_tables(&database)?;
        Ok((database, cursor_key))
    });
    let opened = opened.unwrap_or_else(|why| Err(DeliveryStoreError::Panicked(why)))?;
    // One that was there may be another user's, and is as good if it can be written to.
    if length == 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(opened)
}

/// Makes the tables that are missing, and the key of cursors; a whole file of this format is not
/// written to.
fn create_missing_tables(database: &Database) -> Result<CursorKey, DeliveryStoreError> {
    let reading = database.begin_read()?;
    let (found, known_key) = match reading.open_table(NUMBERS) {
        Ok(numbers) => {
            let found = numbers.get(FORMAT)?.map(|found| found.value());
            (found, stored_cursor_key(&numbers)?)
        }
        Err(redb::TableError::TableDoesNotExist(_)) => (None, None),
        Err(why) => return Err(why.into()),
    };
    if found == Some(CURRENT_FORMAT) {
        for missing in [
            reading.open_table(LINES).err(),
            reading.open_table(OUTSTANDING).err(),
            reading.open_table(DELIVERIES).err(),
            reading.open_table(ATTEMPTS).err(),
            reading.open_table(ATTEMPTS_OF).err(),
            reading.open_table(COUNTS).err(),
        ] {
            missing.map_or(Ok(()), Err)?;
        }
        if let Some(known) = known_key {
            return Ok(known);
        }
    }
    drop(reading);
    let writing = database.begin_write()?;
    {
        writing.open_table(LINES)?;
        writing.open_table(OUTSTANDING)?;
        writing.open_table(DELIVERIES)?;
        writing.open_table(ATTEMPTS)?;
        writing.open_table(ATTEMPTS_OF)?;
        writing.open_table(COUNTS)?;
        match found {
            None | Some(CURRENT_FORMAT) => {}
            Some(FORMAT_WITHOUT_COUNTS) => count_all_attempts(&writing)?,
            Some(found) => return Err(DeliveryStoreError::Format { found }),
        }
        drop(
            writing
                .open_table(NUMBERS)?
                .insert(FORMAT, CURRENT_FORMAT)?,
        );
    }
    let cursor_key = ensure_cursor_key(&writing)?;
    writing.commit()?;
    Ok(cursor_key)
}
