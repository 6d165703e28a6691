//! Which data folder a command is about, and how its ledger is opened.

use std::path::PathBuf;

use clap::Args;

use super::exit::Stop;
use super::files;
use crate::config::PublicUrl;
use crate::ledger::boot::{Folder, Settings};
use crate::log::LogSettings;

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// The folder, on every command.
#[derive(Args, Debug)]
pub(super) struct FolderArgs {
    /// The folder that holds the ledger
    #[arg(long, value_name = "DIR", default_value = "data")]
    #[arg(env = "KEYLEDGER_DATA_DIR", hide_env_values = true)]
    pub(super) data_dir: PathBuf,

    /// The file of the master key, if it is kept outside the data folder
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_MASTER_KEY_FILE", hide_env_values = true)]
    pub(super) master_key_file: Option<PathBuf>,
}

impl FolderArgs {
    /// The folder.
    pub(super) fn folder(&self) -> Folder {
        Folder::new(&self.data_dir)
    }

    /// Refuses a master key that would lie, and be copied, with what it protects.
    pub(super) fn check(&self) -> Result<(), Stop> {
        match &self.master_key_file {
            Some(file) if files::is_inside(file, &self.data_dir)? => Err(Stop::refused(format!(
                "{} lies in the data folder; --master-key-file is for a key kept elsewhere",
                file.display()
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// How the ledger in it is opened.
    pub(super) fn settings(&self, segments: SegmentArgs) -> Result<Settings, Stop> {
        self.check()?;
        Ok(Settings {
            master_key_file: self.master_key_file.clone(),
            log: LogSettings {
                segment_bytes: segments.segment_mib * MIB,
                ..LogSettings::default()
            },
            ..Settings::usual(self.folder())
        })
    }
}

/// The size of the log's files.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct SegmentArgs {
    /// MiB of a new segment of the log
    #[arg(long, value_name = "MIB", default_value_t = 64, hide = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    #[arg(env = "KEYLEDGER_SEGMENT_MIB", hide_env_values = true)]
    segment_mib: u64,
}

/// Where links lead.
#[derive(Args, Debug)]
pub(super) struct LinkArgs {
    /// What people call the server: what the owner's sign-in link begins with
    #[arg(long, value_name = "URL", default_value_t)]
    #[arg(env = "KEYLEDGER_PUBLIC_URL", hide_env_values = true)]
    pub(super) public_url: PublicUrl,
}
