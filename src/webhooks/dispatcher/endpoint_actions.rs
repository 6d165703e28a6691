//! What the ledger is told of an endpoint: that it fails, and that it is to be disabled.

use std::time::Duration;

use super::Dispatcher;
use crate::domain::command::{
    Actor, Command, NoteEndpointFailing, Request, StopEndpoint, StopReason,
};
use crate::domain::record::WebhookEndpoint;
use crate::domain::time::Timestamp;
use crate::ledger::{Submission, SubmitError};
use crate::webhooks::queue::EndpointAction;

/// How soon it is told again what the ledger could not take.
const SUBMIT_RETRY_AFTER: Duration = Duration::from_secs(5);

impl Dispatcher {
    /// Has the ledger decide what becomes of an endpoint. A ledger that takes no commands now is
    /// told again; meanwhile the line stands still.
    pub(super) fn submit_endpoint_action(
        &self,
        endpoint: &WebhookEndpoint,
        effect: EndpointAction,
        status: Option<u16>,
    ) {
        let (organization, endpoint) = (endpoint.organization, endpoint.id);
        let stop = |because| {
            Command::StopEndpoint(StopEndpoint {
                organization,
                endpoint,
                because,
                status_code: status,
            })
        };
        let command = match effect {
            EndpointAction::DisableFailing => stop(StopReason::Failing),
            EndpointAction::DisableGone => stop(StopReason::Gone),
            EndpointAction::NotifyFailing { percent, since_ms } => {
                Command::NoteEndpointFailing(NoteEndpointFailing {
                    organization,
                    endpoint,
                    percent,
                    since: Timestamp(since_ms),
                })
            }
        };
        let ledger = self.ledger.clone();
        tokio::spawn(async move {
            loop {
                let request = Request {
                    actor: Actor::System,
                    command: command.clone(),
                    if_match: None,
                };
                match ledger.submit(Submission::bare(request)).await {
                    Ok(_answer) => break,
                    Err(SubmitError::Rejected(why)) => {
                        tracing::warn!(%endpoint, %why, "the ledger will not note of an endpoint");
                        break;
                    }
                    Err(SubmitError::Stopping | SubmitError::OutcomeUnknown) => break,
                    Err(why) => {
                        tracing::warn!(%endpoint, %why, "the ledger is told of an endpoint later");
                        tokio::time::sleep(SUBMIT_RETRY_AFTER).await;
                    }
                }
            }
        });
    }
}
