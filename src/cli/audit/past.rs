//! `keyledger audit replay|diff|who-could|history`: what was true when, from a folder alone.

use std::convert::Infallible;
use std::path::PathBuf;

use clap::Args;

use super::{Outcome, cannot};
use crate::audit::past::Asked;
use crate::audit::reading::{Reading, ReadingError};
use crate::cli::exit::{Exit, Stop};
use crate::cli::output::{Lines, say};
use crate::domain::ids::{CredentialId, OrganizationId, ProjectId, Subject};
use crate::domain::log_point::LogPoint;
use crate::ledger::boot::Folder;

/// The folder that is read.
#[derive(Args, Debug)]
pub(super) struct ReadArgs {
    /// The folder that holds the ledger
    #[arg(long, value_name = "DIR", default_value = "data")]
    #[arg(env = "KEYLEDGER_DATA_DIR", hide_env_values = true)]
    data_dir: PathBuf,

    /// The file of the master key, if it is kept outside the data folder
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_MASTER_KEY_FILE", hide_env_values = true)]
    master_key_file: Option<PathBuf>,
}

impl ReadArgs {
    pub(super) fn folder(&self) -> Folder {
        Folder::new(&self.data_dir)
    }

    /// Checks the log and opens it for reading.
    pub(super) fn open(&self) -> Result<Reading, Stop> {
        let reading = Reading::open(&self.folder(), self.master_key_file.as_deref());
        reading.map_err(unread)
    }
}

/// Whose past.
#[derive(Args, Debug)]
struct OfArgs {
    /// Of one organization alone
    #[arg(long, value_name = "ID")]
    #[arg(env = "KEYLEDGER_AUDIT_ORGANIZATION", hide_env_values = true)]
    organization: Option<OrganizationId>,
}

/// Why the past of a folder was not told.
pub(super) fn unread(why: ReadingError) -> Stop {
    let exit = match &why {
        ReadingError::Damaged(_)
        | ReadingError::Read(_)
        | ReadingError::Unreadable(_)
        | ReadingError::Fold(_) => Exit::Damaged,
        ReadingError::Inspect(_) => Exit::Failed,
        ReadingError::NotYet(_) => Exit::Refused,
    };
    Stop {
        exit,
        why: why.into(),
    }
}

/// Show all credentials as they were
#[derive(Args, Debug)]
pub(super) struct Replay {
    #[command(flatten)]
    read: ReadArgs,

    /// When: a position in digits, or an RFC 3339 time; without it at the end of the log
    #[arg(long, value_name = "T")]
    #[arg(env = "KEYLEDGER_AUDIT_AS_OF", hide_env_values = true)]
    as_of: Option<LogPoint>,

    #[command(flatten)]
    of: OfArgs,

    /// One JSON object a line, as the API shows a credential
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let reading = self.read.open()?;
        let moment = reading.moment(self.as_of).map_err(unread)?;
        let fold = reading.fold(self.of.organization, moment).map_err(unread)?;
        let mut lines = Lines::new();
        for record in fold.credentials() {
            if self.json {
                lines.print(&fold.line(&record, moment.at).map_err(cannot)?)?;
            } else {
                let status = record.status(moment.at).name();
                let (id, kind, owner) = (record.id(), record.kind().name(), record.owner());
                lines.print(&format!("{id} {status:8} {kind} {owner} {}", record.name()))?;
            }
        }
        lines.end()?;
        tell_of_keys(&reading);
        Ok(Outcome::Whole)
    }
}

pub(super) fn tell_of_keys(reading: &Reading) {
    if !reading.has_keys() {
        say("The folder's keys cannot be used: what belongs to people is blank.");
    }
}

/// Show what changed between two moments, and who did it
#[derive(Args, Debug)]
pub(super) struct Diff {
    #[command(flatten)]
    read: ReadArgs,

    /// The earlier moment: a position in digits, or an RFC 3339 time
    #[arg(long, value_name = "T")]
    #[arg(env = "KEYLEDGER_AUDIT_FROM", hide_env_values = true)]
    from: LogPoint,

    /// The later one; without it the end of the log
    #[arg(long, value_name = "T")]
    #[arg(env = "KEYLEDGER_AUDIT_TO", hide_env_values = true)]
    to: Option<LogPoint>,

    #[command(flatten)]
    of: OfArgs,

