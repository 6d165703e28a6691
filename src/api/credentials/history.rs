//! `.../{id}/events`: a record's history, with everything but hashes and sealed values.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::ledger::moment::off_thread;
use crate::api::ledger::proofs::receipts;
use crate::domain::access::Action;
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::ids::{Principal, Subject, UserId};
use crate::domain::personal::Personal;
use crate::ledger::Ledger;
use crate::ledger::history::{Past, PastNetwork};
use crate::web::call::Call;
use crate::web::list_cursor::NOT_OURS;
use crate::web::lists::{Query, array, limit, number};
use crate::web::problem::Problem;

/// What stands where a person stood who has been erased.
const ERASED: &str = "erased";
/// Shown in the place of a value whose data key is missing or damaged.
const UNAVAILABLE: &str = "unavailable";

/// An event as clients see it.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventRecord {
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
    /// With `with_proofs`: the event's receipt, a C2SP `tlog-proof`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    receipt: Option<String>,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
struct EventActor {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: Value,
    id: Option<String>,
    /// The credential or session used.
    via: Option<String>,
    /// `{"ip", "user_agent"}` where it was kept, `erased` where that was a person's who has been
    /// erased, `unavailable` where its data key is missing or damaged; for auditors,
    /// administrators and the actor alone, else null.
    #[schema(required = true)]
    network: Option<Value>,
}

/// `limit` and `cursor` of a history; the cursor is a version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryPages {
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    cursor: Option<String>,
    with_proofs: Option<String>,
}

impl HistoryPages {
    fn with_proofs(&self) -> Result<bool, Problem> {
        match self.with_proofs.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid_query(
                "with_proofs",
                "must be true or false",
            )),
        }
    }
}

/// A page of the events of a record that has `newest` of them: its versions count from 1.
pub(crate) async fn history(
    call: Call,
    (subject, newest): (Subject, u32),
    query: &Query<HistoryPages>,
) -> Result<Response, Problem> {
    let asked = query.read()?;
    let limit = limit(asked.limit)?;
    let with_proofs = asked.with_proofs()?;
    let last = match asked.cursor.as_deref().map(str::parse::<u32>) {
        None => newest,
        Some(Ok(before)) => newest.min(before.saturating_sub(1)),
        Some(Err(_)) => {
            return Err(Problem::bad_request("cursor_invalid", NOT_OURS));
        }
    };
    let limit = limit.min(last as usize);
    let after = last.saturating_sub(u32::try_from(limit).unwrap_or(u32::MAX));
    let addresses = Addresses::for_caller(&call);
    let read = move |ledger: &Ledger| ledger.events_of(subject, after, limit);
    let events = off_thread(&call, read).await??;
    let next = (after > 0).then(|| (after + 1).to_string());
    let newest_first = events.iter().rev();
    let mut records: Vec<EventRecord> = newest_first.map(|past| record(past, addresses)).collect();
    if with_proofs {
        let positions = records.iter().map(|record| record.position).collect();
        let receipts = receipts(&call, positions).await?;
        for (record, receipt) in records.iter_mut().zip(receipts) {
            record.receipt = Some(receipt);
        }
    }
    Ok(array(&query.uri, &records, next.as_deref()))
}

/// Who may see where people called from: auditors, administrators, and each person their own.
#[derive(Clone, Copy)]
struct Addresses {
    all: bool,
    own: Option<UserId>,
}

impl Addresses {
    fn for_caller(call: &Call) -> Self {
        let (authority, catalogue) = (&call.caller.authority, call.views().index.catalogue());
        Self {
            all: authority.allows(&catalogue, Action::ReadLedger),
            own: authority.member(),
        }
    }

    fn shown_of(self, event: &Event) -> bool {
        self.all
            || self
                .own
                .is_some_and(|own| event.actor.id == Some(Principal::User(own)))
    }
}

fn record(past: &Past, addresses: Addresses) -> EventRecord {
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
            network: network(past).filter(|_| addresses.shown_of(event)),
        },
        request_id: event.request_id.clone(),
        data: without_hashes(&event.fact),
        receipt: None,
    }
}

fn network(past: &Past) -> Option<Value> {
    match &past.network {
        PastNetwork::NotKept => None,
        PastNetwork::Erased => Some(Value::from(ERASED)),
        PastNetwork::Unavailable => Some(Value::from(UNAVAILABLE)),
        PastNetwork::Shown(network) => Some(network.clone()),
    }
}

/// What happened, with hashes left out and personal values as people read them.
fn without_hashes(fact: &Fact) -> Value {
    let mut data = serde_json::to_value(fact).unwrap_or_default();
    if let Some(secret) = data.get_mut("secret").and_then(Value::as_object_mut) {
        // Of a credential's token; what signs an endpoint's deliveries, sealed.
        secret.remove("hash");
        secret.remove("key");
    }
    if let Some(fields) = data.as_object_mut() {
        // Of a link's or a session's token, and of a password.
        fields.remove("hash");
        fields.remove("password");
    }
    let person = if let Fact::MemberAdded(data) = fact {
        Some((&data.email, &data.name))
    } else if let Fact::MemberUpdated(data) = fact {
        Some((&data.email, &data.name))
    } else {
        None
    };
    if let (Some((email, name)), Some(fields)) = (person, data.as_object_mut()) {
        show(fields, "email", Some(email));
        show(fields, "name", name.as_ref());
    }
    data
}

/// Null where there never was a value.
fn show(fields: &mut Map<String, Value>, name: &str, value: Option<&Personal>) {
    let text = value.map(|value| match value.text() {
        Some(text) => text,
        None if value.is_unavailable() => UNAVAILABLE,
        None => ERASED,
    });
    fields.insert(name.to_owned(), text.map_or(Value::Null, Value::from));
}
