//! Sealed values and the keys that open them.
//!
//! This module owns `DATA/keys/`: no other module reads
//! or writes there. It must never draw a nonce for a sealed value, append to the log, or let a
//! key leave in a form that prints. Plain values flow in and sealed ones out on the way to the
//! log; back on the way from it, as text or as erased.

pub(crate) mod cursor_key;
pub mod data_key_files;
pub mod key_export;
pub mod key_import;
pub mod key_store;
pub mod sealed_value;
pub mod secret;

mod command_digests;
mod keys_folder;
mod wrapped_key;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use data_key_files::DataKeyFiles;
pub use key_export::{ExportEncryption, KeyExportReport, export_keys};
pub use key_import::{ExportDecryption, KeyImportReport, KeyImportTarget, import_keys};
pub use key_store::{KeyStore, OpenedValue};
pub use sealed_value::{SealContext, SealedValue};
pub use secret::{DataKeyId, SecretBytes, SecretKey};

/// Why the keys folder or a sealed value could not be used. Paths and ids, never a secret.
#[derive(Debug, Error)]
pub enum SealError {
    /// There is no keys folder.
    #[error(
        "the keys folder {} is missing; put it back, or run `keyledger keys import` with an export \
         of the keys", path.display()
    )]
    FolderMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A keys folder is to be created where there is one.
    #[error("the keys folder {} exists and is not empty", path.display())]
    FolderNotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Others than the owner may read what only the owner may.
    #[error("{} has mode {mode:o}: others can reach it; run `chmod go=` on it", path.display())]
    ModeTooOpen {
        /// The folder or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that every keys folder has is not there.
    #[error(
        "the key file {} is missing; put it back, or stop the server and run `keyledger keys \
         import` with an export of the keys", path.display()
    )]
    FileMissing {
        /// The file.
        path: PathBuf,
    },
    /// The key file is whole and was wrapped by another master key.
    #[error(
        "{} was wrapped by another master key; put the right master key back (`keys/master`, or \
         the file of `--master-key-file`), or, if it is lost, run `keyledger keys import` with an \
         export of the keys", path.display()
    )]
    WrongMasterKey {
        /// The first file that showed it.
        path: PathBuf,
    },
    /// The key file is not what was written.
    #[error(
        "the key file {} is damaged: {what}; put an undamaged copy back, or stop the server and \
         run `keyledger keys import` with an export of the keys", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// A data key of this id exists; writing another would lose what the first one sealed.
    #[error("the data key {0} exists")]
    DataKeyExists(DataKeyId),
    /// The data key is not there.
    #[error("the data key {0} is missing or erased")]
    KeyUnavailable(DataKeyId),
    /// The data key is there and the text is not what it sealed in this place.
    #[error("a value sealed under {0} does not authenticate in its place")]
    NotAuthentic(DataKeyId),
    /// The value is longer than a sealed value may be.
    #[error("a value of {bytes} bytes is too long to be sealed")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are more data keys than one export may hold.
    #[error("the keys folder holds more than {max} data keys")]
    TooManyKeys {
        /// The limit.
        max: usize,
    },
    /// An export could not be encrypted.
    #[error("the export could not be encrypted")]
    Encrypt(#[source] age::EncryptError),
    /// An export could not be decrypted: wrong passphrase or identity, or not an age file.
    #[error("the export could not be decrypted")]
    Decrypt(#[source] age::DecryptError),
    /// An export was decrypted and its text is not an export's.
    #[error("line {line} of the export is invalid: {what}")]
    MalformedExport {
        /// The line, from 1.
        line: usize,
        /// What does not fit.
        what: &'static str,
    },
    /// The export is of another log than the keys folder or the data folder.
    #[error("the export belongs to log {export}, the folder to log {folder}")]
    WrongLog {
        /// The export's log id, hex.
        export: String,
        /// The folder's log id, hex.
        folder: String,
    },
    /// The keys folder has another digest or signing key than the export.
    #[error(
        "the keys folder has a different {name}, nothing was imported; if the export is the right \
         one, move the keys folder away and import again"
    )]
    KeyDiffers {
        /// The key's file name.
        name: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The export's own stream failed.
    #[error("cannot {doing} the export")]
    ExportStream {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SealError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| {
            let source = crate::private::explained(&path, source);
            Self::Io {
                doing,
                path,
                source,
            }
        }
    }

    fn damaged(path: &Path, what: &'static str) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            what,
        }
    }
}
