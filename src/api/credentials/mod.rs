//! What all surfaces of credentials share: where a call looks for them, and what it does there.
//!
//! A surface is an organization and a [`Place`] in it. Its handlers name a path and call one method
//! of [`Surface`]. They hold no rule: permissions are asked of `may`, all else of `decide`.
//! Requests flow in, commands flow to the ledger, records flow out.

pub(crate) mod access_tokens;
pub(crate) mod admin_tokens;
pub(crate) mod all_kinds;
pub(crate) mod bodies;
pub(crate) mod filters;
pub(crate) mod history;
pub(crate) mod organization_keys;
pub(crate) mod personal_tokens;
pub(crate) mod project_tokens;
pub(crate) mod service_account_tokens;

pub(crate) use bodies::{ReplaceRequest, RevokeRequest, RotateRequest, expiry, new_expiry};
pub(crate) use filters::Filters;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::credentials::history::{HistoryPages, history};
use crate::api::ledger::moment::{AsOf, off_thread};
use crate::api::usage;
use crate::api::usage::{SummaryPages, UsagePages};
use crate::domain::access::{Access, Action};
use crate::domain::command::{
    Command, CreateKey, Expiry, KeyTarget, Place, ReplaceKey, RevokeKey, RotateKey, UpdateKey,
};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, SecretId, Subject};
use crate::domain::kind::{Deed, Kind};
use crate::domain::log_point::Moment;
use crate::domain::record::{Credential, Grant, Metadata, Secret, Status};
use crate::domain::rejection::Rejection;
use crate::ledger::{Answer, Ledger, Record};
use crate::records::{IssuedKey, KeyRecord, Use};
use crate::views::credentials::CredentialFilter;
use crate::views::list_page::{ListPage, PageQuery};
use crate::web::answer::{mismatch, shown, written};
use crate::web::body::{Body, NoFields};
use crate::web::call::Call;
use crate::web::lists::{Query, array, page};
use crate::web::problem::Problem;

/// Where a call looks for credentials.
pub(crate) struct Surface {
    pub(crate) call: Call,
    organization: OrganizationId,
    place: Place,
}

/// A surface that the caller may do something on, with the credential that the path names.
pub(crate) struct Found {
    surface: Surface,
    target: KeyTarget,
}

impl Surface {
    /// Whoever is bound to a project finds that project's credentials alone, on every surface.
    pub(crate) fn new(call: Call, organization: OrganizationId, place: Place) -> Self {
        let place = match (place.project, call.caller.authority.project) {
            (None, Some(own)) => place.on(own),
            (Some(_), _) | (None, None) => place,
        };
        Self {
            call,
            organization,
            place,
        }
    }

    /// Leave for `deed`: what the surface's kind asks for it, or the oversight of all kinds.
    pub(crate) fn may(&self, deed: Deed) -> Result<Access, Problem> {
        let action = match self.place.kind {
            Some(kind) => Action::Keys(kind, deed),
            None => Action::Oversee,
        };
        let access = self.call.may(action, self.organization)?;
        if self.is_of_projects() && !access.authority().reaches(self.place.project) {
            return Err(Rejection::WrongProject.into());
        }
        Ok(access)
    }

    fn is_of_projects(&self) -> bool {
        self.place.kind == Some(Kind::Project)
    }

    /// Leave to read, once the position that the client asked for is seen.
    pub(crate) async fn may_read(&self) -> Result<(), Problem> {
        self.may(Deed::Read)?;
        self.call.wait().await
    }

    pub(crate) fn record(&self, key: &Credential) -> KeyRecord {
        let app = &self.call.app;
        KeyRecord::new(
            self.call.views(),
            (key, &Use::of(app.usage.as_ref(), key)),
            self.call.now(),
        )
    }

    fn record_then(&self, key: &Credential, moment: Moment) -> KeyRecord {
        KeyRecord::new(self.call.views(), (key, &Use::untold()), moment.at)
    }

