//! `keyledger backup` and `keyledger restore`: the ledger in one file, and back.

use std::io::BufWriter;
use std::path::PathBuf;

use clap::{Args, value_parser};

use super::audit::read_note;
use super::exit::{Exit, Stop};
use super::files::NewFile;
use super::output::{counted, print, say};
use crate::backup::{BackupError, RestoreError, backup, restore};
use crate::domain::decide::POSITIONS_GIVEN_UP_MAX;
use crate::ledger::boot::Folder;

const BACKUP_EXAMPLES: &str = "\
Examples:
  keyledger backup --data-dir /var/lib/keyledger --out ledger.backup
  keyledger keys export --data-dir /var/lib/keyledger --out keys.age --recipient age1ql3z...

The server may run meanwhile. The keys are not in a backup: export them, and keep both apart.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  keyledger restore --in ledger.backup --data-dir /restored --floor checkpoint
  keyledger keys import --data-dir /restored --in keys.age --identity-file key.txt

A checkpoint that has left the machine, given as --floor, shows whether the backup is too old.
Events after the backup are lost, but clients know their positions: the first start skips so many
that none names two events, and answers 410 `ledger_restored` to clients that name a lost one.";

/// Write log, checkpoints and usage history into one file
#[derive(Args, Debug)]
#[command(after_long_help = BACKUP_EXAMPLES)]
pub(super) struct Backup {
    /// The folder that holds the ledger
    #[arg(long, value_name = "DIR", default_value = "data")]
    #[arg(env = "KEYLEDGER_DATA_DIR", hide_env_values = true)]
    data_dir: PathBuf,

    /// The file to make; there must be none yet
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_OUT", hide_env_values = true)]
    out: PathBuf,
}

impl Backup {
    pub(super) fn run(self) -> Result<(), Stop> {
        let folder = Folder::new(&self.data_dir);
        if !folder.holds_ledger() {
            let folder = self.data_dir.display();
            return Err(Stop::refused(format!("there is no ledger in {folder}")));
        }
        let mut file = NewFile::create(&self.out)?;
        let made = backup(&folder, BufWriter::new(&mut file)).map_err(|why| Stop {
            exit: match &why {
                BackupError::Damaged(_) => Exit::Damaged,
                BackupError::Inspect(_)
                | BackupError::Floor(_)
                | BackupError::Io(_)
                | BackupError::Json(_) => Exit::Failed,
            },
            why: why.into(),
        })?;
        file.finish()?;
        say(
            "The keys are not in the backup: `keyledger keys export` makes theirs. Nor is what \
             webhooks have delivered: a restored ledger delivers again.",
        );
        print(&format!(
            "{}, root {}, in {}",
            counted(made.size, "event", "events"),
            made.root,
            self.out.display()
        ))?;
        Ok(())
    }
}

/// Bring a backup back into an empty folder, after checking all of it
#[derive(Args, Debug)]
#[command(after_long_help = RESTORE_EXAMPLES)]
pub(super) struct Restore {
    /// The backup
    #[arg(long = "in", value_name = "FILE")]
    #[arg(env = "KEYLEDGER_IN", hide_env_values = true)]
    input: PathBuf,

    /// The folder to fill; it must be empty or not there
    #[arg(long, value_name = "DIR", default_value = "data")]
    #[arg(env = "KEYLEDGER_DATA_DIR", hide_env_values = true)]
    data_dir: PathBuf,

    /// A checkpoint from elsewhere: a backup that does not reach it is refused
    #[arg(long, value_name = "CHECKPOINT_FILE")]
    #[arg(env = "KEYLEDGER_FLOOR", hide_env_values = true)]
    floor: Option<PathBuf>,

    #[command(flatten)]
    skip: SkipArgs,
}

/// How many positions a restored ledger gives up
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct SkipArgs {
    /// How many positions to skip: at least as many as events may have been lost, since clients
    /// remember their positions [default: twice the usual rate of events, 10000 or more]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = value_parser!(u64).range(1..=POSITIONS_GIVEN_UP_MAX))]
    #[arg(env = "KEYLEDGER_SKIP_POSITIONS", hide_env_values = true)]
    pub(super) skip_positions: Option<u64>,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Stop> {
        let floor = self.floor.as_deref().map(read_note).transpose()?;
        let folder = Folder::new(&self.data_dir);
        folder.check_owner().map_err(Stop::refused)?;
        let restored = restore(
            &self.input,
            &folder,
            floor.as_deref(),
            self.skip.skip_positions,
        );
        let (made, report) = restored.map_err(|why| Stop {
            exit: match &why {
                RestoreError::NotVacant(_) => Exit::Refused,
                RestoreError::Damaged(_) => Exit::Damaged,
                RestoreError::Unreadable { .. } | RestoreError::Audit(_) | RestoreError::Io(_) => {
                    Exit::Failed
                }
            },
            why: why.into(),
        })?;
        say(
            "The keys are not in a backup: import them with `keyledger keys import` before the \
             server starts.",
        );
        print(&format!(
            "{} of {}, root {}, whole, in {}",
            counted(made.size, "event", "events"),
            report.origin,
            made.root,
            self.data_dir.display()
        ))?;
        Ok(())
    }
}
