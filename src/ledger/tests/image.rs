//! What a ledger shows, as text that can be compared: every record, every history, what becomes of
//! every known token. The words are this file's own, so that they stay when records get fields.

use std::fmt::Write as _;
use std::sync::Arc;

use super::World;
use crate::domain::access::Authority;
use crate::domain::catalogue::Catalogue;
use crate::domain::envelope::{Event, commitment};
use crate::domain::ids::{OrganizationId, Subject, UserId};
use crate::domain::record::{
    Credential, EndpointStatus, Member, Organization, Project, ServiceAccount, Stamp,
    WebhookEndpoint,
};
use crate::domain::tests::fingerprint;
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::history::PastNetwork;
use crate::views::credentials::CredentialFilter;
use crate::views::index::{VerificationCode, VerificationQuery};
use crate::views::list_page::{ListPage, PageQuery};

/// Everything of a world: what is decided on, what is shown, what is accepted.
pub(super) fn image(world: &World, tokens: &[(String, String)]) -> String {
    let ledger = &world.ledger;
    let state = fingerprint(&ledger.state.lock().unwrap());
    let now = ledger.now();
    format!(
        "{}\n{}\n{state}",
        shown(ledger),
        verdicts(ledger, tokens, now)
    )
}

/// Every record with its history, and the ends of the chains.
pub(super) fn shown(ledger: &Ledger) -> String {
    let mut text = String::new();
    let organizations = all(|ask| ledger.views().directory.organizations(ask, |_| true));
    for record in organizations {
        line(&mut text, &organization(&record));
        history(&mut text, ledger, Subject::Organization(record.id));
        belongings(&mut text, ledger, record.id);
    }
    line(&mut text, &heads(ledger));
    text
}

fn belongings(text: &mut String, ledger: &Ledger, of: OrganizationId) {
    let directory = &ledger.views().directory;
    for record in all(|ask| directory.projects(of, ask, |_| true)) {
        line(text, &project(&record));
        history(text, ledger, Subject::Project(record.id));
    }
    for record in all(|ask| directory.members(of, ask, |_| true)) {
        line(text, &member(&record));
        history(text, ledger, Subject::Member(record.id));
        signing_in(text, ledger, record.id);
    }
    for record in all(|ask| directory.service_accounts(of, ask, |_| true)) {
        line(text, &account(&record));
        history(text, ledger, Subject::ServiceAccount(record.id));
    }
    for record in all(|ask| directory.webhook_endpoints(of, ask, |_| true)) {
        line(text, &endpoint(&record));
        history(text, ledger, Subject::WebhookEndpoint(record.id));
    }
    let credentials = &ledger.views().credentials;
    let filter = CredentialFilter::match_all(Timestamp(0));
    for record in all(|ask| credentials.list(of, &filter, ask)) {
        line(text, &key(&record));
        history(text, ledger, Subject::Credential(record.id()));
        let got = credentials.get(of, record.id());
        assert_eq!(got.as_ref(), Some(&record), "a get shows what a list shows");
    }
}

/// All pages of a list.
pub(super) fn all<T>(list: impl Fn(PageQuery) -> ListPage<T>) -> Vec<Arc<T>> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let page = list(PageQuery { after, limit: 3 });
        records.extend(page.records);
        after = page.next;
        if after.is_none() {
            return records;
        }
    }
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").unwrap();
}

fn history(text: &mut String, ledger: &Ledger, subject: Subject) {
    let mut events = String::new();
    for past in ledger.events_of(subject, 0, 1_000).unwrap() {
        let event = &past.event;
        let network = match past.network {
            PastNetwork::Shown(network) => format!(" {network}"),
            PastNetwork::NotKept | PastNetwork::Erased | PastNetwork::Unavailable => String::new(),
        };
        let actor = (event.actor.kind, event.actor.id, event.actor.via);
        write!(
            events,
            "\n    {} {} {} at {} by {actor:?}{network}",
            event.position,
            event.id,
            event.fact.name(),
            event.occurred_at.0
        )
        .unwrap();
    }
    line(text, &format!("  history{events}"));
}

fn stamp(stamp: &Stamp) -> String {
    format!(
        "version {} position {} made {} by {:?} changed {}",
        stamp.version, stamp.position, stamp.created_at.0, stamp.created_by, stamp.updated_at.0
    )
}

fn organization(record: &Organization) -> String {
    let (name, prefix) = (&record.name, &record.token_prefix);
    format!(
        "organization {} {name:?} {prefix} {}",
        record.id,
        stamp(&record.stamp)
    )
}

fn project(record: &Project) -> String {
    let (name, archived) = (&record.name, record.archived);
    let stamp = stamp(&record.stamp);
    format!("project {} {name:?} archived {archived} {stamp}", record.id)
}

fn member(record: &Member) -> String {
    let name = record.name.as_ref().map(|name| name.text());
    format!(
        "member {} {:?} {name:?} {} removed {} added by {} {}",
        record.id,
        record.email.text(),
        record.role,
        record.removed,
        record.sealed_by,
        stamp(&record.stamp)
    )
}

