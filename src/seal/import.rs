//! Reading an export back into a keys folder.
//!
//! Everything is read, checked and compared before
//! anything is written. A new folder is built beside its place and appears whole. In a folder
//! with keys nothing is ever replaced: the missing files are staged and synced first and then
//! named, so a crash between leaves a folder that the same import completes.
//!
//! An export may hold keys that were destroyed after it was made. Whoever imports one beside an
//! existing log must destroy again every key that the log says is erased.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use age::secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SealError;
use super::export::{EXPORT_KEYS_MAX, HEAD_LINE, WORK_FACTOR_MAX};
use super::folder::{self, Found};
use super::keys::{Contents, LOG_FILE, install, open_master, read_key, read_log_id};
use super::secret::DataKey;
use super::wrapped::{FIRST_SIGNING, KeyName};
use crate::clock::Entropy;

/// The longest line is a data key's: `key`, 29 of id, 64 of hex, two spaces and the end.
const LINE_BYTES_MAX: u64 = 99;

/// Keys beside the data keys: the digest key, and more signing keys than a ledger may have.
const FIXED_KEYS_MAX: usize = 200;

/// What opens an export.
pub enum DecryptWith {
    /// Its passphrase.
    Passphrase(SecretString),
    /// One of these identities, `AGE-SECRET-KEY-1...`.
    Identities(Vec<age::x25519::Identity>),
}

impl fmt::Debug for DecryptWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
            Self::Identities(_) => f.write_str("Identities(..)"),
        }
    }
}

/// Where an import goes.
#[derive(Clone, Copy, Debug)]
pub struct ImportTarget<'a> {
    /// The keys folder: missing, empty, or one of the same log.
    pub dir: &'a Path,
    /// The master key file outside it, if it is outside; made when there is none.
    pub master_file: Option<&'a Path>,
    /// The id of the log beside the folder, if there is one.
    pub log_id: Option<[u8; 16]>,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Imported {
    /// The log whose keys these are.
    pub log_id: [u8; 16],
    /// How many data keys the export held.
    pub data_keys: usize,
    /// How many files were written; 0 when the folder had them all.
    pub written: usize,
}

/// Imports an export.
///
/// # Errors
/// [`SealError::Decrypt`], [`SealError::BadExport`], [`SealError::OtherLog`] and
/// [`SealError::KeyDiffers`], after which nothing is changed; and what the file system says.
pub fn import_keys(
    target: ImportTarget<'_>,
    with: &DecryptWith,
    from: impl Read,
    entropy: &mut Entropy,
) -> Result<Imported, SealError> {
    let contents = read_export(with, from)?;
    if let Some(log_id) = target.log_id {
        same_log(contents.log_id, log_id)?;
    }
    let written = match folder::look(target.dir)? {
        Found::Nothing | Found::Empty => {
            install(target.dir, target.master_file, &contents, entropy)?;
            contents.keys.len() + 1
        }
        Found::Full => complete(target, &contents, entropy)?,
    };
    let names = contents.keys.keys();
    let data_keys = names.filter(|name| matches!(name, KeyName::Data(_)));
    Ok(Imported {
        log_id: contents.log_id,
        data_keys: data_keys.count(),
        written,
    })
}

/// Adds what a folder lacks, provided that it has nothing that the export has not.
fn complete(
    target: ImportTarget<'_>,
    contents: &Contents,
    entropy: &mut Entropy,
) -> Result<usize, SealError> {
    let dir = target.dir;
    let master = open_master(dir, target.master_file)?;
    let mut missing = Vec::new();
    match read_log_id(dir, &master)? {
        Some(log_id) => same_log(contents.log_id, log_id)?,
        None => missing.push((LOG_FILE.to_owned(), contents.log_id.as_slice())),
    }
    let present = folder::names(dir)?;
    for name in present.iter().filter_map(|name| KeyName::parse(name)) {
        let ours = read_key(dir, &master, name)?;
        let theirs = contents.keys.get(&name);
        if ours.as_ref().map(DataKey::expose) != theirs.map(DataKey::expose) {
            return Err(SealError::KeyDiffers {
                name: name.to_string(),
            });
        }
    }
    for (name, key) in &contents.keys {
        let name = name.to_string();
        if !present.contains(&name) {
            missing.push((name, key.expose().as_slice()));
        }
    }
    for (name, secret) in &missing {
        let text = master.wrap(name, secret, entropy.bytes());
        folder::stage(dir, name, text.as_bytes())?;
    }
    for (name, _) in &missing {
        folder::publish(dir, name)?;
    }
    folder::sync_folder(dir)?;
    Ok(missing.len())
}

fn same_log(export: [u8; 16], folder: [u8; 16]) -> Result<(), SealError> {
    if export == folder {
        return Ok(());
    }
    Err(SealError::OtherLog {
        export: hex::encode(export),
        folder: hex::encode(folder),
    })
}

fn read_export(with: &DecryptWith, from: impl Read) -> Result<Contents, SealError> {
    let decryptor = age::Decryptor::new(from).map_err(SealError::Decrypt)?;
    let text = match with {
        DecryptWith::Passphrase(passphrase) => {
            let mut identity = age::scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(WORK_FACTOR_MAX);
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
        }
        DecryptWith::Identities(identities) => {
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
    fn read_all(&mut self) -> Result<Contents, SealError> {
        if !self.next()? || self.line.as_str() != HEAD_LINE {
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
                return Err(self.bad("it ends early"));
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
                return Err(self.bad("a key stands twice"));
            }
            if keys.len() > EXPORT_KEYS_MAX + FIXED_KEYS_MAX {
                return Err(self.bad("too many keys"));
            }
        }
        if self.next()? {
            return Err(self.bad("text after the end"));
        }
        if !keys.contains_key(&KeyName::Digest) || !keys.contains_key(&FIRST_SIGNING) {
            return Err(self.bad("the signing or the digest key is missing"));
        }
        Ok(Contents { log_id, keys })
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

    fn key(&self) -> Option<(KeyName, DataKey)> {
        let (name, digits) = self.field("key ")?.split_once(' ')?;
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, key.as_mut_slice()).ok()?;
        Some((KeyName::parse(name)?, DataKey::new(key)))
    }

    fn bad(&self, what: &'static str) -> SealError {
        SealError::BadExport {
            line: self.number,
            what,
        }
    }
}

fn read_failed(source: io::Error) -> SealError {
    SealError::Stream {
        doing: "read",
        source,
    }
}