    /// The credential that a path names.
    fn find(&self, key: CredentialId) -> Result<Arc<Credential>, Problem> {
        let found = self.call.views().credentials.get(self.organization, key);
        found
            .filter(|record| self.place.holds(record))
            .ok_or_else(|| Problem::not_found("key"))
    }

    /// One page of the credentials here, newest first.
    pub(crate) async fn list(self, query: &Query<Filters>) -> Result<Response, Problem> {
        self.may_read().await?;
        let filters = query.read()?;
        let ask = filters.ask()?;
        let moment = self.moment(filters.as_of.as_deref()).await?;
        let now = moment.map_or_else(|| self.call.now(), |moment| moment.at);
        // Asked for what it does not have, a surface holds nothing.
        if filters.read(self.place, now)?.is_none() {
            return Ok(array::<()>(&query.uri, &[], None));
        }
        let (organization, place) = (self.organization, self.place);
        let Some(moment) = moment else {
            let (surface, uri) = (Arc::new(self), query.uri.clone());
            let asked = Arc::clone(&surface);
            // The records are written as JSON there too, which takes longer than finding them.
            let read = move |ledger: &Ledger| {
                let filter = filters.read(place, now)?;
                let all = &ledger.views().credentials;
                let found = filter.map(|filter| all.list(organization, &filter, ask));
                let found = found.unwrap_or_default();
                Ok(page(&uri, &found, |key| asked.record(key)))
            };
            return off_thread(&surface.call, read).await?;
        };
        let select = move |all: &[Arc<Credential>]| match filters.read(place, now) {
            Ok(Some(filter)) => filter.page_of(all, ask),
            Ok(None) | Err(_) => ListPage::default(),
        };
        let found = moment.credentials(&self.call, organization, select).await?;
        let show = |key: &Arc<Credential>| self.record_then(key, moment);
        let mut response = page(&query.uri, &found, show);
        moment.stamp(&mut response);
        Ok(response)
    }

    /// One page of the live credentials here, each as `show` tells it.
    pub(crate) async fn review<T: Serialize>(
        &self,
        uri: &Uri,
        ask: PageQuery,
        show: impl Fn(&Credential) -> T + Send + 'static,
    ) -> Result<Response, Problem> {
        let (organization, place, now) = (self.organization, self.place, self.call.now());
        let uri = uri.clone();
        let read = move |ledger: &Ledger| {
            let filter = CredentialFilter {
                kind: place.kind,
                project: place.project,
                ..CredentialFilter::match_all(now)
            };
            let all = &ledger.views().credentials;
            let mut found = all.list(organization, &filter, ask);
            found.records.retain(|key| match key.status(now) {
                Status::Active | Status::Disabled => true,
                Status::Expired | Status::Revoked => false,
            });
            page(&uri, &found, |key| show(key))
        };
        off_thread(&self.call, read).await
    }

    /// One credential, as it is or as it was.
    pub(crate) async fn show(
        self,
        key: CredentialId,
        query: &Query<AsOf>,
    ) -> Result<Response, Problem> {
        self.may_read().await?;
        let found = self.find(key)?;
        let asked = query.read()?;
        let Some(moment) = self.moment(asked.as_of.as_deref()).await? else {
            return Ok(shown(found.stamp().version, &self.record(&found)));
        };
        let then = moment
            .credential(&self.call, Subject::Credential(key))
            .await?;
        let then = then.ok_or_else(|| Problem::not_found("key"))?;
        let body = self.record_then(&then, moment);
        let mut response = shown(then.stamp().version, &body);
        moment.stamp(&mut response);
        Ok(response)
    }

    async fn moment(&self, as_of: Option<&str>) -> Result<Option<Moment>, Problem> {
        match as_of {
            Some(as_of) => Moment::named(&self.call, as_of).await.map(Some),
            None => Ok(None),
        }
    }

