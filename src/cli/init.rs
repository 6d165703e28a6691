//! `keyledger init`: makes a ledger.

use anyhow::Context;
use clap::Args;

use super::bootstrap;
use super::exit::Stop;
use super::first::FirstArgs;
use super::folder::{FolderArgs, LinkArgs, SegmentArgs};
use super::output;

const EXAMPLES: &str = "\
Examples:
  keyledger init --data-dir /var/lib/keyledger --organization Acme \\
    --owner-email ada@acme.example --public-url https://keys.acme.example
  keyledger init --catalogue catalogue.toml --public-url https://keys.acme.example --json
  keyledger init --origin keys.acme.example/ledger --master-key-file /run/secrets/master \\
    --public-url https://keys.acme.example

The owner's sign-in link begins with the public URL. The key on stdout is shown once; if it is lost,
stop the server and run `keyledger recover`.";

/// Make a ledger in an empty folder, with a first organization and its key
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Init {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    #[command(flatten)]
    first: FirstArgs,

    #[command(flatten)]
    links: LinkArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Stop> {
        let settings = self.folder.settings(self.segments)?;
        let first = self.first.first()?;
        let (ledger, issued) = bootstrap::create(settings, first, &self.links.public_url)?;
        ledger.stop();
        let text = if self.json {
            issued.json()?
        } else {
            issued.text(None)
        };
        let shown = output::print(&text);
        shown.context("the ledger is made and its key is lost; run `keyledger recover`")?;
        Ok(())
    }
}
