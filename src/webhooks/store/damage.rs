//! A deliveries' file that is damaged is set aside and made anew; it never stops the ledger.
//!
//! Owns the opening of the file and the judgment over a failure: what may pass (a full disk, a file
//! that this user may not open, a reader that still has it) is tried again, all else is damage.
//! redb may panic on damaged pages, so every call into it goes through [`Store::guarded`].

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadableDatabase};

use super::{
    ATTEMPTS, ATTEMPTS_OF, Ask, Attempts, Batch, COUNTS, DELIVERIES, Delivery, FORMAT, FORMAT_NOW,
    FORMAT_UNCOUNTED, LINES, Loaded, NUMBERS, OUTSTANDING, Store, StoreError, count_all,
    cursor_key, stored_cursor_key,
};
use crate::degraded::{DegradedParts, Part};
use crate::domain::ids::{DeliveryId, EndpointId};
use crate::error_chain::error_chain;
use crate::panics::caught;
use crate::private;
use crate::seal::cursor_key::CursorKey;
use crate::webhooks::delivery::Attempted;

/// Every page of a file up to this length is checked when it is opened: half a second of a usual
/// disk. Damage in a longer one is found when it is met.
const CHECKED_BYTES_MAX: u64 = 256 << 20;

const REPLACED: &str = "it was set aside beside; a new one is made, and receivers get again what \
    has happened since their endpoint was created";
const TRIED_AGAIN: &str = "deliveries wait; it is tried again every few seconds. Make room on the \
    disk, or correct the folder's mode and owner";

impl StoreError {
    /// Whether time, room or another owner may mend it; all else is damage.
    pub(super) fn may_pass(&self) -> bool {
        if let Some(why) = self.io() {
            return is_full(why) || private::is_denied(why.kind());
        }
        match self {
            Self::Database(why) => is_in_use(why),
            Self::Closed => true,
            Self::Folder(_)
            | Self::NotAFile(_)
            | Self::Panicked(_)
            | Self::Damaged
            | Self::Row(_)
            | Self::Format { .. } => false,
        }
    }

    /// What the system said.
    fn io(&self) -> Option<&io::Error> {
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

impl Store {
    /// The file in a folder, not open yet.
    #[must_use]
    pub fn closed(folder: &Path, degraded: DegradedParts) -> Self {
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
    pub fn open(folder: &Path, degraded: DegradedParts) -> Result<Self, StoreError> {
        let store = Self::closed(folder, degraded);
        store.open_or_replace()?;
        Ok(store)
    }

    /// Opens the file; a damaged one is set aside and made anew, and `true` is returned.
    ///
    /// # Errors
    /// As [`Store::open`]; the part is degraded until it succeeds.
    pub fn open_or_replace(&self) -> Result<bool, StoreError> {
        let opened = self.try_open();
        match &opened {
            Ok(_) => self.degraded.end(Part::Deliveries),
            Err(why) => {
                let mut reason = format!("{}: {}", self.path.display(), error_chain(why));
                let kind = why.io().map(io::Error::kind);
                if let Some(remedy) = kind.and_then(|kind| private::remedy(&self.path, kind)) {
                    reason = format!("{reason}; {remedy}");
                }
                self.degraded.begin(Part::Deliveries, reason, TRIED_AGAIN);
            }
        }
        opened
    }

    fn try_open(&self) -> Result<bool, StoreError> {
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
            true => Err(StoreError::Damaged),
            false => open_file(&self.path),
        };
        match opened {
            Ok(opened) => {
                self.take(opened, &mut database);
                Ok(false)
            }
            Err(why) if why.may_pass() => Err(why),
            Err(why) => {
                if self.path.try_exists()? {
                    let why = format!("{}; {REPLACED}", error_chain(&why));
                    self.degraded
                        .set_aside(Part::Deliveries, &self.path, &why)?;
                }
                self.take(open_file(&self.path)?, &mut database);
                Ok(true)
            }
        }
    }

    fn take(&self, (opened, cursor_key): (Database, CursorKey), database: &mut Option<Database>) {
        *database = Some(opened);
        let key = self.cursor_key.write();
        *key.unwrap_or_else(PoisonError::into_inner) = Some(cursor_key);
    }

    /// URLs and answers of receivers are in it.
    fn make_folder(&self) -> Result<(), StoreError> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        if folder.try_exists()? && !folder.is_dir() {
            let why = "it should be a folder";
            self.degraded.set_aside(Part::Deliveries, folder, why)?;
        }
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).map_err(StoreError::from)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        self.guarded(|| self.read_all())
    }

