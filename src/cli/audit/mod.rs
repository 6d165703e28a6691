//! `keyledger audit`: what anybody can find out who has a folder, a bundle or an address.
//!
//! Parsing and printing; the checks are in the library's own room. Nothing here writes to what it
//! looks at.

mod export;
mod past;
mod progress;
mod published;
mod receipts;
mod verify;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::complain;
use super::environment::Variables;
use super::exit::{Exit, Stop};
use verify::Verify;

pub(super) use verify::read_note;

/// The list in `--help`.
const EXIT_CODES: &str = "\
Exit codes of audit:
  0  whole, or told what was asked
  1  damaged: something is not what was written or signed
  2  it cannot be told: wrong usage, nothing there, or the system said no";

/// Check a ledger without trusting who runs it, and ask what was true when
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Verify),
    Replay(past::Replay),
    Diff(past::Diff),
    WhoCould(past::WhoCould),
    History(past::History),
    Prove(receipts::Prove),
    CheckProof(receipts::CheckProof),
    Export(export::Export),
}

/// How an audit has ended that could be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Nothing is wrong.
    Whole,
    /// Something is, and it was said what.
    Damaged,
}

impl Audit {
    /// Does what was asked and says how it ended.
    pub(super) fn run(self, variables: &Variables) -> ExitCode {
        let outcome = match self.command {
            Command::Verify(verify) => verify.run(),
            Command::Replay(replay) => replay.run(),
            Command::Diff(diff) => diff.run(),
            Command::WhoCould(who_could) => who_could.run(),
            Command::History(history) => history.run(),
            Command::Prove(prove) => prove.run(),
            Command::CheckProof(check_proof) => check_proof.run(),
            Command::Export(export) => export.run(),
        };
        match outcome {
            Ok(Outcome::Whole) => ExitCode::SUCCESS,
            Ok(Outcome::Damaged) => ExitCode::from(1),
            Err(Stop { exit, why }) => {
                complain(&why, variables);
                match exit {
                    Exit::Damaged | Exit::Poisoned => ExitCode::from(1),
                    Exit::Failed | Exit::Refused => ExitCode::from(2),
                }
            }
        }
    }
}

/// What the system refused, or what is not there.
fn cannot(why: impl std::error::Error + Send + Sync + 'static) -> Stop {
    Stop {
        exit: Exit::Failed,
        why: anyhow!(why),
    }
}
