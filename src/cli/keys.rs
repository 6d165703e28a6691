//! `keyledger keys`: the backup of the keys folder, made and read back, and another signing key
//! (`signing`).
//!
//! A copy of the data folder without its keys is a ledger whose people and secrets are blank; the
//! export is the one backup of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use anyhow::Context;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::exit::Stop;
use super::files::{NewFile, read_secret};
use super::folder::{FolderArgs, SegmentArgs};
use super::output::{counted, say};
use super::signing;
use crate::clock::Entropy;
use crate::domain::ids::OrganizationId;
use crate::error_chain::error_chain;
use crate::ledger::boot;
use crate::ledger::key_holder::KeyHolder;
use crate::log::DataFolderLock;
use crate::private;
use crate::seal::key_export::SCRYPT_WORK_FACTOR;
use crate::seal::{
    ExportDecryption, ExportEncryption, KeyImportTarget, KeyStore, export_keys, import_keys,
};

const EXPORT_EXAMPLES: &str = "\
Examples:
  keyledger keys export --out keys.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgv...
  keyledger keys export --out keys.age --passphrase-file /run/secrets/passphrase

The server may run meanwhile. Keep the file, and what opens it, apart from the data folder.";

const IMPORT_EXAMPLES: &str = "\
Examples:
  keyledger keys import --data-dir /restored --in keys.age --identity-file key.txt
  keyledger keys import --data-dir /restored --in keys.age --passphrase-file /run/secrets/passphrase

The server must be stopped. Missing and damaged keys are restored; a key that can be read is never
replaced, so an older export does no harm.";

const RENEW_EXAMPLES: &str = "\
Examples:
  keyledger keys renew --organization org_01H2XA9CKEB7WZG8RMN2KPQV7D

The server must be stopped. Only for a key that is missing or damaged and in no export: the network
addresses that it sealed stay unavailable. A member whose key is lost is erased and added again; the
secret of a webhook endpoint is rotated.";

/// Fewest characters of a passphrase of an export; older exports may have a shorter one.
const PASSPHRASE_CHARS_MIN: usize = 8;

/// Back up the keys that seal and sign, or bring them back
#[derive(Args, Debug)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(Export),
    Import(Import),
    Renew(Renew),
    RotateSigning(signing::RotateSigning),
}

/// Write all keys into one file, encrypted with age
#[derive(Args, Debug)]
#[command(after_long_help = EXPORT_EXAMPLES)]
struct Export {
    #[command(flatten)]
    folder: FolderArgs,

    /// The file to make; there must be none yet
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_OUT", hide_env_values = true)]
    out: PathBuf,

    /// Encrypt to the passphrase in this file, of at least 8 characters
    #[arg(long, value_name = "FILE", required_unless_present = "recipient")]
    #[arg(env = "KEYLEDGER_PASSPHRASE_FILE", hide_env_values = true)]
    passphrase_file: Option<PathBuf>,

    /// Encrypt to whoever holds the identity of this age recipient; may be given again
    #[arg(
        long,
        value_name = "AGE1",
        conflicts_with = "passphrase_file",
        value_delimiter = ','
    )]
    #[arg(value_parser = recipient)]
    #[arg(env = "KEYLEDGER_RECIPIENT", hide_env_values = true)]
    recipient: Vec<age::x25519::Recipient>,
}

/// Read keys back from an export
#[derive(Args, Debug)]
#[command(after_long_help = IMPORT_EXAMPLES)]
struct Import {
    #[command(flatten)]
    folder: FolderArgs,

    /// The export, as it was written or armored by age
    #[arg(long = "in", value_name = "FILE")]
    #[arg(env = "KEYLEDGER_IN", hide_env_values = true)]
    from: PathBuf,

    /// Decrypt with the passphrase in this file
    #[arg(long, value_name = "FILE", required_unless_present = "identity_file")]
    #[arg(env = "KEYLEDGER_PASSPHRASE_FILE", hide_env_values = true)]
    passphrase_file: Option<PathBuf>,

    /// Decrypt with the age identities in this file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    #[arg(env = "KEYLEDGER_IDENTITY_FILE", hide_env_values = true)]
    identity_file: Option<PathBuf>,
}

/// Give an organization a new data key in the place of one that is lost
#[derive(Args, Debug)]
#[command(after_long_help = RENEW_EXAMPLES)]
struct Renew {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// The organization whose key is missing or damaged
    #[arg(long, value_name = "ID")]
    #[arg(env = "KEYLEDGER_ORGANIZATION_ID", hide_env_values = true)]
    organization: OrganizationId,
}

/// The passphrase in a file, which must not be easily guessed: nothing else protects an export.
fn new_passphrase(file: &Path) -> Result<Zeroizing<String>, Stop> {
    let passphrase = read_secret(file)?;
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        return Err(Stop::refused(format!(
            "the passphrase in {} is too short; it must have at least {PASSPHRASE_CHARS_MIN} \
             characters",
            file.display()
        )));
    }
    Ok(passphrase)
}

fn recipient(text: &str) -> Result<age::x25519::Recipient, &'static str> {
    text.parse()
}

impl Keys {
    pub(super) fn run(self) -> Result<(), Stop> {
        match self.command {
            Command::Export(export) => export.run(),
            Command::Import(import) => import.run(),
            Command::Renew(renew) => renew.run(),
            Command::RotateSigning(rotate) => rotate.run(),
        }
    }
}