/// A member's sessions, link and password; nothing of who has none.
fn signing_in(text: &mut String, ledger: &Ledger, of: UserId) {
    let sessions = &ledger.views().sessions;
    for seen in sessions.live_sessions_of_member(of, ledger.now()) {
        let session = &seen.session;
        let words = format!(
            "session {} by {} hash {} until {} {}",
            session.id,
            session.by.name(),
            hex::encode(session.hash.0),
            session.expires_at.0,
            stamp(&session.stamp)
        );
        line(text, &words);
        history(text, ledger, Subject::Session(session.id));
    }
    if let Some(means) = sessions.sign_in_means_of_member(of) {
        let link = means.link.as_ref();
        let link = link.map(|link| (hex::encode(link.hash.0), link.expires_at.0));
        let password = means.password.as_ref();
        let password = password.map(|password| (password.hash.text(), password.set_by));
        line(text, &format!("signs in by {link:?} {password:?}"));
    }
}

fn account(record: &ServiceAccount) -> String {
    format!(
        "service account {} {:?} {} {:?} role {:?} scopes {:?} disabled {} deleted {} {}",
        record.id,
        record.name,
        record.slug,
        record.description,
        record.role,
        record.scopes,
        record.disabled,
        record.deleted,
        stamp(&record.stamp)
    )
}

fn endpoint(record: &WebhookEndpoint) -> String {
    let because = match record.status {
        EndpointStatus::Disabled(because) => Some(because.name()),
        EndpointStatus::Active | EndpointStatus::Deleted => None,
    };
    let mut text = format!(
        "webhook endpoint {} {} {:?} project {:?} types {:?} ordered {} {} {} {because:?} \
         from {} failing {:?} {}",
        record.id,
        record.url,
        record.description,
        record.project,
        record.event_types.entries(),
        record.ordered,
        record.signature.name(),
        record.status.name(),
        record.from,
        record
            .failing
            .map(|notice| (notice.percent, notice.since.0)),
        stamp(&record.stamp)
    );
    for secret in &record.secrets {
        write!(
            text,
            "\n    secret {} {:?} sealed by {} public {:?} made {} ends {:?}",
            secret.id,
            secret.key.text(),
            secret.sealed_by,
            secret.public_key,
            secret.created_at.0,
            secret.ends_at.map(|at| at.0)
        )
        .unwrap();
    }
    text
}

fn key(record: &Credential) -> String {
    let ended = record.ended();
    let ended = ended.map(|ended| (ended.at.0, ended.event, ended.reason.clone()));
    let mut text = format!(
        "credential {} {} of {} project {:?} {:?} {:?} scopes {:?} role {:?} preset {:?} \
         metadata {:?} expires {:?} disabled {} ended {ended:?} via {:?} {}",
        record.id(),
        record.kind().name(),
        record.owner(),
        record.project(),
        record.name(),
        record.description(),
        record.grant().scopes,
        record.grant().role,
        record.grant().preset,
        record.metadata(),
        record.expires_at().map(|at| at.0),
        record.disabled(),
        record.issued_via(),
        stamp(&record.stamp())
    );
    for secret in record.secrets() {
        let ends = secret.ends_at.map(|at| at.0);
        let hash = hex::encode(secret.hash.0);
        let (id, shown, made) = (secret.id, secret.shown_prefix(), secret.created_at.0);
        write!(
            text,
            "\n  secret {id} {shown} {hash} made {made} ends {ends:?}"
        )
        .unwrap();
    }
    text
}

/// Size, root, and the last event of every organization.
fn heads(ledger: &Ledger) -> String {
    let reader = ledger.reader();
    let next = reader.next_position();
    let root = reader.batch_root_at(next - 1).unwrap().unwrap();
    let mut heads = std::collections::BTreeMap::new();
    let scanned = reader.scan(0, next, |position, payload| {
        let event = Event::from_payload(payload).unwrap();
        assert_eq!(event.position, position);
        if let Some(place) = event.organization {
            let head = (place.sequence, hex::encode(commitment(payload).0), position);
            let before = heads.insert(place.id, head);
            let previous = place.previous.map(|previous| hex::encode(previous.0));
            assert_eq!(
                before.map(|(_, head, _)| head),
                previous,
                "a chain has no gap"
            );
        }
    });
    scanned.unwrap();
    let mut text = format!("log {next} {}", hex::encode(root));
    for (id, (sequence, commitment, position)) in heads {
        let newest = ledger.views().newest_positions.newest_of_organization(id);
        assert_eq!(newest, Some(position), "the view has the end of the chain");
        write!(text, "\nhead {id} {sequence} {commitment}").unwrap();
    }
    text
}

/// What becomes of each token at an instant.
pub(super) fn verdicts(ledger: &Ledger, tokens: &[(String, String)], now: Timestamp) -> String {
    let mut text = String::new();
    for (name, token) in tokens {
        let verdict = ledger.views().index.verify(&ask(&platform(), token), now);
        let scopes = verdict
            .key
            .as_ref()
            .map(|key| key.granted_scopes().to_vec());
        let until = verdict.valid_until.map(|at| at.0);
        let code = verdict.code.wire_name();
        line(
            &mut text,
            &format!("{name} at {}: {code} until {until:?} {scopes:?}", now.0),
        );
    }
    text
}

/// The code of one token, now.
pub(super) fn code(world: &World, token: &str) -> VerificationCode {
    let ledger = &world.ledger;
    let verdict = ledger
        .views()
        .index
        .verify(&ask(&platform(), token), ledger.now());
    verdict.code
}

fn platform() -> Authority {
    Authority::operator(&Catalogue::default())
}

fn ask<'a>(authority: &'a Authority, key: &'a str) -> VerificationQuery<'a> {
    VerificationQuery {
        authority,
        key,
        required_scopes: &[],
        project: None,
        any_project: true,
        organization: None,
    }
}
