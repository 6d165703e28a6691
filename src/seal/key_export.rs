//! The one backup of the keys folder: a single age file.
//!
//! Every key is in the clear inside it, so that an import wraps them under a master key of
//! its own; the master key is never in it. Must never write a key outside the encrypted
//! stream. Keys flow from the store to a writer.
//!
//! The text inside, each line ended by a line feed:
//!
//! ```text
//! keyledger-keys 1
//! log <32 hex>
//! key <file name> <64 hex>      one per key: digest, signing, later signing keys, data keys
//! end <64 hex: SHA-256 of all bytes above>
//! ```

use std::fmt;
use std::io::{self, Write};

use age::secrecy::SecretString;
use age::stream::StreamWriter;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SealError;
use super::key_store::KeyStore;
use super::secret::SecretKey;
use super::wrapped_key::KeyFileName;

/// How many data keys one export holds: a line has at most 99 bytes, so 100 MB of text.
pub const EXPORT_KEYS_MAX: usize = 1_000_000;

/// The usual scrypt cost of a passphrase: 2^18 takes about a second and 256 MiB.
pub const SCRYPT_WORK_FACTOR: u8 = 18;

/// The highest cost that is made or taken: 2^22 takes 4 GiB.
pub const SCRYPT_WORK_FACTOR_MAX: u8 = 22;

pub(super) const EXPORT_HEAD_LINE: &str = "keyledger-keys 1\n";

/// How an export is encrypted.
pub enum ExportEncryption {
    /// For a passphrase.
    Passphrase {
        passphrase: SecretString,
        /// log2 of the scrypt cost, [`SCRYPT_WORK_FACTOR`] unless a test is in a hurry; held
        /// between 1 and [`SCRYPT_WORK_FACTOR_MAX`].
        work_factor: u8,
    },
    /// For the holders of the identities of these recipients, `age1...`.
    Recipients(Vec<age::x25519::Recipient>),
}

impl fmt::Debug for ExportEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase { .. } => f.write_str("Passphrase(..)"),
            Self::Recipients(recipients) => f.debug_tuple("Recipients").field(recipients).finish(),
        }
    }
}

/// What an export holds.
#[derive(Debug, Default)]
pub struct KeyExportReport {
    /// How many data keys.
    pub data_keys: usize,
    /// Why the others are not in it: their files are damaged.
    pub left_out: Vec<SealError>,
}

/// Writes every key of the store to `out`, encrypted. Damaged data keys are left out, so that one
/// does not keep the others from being backed up. A file is durable when the caller has synced it.
///
/// # Errors
/// When there are too many keys, or the stream fails; then what is written so far is no export.
pub fn export_keys(
    store: &KeyStore,
    to: &ExportEncryption,
    out: impl Write,
) -> Result<KeyExportReport, SealError> {
    let ids = store.list_data_key_ids()?;
    if ids.len() > EXPORT_KEYS_MAX {
        return Err(SealError::TooManyKeys {
            max: EXPORT_KEYS_MAX,
        });
    }
    let encryptor = match to {
        ExportEncryption::Passphrase {
            passphrase,
            work_factor,
        } => {
            let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
            recipient.set_work_factor((*work_factor).clamp(1, SCRYPT_WORK_FACTOR_MAX));
            age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        }
        ExportEncryption::Recipients(recipients) => {
            age::Encryptor::with_recipients(recipients.iter().map(|one| one as &dyn age::Recipient))
        }
    };
    let encryptor = encryptor.map_err(SealError::Encrypt)?;
    let mut lines = Lines {
        out: encryptor.wrap_output(out).map_err(write_failed)?,
        digest: Sha256::new(),
    };
    lines.write(EXPORT_HEAD_LINE)?;
    lines.write(&format!("log {}\n", hex::encode(store.log_id())))?;
    let mut exported = KeyExportReport::default();
    let signing = (1..).zip(store.signing_keys());
    let signing = signing.map(|(number, _)| KeyFileName::Signing(number));
    let fixed = std::iter::once(KeyFileName::Digest).chain(signing);
    for name in fixed.chain(ids.into_iter().map(KeyFileName::Data)) {
        let is_data_key = matches!(name, KeyFileName::Data(_));
        let key = match store.read_key_uncached(name) {
            Ok(Some(key)) => key,
            // A data key destroyed since the listing is erased, here too.
            Ok(None) => continue,
            Err(why) if is_data_key => {
                exported.left_out.push(why);
                continue;
            }
            Err(why) => return Err(why),
        };
        lines.write(&key_line(name, &key))?;
        exported.data_keys += usize::from(is_data_key);
    }
    lines.finish()?;
    Ok(exported)
}

/// Put together in a buffer that never grows, so that no copy stays behind.
fn key_line(name: KeyFileName, key: &SecretKey) -> Zeroizing<String> {
    let digits = Zeroizing::new(hex::encode(key.expose()));
    let name = name.to_string();
    let mut line = Zeroizing::new(String::with_capacity(128));
    for part in ["key ", &name, " ", &digits, "\n"] {
        line.push_str(part);
    }
    line
}

struct Lines<W: Write> {
    out: StreamWriter<W>,
    digest: Sha256,
}

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &str) -> Result<(), SealError> {
        self.digest.update(line.as_bytes());
        self.out.write_all(line.as_bytes()).map_err(write_failed)
    }

    fn finish(mut self) -> Result<(), SealError> {
        let digest: [u8; 32] = self.digest.finalize().into();
        let line = format!("end {}\n", hex::encode(digest));
        self.out.write_all(line.as_bytes()).map_err(write_failed)?;
        let mut out = self.out.finish().map_err(write_failed)?;
        out.flush().map_err(write_failed)
    }
}

fn write_failed(source: io::Error) -> SealError {
    SealError::ExportStream {
        doing: "write",
        source,
    }
}
