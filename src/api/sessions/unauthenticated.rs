//! Commands of requests that carry no credential yet: signing in, and what is recorded of it.

use crate::domain::command::{Actor, Command, Request};
use crate::ledger::Submission;
use crate::web::app::App;
use crate::web::context::Context;

/// A command of a request without a credential.
pub(super) fn unauthenticated_submission(
    app: &App,
    context: &Context,
    actor: Actor,
    command: Command,
) -> Submission {
    Submission {
        request: Request {
            actor,
            command,
            if_match: None,
        },
        request_id: Some(context.request_id.as_str().to_owned()),
        network: context.network(app),
        idempotency: None,
        client_of: None,
    }
}
