//! Reading an export back into a keys folder.
//!
//! Everything is read, checked and compared before
//! anything is written. A new folder is built beside its place and appears whole. In a folder
//! with keys no key that can be read is ever replaced, whether the export has it or not: files that
//! are missing or damaged are staged and synced first and then named, so a crash between leaves a
//! folder that the same import completes. A folder whose own master key is lost is set aside whole
//! and made anew.
//!
//! An export may hold keys that were destroyed after it was made. A caller that imports one beside
//! an existing log must destroy again every key that the log says is erased.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use age::armor::ArmoredReader;
use age::secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SealError;
use super::key_export::{EXPORT_HEAD_LINE, EXPORT_KEYS_MAX, SCRYPT_WORK_FACTOR_MAX};
use super::key_store::{
    KeyFolderContents, LOG_ID_FILE, install_keys_folder, open_master_key, read_key, read_log_id,
};
use super::keys_folder::{self, FolderContent};
use super::secret::SecretKey;
use super::wrapped_key::{FIRST_SIGNING_KEY, KeyFileName, MasterKey};
use crate::clock::Entropy;

/// The longest line is a data key's: `key`, 29 of id, 64 of hex, two spaces and the end.
const LINE_BYTES_MAX: u64 = 99;

/// Keys beside the data keys: the digest key, and more signing keys than a ledger may have.
const FIXED_KEYS_MAX: usize = 200;

/// How an export is decrypted.
pub enum ExportDecryption {
    Passphrase(SecretString),
    /// One of these identities, `AGE-SECRET-KEY-1...`.
    Identities(Vec<age::x25519::Identity>),
}

impl fmt::Debug for ExportDecryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
            Self::Identities(_) => f.write_str("Identities(..)"),
        }
    }
}

/// Where an import goes.
#[derive(Clone, Copy, Debug)]
pub struct KeyImportTarget<'a> {
    /// The keys folder: missing, empty, or one of the same log.
    pub dir: &'a Path,
    /// The master key file outside it, if it is outside; made when there is none.
    pub master_file: Option<&'a Path>,
    /// The id of the log beside the folder, if there is one.
    pub log_id: Option<[u8; 16]>,
}

/// What an import did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyImportReport {
    /// The log whose keys these are.
    pub log_id: [u8; 16],
    /// How many data keys the export held.
    pub data_keys: usize,
    /// How many files were written; 0 when the folder had them all.
    pub written: usize,
    /// How many of those took the place of a damaged file.
    pub replaced: usize,
    /// How many data and signing keys of the folder the export lacks or has otherwise: kept.
    pub kept: usize,
    /// The files that are damaged still, since the export lacks their keys.
    pub damaged: Vec<PathBuf>,
    /// Where the old folder is now, if its master key was lost.
    pub set_aside: Option<PathBuf>,
}

/// Imports an export, also one that age has armored since.
///
/// # Errors
/// [`SealError::Decrypt`], [`SealError::MalformedExport`], [`SealError::WrongLog`], those of a
/// master key outside the folder, and [`SealError::KeyDiffers`], after which nothing is changed;
/// and what the file system says.
pub fn import_keys(
    target: KeyImportTarget<'_>,
    with: &ExportDecryption,
    from: impl Read,
    entropy: &mut Entropy,
) -> Result<KeyImportReport, SealError> {
    let contents = read_export(with, from)?;
    if let Some(log_id) = target.log_id {
        check_same_log(contents.log_id, log_id)?;
    }
    let master = match keys_folder::folder_content(target.dir)? {
        FolderContent::Missing | FolderContent::Empty => None,
        FolderContent::NotEmpty => usable_master(target)?,
    };
    let mut done = match master {
        Some(master) => complete_folder(target.dir, &master, &contents, entropy)?,
        None => install_anew(target, &contents, entropy)?,
    };
    done.log_id = contents.log_id;
    let names = contents.keys.keys();
    let data_keys = names.filter(|name| matches!(name, KeyFileName::Data(_)));
    done.data_keys = data_keys.count();
    Ok(done)
}

