//! The keys folder, `DATA/keys/`.
//!
//! It holds `master` (unless it lies outside), `log` (the log's id), `digest`, `signing` (after
//! rotations `signing-2`, `signing-3` too), and one file per data key named by its id, each
//! wrapped by the master key. A data key that was destroyed is never written again; one that is
//! absent without that is missing, which the ledger reports. Data keys are read when they are first
//! needed; the ledger asks for each when it is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use super::SealError;
use super::keys_folder::{self, FolderContent};
use super::sealed_value::{SEAL_NONCE_BYTES, SealContext, SealedValue};
use super::secret::{DataKeyId, SecretBytes, SecretKey};
use super::wrapped_key::{FIRST_SIGNING_KEY, KeyFileName, MasterKey};
use crate::clock::Entropy;

/// How many data keys stay in memory: at about 100 bytes each, 6.5 MB. Beyond, the oldest goes.
const CACHED_KEYS_MAX: usize = 65_536;

pub(super) const LOG_ID_FILE: &str = "log";
pub(super) const MASTER_KEY_FILE: &str = "master";

/// What became of a sealed value.
#[derive(Debug, Eq, PartialEq)]
pub enum OpenedValue {
    /// The value.
    Plain(SecretBytes),
    /// Its data key is destroyed.
    Erased,
    /// Its data key is not there, although it was not destroyed.
    KeyMissing,
}

/// The open keys folder. Shared behind an `Arc`.
pub struct KeyStore {
    dir: PathBuf,
    log_id: [u8; 16],
    master: MasterKey,
    /// The first one, then those that took its place.
    signing: (SigningKey, Vec<SigningKey>),
    pub(super) digest: SecretKey,
    /// Held while files come or go, before the cache's lock.
    changing: Mutex<()>,
    cache: RwLock<BTreeMap<DataKeyId, Arc<SecretKey>>>,
    /// Keys that are destroyed for ever: 16 bytes for each erased person.
    destroyed: RwLock<BTreeSet<DataKeyId>>,
}

impl KeyStore {
    /// Creates the keys folder of a new log: whole or not at all. The master key is read from
    /// `master_file` if that exists, else made and written there, or into the folder.
    ///
    /// # Errors
    /// [`SealError::FolderNotEmpty`] when there is one, and what the file system says.
    pub fn create(
        dir: &Path,
        master_file: Option<&Path>,
        log_id: [u8; 16],
        entropy: &mut Entropy,
    ) -> Result<Self, SealError> {
        if keys_folder::folder_content(dir)? == FolderContent::NotEmpty {
            return Err(SealError::FolderNotEmpty {
                path: dir.to_path_buf(),
            });
        }
        let mut keys = BTreeMap::new();
        for name in [KeyFileName::Digest, FIRST_SIGNING_KEY] {
            keys.insert(name, new_key(entropy));
        }
        install_keys_folder(
            dir,
            master_file,
            &KeyFolderContents { log_id, keys },
            entropy,
        )?;
        Self::open(dir, master_file)
    }

