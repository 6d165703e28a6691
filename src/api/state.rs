//! What handlers get: the service, and what each feature keeps while the service runs.
//!
//! Each feature makes its own state and names it in its handlers (`State<Arc<Feed>>`), so that the
//! transport knows of none of them.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::api::document::Texts;
use crate::api::ledger::noted::Noted;
use crate::api::sessions::SignIns;
use crate::api::usage::ReportQuotas;
use crate::api::verification::revocations::Feed;
use crate::api::webhooks::pull::Pull;
use crate::web::app::App;

/// The state of the router: handles to what is there once.
#[derive(Clone)]
pub(crate) struct ApiState {
    app: App,
    features: Arc<Features>,
}

struct Features {
    documents: Arc<Texts>,
    noted: Arc<Noted>,
    report_quotas: Arc<ReportQuotas>,
    feed: Arc<Feed>,
    pull: Arc<Pull>,
    sign_ins: Arc<SignIns>,
}

impl ApiState {
    pub(crate) fn new(app: App, documents: Texts) -> Self {
        let features = Features {
            documents: Arc::new(documents),
            noted: Arc::default(),
            report_quotas: Arc::default(),
            feed: Arc::default(),
            pull: Arc::new(Pull::new(app.ledger.clone())),
            sign_ins: Arc::default(),
        };
        Self {
            app,
            features: Arc::new(features),
        }
    }
}

#[cfg(test)]
impl ApiState {
    /// Of a state that nothing else has a handle to yet.
    pub(crate) fn pull_mut(&mut self) -> &mut Pull {
        let features = Arc::get_mut(&mut self.features).unwrap();
        Arc::get_mut(&mut features.pull).unwrap()
    }
}

impl FromRef<ApiState> for App {
    fn from_ref(state: &ApiState) -> Self {
        state.app.clone()
    }
}

macro_rules! states_of_features {
    ($($field:ident: $state:ty,)*) => {
        $(impl FromRef<ApiState> for Arc<$state> {
            fn from_ref(state: &ApiState) -> Self {
                Arc::clone(&state.features.$field)
            }
        })*
    };
}

states_of_features! {
    documents: Texts,
    noted: Noted,
    report_quotas: ReportQuotas,
    feed: Feed,
    pull: Pull,
    sign_ins: SignIns,
}