/// The master key of a folder with keys; `None` when it lay in the folder and is lost.
fn usable_master(target: KeyImportTarget<'_>) -> Result<Option<MasterKey>, SealError> {
    let is_inside = target.master_file.is_none();
    let master = match open_master_key(target.dir, target.master_file) {
        Err(SealError::FileMissing { .. } | SealError::Damaged { .. }) if is_inside => {
            return Ok(None);
        }
        other => other?,
    };
    match read_log_id(target.dir, &master) {
        Err(SealError::WrongMasterKey { .. }) if is_inside => Ok(None),
        Err(why @ SealError::WrongMasterKey { .. }) => Err(why),
        Ok(_) | Err(_) => Ok(Some(master)),
    }
}

/// Makes the folder, after what is there was set aside.
fn install_anew(
    target: KeyImportTarget<'_>,
    contents: &KeyFolderContents,
    entropy: &mut Entropy,
) -> Result<KeyImportReport, SealError> {
    let set_aside = match keys_folder::folder_content(target.dir)? {
        FolderContent::Missing | FolderContent::Empty => None,
        FolderContent::NotEmpty => Some(keys_folder::set_aside_as_unusable(target.dir)?),
    };
    install_keys_folder(target.dir, target.master_file, contents, entropy)?;
    Ok(KeyImportReport {
        written: contents.keys.len() + 1,
        set_aside,
        ..KeyImportReport::default()
    })
}

/// Adds what a folder lacks and replaces what is damaged.
fn complete_folder(
    dir: &Path,
    master: &MasterKey,
    contents: &KeyFolderContents,
    entropy: &mut Entropy,
) -> Result<KeyImportReport, SealError> {
    let mut done = KeyImportReport::default();
    let mut write = Vec::new();
    match read_log_id(dir, master) {
        Ok(Some(log_id)) => check_same_log(contents.log_id, log_id)?,
        Ok(None) => write.push((LOG_ID_FILE.to_owned(), contents.log_id.as_slice())),
        Err(_) => {
            done.replaced += 1;
            write.push((LOG_ID_FILE.to_owned(), contents.log_id.as_slice()));
        }
    }
    let present = keys_folder::list_finished_names(dir)?;
    let present = present.iter().filter_map(|name| KeyFileName::parse(name));
    let mut names: BTreeSet<KeyFileName> = present.collect();
    names.extend(contents.keys.keys().copied());
    for name in names {
        let theirs = contents.keys.get(&name);
        match (read_key(dir, master, name), theirs) {
            (Ok(Some(ours)), Some(theirs)) if ours.expose() == theirs.expose() => {}
            // One that was made later, or in the place of one that was lost.
            (Ok(Some(_)), None) => done.kept += 1,
            (Ok(Some(_)), Some(_)) if matches!(name, KeyFileName::Data(_)) => done.kept += 1,
            (Ok(Some(_)), Some(_)) => {
                let name = name.to_string();
                return Err(SealError::KeyDiffers { name });
            }
            (Ok(None), Some(theirs)) => write.push((name.to_string(), theirs.expose().as_slice())),
            (Err(_), Some(theirs)) => {
                done.replaced += 1;
                write.push((name.to_string(), theirs.expose().as_slice()));
            }
            (Err(_), None) => done.damaged.push(dir.join(name.to_string())),
            (Ok(None), None) => {}
        }
    }
    for (name, secret) in &write {
        let text = master.wrap_secret(name, secret, entropy.random_bytes());
        keys_folder::stage_file(dir, name, text.as_bytes())?;
    }
    for (name, _) in &write {
        keys_folder::replace_with_staged_file(dir, name)?;
    }
    keys_folder::sync_folder(dir)?;
    done.written = write.len();
    Ok(done)
}