    /// Opens the keys folder. Reads `master`, `log`, `digest` and the signing keys, no data key.
    ///
    /// # Errors
    /// [`SealError::FolderMissing`], [`SealError::FileMissing`], [`SealError::ModeTooOpen`],
    /// [`SealError::WrongMasterKey`], [`SealError::Damaged`], and what the file system says.
    pub fn open(dir: &Path, master_file: Option<&Path>) -> Result<Self, SealError> {
        let master = open_master_key(dir, master_file)?;
        let log_id = read_log_id(dir, &master)?.ok_or_else(|| file_missing(dir, LOG_ID_FILE))?;
        let required = |name: KeyFileName| {
            read_key(dir, &master, name)?.ok_or_else(|| file_missing(dir, &name.to_string()))
        };
        let first = SigningKey::from_bytes(required(FIRST_SIGNING_KEY)?.expose());
        let signing = (first, later_signing_keys(dir, &master)?);
        let digest = required(KeyFileName::Digest)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            log_id,
            master,
            signing,
            digest,
            changing: Mutex::new(()),
            cache: RwLock::new(BTreeMap::new()),
            destroyed: RwLock::new(BTreeSet::new()),
        })
    }

    /// The log whose keys these are.
    pub fn log_id(&self) -> [u8; 16] {
        self.log_id
    }

    /// Makes a data key. It is durable when this returns, so the event that needs it may follow.
    ///
    /// # Errors
    /// [`SealError::DataKeyExists`], and what the file system says; then no event may use the id.
    pub fn create_data_key(&self, id: DataKeyId, entropy: &mut Entropy) -> Result<(), SealError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(id.to_string());
        if path
            .try_exists()
            .map_err(SealError::io("look for", &path))?
        {
            return Err(SealError::DataKeyExists(id));
        }
        let key = new_key(entropy);
        let text = self
            .master
            .wrap_secret(&id.to_string(), key.expose(), entropy.random_bytes());
        keys_folder::write_new_file(&path, text.as_bytes())?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache_data_key(&mut cache, id, Arc::new(key));
        Ok(())
    }

    /// Makes a data key in the place of one that is missing or damaged. What the old one sealed
    /// stays unavailable.
    ///
    /// # Errors
    /// [`SealError::DataKeyExists`] when the old one can be read, and what the file system says.
    pub fn replace_unusable_data_key(
        &self,
        id: DataKeyId,
        entropy: &mut Entropy,
    ) -> Result<(), SealError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_data_key_destroyed(id)
            || matches!(self.read_key_uncached(KeyFileName::Data(id)), Ok(Some(_)))
        {
            return Err(SealError::DataKeyExists(id));
        }
        let name = id.to_string();
        let text =
            self.master
                .wrap_secret(&name, new_key(entropy).expose(), entropy.random_bytes());
        keys_folder::stage_file(&self.dir, &name, text.as_bytes())?;
        keys_folder::replace_with_staged_file(&self.dir, &name)?;
        keys_folder::sync_folder(&self.dir)
    }

    /// Where the file of a data key is.
    pub fn data_key_path(&self, id: DataKeyId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Whether a data key is destroyed for ever.
    pub fn is_data_key_destroyed(&self, id: DataKeyId) -> bool {
        let destroyed = self
            .destroyed
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        destroyed.contains(&id)
    }

    /// A data key, or `None` when it is destroyed or missing.
    ///
    /// # Errors
    /// When its file is there and cannot be used, or the whole folder is gone.
    pub fn data_key(&self, id: DataKeyId) -> Result<Option<Arc<SecretKey>>, SealError> {
        {
            let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = cache.get(&id) {
                return Ok(Some(Arc::clone(key)));
            }
        }
        if self.is_data_key_destroyed(id) {
            return Ok(None);
        }
        // The file is read under the lock that `destroy` unlinks under: a key read just before
        // it went must not be remembered just after.
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let Some(key) = read_key(&self.dir, &self.master, KeyFileName::Data(id))? else {
            // A lost mount must not pass for the erasure of everyone.
            let log = self.dir.join(LOG_ID_FILE);
            return match keys_folder::read_key_file(&log)? {
                Some(_) => Ok(None),
                None => Err(SealError::FolderMissing {
                    path: self.dir.clone(),
                }),
            };
        };
        let key = Arc::new(key);
        cache_data_key(&mut cache, id, Arc::clone(&key));
        Ok(Some(key))
    }

    /// Destroys a data key: what it sealed is erased for ever. One that is gone stays gone.
    /// With the master key and the disk's freed blocks the wrapped form may still be found.
    ///
    /// # Errors
    /// What the file system says; then the file is still there, must be removed, and opens
    /// nothing here meanwhile.
    pub fn destroy_data_key(&self, id: DataKeyId) -> Result<(), SealError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
            cache.remove(&id);
            self.destroyed
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id);
            keys_folder::remove_file_or_tree(&self.dir.join(id.to_string()))?;
        }
        keys_folder::sync_folder(&self.dir)
    }

    /// Notes which keys are destroyed, as the log says; [`Self::destroy_data_key`] notes its own.
    pub fn mark_data_keys_destroyed(&self, ids: impl IntoIterator<Item = DataKeyId>) {
        let mut destroyed = self
            .destroyed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        destroyed.extend(ids);
    }

    /// The ids of all data keys, in order. Lists the folder.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list_data_key_ids(&self) -> Result<Vec<DataKeyId>, SealError> {
        let mut ids: Vec<DataKeyId> = keys_folder::list_finished_names(&self.dir)?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Removes what a stopped run left half-written. Only for the holder of the data folder's
    /// lock: the temporary files of a running server look the same.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_leftovers(&self) -> Result<(), SealError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        keys_folder::remove_tree_if_any(&keys_folder::staging_folder_path(&self.dir))?;
        keys_folder::remove_temporary_files(&self.dir)
    }

    /// The key that signed the first checkpoints.
    pub fn first_signing_key(&self) -> &SigningKey {
        &self.signing.0
    }

    /// All keys that have signed checkpoints when the folder was opened, the first one first. A
    /// last one may be there of which the log does not know yet.
    pub fn signing_keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.signing.0).chain(&self.signing.1)
    }

    /// The `number`-th signing key, counted from 1: the one that is there, else a new one. It is
    /// durable when this returns, so the event that names it may follow.
    ///
    /// # Errors
    /// What the file system says, and when the file is there and cannot be used.
    pub fn signing_key_or_create(
        &self,
        number: u32,
        entropy: &mut Entropy,
    ) -> Result<SigningKey, SealError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let name = KeyFileName::Signing(number);
        if let Some(key) = self.read_key_uncached(name)? {
            return Ok(SigningKey::from_bytes(key.expose()));
        }
        let key = new_key(entropy);
        let text = self
            .master
            .wrap_secret(&name.to_string(), key.expose(), entropy.random_bytes());
        keys_folder::write_new_file(&self.dir.join(name.to_string()), text.as_bytes())?;
        Ok(SigningKey::from_bytes(key.expose()))
    }

    /// Seals `plain` under the data key `id`. The nonce comes from the facts, new for each value.
    ///
    /// # Errors
    /// [`SealError::KeyUnavailable`], [`SealError::ValueTooLong`], and those of [`Self::data_key`].
    pub fn seal(
        &self,
        id: DataKeyId,
        plain: &[u8],
        nonce: [u8; SEAL_NONCE_BYTES],
        context: SealContext<'_>,
    ) -> Result<SealedValue, SealError> {
        let key = self.data_key(id)?.ok_or(SealError::KeyUnavailable(id))?;
        SealedValue::seal(id, &key, plain, nonce, context)
    }

    /// Opens a sealed value in its place.
    ///
    /// # Errors
    /// [`SealError::NotAuthentic`], and those of [`Self::data_key`].
    pub fn open_sealed(
        &self,
        sealed: &SealedValue,
        context: SealContext<'_>,
    ) -> Result<OpenedValue, SealError> {
        match self.data_key(sealed.key_id)? {
            Some(key) => sealed.open(&key, context),
            None if self.is_data_key_destroyed(sealed.key_id) => Ok(OpenedValue::Erased),
            None => Ok(OpenedValue::KeyMissing),
        }
    }

    /// The secret behind a name, past the cache.
    pub(super) fn read_key_uncached(
        &self,
        name: KeyFileName,
    ) -> Result<Option<SecretKey>, SealError> {
        read_key(&self.dir, &self.master, name)
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("dir", &self.dir)
            .field("log_id", &hex::encode(self.log_id))
            .finish_non_exhaustive()
    }
}

