//! A call of the API: who calls, with which headers, on which ledger. Handlers begin with one.
//!
//! A handler asks leave first ([`Call::may`]), reads its body then ([`Call::json`]), and submits a
//! command last ([`Call::submit`]): the order of checks is the order of these calls.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::domain::access::{Access, Action};
use crate::domain::command::{self, Command};
use crate::domain::ids::OrganizationId;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::ledger::{Answer, Submission};
use crate::views::Views;
use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::body;
use crate::web::body::{Body, SecretBody};
use crate::web::context::Context;
use crate::web::past_reads::HeldPast;
use crate::web::problem::Problem;

/// A call whose credential or session is accepted.
pub(crate) struct Call {
    pub(crate) app: App,
    pub(crate) caller: Caller,
    pub(crate) context: Context,
}

impl<S> FromRequestParts<S> for Call
where
    S: Send + Sync,
    App: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let app = &App::from_ref(state);
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Self {
            app: app.clone(),
            caller,
            context: Context::take(parts),
        })
    }
}

impl Call {
    /// A place for one reading of an organization's past, which holds nothing yet.
    pub(crate) fn hold_past(&self) -> Result<HeldPast, Problem> {
        let tenant = self.caller.authority.organization;
        self.app.past.begin(tenant, self.context.address(&self.app))
    }

    /// What can be read.
    pub(crate) fn views(&self) -> &Views {
        self.app.ledger.views()
    }

    /// The instant for statuses.
    pub(crate) fn now(&self) -> Timestamp {
        self.app.ledger.now()
    }

    /// The session of a member in person; a credential will not do.
    pub(crate) fn session(&self) -> Result<&Arc<Session>, Problem> {
        self.caller.session()
    }

    /// Leave to do `action` in `organization`, which must exist.
    pub(crate) fn may(
        &self,
        action: Action,
        organization: OrganizationId,
    ) -> Result<Access, Problem> {
        self.caller.may(&self.app, action, organization)
    }

    /// The same for a read, which sees the position that the client has asked for.
    pub(crate) async fn may_read(
        &self,
        action: Action,
        organization: OrganizationId,
    ) -> Result<Access, Problem> {
        let access = self.may(action, organization)?;
        self.wait().await?;
        Ok(access)
    }

    /// The organization that the caller's credential is of: where surfaces without one in their
    /// path act.
    pub(crate) fn home(&self) -> Result<OrganizationId, Problem> {
        let home = self.caller.authority.organization;
        home.ok_or_else(|| Problem::not_found("organization"))
    }

    /// Waits until a read sees the position that the client has asked for.
    pub(crate) async fn wait(&self) -> Result<(), Problem> {
        self.context.wait(&self.app).await
    }

    /// Leave to do `action` wherever the caller is.
    pub(crate) fn may_at_home(&self, action: Action) -> Result<Access, Problem> {
        self.caller.may_at_home(&self.app, action)
    }

    /// Leave to do `action` across all organizations.
    pub(crate) fn may_everywhere(&self, action: Action) -> Result<Access, Problem> {
        self.caller.may_everywhere(&self.app, action)
    }

    /// The same for a read.
    pub(crate) async fn may_read_everywhere(&self, action: Action) -> Result<Access, Problem> {
        let access = self.may_everywhere(action)?;
        self.wait().await?;
        Ok(access)
    }

    /// The JSON body.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> Result<Body<T>, Problem> {
        body::json(request, &self.context).await
    }

    /// The JSON body of a request that may have none.
    pub(crate) async fn optional_json<T: DeserializeOwned + Default>(
        &self,
        request: Request,
    ) -> Result<Body<T>, Problem> {
        body::optional_json(request, &self.context).await
    }

    /// The JSON body with secrets in it.
    pub(crate) async fn secret_json<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> Result<SecretBody<T>, Problem> {
        body::secret_json(request, &self.context).await
    }

    /// The same of a request that may have none.
    pub(crate) async fn optional_secret_json<T: DeserializeOwned + Default>(
        &self,
        request: Request,
    ) -> Result<SecretBody<T>, Problem> {
        body::optional_secret_json(request, &self.context).await
    }

    /// Submits a command; `body` is what an idempotency key stands for, on a POST.
    pub(crate) async fn submit(
        &self,
        command: Command,
        body: Option<&[u8]>,
    ) -> Result<Answer, Problem> {
        let organization = command
            .organization()
            .or(self.caller.authority.organization);
        let actor = self.caller.authority.principal;
        let idempotency = match body {
            Some(body) => self
                .context
                .idempotency(&self.app, organization, actor, body)?,
            None => None,
        };
        let if_match = self.context.if_match()?;
        let submission = Submission {
            request: command::Request {
                actor: self.caller.actor,
                command,
                if_match,
            },
            request_id: Some(self.context.request_id.as_str().to_owned()),
            network: self.context.network(&self.app),
            idempotency,
            client_of: organization,
        };
        Ok(self.app.ledger.submit(submission).await?)
    }
}