    /// The last calls made with a credential.
    pub(crate) async fn usage(
        self,
        key: CredentialId,
        query: &Query<UsagePages>,
    ) -> Result<Response, Problem> {
        self.may_read().await?;
        let found = self.find(key)?;
        usage::calls(&self.call, &found, query).await
    }

    /// How often a credential was used.
    pub(crate) async fn usage_summary(
        self,
        key: CredentialId,
        query: &Query<SummaryPages>,
    ) -> Result<Response, Problem> {
        self.may_read().await?;
        let found = self.find(key)?;
        usage::summary(&self.call, &found, query).await
    }

    /// The history of a credential, newest first.
    pub(crate) async fn events(
        self,
        key: CredentialId,
        query: &Query<HistoryPages>,
    ) -> Result<Response, Problem> {
        self.may_read().await?;
        let newest = self.find(key)?.stamp().version;
        history(self.call, (Subject::Credential(key), newest), query).await
    }

    /// The body of a new credential, once the caller may make one.
    pub(crate) async fn new_from<T: DeserializeOwned>(
        &self,
        request: Request,
    ) -> Result<Body<T>, Problem> {
        self.may(Deed::Create)?;
        self.call.json(request).await
    }

    /// A new credential of the surface, with nothing but its name and grant.
    pub(crate) fn draft(&self, name: String, grant: Grant) -> CreateKey {
        let organization = Owner::Organization(self.organization);
        CreateKey {
            organization: self.organization,
            kind: self.place.kind.unwrap_or(Kind::Organization),
            owner: self.place.owner.unwrap_or(organization),
            project: self.place.project.filter(|_| self.is_of_projects()),
            name,
            description: None,
            grant,
            expiry: Expiry::Never,
            metadata: Metadata::new(),
        }
    }

    /// Makes a credential; its secret is in this answer alone.
    pub(crate) async fn create(self, new: CreateKey, body: &[u8]) -> Result<Response, Problem> {
        let answer = self
            .call
            .submit(Command::CreateKey(new), Some(body))
            .await?;
        issued(&self.call, StatusCode::CREATED, &answer)
    }

    /// Leave for `deed`, and the credential that the path names.
    pub(crate) fn change(self, key: CredentialId, deed: Deed) -> Result<Found, Problem> {
        self.may(deed)?;
        self.find(key)?;
        let target = KeyTarget {
            organization: self.organization,
            key,
            place: self.place,
        };
        Ok(Found {
            surface: self,
            target,
        })
    }
}

