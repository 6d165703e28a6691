//! `.../{id}/events`: a record's history, with everything but hashes and sealed values.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Path;
use super::credentials::find;
use crate::domain::access::Action;
use crate::domain::event::Fact;
use crate::domain::ids::{CredentialId, OrganizationId, Subject};
use crate::domain::kind::Kind;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::context::Context;
use crate::http::lists::{Query, array, limit, number};
use crate::http::problem::{Problem, ProblemBody};
use crate::ledger::history::Past;

/// An event as clients see it.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EventRecord {
    id: String,
    position: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u16,
    occurred_at: String,
    subject: String,
    subject_version: u32,
    actor: EventActor,
    request_id: Option<String>,
    /// What happened; hashes are left out.
    #[schema(value_type = Object)]
    data: Value,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
struct EventActor {
    #[serde(rename = "type")]
    kind: Value,
    id: Option<String>,
    /// The credential used.
    via: Option<String>,
    /// `{"ip", "user_agent"}`, where it was kept and has not been erased.
    network: Option<Value>,
}

/// `limit` and `cursor` of a history; the cursor is a version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct HistoryPages {
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The history of a key, oldest first.
#[utoipa::path(get, path = "/platform/organizations/{organization_id}/api-keys/{key_id}/events",
    tag = "api keys",
    params(("organization_id" = String, Path), ("key_id" = String, Path),
        ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<EventRecord>), (status = "4XX", body = ProblemBody)))]
pub(in crate::http) async fn of_api_key(
    State(app): State<App>,
    caller: Caller,
    context: Context,
    Path((organization, key)): Path<(OrganizationId, CredentialId)>,
    query: Query<HistoryPages>,
) -> Result<Response, Problem> {
    caller.may(&app, Action::ReadPlatform, organization)?;
    context.wait(&app).await?;
    find(&app, organization, key, Some(Kind::Organization))?;
    history(app, Subject::Credential(key), &query).await
}

async fn history(
    app: App,
    subject: Subject,
    query: &Query<HistoryPages>,
) -> Result<Response, Problem> {
    let asked = query.read()?;
    let limit = limit(asked.limit)?;
    let after = match asked.cursor.as_deref().map(str::parse::<u32>) {
        None => 0,
        Some(Ok(version)) => version,
        Some(Err(_)) => {
            return Err(Problem::bad_request(
                "cursor_invalid",
                "the cursor is not one of ours",
            ));
        }
    };
    // Reads of the log are file reads: off the async threads.
    let read = move || app.ledger.events_of(subject, after, limit + 1);
    let events = tokio::task::spawn_blocking(read).await;
    let events = events.map_err(|why| Problem::internal("a history read panicked", &why))??;
    // One more was read to tell whether there is a next page.
    let shown = events.get(..limit);
    let next = shown.and_then(<[Past]>::last);
    let next = next.filter(|_| events.len() > limit);
    let next = next.map(|past| past.event.subject_version.to_string());
    let records = events.iter().take(limit).map(record);
    let records: Vec<EventRecord> = records.collect();
    Ok(array(&query.uri, &records, next.as_deref()))
}

fn record(past: &Past) -> EventRecord {
    let event = &past.event;
    EventRecord {
        id: event.id.to_string(),
        position: event.position,
        kind: event.fact.name(),
        version: event.fact.version(),
        occurred_at: event.occurred_at.to_string(),
        subject: event.subject.to_string(),
        subject_version: event.subject_version,
        actor: EventActor {
            kind: serde_json::to_value(event.actor.kind).unwrap_or_default(),
            id: event.actor.id.map(|id| id.to_string()),
            via: event.actor.via.map(|id| id.to_string()),
            network: past.network.clone(),
        },
        request_id: event.request_id.clone(),
        data: without_hashes(&event.fact),
    }
}

/// What happened, with hashes left out and personal values as people read them.
fn without_hashes(fact: &Fact) -> Value {
    let mut data = serde_json::to_value(fact).unwrap_or_default();
    if let Some(secret) = data.get_mut("secret").and_then(Value::as_object_mut) {
        secret.remove("hash");
    }
    if let (Fact::MemberAdded(added), Some(fields)) = (fact, data.as_object_mut()) {
        show(fields, "email", added.email.text());
        show(
            fields,
            "name",
            added.name.as_ref().and_then(|name| name.text()),
        );
    }
    data
}

fn show(fields: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    fields.insert(name.to_owned(), text.map_or(Value::Null, Value::from));
}
