//! `GET /v1/revocations/snapshot`: where a verifier without any state begins.
//!
//! NDJSON: `{"position":P}` first, then a line for each credential that has not merely expired and
//! is not accepted now: `{"key_id":"key_...","effect":"ended"}` or `"disabled"`; last
//! `{"end":true}`, without which it was cut off. It holds at least everything up to P; what changes
//! later is in the feed after P. Pages of credentials are read one after another as the
//! connection takes them, so that a list of millions needs the room of one page.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::verification::revocations::{Feed, Visible, visible_to};
use crate::domain::ids::{CredentialId, OrganizationId, Owner};
use crate::domain::record::{Credential, Status};
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::turns::Tenant;
use crate::views::credentials::CredentialFilter;
use crate::views::list_page::{ListCursor, PageQuery};
use crate::views::revocations::{FeedScope, RevocationEffect};
use crate::web::call::Call;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::past_reads::busy;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::shares::Holder;
use crate::web::streams::StreamAccess;

/// Credentials of one page: some 140 KB, and 70 KB of lines.
const PAGE_LEN: usize = 1_000;
/// How long a reader may leave a page untaken.
const SLOW_MAX: Duration = Duration::from_secs(30);

/// A credential that is not accepted.
#[derive(Serialize)]
struct Refused {
    key_id: CredentialId,
    /// `ended`, or `disabled`: by itself or with its owner.
    effect: RevocationEffect,
}

/// Every credential that is ended or disabled.
#[utoipa::path(get, path = "/v1/revocations/snapshot", tag = "revocations",
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String, description =
            "`{\"position\":P}`, then a line a credential, `{\"key_id\":K,\"effect\":E}` where \
            E is `ended` or `disabled`, then `{\"end\":true}`. The feed goes on after P. Expired \
            credentials and secrets that a rotation ended are not in it."),
        (status = "4XX", body = ProblemBody)))]
pub(crate) async fn snapshot(
    State(feed): State<Arc<Feed>>,
    call: Call,
) -> Result<Response, Problem> {
    let visible = visible_to(&call.app, &call.caller)?;
    call.wait().await?;
    let home = call.caller.authority.organization;
    let place = feed.snapshots.take([Holder::Tenant(home)], 1);
    let place = place.ok_or_else(busy)?;
    // Before the first page: what changes from here on is in the feed.
    let position = call.views().position().unwrap_or(0);
    let (pages, taken) = mpsc::channel(1);
    let walk = Walk {
        ledger: call.app.ledger.clone(),
        now: call.now(),
        organizations: None,
        of: None,
        after: None,
    };
    let caller = StreamAccess::of(&call, move |app, caller| {
        Ok(visible_to(app, caller)? == visible)
    });
    let reading = async move {
        send((caller, home, visible), walk, position, pages).await;
        drop(place);
    };
    tokio::spawn(reading);
    let pages = stream::unfold(taken, |mut taken: mpsc::Receiver<Bytes>| async {
        let page = taken.recv().await?;
        Some((Ok::<_, Infallible>(page), taken))
    });
    let mut response = Response::new(Body::from_stream(pages));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/x-ndjson");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(LEDGER_POSITION, HeaderValue::from(position));
    Ok(response)
}

/// Sends one page after the other, while there is somebody to take them who may.
async fn send(
    (caller, home, visible): (StreamAccess, Tenant, Visible),
    mut walk: Walk,
    position: u64,
    pages: mpsc::Sender<Bytes>,
) {
    let mut text = format!("{{\"position\":{position}}}\n").into_bytes();
    loop {
        let turns = caller.app.ledger.turns();
        let read = turns.run_bounded(home, move |_turn| {
            let goes_on = walk.page(visible, &mut text);
            (walk, text, goes_on)
        });
        let Ok((walked, mut page, goes_on)) = read.await else {
            tracing::error!("a snapshot of the feed could not be read");
            break;
        };
        if !goes_on {
            page.extend_from_slice(b"{\"end\":true}\n");
        }
        let sent = pages.send_timeout(Bytes::from(page), SLOW_MAX).await;
        if !goes_on || sent.is_err() || !caller.is_still_granted().await {
            break;
        }
        (walk, text) = (walked, Vec::new());
    }
}

/// Where a snapshot has come to.
struct Walk {
    ledger: Ledger,
    now: Timestamp,
    /// The organization last begun, of all.
    organizations: Option<ListCursor>,
    /// The organization being read.
    of: Option<OrganizationId>,
    after: Option<ListCursor>,
}

impl Walk {
    /// Writes the lines of one page; `false` after the last.
    fn page(&mut self, visible: Visible, text: &mut Vec<u8>) -> bool {
        let Some(of) = self.of.or_else(|| self.begin(visible.scope)) else {
            return false;
        };
        self.of = Some(of);
        let ask = PageQuery {
            after: self.after,
            limit: PAGE_LEN,
        };
        let filter = CredentialFilter {
            project: visible.project.map(|(_, project)| project),
            ..CredentialFilter::match_all(self.now)
        };
        let page = self.ledger.views().credentials.list(of, &filter, ask);
        for record in &page.records {
            if let Some(effect) = self.refused(record) {
                let line = Refused {
                    key_id: record.id(),
                    effect,
                };
                if serde_json::to_writer(&mut *text, &line).is_ok() {
                    text.push(b'\n');
                }
            }
        }
        self.after = page.next;
        if page.next.is_some() {
            return true;
        }
        self.of = None;
        match visible.scope {
            FeedScope::OneOrganization(_) => false,
            FeedScope::Everything => self.organizations.is_some(),
        }
    }

    /// The next organization.
    fn begin(&mut self, scope: FeedScope) -> Option<OrganizationId> {
        match scope {
            FeedScope::OneOrganization(id) => Some(id),
            FeedScope::Everything => {
                let ask = PageQuery {
                    after: self.organizations,
                    limit: 1,
                };
                let page = self.ledger.views().directory.organizations(ask, |_| true);
                self.organizations = page.next;
                page.records.first().map(|record| record.id)
            }
        }
    }

    fn refused(&self, record: &Credential) -> Option<RevocationEffect> {
        match record.status(self.now) {
            Status::Revoked => Some(RevocationEffect::Ended),
            Status::Disabled => Some(RevocationEffect::Disabled),
            Status::Active if !self.has_active_owner(record) => Some(RevocationEffect::Disabled),
            Status::Active | Status::Expired => None,
        }
    }

    fn has_active_owner(&self, record: &Credential) -> bool {
        let directory = &self.ledger.views().directory;
        match record.owner() {
            Owner::Organization(_) => true,
            Owner::User(id) => directory
                .member(record.organization(), id)
                .is_some_and(|member| !member.removed),
            Owner::ServiceAccount(id) => directory
                .service_account(record.organization(), id)
                .is_some_and(|account| !account.disabled && !account.deleted),
        }
    }
}
