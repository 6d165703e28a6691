//! `GET /v1/revocations`: what verifiers that keep answers must forget, page by page, as a live
//! stream, and as a snapshot for a cold start.
//!
//! Everything is within the caller's organization, or everywhere with `platform:*`. Entries come
//! from RAM or, off the async threads and in turns, from the log.

pub(crate) mod snapshot;
pub(crate) mod stream;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::access::Action;
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId};
use crate::ledger::turns::{Tenant, Turn};
use crate::records::OwnerRecord;
use crate::views::revocations::{AffectedCredentials, FeedPage, FeedScope, RevocationEntry};
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::call::Call;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::lists;
use crate::web::lists::{Query, number};
use crate::web::problem::{Problem, ProblemBody};
use crate::web::shares::{FairShares, ShareLimits};
use crate::web::streams::Streams;

/// Snapshots that are being read at once: each holds a page of records, some 0.2 MB.
const SNAPSHOTS_MAX: usize = 64;
/// The same of one organization.
const SNAPSHOTS_EACH_MAX: usize = 4;

/// What all callers of the feed share.
pub(crate) struct Feed {
    snapshots: FairShares,
    streams: Streams,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            snapshots: FairShares::new(ShareLimits {
                all: SNAPSHOTS_MAX,
                each: SNAPSHOTS_EACH_MAX,
            }),
            streams: Streams::default(),
        }
    }
}

/// One entry: forget what is known of these credentials.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revocation<'a> {
    /// Of the event; an answer of a later position has taken it into account.
    position: u64,
    /// `ended`, `disabled`, `enabled`, `rotated` or `changed`.
    effect: &'static str,
    /// Whose event it is; null reaches everybody.
    #[schema(value_type = Option<String>)]
    organization_id: Option<OrganizationId>,
    /// The credentials. Of an owner's event, all that live.
    #[schema(value_type = Vec<String>)]
    key_ids: &'a [CredentialId],
    /// The member or service account, where it is about all of an owner's.
    #[schema(value_type = Option<OwnerRecord>)]
    owner: Option<Owner>,
    /// Every credential of every organization: scopes and roles have other meanings now.
    all: bool,
}

impl<'a> Revocation<'a> {
    fn of(entry: &'a RevocationEntry) -> Self {
        let (key_ids, owner, all) = match &entry.affected {
            AffectedCredentials::One(id) => (std::slice::from_ref(id), None, false),
            AffectedCredentials::OfOwner(owner, ids) => (&**ids, Some(*owner), false),
            AffectedCredentials::All => (&[][..], None, true),
        };
        Self {
            position: entry.position,
            effect: entry.effect.wire_name(),
            organization_id: entry.organization,
            key_ids,
            owner,
            all,
        }
    }
}

/// Where a reading begins and how long it may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    after: Option<String>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
}

/// What of the feed a caller sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Visible {
    scope: FeedScope,
    /// The one project whose credentials it sees, and their organization.
    project: Option<(OrganizationId, ProjectId)>,
}

impl Visible {
    /// Whether an entry is shown. Credentials of members and service accounts are never bound.
    fn sees(&self, app: &App, entry: &RevocationEntry) -> bool {
        let Some((organization, project)) = self.project else {
            return true;
        };
        match &entry.affected {
            AffectedCredentials::All => true,
            AffectedCredentials::OfOwner(..) => false,
            AffectedCredentials::One(id) => {
                let found = app.ledger.views().credentials.get(organization, *id);
                found.is_some_and(|key| key.project() == Some(project))
            }
        }
    }
}

/// Entries after a position, oldest first.
#[utoipa::path(get, path = "/v1/revocations", tag = "revocations",
    params(
        ("after" = Option<u64>, Query, description = "Entries of later positions alone; without it \
            from the beginning. `Ledger-Position` of the answer before goes here."),
        ("limit" = Option<usize>, Query, description = "1 to 200 entries."),
    ),
    responses((status = 200, body = Vec<Revocation>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(call: Call, query: Query<Range>) -> Result<Response, Problem> {
    let visible = visible_to(&call.app, &call.caller)?;
    let range = query.read()?;
    let limit = lists::limit(range.limit)?;
    let from = lists::first_after(&call.app, range.after.as_deref())?.unwrap_or(0);
    call.wait().await?;
    let home = call.caller.authority.organization;
    let page = read(&call.app, home, from, visible, limit).await?;
    let entries: Vec<_> = page
        .entries
        .iter()
        .map(|entry| Revocation::of(entry))
        .collect();
    let mut response = lists::array(&query.uri, &entries, None);
    let headers = response.headers_mut();
    if let Some(seen) = page.next.checked_sub(1) {
        headers.insert(LEDGER_POSITION, HeaderValue::from(seen));
        let more = call.views().position().is_some_and(|shown| shown > seen);
        let link = format!(
            "<{}?after={seen}&limit={limit}>; rel=\"next\"",
            query.uri.path()
        );
        if let (true, Ok(link)) = (more, HeaderValue::from_str(&link)) {
            headers.insert(header::LINK, link);
        }
    }
    Ok(response)
}

/// What a caller may see.
pub(crate) fn visible_to(app: &App, caller: &Caller) -> Result<Visible, Problem> {
    let access = caller.may_at_home(app, Action::Verify)?;
    let authority = access.authority();
    let scope = match authority.organization {
        _ if authority.platform => FeedScope::Everything,
        Some(home) => FeedScope::OneOrganization(home),
        None => return Err(Problem::not_found("organization")),
    };
    let project = authority.organization.zip(authority.project);
    Ok(Visible { scope, project })
}

/// A page of the entries that a caller sees, from `from` on. What it does not see is left out of
/// the page, not of how far the page reaches.
async fn read(
    app: &App,
    of: Tenant,
    from: u64,
    visible: Visible,
    limit: usize,
) -> Result<FeedPage, Problem> {
    let mut page = read_all(app, of, from, visible.scope, limit).await?;
    let mut seen = Vec::with_capacity(page.entries.len());
    for entry in page.entries {
        if visible.sees(app, &entry) {
            seen.push(entry);
        }
    }
    page.entries = seen;
    Ok(page)
}

/// A page of entries from `from` on: from RAM, else a piece of the log in the caller's turn.
async fn read_all(
    app: &App,
    of: Tenant,
    from: u64,
    scope: FeedScope,
    limit: usize,
) -> Result<FeedPage, Problem> {
    if let Some(page) = app.ledger.feed_in_ram(from, scope, limit) {
        return Ok(page);
    }
    let ledger = app.ledger.clone();
    let reading = move |turn: &mut Turn| ledger.feed_in_log(from, scope, limit, turn);
    Ok(app.ledger.turns().run(of, reading).await??)
}