impl Found {
    /// The body of an edit.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T, Problem> {
        Ok(self.surface.call.json(request).await?.value)
    }

    /// Changes what `edit` says.
    pub(crate) async fn edit(
        self,
        edit: impl FnOnce(UpdateKey) -> UpdateKey,
    ) -> Result<Response, Problem> {
        let command = Command::UpdateKey(edit(UpdateKey::of(self.target)));
        self.submit(command, None).await
    }

    /// Gives it a new secret; id and rights stay.
    pub(crate) async fn rotate(self, request: Request) -> Result<Response, Problem> {
        let call = &self.surface.call;
        let body = call.optional_json::<RotateRequest>(request).await?;
        let command = Command::RotateKey(RotateKey {
            target: self.target,
            grace_period_seconds: body.value.grace_period_seconds.unwrap_or(0),
            unpresented: self.unpresented().await,
        });
        let answer = call.submit(command, Some(&body.bytes)).await?;
        issued(call, StatusCode::OK, &answer)
    }

    /// The newest secret, if it is known that no one has presented it. Asked of the usage history
    /// only where that decides something: while an earlier secret has a grace period left.
    async fn unpresented(&self) -> Option<SecretId> {
        let (app, target) = (self.surface.call.app.clone(), self.target);
        let ask = move || {
            let usage = app.usage.as_ref()?;
            let credentials = &app.ledger.views().credentials;
            let record = credentials.get(target.organization, target.key)?;
            let now = app.ledger.now();
            let in_grace = |secret: &Secret| secret.ends_at.is_some_and(|at| at > now);
            if !record.older_secrets().iter().any(in_grace) {
                return None;
            }
            let newest = record.secret();
            let unpresented =
                usage.is_secret_known_unpresented(target.key, newest.id, newest.created_at);
            unpresented.then_some(newest.id)
        };
        tokio::task::spawn_blocking(ask).await.ok()?
    }

    /// The same where the old secret always ends at once.
    pub(crate) async fn roll(self, request: Request) -> Result<Response, Problem> {
        let call = &self.surface.call;
        let body = call.optional_json::<NoFields>(request).await?;
        let command = Command::RotateKey(RotateKey {
            target: self.target,
            grace_period_seconds: 0,
            unpresented: None,
        });
        let answer = call.submit(command, Some(&body.bytes)).await?;
        issued(call, StatusCode::OK, &answer)
    }

    /// Makes another one in its place.
    pub(crate) async fn replace(self, request: Request) -> Result<Response, Problem> {
        let call = &self.surface.call;
        let body = call.optional_json::<ReplaceRequest>(request).await?;
        let command = Command::ReplaceKey(ReplaceKey {
            target: self.target,
            expiry: body.value.expiry()?,
        });
        let answer = call.submit(command, Some(&body.bytes)).await?;
        issued(call, StatusCode::CREATED, &answer)
    }

    /// Has it refused until it is enabled.
    pub(crate) async fn disable(self, request: Request) -> Result<Response, Problem> {
        let command = Command::DisableKey(self.target);
        self.switch(command, request).await
    }

    /// Has it accepted again.
    pub(crate) async fn enable(self, request: Request) -> Result<Response, Problem> {
        let command = Command::EnableKey(self.target);
        self.switch(command, request).await
    }

    async fn switch(self, command: Command, request: Request) -> Result<Response, Problem> {
        let body = self.surface.call.optional_json::<NoFields>(request).await?;
        self.submit(command, Some(&body.bytes)).await
    }

    /// Ends it at once and for good, for a reason that the body may give.
    pub(crate) async fn revoke(self, request: Request) -> Result<Response, Problem> {
        let call = &self.surface.call;
        let body = call.optional_json::<RevokeRequest>(request).await?;
        let command = Command::RevokeKey(RevokeKey {
            target: self.target,
            reason: body.value.reason,
        });
        self.submit(command, Some(&body.bytes)).await
    }

    /// The same by DELETE, which has no body.
    pub(crate) async fn delete(self) -> Result<Response, Problem> {
        let command = Command::RevokeKey(RevokeKey {
            target: self.target,
            reason: None,
        });
        self.submit(command, None).await
    }

    async fn submit(self, command: Command, body: Option<&[u8]>) -> Result<Response, Problem> {
        let call = &self.surface.call;
        let answer = call.submit(command, body).await?;
        let Some(Record::Credential(record)) = answer.records.first() else {
            return Err(mismatch());
        };
        let body = as_answered(call, &answer, record);
        let version = record.stamp().version;
        Ok(written(StatusCode::OK, &answer, version, &body))
    }
}

/// A record as an answer shows it. A replay shows what the first answer did, also of a credential
/// that has expired since.
pub(crate) fn as_answered(call: &Call, answer: &Answer, record: &Credential) -> KeyRecord {
    let now = if answer.replayed {
        record.stamp().updated_at
    } else {
        call.now()
    };
    KeyRecord::new(
        call.views(),
        (record, &Use::of(call.app.usage.as_ref(), record)),
        now,
    )
}

/// The answer that carries a new secret.
fn issued(call: &Call, status: StatusCode, answer: &Answer) -> Result<Response, Problem> {
    let Some(Record::Credential(record)) = answer.records.first() else {
        return Err(mismatch());
    };
    let body = IssuedKey {
        key: as_answered(call, answer, record),
        raw_key: answer.token.as_ref().map(|token| token.reveal().to_owned()),
    };
    Ok(written(status, answer, record.stamp().version, &body))
}
