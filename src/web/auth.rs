//! Who calls: the credential in `Authorization`, or the member of the session in the cookie,
//! looked up and turned into an authority.
//!
//! A handler that takes a [`Caller`] cannot run without one. What it may do is asked of
//! [`may`]; the ledger asks again when it decides.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;

use crate::domain::access::{Access, Action, Authority, may};
use crate::domain::command::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::rejection::Rejection;
use crate::domain::session::Session;
use crate::views::index::VerificationCode;
use crate::web::app::App;
use crate::web::authorization::{NoToken, presented_token};
use crate::web::context::single;
use crate::web::cookie;
use crate::web::problem::Problem;
use crate::web::record_usage;
use crate::web::record_usage::UsedSlot;

/// Somebody whose credential or session is accepted.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) authority: Authority,
    /// The session, of a member in person.
    pub(crate) session: Option<Arc<Session>>,
    /// Where it says which scopes it has used.
    slot: UsedSlot,
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    App: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let app = &App::from_ref(state);
        let cookie = cookie::presented(&parts.headers, &app.settings.public_url)?;
        let value = match (parts.headers.get(header::AUTHORIZATION), cookie) {
            (Some(_), Some(_)) => {
                let detail = "send Authorization or a session's cookie, not both";
                return Err(Problem::bad_request("credentials_twice", detail));
            }
            (None, Some(token)) => return by_session(parts, app, token),
            (None, None) => return Err(Problem::unauthenticated(false)),
            (Some(value), None) => value,
        };
        // Two credentials at once are refused; one that is not text is not accepted.
        let value = match value.to_str() {
            Ok(_) => single(&parts.headers, &header::AUTHORIZATION)?.unwrap_or_default(),
            Err(_) => return Err(Problem::unauthenticated(true)),
        };
        let token = presented_token(value).map_err(|why| match why {
            NoToken::OtherScheme => Problem::other_scheme(),
            NoToken::NotBasic => Problem::unauthenticated(true),
        })?;
        let views = app.ledger.views();
        match views.index.authenticate(&token, app.ledger.now()) {
            Ok(caller) => {
                record_usage::tell(
                    parts,
                    app,
                    caller.presented_secret(),
                    VerificationCode::Valid,
                );
                Ok(Self {
                    actor: caller.actor,
                    authority: caller.authority,
                    session: None,
                    slot: UsedSlot::of(&parts.extensions),
                })
            }
            Err(refused) => {
                if let Some(secret) = refused.secret {
                    record_usage::tell(parts, app, secret, refused.code);
                }
                Err(Problem::unauthenticated(true))
            }
        }
    }
}

/// A member by a session. What may change something must come from our own pages.
fn by_session(parts: &Parts, app: &App, token: &str) -> Result<Caller, Problem> {
    let views = app.ledger.views();
    let catalogue = views.index.catalogue();
    let found = views
        .sessions
        .authenticate_and_touch(token, &catalogue, app.ledger.now());
    // A cookie that is good for nothing goes, lest it stand in the way of a credential.
    let refused = || {
        let gone = cookie::clear(&app.settings.public_url);
        Problem::unauthenticated(true).with_header(header::SET_COOKIE, gone)
    };
    let found = found.ok_or_else(refused)?;
    if cookie::changes(&parts.method) {
        cookie::check_same_site(&parts.headers, &app.settings.public_url)?;
    }
    Ok(Caller {
        actor: Actor::Session(found.session.id),
        authority: found.authority,
        session: Some(found.session),
        slot: UsedSlot::default(),
    })
}

impl Caller {
    /// The session of a member in person; a credential will not do.
    pub(crate) fn session(&self) -> Result<&Arc<Session>, Problem> {
        self.session
            .as_ref()
            .ok_or_else(|| Rejection::SessionRequired.into())
    }

    /// Leave to do `action` in `organization`, which must exist.
    pub(crate) fn may(
        &self,
        app: &App,
        action: Action,
        organization: OrganizationId,
    ) -> Result<Access, Problem> {
        let catalogue = app.ledger.views().index.catalogue();
        let access = may(
            self.authority.clone(),
            &catalogue,
            action,
            Some(organization),
        )?;
        match app.ledger.views().directory.organization(organization) {
            Some(_) => {
                self.slot.exercise(self.authority.scope_for(action));
                Ok(access)
            }
            None => Err(Problem::not_found("organization")),
        }
    }

    /// Leave to do `action` wherever the caller is.
    pub(crate) fn may_at_home(&self, app: &App, action: Action) -> Result<Access, Problem> {
        let catalogue = app.ledger.views().index.catalogue();
        let home = self.authority.organization;
        let access = may(self.authority.clone(), &catalogue, action, home)?;
        self.slot.exercise(self.authority.scope_for(action));
        Ok(access)
    }

    /// Leave to do `action` across all organizations.
    pub(crate) fn may_everywhere(&self, app: &App, action: Action) -> Result<Access, Problem> {
        let catalogue = app.ledger.views().index.catalogue();
        let access = may(self.authority.clone(), &catalogue, action, None)?;
        self.slot.exercise(self.authority.scope_for(action));
        Ok(access)
    }
}
