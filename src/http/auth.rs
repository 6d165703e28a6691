//! Who calls: the credential in `Authorization: Bearer`, looked up and turned into an authority.
//!
//! A handler that takes a [`Caller`] cannot run without one. What it may do is asked of
//! [`may`]; the ledger asks again when it decides.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use super::App;
use super::context::single;
use super::problem::Problem;
use crate::domain::access::{Access, Action, Authority, may};
use crate::domain::command::Actor;
use crate::domain::ids::OrganizationId;

/// Somebody whose credential is accepted.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) authority: Authority,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
            return Err(Problem::unauthenticated(false));
        };
        // Two credentials at once are refused; one that is not text is not accepted.
        let value = match value.to_str() {
            Ok(_) => single(&parts.headers, &header::AUTHORIZATION)?.unwrap_or_default(),
            Err(_) => return Err(Problem::unauthenticated(true)),
        };
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            Some(_) | None => return Err(Problem::unauthenticated(false)),
        };
        let views = app.ledger.views();
        match views.index.authenticate(token, app.ledger.now()) {
            Ok(caller) => Ok(Self {
                actor: caller.actor,
                authority: caller.authority,
            }),
            Err(_code) => Err(Problem::unauthenticated(true)),
        }
    }
}

impl Caller {
    /// Leave to do `action` in `organization`, which must exist.
    pub(super) fn may(
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
            Some(_) => Ok(access),
            None => Err(Problem::not_found("organization")),
        }
    }

    /// Leave to do `action` wherever the caller is.
    pub(super) fn may_at_home(&self, app: &App, action: Action) -> Result<Access, Problem> {
        let catalogue = app.ledger.views().index.catalogue();
        Ok(may(
            self.authority.clone(),
            &catalogue,
            action,
            self.authority.organization,
        )?)
    }

    /// Leave to do `action` across all organizations.
    pub(super) fn may_everywhere(&self, app: &App, action: Action) -> Result<Access, Problem> {
        let catalogue = app.ledger.views().index.catalogue();
        Ok(may(self.authority.clone(), &catalogue, action, None)?)
    }
}
