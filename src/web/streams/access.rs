//! Access to something that goes on for long: whether the caller would be let in again.

use std::sync::atomic::Ordering;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, Request, header};

use crate::web::app::App;
use crate::web::auth::Caller;
use crate::web::call::Call;
use crate::web::problem::Problem;

/// Whether a caller would be shown the same now; a refusal if nothing.
type IsGranted = Box<dyn Fn(&App, &Caller) -> Result<bool, Problem> + Send + Sync>;

/// A caller who was let in, and what to ask before each next piece.
pub(crate) struct StreamAccess {
    pub(crate) app: App,
    headers: HeaderMap,
    is_granted: IsGranted,
}

impl StreamAccess {
    pub(crate) fn of(
        call: &Call,
        is_granted: impl Fn(&App, &Caller) -> Result<bool, Problem> + Send + Sync + 'static,
    ) -> Self {
        let mut headers = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE] {
            for value in call.context.headers().get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Self {
            app: call.app.clone(),
            headers,
            is_granted: Box::new(is_granted),
        }
    }

    /// Whether the caller would be let in again and see as much, and the service goes on.
    pub(crate) async fn is_still_granted(&self) -> bool {
        self.check_again().await.is_ok_and(|granted| granted)
    }

    /// The same, with the refusal of one who would not be let in.
    pub(crate) async fn check_again(&self) -> Result<bool, Problem> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = self.headers.clone();
        let caller = Caller::from_request_parts(&mut parts, &self.app).await?;
        let granted = (self.is_granted)(&self.app, &caller)?;
        Ok(granted && self.app.ready.load(Ordering::Acquire))
    }
}
