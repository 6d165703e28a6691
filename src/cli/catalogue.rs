//! `keyledger catalogue`: scopes, roles and presets of one's own, checked, shown and adopted.
//!
//! A file counts for nothing until it is adopted, and for nothing afterwards: what is in force
//! stands in the log.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};

use super::exit::Stop;
use super::folder::{FolderArgs, SegmentArgs};
use super::operator::operator_request;
use super::output;
use crate::domain::catalogue::{Catalogue, DEFAULT};
use crate::domain::command::{self, AdoptCatalogue};
use crate::domain::in_use::InUse;
use crate::domain::rejection::Rejection;
use crate::ledger::{Ledger, Submission, SubmitError, boot};

/// Bytes of a file at most: what an event can hold, with fifteen times as much of comments.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const SHOW_EXAMPLES: &str = "\
Examples:
  keyledger catalogue show --default > catalogue.toml
  keyledger catalogue show --data-dir /var/lib/keyledger --json

The server must be stopped, except for --default.";

const ADOPT_EXAMPLES: &str = "\
Examples:
  keyledger catalogue check catalogue.toml
  keyledger catalogue adopt catalogue.toml --data-dir /var/lib/keyledger

The server must be stopped. All tokens are worth what the new catalogue says from then on. What it
drops while something live has it is refused, with a list. An entry with `keep = true` lives on in
old tokens alone.";

/// Scopes, roles and presets: check a file of them, show them, adopt them
#[derive(Args, Debug)]
pub(super) struct CatalogueArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Check),
    Show(Show),
    Adopt(Adopt),
}

/// Check a file, without a ledger
#[derive(Args, Debug)]
struct Check {
    /// The catalogue in TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Print the catalogue in force, as TOML that can be adopted
#[derive(Args, Debug)]
#[command(after_long_help = SHOW_EXAMPLES)]
struct Show {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// The catalogue that a ledger begins with unless it is told otherwise; needs no ledger
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_DEFAULT_CATALOGUE", hide_env_values = true)]
    default: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Put the catalogue of a file in force, as an event, with the server stopped
#[derive(Args, Debug)]
#[command(after_long_help = ADOPT_EXAMPLES)]
struct Adopt {
    /// The catalogue in TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// The clock is right, although it says that the last event is more than 400 days old
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_ACCEPT_CLOCK", hide_env_values = true)]
    accept_clock: bool,
}

impl CatalogueArgs {
    pub(super) fn run(self) -> Result<(), Stop> {
        match self.command {
            Command::Check(check) => check.run(),
            Command::Show(show) => show.run(),
            Command::Adopt(adopt) => adopt.run(),
        }
    }
}

impl Check {
    fn run(self) -> Result<(), Stop> {
        let catalogue = read(&self.file)?;
        let text = format!("{}: {}", self.file.display(), summary(&catalogue));
        Ok(output::print(&text)?)
    }
}

impl Show {
    fn run(self) -> Result<(), Stop> {
        let catalogue = if self.default {
            if !self.json {
                return Ok(output::print(DEFAULT.trim_end())?);
            }
            Catalogue::embedded().map_err(anyhow::Error::from)?
        } else {
            let ledger = boot::open(self.folder.settings(self.segments)?)?;
            let catalogue = ledger.views().index.catalogue();
            ledger.stop();
            (*catalogue).clone()
        };
        let text = catalogue.text();
        let text = if self.json {
            text.to_json()
        } else {
            text.to_toml()
        };
        Ok(output::print(text.trim_end())?)
    }
}

impl Adopt {
    fn run(self) -> Result<(), Stop> {
        let catalogue = read(&self.file)?;
        let mut settings = self.folder.settings(self.segments)?;
        settings.accept_clock = self.accept_clock;
        let ledger = boot::open(settings)?;
        let adopted = adopt(&ledger, catalogue);
        ledger.stop();
        match adopted {
            Ok(done) => Ok(output::print(&done)?),
            Err(SubmitError::Rejected(Rejection::CatalogueInUse { by })) => {
                Err(in_use(&self.file, &by))
            }
            Err(why) => Err(why.into()),
        }
    }
}

/// Submits the catalogue and says what came of it.
fn adopt(ledger: &Ledger, catalogue: Catalogue) -> Result<String, SubmitError> {
    let before = ledger.views().position();
    let summary = summary(&catalogue);
    let command = command::Command::AdoptCatalogue(AdoptCatalogue { catalogue });
    let answer = ledger.submit_blocking(Submission::bare(operator_request(command)))?;
    Ok(if Some(answer.position) == before {
        format!("in force already: {summary}")
    } else {
        let position = answer.position;
        format!("adopted by event {position}: {summary}")
    })
}

/// Reads and checks a catalogue; a refusal names file, line and reason.
pub(super) fn read(path: &Path) -> Result<Catalogue, Stop> {
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(cannot)?;
    let at = path.display();
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let why = format!("{at} holds more than {FILE_BYTES_MAX} bytes");
        return Err(Stop::refused(why));
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_why| Stop::refused(format!("{at} is not UTF-8")))?;
    Catalogue::from_toml(&text).map_err(|refused| {
        let why = refused.why;
        Stop::refused(match refused.line {
            Some(line) => format!("{at}:{line}: {why}"),
            None => format!("{at}: {why}"),
        })
    })
}

fn summary(catalogue: &Catalogue) -> String {
    let text = catalogue.text();
    let part = |all: usize, kept: usize, (singular, plural): (&str, &str)| {
        let all = output::counted(all as u64, singular, plural);
        match kept {
            0 => all,
            kept => format!("{all} ({kept} kept for those who have them)"),
        }
    };
    let scopes = text.scopes.iter().filter(|scope| scope.keep);
    let roles = text.roles.iter().filter(|role| role.keep);
    let presets = text.presets.iter().filter(|preset| preset.keep);
    format!(
        "{}, {}, {}",
        part(text.scopes.len(), scopes.count(), ("scope", "scopes")),
        part(text.roles.len(), roles.count(), ("role", "roles")),
        part(text.presets.len(), presets.count(), ("preset", "presets")),
    )
}

/// The refusal with the list of what is in the way.
fn in_use(path: &Path, by: &InUse) -> Stop {
    let mut lines: Vec<String> = by.listed.iter().map(|left| format!("  {left}")).collect();
    let more = by.total.saturating_sub(by.listed.len());
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    let way_out = "Give an entry `keep = true` to leave it to those who have it, or change or end \
                   these first.";
    Stop::refused(format!(
        "{} drops what is in use; nothing was changed. Records concerned: {}\n{}\n{way_out}",
        path.display(),
        by.total,
        lines.join("\n"),
    ))
}
