//! The usage history on the command line: how much of it is kept, and where it begins.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::exit::Stop;
use crate::degraded::{DegradedParts, Part};
use crate::ledger::Ledger;
use crate::ledger::boot::Folder;
use crate::private;
use crate::usage::misplaced::set_aside_misplaced;
use crate::usage::{UsageError, UsageHistory, UsageRetention, UsageSettings};

const NOT_RECORDED: &str = "no use of credentials is recorded. Make room on the disk, or correct \
    the folder's mode and owner, and restart";

/// Parts in which calls are dropped, at least.
const SEGMENTS_MIN: u64 = 16;
const DAY: u64 = 24 * 60 * 60;

/// How much of the usage history is kept.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct UsageArgs {
    /// Days for which calls are kept
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
    #[arg(env = "KEYLEDGER_USAGE_DAYS", hide_env_values = true)]
    usage_days: u32,

    /// Mebibytes of calls that are kept: half shared by organizations, half for what is beyond
    #[arg(long, value_name = "MIB", default_value_t = 10_240)]
    #[arg(value_parser = clap::value_parser!(u32).range(128..))]
    #[arg(env = "KEYLEDGER_USAGE_MIB", hide_env_values = true)]
    usage_mib: u32,

    /// Do not record where credentials are used
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_NO_USAGE", hide_env_values = true)]
    no_usage: bool,
}

impl UsageArgs {
    /// Opens the history, unless nothing is to be recorded.
    pub(super) fn open(
        self,
        ledger: &Ledger,
        folder: &Folder,
    ) -> Result<Option<UsageHistory>, Stop> {
        if self.no_usage {
            return Ok(None);
        }
        let retention = UsageRetention {
            age_max: Duration::from_secs(u64::from(self.usage_days) * DAY),
            bytes_max: u64::from(self.usage_mib) << 20,
        };
        let usual = settings(ledger, folder);
        let settings = UsageSettings {
            retention,
            anchored_to: ledger.usage_sealed_to(),
            degraded: ledger.degraded().clone(),
            segment_bytes: usual.segment_bytes.min(retention.bytes_max / SEGMENTS_MIN),
            ..usual
        };
        Ok(open_or_replace(&settings, ledger.degraded()))
    }
}

/// Opens the history. One that cannot be read is set aside whole and begun anew, unless this user
/// may not read it; where that fails too, nothing is recorded, which is no reason not to start.
fn open_or_replace(settings: &UsageSettings, degraded: &DegradedParts) -> Option<UsageHistory> {
    let folder = &settings.folder;
    // A new ledger has begun its history, so that one that is not there was removed.
    if folder.try_exists().is_ok_and(|is_there| !is_there) {
        let why = "it is missing; the history begins anew";
        degraded.note_damage(Part::Usage, folder, why);
    }
    let open = || {
        set_aside_misplaced(folder, degraded)?;
        UsageHistory::open(settings.clone())
    };
    let opened = open().or_else(|why| match why {
        UsageError::Io(kind) if private::is_denied(kind) => Err(why),
        UsageError::Io(_) => {
            let why = format!("{why}; the history begins anew");
            degraded.set_aside(Part::Usage, folder, &why)?;
            open()
        }
        UsageError::DiskFull | UsageError::TooManyPending => Err(why),
    });
    match opened {
        Ok(usage) => Some(usage),
        Err(why) => {
            let mut reason = format!("{}: {why}", folder.display());
            if let UsageError::Io(kind) = why
                && let Some(remedy) =
                    private::first_denied(folder).and_then(|path| private::remedy(&path, kind))
            {
                reason = format!("{reason}; {remedy}");
            }
            degraded.begin(Part::Usage, reason, NOT_RECORDED);
            None
        }
    }
}

/// Begins the history of a new ledger, so that it is older than every credential.
pub(super) fn begin(ledger: &Ledger, folder: &Folder) -> anyhow::Result<()> {
    let usage =
        UsageHistory::open(settings(ledger, folder)).context("cannot begin the usage history")?;
    usage.write_and_stop();
    Ok(())
}

fn settings(ledger: &Ledger, folder: &Folder) -> UsageSettings {
    UsageSettings {
        keys: Some(Arc::clone(ledger.keys())),
        ..UsageSettings::with_defaults(folder.usage(), ledger.log_id(), ledger.clock().clone())
    }
}
