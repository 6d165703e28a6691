//! Path parameters.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::web::problem::Problem;

/// Path parameters; an id that cannot be one of ours is not found.
pub(crate) struct Path<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    T: serde::de::DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_no_id) => Err(Problem::not_found("record")),
        }
    }
}