impl Export {
    fn run(self) -> Result<(), Stop> {
        self.folder.check()?;
        let to = match &self.passphrase_file {
            Some(file) => ExportEncryption::Passphrase {
                passphrase: secret_string(&new_passphrase(file)?),
                work_factor: SCRYPT_WORK_FACTOR,
            },
            None => ExportEncryption::Recipients(self.recipient),
        };
        let keys = self.folder.folder().keys();
        let store = KeyStore::open(&keys, self.folder.master_key_file.as_deref())?;
        let mut file = NewFile::create(&self.out)?;
        let exported = export_keys(&store, &to, &mut file)?;
        file.finish()?;
        let (log, out) = (hex::encode(store.log_id()), self.out.display());
        let data_keys = exported.data_keys;
        say(&format!(
            "the keys of log {log}, {data_keys} of them data keys, are in {out}"
        ));
        let left_out = exported.left_out.len();
        for why in exported.left_out {
            say(&format!("left out: {}", error_chain(&why)));
        }
        if left_out > 0 {
            let left_out = counted(left_out as u64, "data key", "data keys");
            return Err(Stop::damaged(format!(
                "not in the export, because of damaged files: {left_out}; keep earlier exports"
            )));
        }
        Ok(())
    }
}

impl Import {
    fn run(self) -> Result<(), Stop> {
        self.folder.check()?;
        let with = match (&self.passphrase_file, &self.identity_file) {
            (Some(file), _) => ExportDecryption::Passphrase(secret_string(&read_secret(file)?)),
            (None, Some(file)) => ExportDecryption::Identities(identities(&read_secret(file)?)?),
            (None, None) => return Err(Stop::refused("nothing to decrypt with")),
        };
        let from = File::open(&self.from)
            .with_context(|| format!("cannot open {}", self.from.display()))?;
        let folder = self.folder.folder();
        std::fs::create_dir_all(folder.path())
            .with_context(|| format!("cannot make {}", folder.path().display()))?;
        folder.check_owner().map_err(Stop::refused)?;
        let _lock = DataFolderLock::try_acquire(&folder.lock())?;
        private::restrict(folder.path())
            .with_context(|| format!("cannot read {}", folder.path().display()))?;
        let keys = folder.keys();
        let target = KeyImportTarget {
            dir: &keys,
            master_file: self.folder.master_key_file.as_deref(),
            // Whether they are the keys of the log beside them is checked when it is opened.
            log_id: None,
        };
        let done = import_keys(target, &with, from, &mut Entropy::system())?;
        let log = hex::encode(done.log_id);
        say(&format!(
            "the keys of log {log}, {} of them data keys: {} written to {}",
            done.data_keys,
            counted(done.written as u64, "file", "files"),
            keys.display()
        ));
        if done.replaced > 0 || done.kept > 0 {
            say(&format!(
                "replaced: {}; kept: {} that the export lacks or has otherwise",
                counted(done.replaced as u64, "damaged file", "damaged files"),
                counted(done.kept as u64, "key", "keys"),
            ));
        }
        if let Some(aside) = &done.set_aside {
            say(&format!(
                "the master key was lost: the old folder is now {}; remove it when nothing in it \
                 is needed any more",
                aside.display()
            ));
        }
        for file in &done.damaged {
            say(&format!(
                "still damaged, not in the export: {}",
                file.display()
            ));
        }
        Ok(())
    }
}

impl Renew {
    fn run(self) -> Result<(), Stop> {
        let holder = KeyHolder::Organization(self.organization);
        let ledger = boot::open(self.folder.settings(self.segments)?)?;
        let unusable = ledger.unusable_keys();
        let unusable = unusable.iter().any(|key| key.holder == holder);
        let id = holder.data_key();
        let renewed = unusable.then(|| {
            ledger
                .keys()
                .replace_unusable_data_key(id, &mut Entropy::system())
        });
        ledger.stop();
        match renewed {
            Some(renewed) => renewed?,
            None => {
                return Err(Stop::refused(format!(
                    "{holder} is unknown, or its data key can be used; nothing was changed"
                )));
            }
        }
        say(&format!("{holder} has a new data key"));
        Ok(())
    }
}

fn secret_string(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

/// The identities in a file as `age-keygen` writes it: one a line, comments between.
fn identities(text: &str) -> Result<Vec<age::x25519::Identity>, Stop> {
    let lines = text.lines().map(str::trim).enumerate();
    let mut identities = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        // The parser's own words are left out: they could repeat what it was given.
        let identity = line.parse().map_err(|_why: &'static str| {
            Stop::refused(format!("line {} is not an age identity", index + 1))
        })?;
        identities.push(identity);
    }
    if identities.is_empty() {
        return Err(Stop::refused("the file holds no age identity"));
    }
    Ok(identities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_age_keygen_writes_them() {
        use age::secrecy::ExposeSecret;
        let one = age::x25519::Identity::generate();
        let text = format!(
            "# created: today\n# public key: {}\n{}\n\n",
            one.to_public(),
            one.to_string().expose_secret()
        );
        let read = identities(&text).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].to_public(), one.to_public());
        assert!(identities("# nothing\n").is_err());
        let wrong = identities("AGE-SECRET-KEY-1NOT").err();
        let said = wrong.map(|stop| stop.why.to_string());
        assert_eq!(said.as_deref(), Some("line 1 is not an age identity"));
    }
}