fn check_same_log(export: [u8; 16], folder: [u8; 16]) -> Result<(), SealError> {
    if export == folder {
        return Ok(());
    }
    Err(SealError::WrongLog {
        export: hex::encode(export),
        folder: hex::encode(folder),
    })
}

fn read_export(with: &ExportDecryption, from: impl Read) -> Result<KeyFolderContents, SealError> {
    // Whether it is armored shows in its first bytes.
    let from = ArmoredReader::new(from);
    let decryptor = age::Decryptor::new(from).map_err(SealError::Decrypt)?;
    let text = match with {
        ExportDecryption::Passphrase(passphrase) => {
            let mut identity = age::scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(SCRYPT_WORK_FACTOR_MAX);
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
        }
        ExportDecryption::Identities(identities) => {
            decryptor.decrypt(identities.iter().map(|one| one as &dyn age::Identity))
        }
    };
    let mut lines = Lines {
        from: BufReader::new(text.map_err(SealError::Decrypt)?),
        line: Zeroizing::new(String::with_capacity(128)),
        number: 0,
        digest: Sha256::new(),
    };
    lines.read_all()
}

struct Lines<R> {
    from: BufReader<R>,
    /// The current line with its end, in a buffer that never grows and so leaves no copies.
    line: Zeroizing<String>,
    number: usize,
    digest: Sha256,
}

impl<R: Read> Lines<R> {
    fn read_all(&mut self) -> Result<KeyFolderContents, SealError> {
        if !self.next()? || self.line.as_str() != EXPORT_HEAD_LINE {
            return Err(self.bad("not a keys export of version 1"));
        }
        let mut log_id = [0; 16];
        self.next()?;
        let digits = self.field("log ");
        if digits.is_none_or(|digits| hex::decode_to_slice(digits, &mut log_id).is_err()) {
            return Err(self.bad("no log id"));
        }
        let mut keys = BTreeMap::new();
        loop {
            if !self.next()? {
                return Err(self.bad("the export is cut short"));
            }
            if let Some(end) = self.field("end ") {
                let above: [u8; 32] = self.digest.clone().finalize().into();
                if end != hex::encode(above) {
                    return Err(self.bad("the digest does not fit"));
                }
                break;
            }
            let (name, key) = self.key().ok_or_else(|| self.bad("not a key"))?;
            if keys.insert(name, key).is_some() {
                return Err(self.bad("a key is given more than once"));
            }
            if keys.len() > EXPORT_KEYS_MAX + FIXED_KEYS_MAX {
                return Err(self.bad("too many keys"));
            }
        }
        if self.next()? {
            return Err(self.bad("text after the end"));
        }
        if !keys.contains_key(&KeyFileName::Digest) || !keys.contains_key(&FIRST_SIGNING_KEY) {
            return Err(self.bad("the signing or the digest key is missing"));
        }
        Ok(KeyFolderContents { log_id, keys })
    }

    /// Reads the next line; `false` at the end. The digest is then that of all lines above it.
    fn next(&mut self) -> Result<bool, SealError> {
        self.digest.update(self.line.as_bytes());
        self.line.clear();
        self.number += 1;
        let mut limited = self.from.by_ref().take(LINE_BYTES_MAX);
        let read = limited.read_line(&mut self.line).map_err(read_failed)?;
        Ok(read > 0)
    }

    fn field(&self, label: &str) -> Option<&str> {
        self.line.strip_prefix(label)?.strip_suffix('\n')
    }

    fn key(&self) -> Option<(KeyFileName, SecretKey)> {
        let (name, digits) = self.field("key ")?.split_once(' ')?;
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, key.as_mut_slice()).ok()?;
        Some((KeyFileName::parse(name)?, SecretKey::new(key)))
    }

    fn bad(&self, what: &'static str) -> SealError {
        SealError::MalformedExport {
            line: self.number,
            what,
        }
    }
}

fn read_failed(source: io::Error) -> SealError {
    SealError::ExportStream {
        doing: "read",
        source,
    }
}
