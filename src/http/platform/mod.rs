//! The platform surface: `/platform/organizations/...`. A thin mapping from HTTP to commands and
//! from records to JSON; it holds no rule.

pub(super) mod api_keys;
pub(super) mod credentials;
pub(super) mod events;
pub(super) mod members;
pub(super) mod organizations;
pub(super) mod projects;
pub(super) mod service_accounts;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::App;
use super::problem::Problem;

/// Path parameters; an id that cannot be one of ours is not found.
pub(super) struct Path<T>(pub(super) T);

impl<T> FromRequestParts<App> for Path<T>
where
    T: serde::de::DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_no_id) => Err(Problem::not_found("record")),
        }
    }
}
