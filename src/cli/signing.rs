//! `keyledger keys rotate-signing`: another key signs the checkpoints.

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::exit::Stop;
use super::folder::{FolderArgs, SegmentArgs};
use super::output;
use crate::clock::Entropy;
use crate::domain::ledger_head::LedgerKey;
use crate::ledger::boot;

/// The longest overlap that the ledger takes.
const OVERLAP_DAYS_MAX: i64 = 365;

const EXAMPLES: &str = "\
Examples:
  keyledger keys rotate-signing --data-dir /var/lib/keyledger
  keyledger keys rotate-signing --data-dir /var/lib/keyledger --overlap-days 0

The server must be stopped. Both keys sign every checkpoint until the overlap is over, so that
whoever verifies has time to learn the new one; give it to them by another way than this server.
Without an overlap the old key ends at once: for one that others may know. To rotate again during an
overlap ends that one at once. Make a new export of the keys afterwards: an older one lacks the key.
Old keys stay in the folder, and old checkpoints stay valid by them.";

/// Make another key that signs checkpoints, and tell of it in the log
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct RotateSigning {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// For how many days the old key signs too
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=OVERLAP_DAYS_MAX))]
    #[arg(env = "KEYLEDGER_OVERLAP_DAYS", hide_env_values = true)]
    overlap_days: u32,

    /// The clock is right, although it says that the last event is more than 400 days old
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_ACCEPT_CLOCK", hide_env_values = true)]
    accept_clock: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl RotateSigning {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.folder.settings(self.segments)?;
        settings.accept_clock = self.accept_clock;
        let ledger = boot::open(settings)?;
        let rotated = ledger.rotate_signing_key(self.overlap_days, &mut Entropy::system());
        ledger.stop();
        let keys = rotated?;
        let [.., old, new] = keys.as_slice() else {
            return Err(Stop::refused("the log tells of one key alone"));
        };
        let text = if self.json {
            as_json(old, new)
        } else {
            as_text(old, new)
        };
        Ok(output::print(&text)?)
    }
}

fn until(old: &LedgerKey) -> String {
    old.signs_until.map(|at| at.to_string()).unwrap_or_default()
}

fn as_json(old: &LedgerKey, new: &LedgerKey) -> String {
    json!({"vkey": new.vkey, "previous_vkey": old.vkey, "overlap_until": until(old)}).to_string()
}

fn as_text(old: &LedgerKey, new: &LedgerKey) -> String {
    format!(
        "{}\nsigns from the next start on\n{}\nsigns beside it until {}",
        new.vkey,
        old.vkey,
        until(old)
    )
}
