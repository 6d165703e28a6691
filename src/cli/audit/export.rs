//! `keyledger audit export`: a bundle for an auditor, or a table for people.

use std::io::BufWriter;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgGroup, Args};

use super::past::{ReadArgs, tell_of_keys, unread};
use super::{Outcome, cannot};
use crate::audit::bundle::Chosen;
use crate::audit::bundle::export::{ExportError, export};
use crate::audit::bundle::table;
use crate::audit::past::AsOf;
use crate::audit::reading::Reading;
use crate::cli::exit::{Exit, Stop};
use crate::cli::files::NewFile;
use crate::cli::output::{print, say};
use crate::domain::ids::OrganizationId;

/// Write events with all that proves them into one file
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("into").required(true).args(["out", "csv"]))]
pub(super) struct Export {
    #[command(flatten)]
    read: ReadArgs,

    /// The bundle to make: it verifies on any machine
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_AUDIT_OUT", hide_env_values = true)]
    out: Option<PathBuf>,

    /// A table for people to make instead, which proves nothing
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_AUDIT_CSV", hide_env_values = true)]
    csv: Option<PathBuf>,

    /// Of one organization alone; of all others there will be hashes
    #[arg(long, value_name = "ID")]
    #[arg(env = "KEYLEDGER_AUDIT_ORGANIZATION", hide_env_values = true)]
    organization: Option<OrganizationId>,

    /// The first event: a position in digits, or an RFC 3339 time; without it the log's first
    #[arg(long, value_name = "T")]
    #[arg(env = "KEYLEDGER_AUDIT_FROM", hide_env_values = true)]
    from: Option<AsOf>,

    /// The last event, likewise; one that happened at the time itself is among them
    #[arg(long, value_name = "T")]
    #[arg(env = "KEYLEDGER_AUDIT_TO", hide_env_values = true)]
    to: Option<AsOf>,

    /// Add the keys that open what belongs to people: whoever has the file can read it
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_AUDIT_WITH_PERSONAL", hide_env_values = true)]
    with_personal: bool,
}

impl Export {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let reading = self.read.open()?;
        let (from, to) = self.range(&reading)?;
        let chosen = Chosen {
            organization: self.organization,
            from,
            to,
        };
        if let Some(csv) = &self.csv {
            let mut file = NewFile::create(csv)?;
            let made = table::write(&reading, &chosen, BufWriter::new(&mut file));
            let made = made.map_err(failed)?;
            file.finish()?;
            if made.names_people {
                say("ATTENTION: the table holds addresses of people, and no erasure reaches it.");
            }
            tell_of_keys(&reading);
            print(&format!("{} events in {}", made.rows, csv.display()))?;
        }
        if let Some(out) = &self.out {
            let mut file = NewFile::create(out)?;
            let folder = self.read.folder();
            let to = BufWriter::new(&mut file);
            let made = export((&folder, &reading), &chosen, self.with_personal, to);
            let made = made.map_err(failed)?;
            file.finish()?;
            if self.with_personal {
                say(
                    "ATTENTION: the bundle holds the keys of what belongs to people: names, \
                     addresses, where they called from. Whoever has the file can read all of it, \
                     and no erasure reaches it.",
                );
            }
            print(&format!(
                "{} events, {} hashes in place of others, {} checkpoints, in {}",
                made.events,
                made.hashes,
                made.checkpoints,
                out.display()
            ))?;
        }
        Ok(Outcome::Whole)
    }
}

impl Export {
    /// The first and the last position. Of times between which nothing happened both lie behind
    /// the log's end.
    fn range(&self, reading: &Reading) -> Result<(u64, Option<u64>), Stop> {
        let from = match self.from {
            None => 0,
            Some(AsOf::Position(position)) => position,
            Some(AsOf::Instant(at)) => reading.first_not_before(at).map_err(unread)?,
        };
        let to = match self.to {
            None => return Ok((from, None)),
            Some(AsOf::Position(position)) => Some(position),
            Some(AsOf::Instant(_)) => reading.moment(self.to).map_err(unread)?.position,
        };
        let is_turned_round = match (self.from, self.to) {
            (Some(AsOf::Instant(from)), Some(AsOf::Instant(to))) => from > to,
            (Some(AsOf::Position(from)), Some(AsOf::Position(to))) => from > to,
            (_, _) => false,
        };
        if is_turned_round {
            return Err(Stop::refused("--from must not be later than --to"));
        }
        match to {
            Some(to) if from <= to => Ok((from, Some(to))),
            Some(_) | None => Ok((reading.size(), Some(reading.size()))),
        }
    }
}

fn failed(why: ExportError) -> Stop {
    match &why {
        ExportError::NotSigned | ExportError::NoKeys => Stop::refused(why),
        ExportError::Read(_) | ExportError::Unfit | ExportError::Form(_) | ExportError::Fold(_) => {
            Stop {
                exit: Exit::Damaged,
                why: why.into(),
            }
        }
        ExportError::Io(_) | ExportError::Floor(_) | ExportError::Key(_) | ExportError::Json(_) => {
            cannot(why)
        }
    }
}
