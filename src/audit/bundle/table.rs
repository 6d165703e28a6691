//! Events as a table, for people: where, when, what, of whom, by whom, why.
//!
//! Names are those that records had after the event. What people chose must not become a formula in
//! the spreadsheet that opens the table.

use std::borrow::Cow;
use std::io::Write;

use sha2::{Digest, Sha256};

use super::Chosen;
use super::export::{ExportError, each};
use crate::audit::past::Fold;
use crate::audit::reading::Reading;
use crate::domain::envelope::Event;
use crate::domain::ids::{Principal, Subject, UserId};
use crate::domain::state::State;
use crate::merkle::Hash;

const COLUMNS: [&str; 16] = [
    "position",
    "occurred_at",
    "type",
    "id",
    "organization_id",
    "organization_sequence",
    "subject",
    "subject_version",
    "actor_type",
    "actor_id",
    "actor_via",
    "request_id",
    "commitment",
    "subject_name",
    "actor_name",
    "reason",
];

/// What a table holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tabled {
    /// Rows below the names of the columns.
    pub rows: u64,
    /// Whether addresses of people are among the names.
    pub names_people: bool,
}

/// Writes the events as CSV.
///
/// # Errors
/// When the log cannot be read, or the table not written.
pub fn write(reading: &Reading, chosen: &Chosen, out: impl Write) -> Result<Tabled, ExportError> {
    let mut table = csv::Writer::from_writer(out);
    let io = |why: csv::Error| ExportError::Io(why.into());
    table.write_record(COLUMNS).map_err(io)?;
    let mut fold = Fold::new(chosen.organization);
    let mut tabled = Tabled::default();
    each(reading, reading.size(), |position, payload, found| {
        if chosen.to.is_some_and(|to| position > to) {
            return Ok(());
        }
        let event = fold.take(payload, &mut |event| reading.open_sealed(event))?;
        let Some(event) = event.filter(|_| chosen.holds(found)) else {
            return Ok(());
        };
        let names = Names::of(fold.state(), &event);
        tabled.rows += 1;
        tabled.names_people |= names.people;
        let row = row(&event, payload, names)?;
        table
            .write_record(row.iter().map(|cell| without_formula(cell).into_owned()))
            .map_err(io)
    })?;
    table.flush()?;
    Ok(tabled)
}

fn row(event: &Event, payload: &[u8], names: Names) -> Result<[String; 16], ExportError> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let place = event.organization.as_ref();
    let kind = serde_json::to_value(event.actor.kind)?;
    let data = serde_json::to_value(&event.fact)?;
    let reason = data.get("reason").and_then(serde_json::Value::as_str);
    let commitment: Hash = Sha256::digest(payload).into();
    Ok([
        event.position.to_string(),
        event.occurred_at.to_string(),
        event.fact.name().to_owned(),
        event.id.to_string(),
        text(place.map(|place| place.id.to_string())),
        text(place.map(|place| place.sequence.to_string())),
        event.subject.to_string(),
        event.subject_version.to_string(),
        kind.as_str().unwrap_or_default().to_owned(),
        text(event.actor.id.map(|id| id.to_string())),
        text(event.actor.via.map(|via| via.to_string())),
        text(event.request_id.clone()),
        hex::encode(commitment),
        text(names.subject),
        text(names.actor),
        text(reason.map(str::to_owned)),
    ])
}

fn email(state: &State, id: UserId) -> Option<String> {
    let member = state.member(id)?;
    member.email.text().map(str::to_owned)
}

/// What people call those that an event is about.
struct Names {
    /// The record that changed; `None` where its person was erased.
    subject: Option<String>,
    /// Who changed it.
    actor: Option<String>,
    /// Whether an address of a person is among both.
    people: bool,
}

impl Names {
    fn of(state: &State, event: &Event) -> Self {
        let (subject, actor) = (subject_name(state, event), actor_name(state, event));
        let of_person = matches!(event.subject, Subject::Member(_) | Subject::Session(_));
        let by_person = matches!(event.actor.id, Some(Principal::User(_)));
        Self {
            people: (of_person && subject.is_some()) || (by_person && actor.is_some()),
            subject,
            actor,
        }
    }
}

fn subject_name(state: &State, event: &Event) -> Option<String> {
    match event.subject {
        Subject::Ledger(_) => None,
        Subject::Organization(id) => Some(state.organization(id)?.name.clone()),
        Subject::Project(id) => Some(state.project(id)?.name.clone()),
        Subject::Member(id) => email(state, id),
        Subject::ServiceAccount(id) => Some(state.account(id)?.name.clone()),
        Subject::Credential(id) => Some(state.credential(id)?.name().to_owned()),
        Subject::Session(id) => email(state, state.session(id)?.user),
        Subject::WebhookEndpoint(id) => state.endpoint(id)?.description.clone(),
    }
}

fn actor_name(state: &State, event: &Event) -> Option<String> {
    match event.actor.id? {
        Principal::User(id) => email(state, id),
        Principal::ServiceAccount(id) => Some(state.account(id)?.name.clone()),
        Principal::Credential(id) => Some(state.credential(id)?.name().to_owned()),
    }
}

/// A cell that a spreadsheet takes for text, whatever it begins with.
fn without_formula(cell: &str) -> Cow<'_, str> {
    // In their full width too, as spreadsheets of some languages read them.
    const BEGINNINGS: [char; 9] = [
        '=', '+', '-', '@', '|', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ];
    let begins_with_control = cell.starts_with(['\t', '\r', '\n']);
    let first = cell.trim_start().chars().next();
    match begins_with_control || first.is_some_and(|first| BEGINNINGS.contains(&first)) {
        true => Cow::Owned(format!("'{cell}")),
        false => Cow::Borrowed(cell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "=HYPERLINK(\"http://x\",\"y\")",
            "\t=1",
            "\r=1",
            "\n1",
            "  =1",
            "|x",
            "\u{ff1d}1",
        ] {
            assert_eq!(without_formula(formula), format!("'{formula}"));
        }
        for text in ["", "a=1", "deploy", "3", "usr_01", "ada@example.com", "'x"] {
            assert_eq!(without_formula(text), text);
        }
    }
}
