//! `keyledger audit export`: a bundle for an auditor, or a table for people.

use std::io::BufWriter;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgGroup, Args};

use super::past::ReadArgs;
use super::{Outcome, cannot};
use crate::audit::bundle::Chosen;
use crate::audit::bundle::export::{ExportError, export};
use crate::audit::bundle::table;
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

    /// The first position
    #[arg(long, value_name = "P", default_value_t = 0)]
    #[arg(env = "KEYLEDGER_AUDIT_FROM", hide_env_values = true)]
    from: u64,

    /// The last position
    #[arg(long, value_name = "P")]
    #[arg(env = "KEYLEDGER_AUDIT_TO", hide_env_values = true)]
    to: Option<u64>,

    /// Add the keys that open what belongs to people: whoever has the file can read it
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_AUDIT_WITH_PERSONAL", hide_env_values = true)]
    with_personal: bool,
}

impl Export {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let chosen = Chosen {
            organization: self.organization,
            from: self.from,
            to: self.to,
        };
        let reading = self.read.open()?;
        if let Some(csv) = &self.csv {
            let mut file = NewFile::create(csv)?;
            let rows =
                table::write(&reading, &chosen, BufWriter::new(&mut file)).map_err(failed)?;
            file.finish()?;
            print(&format!("{rows} events in {}", csv.display()))?;
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

fn failed(why: ExportError) -> Stop {
    match &why {
        ExportError::NotSigned | ExportError::NoKeys => Stop::refused(why),
        ExportError::Read(_) | ExportError::Unfit | ExportError::Form(_) => Stop {
            exit: Exit::Damaged,
            why: why.into(),
        },
        ExportError::Io(_) | ExportError::Floor(_) | ExportError::Key(_) | ExportError::Json(_) => {
            cannot(why)
        }
    }
}
