//! `/platform/organizations/{organization_id}/credentials`: an administrator's oversight of every
//! kind; and what all surfaces of credentials share.

#![allow(
    unused_qualifications,
    reason = "utoipa's macro qualifies the type of the parameters"
)]

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Path;
use super::api_keys::ApiKeyRevokeRequest;
use crate::domain::access::Action;
use crate::domain::command::{Command, KeyTarget, RevokeKey};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ProjectId};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Status};
use crate::domain::time::Timestamp;
use crate::http::answer::{mismatch, shown, written};
use crate::http::call::Call;
use crate::http::lists::{Query, array, ask, number, page};
use crate::http::problem::{Problem, ProblemBody};
use crate::http::records::{IssuedKey, KeyRecord};
use crate::ledger::{Answer, Record};
use crate::views::tokens::Filter;

/// Filters of every list of credentials.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Filters {
    /// `active`, `disabled`, `expired` or `revoked`; all unless given.
    status: Option<String>,
    /// A kind's wire name.
    kind: Option<String>,
    /// The owner's id.
    owner: Option<String>,
    /// The project that it is bound to.
    project_id: Option<String>,
    /// Part of the name, in any case.
    q: Option<String>,
    /// 1 to 200; 200 unless given.
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    /// From the `Link` of the page before.
    cursor: Option<String>,
}

impl Filters {
    fn read(&self, kind: Option<Kind>, now: Timestamp) -> Result<Option<Filter<'_>>, Problem> {
        let wrong = |name: &str| Problem::invalid_query(name, "is not a value that it can have");
        let asked = self
            .kind
            .as_deref()
            .map(|name| Kind::from_name(name).ok_or_else(|| wrong("kind")));
        let asked = asked.transpose()?;
        if let (Some(surface), Some(asked)) = (kind, asked)
            && surface != asked
        {
            return Ok(None);
        }
        let status = match self.status.as_deref() {
            None => None,
            Some(name) => Some(status_named(name).ok_or_else(|| wrong("status"))?),
        };
        let owner = match self.owner.as_deref() {
            None => None,
            Some(id) => Some(id.parse::<Owner>().map_err(|_no_id| wrong("owner"))?),
        };
        let project = self
            .project_id
            .as_deref()
            .map(str::parse::<ProjectId>)
            .transpose();
        let project = project.map_err(|_no_id| wrong("project_id"))?;
        let q = self.q.as_deref();
        Ok(Some(Filter {
            kind: kind.or(asked),
            status,
            owner,
            project,
            q,
            now,
        }))
    }
}

fn status_named(name: &str) -> Option<Status> {
    [
        Status::Active,
        Status::Disabled,
        Status::Expired,
        Status::Revoked,
    ]
    .into_iter()
    .find(|status| status.name() == name)
}

/// One page of credentials.
pub(in crate::http) fn list_of(
    call: &Call,
    organization: OrganizationId,
    kind: Option<Kind>,
    query: &Query<Filters>,
) -> Result<Response, Problem> {
    let (filters, uri) = (query.read()?, &query.uri);
    let ask = ask(filters.limit, filters.cursor.as_deref())?;
    let now = call.now();
    // A surface of one kind asked for another one holds nothing.
    let Some(filter) = filters.read(kind, now)? else {
        return Ok(array::<()>(uri, &[], None));
    };
    let found = call.views().tokens.list(organization, &filter, ask)?;
    Ok(page(uri, &found, |key| KeyRecord::new(key, now)))
}

/// A credential of the organization; of the surface's kind, if it has one.
pub(in crate::http) fn find(
    call: &Call,
    organization: OrganizationId,
    key: CredentialId,
    kind: Option<Kind>,
) -> Result<Arc<Credential>, Problem> {
    let found = call.views().tokens.get(organization, key)?;
    found
        .filter(|record| kind.is_none_or(|kind| kind == record.kind()))
        .ok_or_else(|| Problem::not_found("key"))
}

/// The same before a write. The ledger decides in the end: a view that cannot be read must not
/// keep anybody from ending a credential.
pub(in crate::http) fn find_for_write(
    call: &Call,
    organization: OrganizationId,
    key: CredentialId,
    kind: Option<Kind>,
) -> Result<(), Problem> {
    match call.views().tokens.get(organization, key) {
        Ok(Some(record)) if kind.is_none_or(|kind| kind == record.kind()) => Ok(()),
        Ok(_) => Err(Problem::not_found("key")),
        Err(why) => {
            tracing::error!(
                why = crate::ledger::error_chain(&why),
                "the token view could not be read"
            );
            Ok(())
        }
    }
}

/// A record as an answer shows it. A replay shows what the first answer did, also of a credential
/// that has expired since.
pub(in crate::http) fn as_answered(call: &Call, answer: &Answer, record: &Credential) -> KeyRecord {
    let now = if answer.replayed {
        record.stamp().updated_at
    } else {
        call.now()
    };
    KeyRecord::new(record, now)
}

/// The answer to a change of a credential.
pub(in crate::http) fn answered(call: &Call, answer: &Answer) -> Result<Response, Problem> {
    let Some(Record::Credential(record)) = answer.records.first() else {
        return Err(mismatch());
    };
    let body = as_answered(call, answer, record);
    Ok(written(
        StatusCode::OK,
        answer,
        record.stamp().version,
        &body,
    ))
}

/// The answer that carries a new secret.
pub(in crate::http) fn issued(
    call: &Call,
    status: StatusCode,
    answer: &Answer,
) -> Result<Response, Problem> {
    let Some(Record::Credential(record)) = answer.records.first() else {
        return Err(mismatch());
    };
    let body = IssuedKey {
        key: as_answered(call, answer, record),
        raw_key: answer.token.as_ref().map(|token| token.reveal().to_owned()),
    };
    Ok(written(status, answer, record.stamp().version, &body))
}

/// Lists credentials of every kind, newest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/credentials",
    tag = "credentials", params(("organization_id" = String, Path), Filters),
    responses((status = 200, body = Vec<KeyRecord>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn list(
    call: Call,
    Path(organization): Path<OrganizationId>,
    query: Query<Filters>,
) -> Result<Response, Problem> {
    call.may_read(Action::Oversee, organization).await?;
    list_of(&call, organization, None, &query)
}

/// Shows a credential of any kind.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/credentials/{key_id}",
    tag = "credentials", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn show(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
) -> Result<Response, Problem> {
    call.may_read(Action::Oversee, organization).await?;
    let record = find(&call, organization, key, None)?;
    Ok(shown(
        record.stamp().version,
        &KeyRecord::new(&record, call.now()),
    ))
}

/// Ends a credential of any kind.
#[utoipa::path(post, path = "/platform/organizations/{organization_id}/credentials/{key_id}/revoke",
    tag = "credentials", params(("organization_id" = String, Path), ("key_id" = String, Path)),
    request_body = Option<ApiKeyRevokeRequest>,
    responses((status = 200, body = KeyRecord), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn revoke(
    call: Call,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    request: Request,
) -> Result<Response, Problem> {
    call.may(Action::Oversee, organization)?;
    find_for_write(&call, organization, key, None)?;
    let body = call.optional_json::<ApiKeyRevokeRequest>(request).await?;
    let target = KeyTarget {
        organization,
        key,
        kind: None,
    };
    let command = Command::RevokeKey(RevokeKey {
        target,
        reason: body.value.reason,
    });
    let answer = call.submit(command, Some(&body.bytes)).await?;
    answered(&call, &answer)
}
