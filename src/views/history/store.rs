//! The history index's store: the one module that opens sled.
//!
//! One tree, whose batches are atomic. Keys, big-endian so that their order is that of versions:
//!
//! ```text
//! 'h' subject type 1, subject 16, version 4  -> position 8
//! 'm'                                        -> postcard of format, position, root
//! ```
//!
//! It holds only what the log can rebuild, so that whatever cannot be read is thrown away. sled is
//! known to panic on files that it does not like: every call into it is caught.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use sled::Db;

use crate::degraded::{DegradedParts, Part};
use crate::domain::ids::Subject;
use crate::private;

use super::backlog_layer::BacklogLayer;
use super::progress::HistoryProgress;

/// Raised whenever keys or values change: an index of another format is not read.
pub(super) const HISTORY_FORMAT: u32 = 5;
/// sled's page cache.
const CACHE_BYTES: u64 = 64 << 20;
/// Events a batch while loading: 500 KB.
const LOADED_AT_ONCE: usize = 10_000;

/// Free bytes below which nothing is written: half of what the log leaves to others.
const ROOM_BYTES_MIN: u64 = crate::log::HEADROOM_BYTES / 2;

const META: &[u8] = b"m";

/// How the store failed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryStoreError {
    /// sled says so.
    #[error("sled failed")]
    Sled(#[from] sled::Error),
    /// sled stopped with a panic.
    #[error("sled panicked: {0}")]
    Panicked(String),
    /// The disk is too full to write the index.
    #[error("the disk has no room for the history index")]
    NoRoom,
    /// A stored value is not what was stored.
    #[error("a stored value cannot be read")]
    MalformedValue(#[from] postcard::Error),
    /// A stored key is not what was stored.
    #[error("a stored key cannot be read")]
    MalformedKey,
    /// The folder can be neither emptied nor made.
    #[error("the folder of the history index cannot be emptied")]
    FolderIo(#[from] io::Error),
    /// It was closed by an earlier failure.
    #[error("the store is closed")]
    Closed,
}

impl HistoryStoreError {
    /// Whether this process may not open the store: it is no damage.
    fn is_denied(&self) -> bool {
        match self {
            Self::Sled(sled::Error::Io(why)) | Self::FolderIo(why) => {
                private::is_denied(why.kind())
            }
            Self::Sled(_)
            | Self::NoRoom
            | Self::Panicked(_)
            | Self::MalformedValue(_)
            | Self::MalformedKey
            | Self::Closed => false,
        }
    }
}

/// The store in its folder.
pub(super) struct HistoryStore {
    folder: PathBuf,
    /// `None` only when a new start in an empty folder has failed.
    db: RwLock<Option<Db>>,
}

impl HistoryStore {
    /// Opens what is there, or begins anew. What is damaged is set aside before; what is new, half
    /// loaded or of another format is not worth keeping.
    pub(super) fn open_or_begin_anew(
        folder: &Path,
        degraded: &DegradedParts,
    ) -> (Self, Result<Option<HistoryProgress>, HistoryStoreError>) {
        let store = Self {
            folder: folder.to_owned(),
            db: RwLock::new(None),
        };
        let applied = catch_panics(|| {
            let db = open_db(folder)?;
            let applied = read_progress(&db)?;
            *store.db.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
            Ok(applied)
        });
        let applied = match applied {
            Ok(Some(applied)) => Ok(Some(applied)),
            Ok(None) => store.wipe().map(|()| None),
            Err(why) if store.is_full(&why) || why.is_denied() => Err(why),
            Err(why) => store
                .set_aside(degraded, &why)
                .and_then(|()| store.wipe())
                .map(|()| None),
        };
        (store, applied)
    }

    /// Whether an error comes from a full disk, which sled does not always say.
    fn is_full(&self, why: &HistoryStoreError) -> bool {
        let io = match why {
            HistoryStoreError::Sled(sled::Error::Io(why)) | HistoryStoreError::FolderIo(why) => {
                Some(why.kind())
            }
            HistoryStoreError::NoRoom => return true,
            HistoryStoreError::Sled(_)
            | HistoryStoreError::Panicked(_)
            | HistoryStoreError::MalformedValue(_)
            | HistoryStoreError::MalformedKey
            | HistoryStoreError::Closed => return self.lacks_room(),
        };
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        io.is_some_and(|kind| full.contains(&kind)) || (io.is_some() && self.lacks_room())
    }

    fn set_aside(
        &self,
        degraded: &DegradedParts,
        why: &HistoryStoreError,
    ) -> Result<(), HistoryStoreError> {
        self.close();
        if self.folder.symlink_metadata().is_ok() {
            let why = crate::error_chain::error_chain(why);
            degraded.set_aside(Part::Views, &self.folder, &why)?;
        }
        Ok(())
    }

    /// Begins anew; what failed is set aside, unless it only lacked room, of which a copy would
    /// take more, or may not be opened by this user.
    pub(super) fn begin_anew(
        &self,
        degraded: &DegradedParts,
        why: Option<&HistoryStoreError>,
    ) -> Result<(), HistoryStoreError> {
        self.close();
        if let Some(why) = why
            && self.folder.join("db").exists()
            && !self.is_full(why)
            && !why.is_denied()
        {
            self.set_aside(degraded, why)?;
        }
        self.wipe()
    }

    pub(super) fn folder_path(&self) -> &Path {
        &self.folder
    }

    /// Files are moved and removed under no open handle; closing it may panic like all else.
    fn close(&self) {
        let old = self
            .db
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let closed = catch_panics(|| {
            drop(old);
            Ok(())
        });
        if let Err(why) = closed {
            tracing::debug!(%why, "closing a broken history index");
        }
    }

    /// Opens what is there and throws nothing away; `None` where it is no store of this format.
    pub(super) fn open_unchanged(
        folder: &Path,
    ) -> Result<Option<(Self, HistoryProgress)>, HistoryStoreError> {
        if !folder.join("db").exists() {
            return Ok(None);
        }
        catch_panics(|| {
            let db = open_db(folder)?;
            let applied = read_progress(&db)?;
            let store = Self {
                folder: folder.to_owned(),
                db: RwLock::new(Some(db)),
            };
            Ok(applied.map(|applied| (store, applied)))
        })
    }

    /// How many events it holds.
    pub(super) fn event_count(&self) -> Result<u64, HistoryStoreError> {
        self.with(|db| {
            let mut count = 0;
            for pair in db.scan_prefix(b"h") {
                pair?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// Starts anew in an empty folder.
    pub(super) fn wipe(&self) -> Result<(), HistoryStoreError> {
        self.close();
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        match std::fs::remove_dir_all(&self.folder) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why.into()),
        }
        std::fs::create_dir_all(&self.folder)?;
        *db = Some(catch_panics(|| open_db(&self.folder))?);
        Ok(())
    }

    /// Whether the disk is so full that writing might fail, which would break the store: then it
    /// pauses, and what it has not taken is read from RAM.
    pub(super) fn lacks_room(&self) -> bool {
        crate::log::free_bytes(&self.folder).is_ok_and(|free| free < ROOM_BYTES_MIN)
    }

    /// Takes one layer, whole or not at all.
    pub(super) fn apply_layer(&self, layer: &BacklogLayer) -> Result<(), HistoryStoreError> {
        let mut batch = batch_of(layer.events.iter().copied());
        batch.insert(META, encode_progress(layer.applied)?);
        self.with(|db| Ok(db.apply_batch(batch)?))
    }

    /// Takes everything, in several batches; only the last one says how far it has come.
    pub(super) fn load_all(
        &self,
        events: impl Iterator<Item = (Subject, u32, u64)>,
        applied: HistoryProgress,
    ) -> Result<(), HistoryStoreError> {
        self.with(|db| Ok(db.remove(META)?))?;
        let mut events = events.peekable();
        while events.peek().is_some() {
            let batch = batch_of(events.by_ref().take(LOADED_AT_ONCE));
            self.with(|db| Ok(db.apply_batch(batch)?))?;
        }
        let meta = encode_progress(applied)?;
        self.with(|db| {
            db.insert(META, meta)?;
            db.flush()?;
            Ok(())
        })
    }

    pub(super) fn flush(&self) -> Result<(), HistoryStoreError> {
        self.with(|db| {
            db.flush()?;
            Ok(())
        })
    }

    pub(super) fn progress(&self) -> Result<Option<HistoryProgress>, HistoryStoreError> {
        self.with(read_progress)
    }

    /// Versions and positions of a subject's events after version `after`.
    pub(super) fn positions_after(
        &self,
        subject: Subject,
        after: u32,
        limit: usize,
    ) -> Result<BTreeMap<u32, u64>, HistoryStoreError> {
        let Some(first) = after.checked_add(1) else {
            return Ok(BTreeMap::new());
        };
        let range = history_key(subject, first)..=history_key(subject, u32::MAX);
        self.with(|db| {
            let mut events = BTreeMap::new();
            for pair in db.range(range).take(limit) {
                let (key, value) = pair?;
                let version = key.last_chunk().ok_or(HistoryStoreError::MalformedKey)?;
                let position = value.first_chunk().ok_or(HistoryStoreError::MalformedKey)?;
                events.insert(u32::from_be_bytes(*version), u64::from_be_bytes(*position));
            }
            Ok(events)
        })
    }

    fn with<T>(
        &self,
        ask: impl FnOnce(&Db) -> Result<T, HistoryStoreError>,
    ) -> Result<T, HistoryStoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        match &*db {
            Some(db) => catch_panics(|| ask(db)),
            None => Err(HistoryStoreError::Closed),
        }
    }
}

fn batch_of(events: impl Iterator<Item = (Subject, u32, u64)>) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for (subject, version, position) in events {
        let key = history_key(subject, version);
        batch.insert(key.as_slice(), position.to_be_bytes().as_slice());
    }
    batch
}

pub(super) fn open_db(folder: &Path) -> Result<Db, HistoryStoreError> {
    await_release(folder)?;
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES);
    Ok(config.open()?)
}

/// sled's threads let go of its file a little after its handle is dropped; who opens it before
/// that is refused. The lock that sled takes is waited for and given back.
fn await_release(folder: &Path) -> io::Result<()> {
    match std::fs::File::open(folder.join("db")) {
        Ok(file) => {
            file.lock()?;
            file.unlock()
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

/// How far the store has come, if it is of this format.
fn read_progress(db: &Db) -> Result<Option<HistoryProgress>, HistoryStoreError> {
    let Some(meta) = db.get(META)? else {
        return Ok(None);
    };
    let (format, rest): (u32, &[u8]) = postcard::take_from_bytes(&meta)?;
    if format != HISTORY_FORMAT {
        return Ok(None);
    }
    let (position, root) = postcard::from_bytes(rest)?;
    Ok(Some(HistoryProgress { position, root }))
}

fn encode_progress(applied: HistoryProgress) -> Result<Vec<u8>, HistoryStoreError> {
    let meta = (HISTORY_FORMAT, applied.position, applied.root);
    Ok(postcard::to_stdvec(&meta)?)
}

fn catch_panics<T>(
    ask: impl FnOnce() -> Result<T, HistoryStoreError>,
) -> Result<T, HistoryStoreError> {
    crate::panics::caught(ask).unwrap_or_else(|why| Err(HistoryStoreError::Panicked(why)))
}

fn history_key(subject: Subject, version: u32) -> [u8; 22] {
    let (kind, id) = match subject {
        Subject::Ledger(id) => (1, id.0),
        Subject::Organization(id) => (2, id.ulid().to_bytes()),
        Subject::Project(id) => (3, id.ulid().to_bytes()),
        Subject::Member(id) => (4, id.ulid().to_bytes()),
        Subject::ServiceAccount(id) => (5, id.ulid().to_bytes()),
        Subject::Credential(id) => (6, id.ulid().to_bytes()),
        Subject::Session(id) => (7, id.ulid().to_bytes()),
        Subject::WebhookEndpoint(id) => (8, id.ulid().to_bytes()),
    };
    let mut key = [0; 22];
    let parts = [b"h".as_slice(), &[kind], &id, &version.to_be_bytes()];
    let bytes = parts.into_iter().flatten();
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    key
}
