//! `keyledger mark-restored`: a folder that was put back by other means than `restore` goes on.

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::backup::SkipArgs;
use super::exit::Stop;
use super::folder::{FolderArgs, SegmentArgs};
use super::output;
use crate::ledger::boot::{self, Restored};

const EXAMPLES: &str = "\
Examples:
  keyledger mark-restored --data-dir /var/lib/keyledger
  keyledger mark-restored --data-dir /var/lib/keyledger --skip-positions 1000000

Run this with the server stopped, after the data folder was put back from a snapshot of a disk, a
copy of files, or a backup of a whole machine. Clients know positions of events that are lost now;
this skips them, so that clients that name one are answered 410 `ledger_restored` instead of missing
revocations. `keyledger restore` does it by itself.";

/// Go on from an older copy of the data folder: events after it are lost
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct MarkRestored {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    #[command(flatten)]
    skip: SkipArgs,

    /// The clock is right, although it says that the last event is more than 400 days old
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_ACCEPT_CLOCK", hide_env_values = true)]
    accept_clock: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl MarkRestored {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.folder.settings(self.segments)?;
        settings.accept_clock = self.accept_clock;
        settings.restored = Some(Restored(self.skip.skip_positions));
        let ledger = boot::open(settings)?;
        let newest = ledger.restores().last().copied();
        ledger.stop();
        let Some(restore) = newest else {
            return Err(Stop::refused("the ledger does not know of the restore"));
        };
        let (size, resumes_at) = (restore.size, restore.resumes_at);
        Ok(output::print(&if self.json {
            json!({"size": size, "resumes_at": resumes_at}).to_string()
        } else {
            format!(
                "The ledger goes on after its {}; positions {size} to {} are skipped",
                output::counted(size, "event", "events"),
                resumes_at - 1
            )
        })?)
    }
}
