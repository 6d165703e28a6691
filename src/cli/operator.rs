//! Requests of the operator, who holds the data folder and needs no credential.

use crate::domain::command::{Actor, Command, Request};

/// A request of the operator.
pub(super) const fn operator_request(command: Command) -> Request {
    Request {
        actor: Actor::Operator,
        command,
        if_match: None,
    }
}
