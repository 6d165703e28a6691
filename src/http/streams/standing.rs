//! Who was let in to something that goes on for long, and whether they would be again.

use std::sync::atomic::Ordering;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, Request, header};

use crate::domain::access::Action;
use crate::domain::ids::OrganizationId;
use crate::domain::record::EventFilter;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::call::Call;
use crate::http::problem::Problem;
use crate::http::{pull, revocations};
use crate::webhooks::pull::Wanted;

/// What somebody was let in to.
pub(in crate::http) enum Leave {
    /// The revocation feed, and whose.
    Revocations(revocations::Visible),
    /// Events by pull: what was asked for, and what that comes to for the caller.
    Events(Option<EventFilter>, Wanted),
    /// Stored events of an organization, or of all.
    Ledger(Option<OrganizationId>),
}

impl Leave {
    /// Whether a caller gets the same now; a refusal if nothing.
    fn is_had_by(&self, app: &App, caller: &Caller) -> Result<bool, Problem> {
        match self {
            Self::Revocations(visible) => Ok(revocations::visible_to(app, caller)? == *visible),
            Self::Events(asked, wanted) => {
                Ok(pull::wanted(app, caller, asked.as_ref())? == *wanted)
            }
            Self::Ledger(Some(organization)) => {
                caller.may(app, Action::ReadLedger, *organization)?;
                Ok(true)
            }
            Self::Ledger(None) => {
                caller.may_at_home(app, Action::ReadLedger)?;
                Ok(caller.authority.platform)
            }
        }
    }
}

/// Who was let in, and to what.
pub(in crate::http) struct Standing {
    pub(in crate::http) app: App,
    headers: HeaderMap,
    leave: Leave,
}

impl Standing {
    pub(in crate::http) fn of(call: &Call, leave: Leave) -> Self {
        let mut headers = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE] {
            for value in call.context.headers().get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Self {
            app: call.app.clone(),
            headers,
            leave,
        }
    }

    /// Whether the caller would be let in again and see as much, and the service goes on.
    pub(in crate::http) async fn stands(&self) -> bool {
        self.look().await.is_ok_and(|stands| stands)
    }

    /// The same, with the refusal of one who would not be let in.
    pub(in crate::http) async fn look(&self) -> Result<bool, Problem> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = self.headers.clone();
        let caller = Caller::from_request_parts(&mut parts, &self.app).await?;
        let has = self.leave.is_had_by(&self.app, &caller)?;
        Ok(has && self.app.ready.load(Ordering::Acquire))
    }
}