/// Everything a keys folder holds, opened.
#[derive(Debug)]
pub(super) struct KeyFolderContents {
    pub(super) log_id: [u8; 16],
    pub(super) keys: BTreeMap<KeyFileName, SecretKey>,
}

/// Builds a keys folder beside its place and moves it there when it is complete and synced.
pub(super) fn install_keys_folder(
    dir: &Path,
    master_file: Option<&Path>,
    contents: &KeyFolderContents,
    entropy: &mut Entropy,
) -> Result<(), SealError> {
    let work = keys_folder::staging_folder_path(dir);
    keys_folder::recreate_empty_folder(&work)?;
    let master = match master_file {
        Some(path) if path.try_exists().map_err(SealError::io("look for", path))? => {
            read_outside_master_key(path)?
        }
        Some(path) => create_master_key(path, entropy)?,
        None => create_master_key(&work.join(MASTER_KEY_FILE), entropy)?,
    };
    let log = master.wrap_secret(LOG_ID_FILE, &contents.log_id, entropy.random_bytes());
    keys_folder::stage_file(&work, LOG_ID_FILE, log.as_bytes())?;
    keys_folder::name_staged_file(&work, LOG_ID_FILE)?;
    for (name, key) in &contents.keys {
        let name = name.to_string();
        let text = master.wrap_secret(&name, key.expose(), entropy.random_bytes());
        keys_folder::stage_file(&work, &name, text.as_bytes())?;
        keys_folder::name_staged_file(&work, &name)?;
    }
    keys_folder::rename_folder_and_sync(&work, dir)
}