    /// Keeps what happened, all of it or nothing, and returns when it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written; what is there stays as it was.
    pub fn keep(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.is_damaged.load(Ordering::Acquire) {
            return Err(StoreError::Damaged);
        }
        self.guarded(|| self.write(batch))
    }

    /// The attempts of an endpoint, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn attempts(&self, endpoint: EndpointId, ask: &Ask) -> Result<Attempts, StoreError> {
        self.guarded(|| self.read_attempts(endpoint, ask))
    }

    /// A delivery, with those of its attempts that are kept, oldest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn delivery(
        &self,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<Attempted>)>, StoreError> {
        self.guarded(|| self.read_delivery(endpoint, delivery))
    }

    /// Runs a call into the database. Damage that it meets has the file replaced by the next
    /// [`Store::open_or_replace`].
    pub(super) fn guarded<T>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = caught(work).unwrap_or_else(|why| Err(StoreError::Panicked(why)));
        if let Err(why) = &done
            && !why.may_pass()
        {
            self.is_damaged.store(true, Ordering::Release);
            let reason = format!("{}: {}", self.path.display(), error_chain(why));
            self.degraded.begin(Part::Deliveries, reason, REPLACED);
        }
        done
    }
}

/// Opens or makes the file and checks it.
fn open_file(path: &Path) -> Result<(Database, CursorKey), StoreError> {
    let length = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(StoreError::NotAFile("a folder")),
        Ok(found) if found.len() == 0 => return Err(StoreError::NotAFile("empty")),
        Ok(found) => found.len(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => 0,
        Err(why) => return Err(why.into()),
    };
    let opened = caught(|| -> Result<(Database, CursorKey), StoreError> {
        let mut database = Database::create(path)?;
        if length > 0 && length <= CHECKED_BYTES_MAX && !database.check_integrity()? {
            tracing::warn!(file = %path.display(), "the deliveries' file was repaired");
        }
        let cursor_key = prepare(&database)?;
        Ok((database, cursor_key))
    });
    let opened = opened.unwrap_or_else(|why| Err(StoreError::Panicked(why)))?;
    // One that was there may be another user's, and is as good if it can be written to.
    if length == 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
    }
    Ok(opened)
}

/// Makes the tables that are missing, and the key of cursors; a whole file of this format is not
/// written to.
fn prepare(database: &Database) -> Result<CursorKey, StoreError> {
    let reading = database.begin_read()?;
    let (found, known_key) = match reading.open_table(NUMBERS) {
        Ok(numbers) => {
            let found = numbers.get(FORMAT)?.map(|found| found.value());
            (found, stored_cursor_key(&numbers)?)
        }
        Err(redb::TableError::TableDoesNotExist(_)) => (None, None),
        Err(why) => return Err(why.into()),
    };
    if found == Some(FORMAT_NOW) {
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
            None | Some(FORMAT_NOW) => {}
            Some(FORMAT_UNCOUNTED) => count_all(&writing)?,
            Some(found) => return Err(StoreError::Format { found }),
        }
        drop(writing.open_table(NUMBERS)?.insert(FORMAT, FORMAT_NOW)?);
    }
    let cursor_key = cursor_key(&writing)?;
    writing.commit()?;
    Ok(cursor_key)
}
