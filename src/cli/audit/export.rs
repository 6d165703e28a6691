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
use crate::audit::reading::Reading;
use crate::cli::exit::{Exit, Stop};
use crate::cli::files::NewFile;
use crate::cli::output::{counted, print, say};
use crate::domain::ids::OrganizationId;
use crate::domain::log_point::LogPoint;

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
    from: Option<LogPoint>,

    /// The last event, likewise; one that happened at the time itself is among them
    #[arg(long, value_name = "T")]
    #[arg(env = "KEYLEDGER_AUDIT_TO", hide_env_values = true)]
    to: Option<LogPoint>,

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
            let rows = counted(made.rows, "event", "events");
            print(&format!("{rows} in {}", csv.display()))?;
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
            if let Some(warning) = warning_of_newer(reading.size(), made.size, made.to) {
                say(&warning);
            }
            print(&format!(
                "{}, {} in place of others, {}, in {}",
                counted(made.events, "event", "events"),
                counted(made.hashes, "hash", "hashes"),
                counted(made.checkpoints as u64, "checkpoint", "checkpoints"),
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
            Some(LogPoint::Position(position)) => position,
            Some(LogPoint::Instant(at)) => reading.first_not_before(at).map_err(unread)?,
        };
        let to = match self.to {
            None => return Ok((from, None)),
            Some(LogPoint::Position(position)) => Some(position),
            Some(LogPoint::Instant(_)) => reading.moment(self.to).map_err(unread)?.position,
        };
        let is_turned_round = match (self.from, self.to) {
            (Some(LogPoint::Instant(from)), Some(LogPoint::Instant(to))) => from > to,
            (Some(LogPoint::Position(from)), Some(LogPoint::Position(to))) => from > to,
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

/// What there is to say of events that no checkpoint covers yet; `None` if all that were asked for
/// are covered.
fn warning_of_newer(events: u64, covered: u64, last: Option<u64>) -> Option<String> {
    let newer = events.saturating_sub(covered);
    let is_asked_for = last.is_none_or(|last| last >= covered);
    (newer > 0 && is_asked_for).then(|| {
        format!(
            "ATTENTION: {} not in the bundle, since the newest checkpoint covers only the {} \
             before. A running server signs a checkpoint every second: export again then.",
            counted(newer, "newer event is", "newer events are"),
            counted(covered, "event", "events"),
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_are_left_out_are_counted() {
        let check = |events: u64, covered: u64, last: Option<u64>, expected: Option<&str>| {
            let warning = warning_of_newer(events, covered, last);
            assert_eq!(warning.as_deref(), expected, "{events} {covered} {last:?}");
        };
        check(6, 6, None, None);
        check(
            9,
            6,
            None,
            Some(
                "ATTENTION: 3 newer events are not in the bundle, since the newest checkpoint \
                 covers only the 6 events before. A running server signs a checkpoint every \
                 second: export again then.",
            ),
        );
        check(
            2,
            1,
            Some(1),
            Some(
                "ATTENTION: 1 newer event is not in the bundle, since the newest checkpoint \
                 covers only the 1 event before. A running server signs a checkpoint every \
                 second: export again then.",
            ),
        );
        // All that were asked for are covered.
        check(9, 6, Some(5), None);
        check(9, 6, Some(6), warning_of_newer(9, 6, None).as_deref());
    }
}
