//! What operations answer: a description of every answer, and problems as they are sent.
//!
//! Every route may refuse or fail, so that every operation says so; the media type of a problem is
//! put in one place, as it is sent from one place.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::{
    Content, ContentBuilder, KnownFormat, ObjectBuilder, OpenApi as Document, Ref, RefOr, Response,
    ResponseBuilder, Schema, SchemaFormat, Type,
};

use crate::api::document::{PROBLEM, operations};

/// How problems are sent.
const PROBLEM_JSON: &str = "application/problem+json";
const BYTES: &str = "application/octet-stream";

/// What is answered where nothing is done.
const REFUSED: [(&str, &str); 2] = [
    ("4XX", "Refused, and nothing was done: `code` says why."),
    (
        "5XX",
        "Not possible now, or failed: `code` says why; after `outcome_unknown` read before you \
            repeat.",
    ),
];

/// Completes the answers of all operations.
pub(crate) fn describe(document: &mut Document) {
    let about = descriptions(document);
    for (_, operation) in operations(document) {
        let answers = &mut operation.responses.responses;
        for (status, answer) in answers.iter_mut() {
            let RefOr::T(answer) = answer else { continue };
            let is_problem = answer.content.values().any(is_problem);
            let contents = std::mem::take(&mut answer.content).into_iter();
            answer.content = contents.map(as_sent).collect();
            if answer.description.is_empty() {
                answer.description = if is_problem {
                    refusal(status)
                } else {
                    description(answer, &about)
                };
            }
        }
        for (status, about) in REFUSED {
            let answer = ResponseBuilder::new().description(about).build();
            let mut answer: Response = answer;
            answer.content.insert(PROBLEM_JSON.to_owned(), problem());
            answers.entry(status.to_owned()).or_insert(RefOr::T(answer));
        }
    }
}

/// The first sentence of each schema's description.
fn descriptions(document: &Document) -> BTreeMap<String, String> {
    let schemas = document.components.iter();
    let schemas = schemas.flat_map(|components| &components.schemas);
    let described = schemas.filter_map(|(name, schema)| {
        let RefOr::T(schema) = schema else {
            return None;
        };
        let text = if let Schema::Object(object) = schema {
            object.description.as_deref()
        } else if let Schema::AllOf(all) = schema {
            all.description.as_deref()
        } else {
            None
        };
        let text = text?.replace('\n', " ");
        let sentence = text.split(". ").next()?.trim_end_matches('.');
        Some((name.clone(), format!("{sentence}.")))
    });
    described.collect()
}

fn is_problem(content: &RefOr<Content>) -> bool {
    let RefOr::T(content) = content else {
        return false;
    };
    match &content.schema {
        Some(RefOr::Ref(place)) => place.ref_location.ends_with(PROBLEM),
        Some(RefOr::T(_)) | None => false,
    }
}

/// What is sent, and under which media type.
fn as_sent((kind, content): (String, RefOr<Content>)) -> (String, RefOr<Content>) {
    if is_problem(&content) {
        (PROBLEM_JSON.to_owned(), content)
    } else if kind == BYTES {
        (kind, bytes())
    } else {
        (kind, content)
    }
}

fn problem() -> RefOr<Content> {
    let schema = Ref::from_schema_name(PROBLEM);
    RefOr::T(ContentBuilder::new().schema(Some(schema)).build())
}

fn bytes() -> RefOr<Content> {
    let bytes = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
    RefOr::T(ContentBuilder::new().schema(Some(bytes)).build())
}

/// What a refusal is: of a range of statuses, or of one.
fn refusal(status: &str) -> String {
    let range = REFUSED.iter().find(|(range, _)| *range == status);
    let reason = || {
        let status = status.parse::<StatusCode>().ok();
        status.and_then(|status| status.canonical_reason())
    };
    let text = range.map(|(_, about)| *about).or_else(reason);
    text.unwrap_or("Refused.").to_owned()
}

/// What an answer holds, as its schema says.
fn description(answer: &Response, about: &BTreeMap<String, String>) -> String {
    let content = answer.content.values().next();
    let schema = match content {
        Some(RefOr::T(content)) => content.schema.as_ref(),
        Some(RefOr::Ref(_)) | None => None,
    };
    let of = |place: &Ref| {
        let name = place.ref_location.rsplit('/').next();
        name.and_then(|name| about.get(name)).cloned()
    };
    let text = match schema {
        Some(RefOr::Ref(place)) => of(place),
        Some(RefOr::T(Schema::Array(array))) => match &array.items {
            ArrayItems::RefOrSchema(items) => match &**items {
                RefOr::Ref(place) => of(place).map(|item| format!("A list. Each item: {item}")),
                RefOr::T(_) => None,
            },
            ArrayItems::False => None,
        },
        Some(RefOr::T(_)) | None => None,
    };
    text.unwrap_or_else(|| "What was asked for.".to_owned())
}