    /// One JSON object a line, as the API shows a difference
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let reading = self.read.open()?;
        let from = reading.moment(Some(self.from)).map_err(unread)?;
        let to = reading.moment(self.to).map_err(unread)?;
        if from.events() > to.events() {
            return Err(Stop::refused("--from lies behind --to"));
        }
        let differences = reading.differences(self.of.organization, (from, to));
        let differences = differences.map_err(unread)?;
        let mut lines = Lines::new();
        for one in differences.all() {
            if self.json {
                let line = differences.line(&one, (from.at, to.at));
                lines.print(&line.map_err(cannot)?)?;
                continue;
            }
            let before = one
                .before
                .as_ref()
                .map(|record| record.status(from.at).name());
            let after = one.after.status(to.at).name();
            let id = one.after.id();
            lines.print(&format!("{id} {} -> {after}", before.unwrap_or("none")))?;
            for deed in &one.deeds {
                let by = match (deed.actor.id, deed.actor.via) {
                    (Some(id), Some(via)) => format!("{id} by {via}"),
                    (Some(id), None) => id.to_string(),
                    (None, _) => "nobody of the ledger".to_owned(),
                };
                let (position, at, name) = (deed.position, deed.at, deed.name);
                lines.print(&format!("  {position} {at} {name} {by}"))?;
            }
        }
        lines.end()?;
        tell_of_keys(&reading);
        Ok(Outcome::Whole)
    }
}

/// Show which credentials would have been accepted
#[derive(Args, Debug)]
pub(super) struct WhoCould {
    #[command(flatten)]
    read: ReadArgs,

    /// A scope that they must have had; may be given several times
    #[arg(long, value_name = "SCOPE", required = true)]
    #[arg(env = "KEYLEDGER_AUDIT_SCOPE", hide_env_values = true)]
    scope: Vec<String>,

    /// On this project; without it on any
    #[arg(long, value_name = "ID")]
    #[arg(env = "KEYLEDGER_AUDIT_PROJECT", hide_env_values = true)]
    project: Option<ProjectId>,

    /// When: a position in digits, or an RFC 3339 time; without it at the end of the log
    #[arg(long, value_name = "T")]
    #[arg(env = "KEYLEDGER_AUDIT_AS_OF", hide_env_values = true)]
    as_of: Option<LogPoint>,

    #[command(flatten)]
    of: OfArgs,

    /// One JSON object a line, as the API shows them
    #[arg(long)]
    json: bool,
}

impl WhoCould {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let reading = self.read.open()?;
        let moment = reading.moment(self.as_of).map_err(unread)?;
        let fold = reading.fold(self.of.organization, moment).map_err(unread)?;
        let asked = Asked {
            scopes: self.scope,
            project: self.project,
            organization: self.of.organization,
        };
        let mut lines = Lines::new();
        let mut never_stops = || Ok::<(), Infallible>(());
        let Ok(could) = fold.who_could(&asked, moment.at, &mut never_stops);
        for accepted in could {
            if self.json {
                let line = fold.accepted_line(&accepted, moment.at);
                lines.print(&line.map_err(cannot)?)?;
            } else {
                let record = &accepted.credential;
                let (id, kind, owner) = (record.id(), record.kind().name(), record.owner());
                lines.print(&format!("{id} {kind} {owner} {}", record.name()))?;
            }
        }
        lines.end()?;
        tell_of_keys(&reading);
        Ok(Outcome::Whole)
    }
}

/// Show all that happened to a credential
#[derive(Args, Debug)]
pub(super) struct History {
    /// The credential's id
    #[arg(value_name = "KEY")]
    key: CredentialId,

    #[command(flatten)]
    read: ReadArgs,

    /// The stored payloads, byte for byte, one a line
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let reading = self.read.open()?;
        let mut lines = Lines::new();
        let mut outcome = Ok(());
        let mut count = 0;
        let shown = reading.history(Subject::Credential(self.key), |found, payload| {
            count += 1;
            if outcome.is_ok() {
                let whole = String::from_utf8_lossy(payload);
                outcome = match self.json {
                    true => lines.print(&whole),
                    false => {
                        let (position, at, name) = (found.position, found.occurred_at, found.name);
                        lines.print(&format!("{position} {at} {name}"))
                    }
                };
            }
        });
        shown.map_err(unread)?;
        outcome?;
        lines.end()?;
        match count {
            0 => Err(Stop::refused("there is no such credential in this log")),
            _ => Ok(Outcome::Whole),
        }
    }
}
