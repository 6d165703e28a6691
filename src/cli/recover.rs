//! `keyledger recover`: a new first key, and a link for the owner, for whoever holds the folder.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::bootstrap::{self, Issued, SCOPES};
use super::exit::Stop;
use super::folder::{FolderArgs, LinkArgs, SegmentArgs};
use super::operator::operator_request;
use super::output;
use crate::domain::command::{Command, CreateKey, Expiry};
use crate::domain::ids::{OrganizationId, Owner, UserId};
use crate::domain::kind::Kind;
use crate::domain::record::{Grant, Metadata};
use crate::ledger::{Ledger, boot};
use crate::views::list_page::{ListPage, PageQuery};

/// The name of a key made here.
const KEY_NAME: &str = "Recovery key";

/// Records that are looked through at once.
const RECORDS_PER_PAGE: usize = 1_000;

const EXAMPLES: &str = "\
Examples:
  keyledger recover --data-dir /var/lib/keyledger --public-url https://keys.acme.example
  keyledger recover --organization org_01H2XA9CKEB7WZG8RMN2KPQV7D --json \\
    --public-url https://keys.acme.example

The server must be stopped. Keys that exist stay as they are: revoke what was lost.";

/// Issue a new key that may do everything and a link for the owner, with the server stopped
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Recover {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// The organization of the key [default: the one that the ledger began with]
    #[arg(long, value_name = "ID")]
    #[arg(env = "KEYLEDGER_ORGANIZATION_ID", hide_env_values = true)]
    organization: Option<OrganizationId>,

    /// The clock is right, although it says that the last event is more than 400 days old
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_ACCEPT_CLOCK", hide_env_values = true)]
    accept_clock: bool,

    #[command(flatten)]
    links: LinkArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.folder.settings(self.segments)?;
        settings.accept_clock = self.accept_clock;
        let ledger = boot::open(settings)?;
        let issued = issue(&ledger, self.organization)
            .and_then(|issued| bootstrap::with_link(&ledger, issued, &self.links.public_url));
        ledger.stop();
        let issued = issued?;
        let text = if self.json {
            issued.json()?
        } else {
            issued.text(None)
        };
        let shown = output::print(&text);
        shown.context("the key is made and lost; revoke it and run this again")?;
        Ok(())
    }
}

/// Makes the key, in the organization that was named or the one that came first.
fn issue(ledger: &Ledger, organization: Option<OrganizationId>) -> Result<Issued, Stop> {
    let directory = &ledger.views().directory;
    let first = || oldest(|ask| directory.organizations(ask, |_| true)).map(|record| record.id);
    let Some(organization) = organization.or_else(first) else {
        return Err(Stop::refused(
            "this ledger holds no organization: an `init` was cut short; empty the folder and \
             run `keyledger init` again",
        ));
    };
    let grant = Grant {
        scopes: SCOPES.map(str::to_owned).to_vec(),
        ..Grant::default()
    };
    let command = Command::CreateKey(CreateKey {
        organization,
        kind: Kind::Organization,
        owner: Owner::Organization(organization),
        project: None,
        name: KEY_NAME.to_owned(),
        description: None,
        grant,
        expiry: Expiry::Never,
        metadata: Metadata::new(),
    });
    let issued = bootstrap::issue(ledger, operator_request(command))?;
    let owner = owner_of(ledger, organization);
    Ok(Issued { owner, ..issued })
}

/// The organization's owner of longest standing.
fn owner_of(ledger: &Ledger, organization: OrganizationId) -> Option<UserId> {
    let catalogue = ledger.views().index.catalogue();
    let directory = &ledger.views().directory;
    let owners = |ask| {
        directory.members(organization, ask, |member| {
            !member.removed && catalogue.is_owner(&member.role)
        })
    };
    oldest(owners).map(|member| member.id)
}

/// The last record of a list, which stands newest first.
fn oldest<T>(list: impl Fn(PageQuery) -> ListPage<T>) -> Option<Arc<T>> {
    let mut oldest = None;
    let mut after = None;
    loop {
        let mut page = list(PageQuery {
            after,
            limit: RECORDS_PER_PAGE,
        });
        oldest = page.records.pop().or(oldest);
        after = page.next;
        if after.is_none() {
            return oldest;
        }
    }
}
