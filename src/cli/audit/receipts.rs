//! `keyledger audit prove|check-proof`: that one event is in the log.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;

use super::past::{ReadArgs, unread};
use super::verify::verdict_words;
use super::{Outcome, cannot};
use crate::audit::receipts::{EventName, ProveError, check, prove};
use crate::audit::verdict::Verdict;
use crate::cli::exit::Stop;
use crate::cli::output::print;
use crate::merkle::NoteVerifier;

/// Print a receipt of an event: a C2SP tlog-proof against the newest checkpoint
#[derive(Args, Debug)]
pub(super) struct Prove {
    /// The event's id, or its position
    #[arg(value_name = "EVENT")]
    event: EventName,

    #[command(flatten)]
    read: ReadArgs,
}

impl Prove {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let reading = self.read.open()?;
        let receipt = prove(&self.read.folder(), &reading, self.event);
        let receipt = receipt.map_err(|why| match why {
            ProveError::Reading(why) => unread(why),
            ProveError::Absent | ProveError::NotSigned => Stop::refused(why),
            ProveError::Read(_) | ProveError::Floor(_) | ProveError::Checkpoint(_) => cannot(why),
        })?;
        // A receipt ends in a line end of its own.
        print(receipt.to_text().trim_end_matches('\n'))?;
        Ok(Outcome::Whole)
    }
}

/// Check a receipt with nothing but a verifier key and the payload
#[derive(Args, Debug)]
pub(super) struct CheckProof {
    /// The receipt: a C2SP tlog-proof
    #[arg(value_name = "FILE")]
    receipt: PathBuf,

    /// The log's verifier key
    #[arg(long, value_name = "VKEY", value_parser = NoteVerifier::parse)]
    #[arg(env = "KEYLEDGER_VKEY", hide_env_values = true)]
    vkey: NoteVerifier,

    /// The stored payload, byte for byte
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_AUDIT_PAYLOAD", hide_env_values = true)]
    payload: PathBuf,
}

impl CheckProof {
    pub(super) fn run(self) -> Result<Outcome, Stop> {
        let read = |path: &PathBuf| {
            fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let receipt = read(&self.receipt)?;
        let receipt = String::from_utf8_lossy(&receipt);
        match check(&receipt, &read(&self.payload)?, &self.vkey) {
            Ok(proven) => {
                let root = STANDARD.encode(proven.checkpoint.root);
                let (position, size) = (proven.position, proven.checkpoint.size);
                let origin = proven.checkpoint.origin;
                print(&format!(
                    "PROVEN: the payload is event {position} of {origin}, \
                     in the tree of size {size} with root {root}"
                ))?;
                Ok(Outcome::Whole)
            }
            Err(finding) => {
                print(&verdict_words(&Verdict::Damaged(Box::new(finding)), false))?;
                Ok(Outcome::Damaged)
            }
        }
    }
}
