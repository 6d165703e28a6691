//! `keyledger init`: makes a ledger.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::bootstrap::{self, First};
use super::catalogue;
use super::exit::Stop;
use super::folder::{FolderArgs, LinkArgs, SegmentArgs};
use super::output;

const EXAMPLES: &str = "\
Examples:
  keyledger init --data-dir /var/lib/keyledger
  keyledger init --organization Acme --owner-email owner@acme.example --json
  keyledger init --catalogue catalogue.toml
  keyledger init --origin keys.acme.example/ledger --master-key-file /run/secrets/master

The key on stdout is shown once. Whoever loses it stops the server and runs `keyledger recover`.";

/// Make a ledger in an empty folder, with a first organization and its key
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Init {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// The name of the first organization
    #[arg(long, value_name = "NAME", default_value = bootstrap::ORGANIZATION)]
    #[arg(env = "KEYLEDGER_ORGANIZATION", hide_env_values = true)]
    organization: String,

    /// The e-mail address of its owner
    #[arg(long, value_name = "EMAIL", default_value = bootstrap::OWNER_EMAIL)]
    #[arg(env = "KEYLEDGER_OWNER_EMAIL", hide_env_values = true)]
    owner_email: String,

    /// The name under which checkpoints are signed, for ever [default: keyledger/ and the log id]
    #[arg(long, value_name = "NAME")]
    #[arg(env = "KEYLEDGER_ORIGIN", hide_env_values = true)]
    origin: Option<String>,

    #[command(flatten)]
    links: LinkArgs,
    /// Its scopes, roles and presets, in TOML [default: those of `catalogue show --default`]
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_CATALOGUE", hide_env_values = true)]
    catalogue: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Stop> {
        let settings = self.folder.settings(self.segments)?;
        let catalogue = self.catalogue.as_deref().map(catalogue::read);
        let first = First {
            organization: self.organization,
            owner_email: self.owner_email,
            origin: self.origin,
            catalogue: catalogue.transpose()?,
        };
        let (ledger, issued) = bootstrap::create(settings, first, &self.links.public_url)?;
        ledger.stop();
        let text = if self.json {
            issued.json()?
        } else {
            issued.text()
        };
        let shown = output::print(&text);
        shown.context("the ledger is made and its key is lost; run `keyledger recover`")?;
        Ok(())
    }
}
