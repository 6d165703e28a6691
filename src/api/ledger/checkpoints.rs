//! `POST /v1/ledger/checkpoints`: tells of the newest checkpoint now rather than within the hour.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::ledger::{covered, not_published};
use crate::domain::access::Action;
use crate::ledger::announced::AnnouncedCheckpoint;
use crate::web::body::NoFields;
use crate::web::call::Call;
use crate::web::ledger_position::LEDGER_POSITION;
use crate::web::problem::{Problem, ProblemBody};

/// A checkpoint, and the event that announces it.
#[derive(Serialize, ToSchema)]
#[schema(as = AnnouncedCheckpoint)]
pub(crate) struct Told {
    /// The position of the event that tells of it.
    position: u64,
    /// How many events it covers.
    size: u64,
    /// The root over them: hex.
    root: String,
    /// The checkpoint, a C2SP signed note.
    checkpoint: String,
}

/// Announces the newest checkpoint: an event `ledger.checkpointed`, which goes to the webhooks of
/// every organization that asks for it, each with the end of its own chain. Callers at the same
/// moment share one: the checkpoint in each answer covers all that had happened when it was asked.
#[utoipa::path(post, path = "/v1/ledger/checkpoints", tag = "ledger",
    responses((status = 201, body = Told), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn tell(call: Call, request: Request) -> Result<Response, Problem> {
    call.may_at_home(Action::ReadLedger)?;
    call.optional_json::<NoFields>(request).await?;
    let app = &call.app;
    let home = call.home()?;
    let newest = app.shown().saturating_sub(1);
    covered(&call, newest).await?;
    let announced = app.ledger.announce_checkpoint(newest, home).await?;
    let AnnouncedCheckpoint {
        position,
        published,
    } = announced.ok_or_else(not_published)?;
    let told = Told {
        position,
        size: published.checkpoint.size,
        root: hex::encode(published.checkpoint.root),
        checkpoint: published.note.to_string(),
    };
    let position = HeaderValue::from(position);
    Ok((
        StatusCode::CREATED,
        [(LEDGER_POSITION, position)],
        Json(told),
    )
        .into_response())
}
