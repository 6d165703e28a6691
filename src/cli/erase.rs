//! `keyledger erase`: a person's values go for good, by whoever holds the folder.

use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::exit::Stop;
use super::folder::{FolderArgs, SegmentArgs};
use super::operator::operator_request;
use super::output;
use crate::domain::command::{Command, EraseMember};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::record::Member;
use crate::ledger::{Answer, Ledger, Record, Submission, boot};
use crate::views::list_page::PageQuery;

/// Organizations that are looked through at once.
const RECORDS_PER_PAGE: usize = 1_000;

const EXAMPLES: &str = "\
Examples:
  keyledger erase --data-dir /var/lib/keyledger --member usr_01H2XA9CKEB7WZG8RMN2KPQV7D \\
    --reason \"Request 17 of 2026\"

The server must be stopped; while it runs, POST .../members/{id}/erase does the same. The membership
ends with its tokens and sessions, and the key of the person's values is destroyed: address, name
and networks go blank in the log, in every copy of it and in every export. All proofs stay. The
reason stands in the log for ever, so it must not name the person. Old exports of the keys hold the
key still: destroy them too.";

/// Erase a person: end the membership, destroy the key of address, name and networks
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Erase {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// The member, removed or not
    #[arg(long, value_name = "ID")]
    #[arg(env = "KEYLEDGER_MEMBER_ID", hide_env_values = true)]
    member: UserId,

    /// Why, in 1 to 500 characters that do not name the person
    #[arg(long, value_name = "TEXT")]
    #[arg(env = "KEYLEDGER_REASON", hide_env_values = true)]
    reason: String,

    /// The clock is right, although it says that the last event is more than 400 days old
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_ACCEPT_CLOCK", hide_env_values = true)]
    accept_clock: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Erase {
    pub(super) fn run(self) -> Result<(), Stop> {
        let mut settings = self.folder.settings(self.segments)?;
        settings.accept_clock = self.accept_clock;
        let ledger = boot::open(settings)?;
        let erased = erase(&ledger, self.member, self.reason);
        ledger.stop();
        let (answer, position) = erased?;
        let text = told(&answer, position, self.json)?;
        Ok(output::print(&text)?)
    }
}

/// Erases the member, and says by which event unless that had been done before.
fn erase(ledger: &Ledger, member: UserId, reason: String) -> Result<(Answer, Option<u64>), Stop> {
    let Some(organization) = organization_of(ledger, member) else {
        let why = format!("no organization of this ledger has or had the member {member}");
        return Err(Stop::refused(why));
    };
    let before = ledger.views().position();
    let command = Command::EraseMember(EraseMember {
        organization,
        member,
        reason,
    });
    let answer = ledger.submit_blocking(Submission::bare(operator_request(command)))?;
    let position = Some(answer.position).filter(|position| Some(*position) != before);
    Ok((answer, position))
}

fn told(answer: &Answer, position: Option<u64>, as_json: bool) -> Result<String, Stop> {
    let Some(Record::Member(record)) = answer.records.first() else {
        return Err(Stop::refused("the answer shows no member"));
    };
    let Member { id, erased_at, .. } = &**record;
    let at = erased_at.map(|at| at.to_string()).unwrap_or_default();
    Ok(match (as_json, position) {
        (true, _) => {
            json!({"member_id": id.to_string(), "erased_at": at, "position": position}).to_string()
        }
        (false, Some(position)) => format!("{id} is erased, by event {position}"),
        (false, None) => format!("{id} has been erased already, at {at}"),
    })
}

/// The organization that a member belongs or belonged to.
fn organization_of(ledger: &Ledger, member: UserId) -> Option<OrganizationId> {
    let directory = &ledger.views().directory;
    let mut after = None;
    loop {
        let ask = PageQuery {
            after,
            limit: RECORDS_PER_PAGE,
        };
        let page = directory.organizations(ask, |_| true);
        let mut ids = page.records.iter().map(|record| record.id);
        let found = ids.find(|id| directory.member(*id, member).is_some());
        after = page.next;
        if found.is_some() || after.is_none() {
            return found;
        }
    }
}
