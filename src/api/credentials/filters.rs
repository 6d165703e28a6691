//! The filters of every list of credentials.

#![allow(
    unused_qualifications,
    reason = "utoipa's macro qualifies the type of the parameters"
)]

use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::command::Place;
use crate::domain::ids::{Owner, ProjectId};
use crate::domain::kind::Kind;
use crate::domain::record::Status;
use crate::domain::time::Timestamp;
use crate::views::credentials::CredentialFilter;
use crate::views::list_page::PageQuery;
use crate::web::body::one_of;
use crate::web::lists::{ask, number};
use crate::web::problem::Problem;

/// What a list of credentials is narrowed to.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filters {
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
    /// A position, or an instant by RFC 3339: the credentials as they were then.
    pub(crate) as_of: Option<String>,
}

impl Filters {
    /// Which page.
    pub(crate) fn ask(&self) -> Result<PageQuery, Problem> {
        ask(self.limit, self.cursor.as_deref())
    }

    /// The filter in a place; `None` if nothing of the place can pass it.
    pub(crate) fn read(
        &self,
        place: Place,
        now: Timestamp,
    ) -> Result<Option<CredentialFilter<'_>>, Problem> {
        let kind = parsed(self.kind.as_deref(), Kind::from_name);
        let kinds = || one_of(Kind::ALL.map(Kind::name));
        let kind = kind.ok_or_else(|| Problem::invalid_query("kind", kinds()))?;
        let status = parsed(self.status.as_deref(), status_named);
        let statuses = || one_of(STATUSES.map(Status::name));
        let status = status.ok_or_else(|| Problem::invalid_query("status", statuses()))?;
        let owner = parsed(self.owner.as_deref(), |id| id.parse::<Owner>().ok());
        let owner = owner.ok_or_else(|| {
            let message = "must be the id of an organization, a user or a service account";
            Problem::invalid_query("owner", message)
        })?;
        let project = self.project_id.as_deref().map(str::parse::<ProjectId>);
        let project = project.transpose();
        let project =
            project.map_err(|why| Problem::invalid_query("project_id", why.to_string()))?;
        let narrowed = (
            both(place.kind, kind),
            both(place.owner, owner),
            both(place.project, project),
        );
        let (Some(kind), Some(owner), Some(project)) = narrowed else {
            return Ok(None);
        };
        let q = self.q.as_deref();
        Ok(Some(CredentialFilter {
            kind,
            status,
            owner,
            project,
            q,
            now,
        }))
    }
}

/// A value that may be missing but must not be wrong; `None`: it is wrong.
fn parsed<T>(text: Option<&str>, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    match text {
        None => Some(None),
        Some(text) => read(text).map(Some),
    }
}

/// What is left of a place's own narrowing and the one asked for; `None`: nothing.
fn both<T: PartialEq>(own: Option<T>, asked: Option<T>) -> Option<Option<T>> {
    match (own, asked) {
        (Some(own), Some(asked)) if own != asked => None,
        (own, asked) => Some(own.or(asked)),
    }
}

/// Every status of a credential.
const STATUSES: [Status; 4] = [
    Status::Active,
    Status::Disabled,
    Status::Expired,
    Status::Revoked,
];

fn status_named(name: &str) -> Option<Status> {
    STATUSES.into_iter().find(|status| status.name() == name)
}