/// The master key of an existing folder.
pub(super) fn open_master_key(
    dir: &Path,
    master_file: Option<&Path>,
) -> Result<MasterKey, SealError> {
    if keys_folder::folder_content(dir)? == FolderContent::Missing {
        return Err(SealError::FolderMissing {
            path: dir.to_path_buf(),
        });
    }
    crate::private::restrict(dir).map_err(SealError::io("list", dir))?;
    match master_file {
        Some(path) => read_outside_master_key(path),
        None => read_master_key(&dir.join(MASTER_KEY_FILE)),
    }
}

/// The log id in a keys folder, if its file is there.
pub(super) fn read_log_id(dir: &Path, master: &MasterKey) -> Result<Option<[u8; 16]>, SealError> {
    let path = dir.join(LOG_ID_FILE);
    let text = keys_folder::read_key_file(&path)?;
    text.map(|text| Ok(*master.unwrap_secret(&path, LOG_ID_FILE, &text)?))
        .transpose()
}

/// The key in a file of a keys folder, if the file is there.
pub(super) fn read_key(
    dir: &Path,
    master: &MasterKey,
    name: KeyFileName,
) -> Result<Option<SecretKey>, SealError> {
    let path = dir.join(name.to_string());
    let text = keys_folder::read_key_file(&path)?;
    text.map(|text| {
        Ok(SecretKey::new(master.unwrap_secret(
            &path,
            &name.to_string(),
            &text,
        )?))
    })
    .transpose()
}

/// The signing keys after the first, as far as they go without a gap.
fn later_signing_keys(dir: &Path, master: &MasterKey) -> Result<Vec<SigningKey>, SealError> {
    let mut keys = Vec::new();
    for number in 2.. {
        match read_key(dir, master, KeyFileName::Signing(number))? {
            Some(key) => keys.push(SigningKey::from_bytes(key.expose())),
            None => break,
        }
    }
    Ok(keys)
}

/// A master key that is kept outside of the data folder, whose modes are not ours to set.
fn read_outside_master_key(path: &Path) -> Result<MasterKey, SealError> {
    let master = read_master_key(path)?;
    // A group may share a mounted secret with its service; the rest of the machine may not.
    keys_folder::refuse_mode_bits(path, 0o007)?;
    Ok(master)
}

pub(super) fn read_master_key(path: &Path) -> Result<MasterKey, SealError> {
    let text = keys_folder::read_key_file(path)?.ok_or_else(|| SealError::FileMissing {
        path: path.to_path_buf(),
    })?;
    MasterKey::parse_file_text(path, &text)
}

fn create_master_key(path: &Path, entropy: &mut Entropy) -> Result<MasterKey, SealError> {
    let master = MasterKey::new(new_key(entropy));
    keys_folder::write_new_file(path, master.to_file_text().as_bytes())?;
    Ok(master)
}

fn new_key(entropy: &mut Entropy) -> SecretKey {
    let mut key = Zeroizing::new([0; 32]);
    entropy.fill_random(key.as_mut_slice());
    SecretKey::new(key)
}

fn file_missing(dir: &Path, name: &str) -> SealError {
    SealError::FileMissing {
        path: dir.join(name),
    }
}

fn cache_data_key(
    cache: &mut BTreeMap<DataKeyId, Arc<SecretKey>>,
    id: DataKeyId,
    key: Arc<SecretKey>,
) {
    if cache.len() >= CACHED_KEYS_MAX {
        cache.pop_first();
    }
    cache.insert(id, key);
}
