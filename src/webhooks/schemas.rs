//! What a body looks like, as a schema: the frame that all have, and the record that a type shows.
//!
//! Owns which record that is, by the family of the type's name; a record's schema is made of its
//! own type. Must never say of a record what its type does not: a test holds every kind of event
//! against its schema. Types of records flow in, schemas out to the OpenAPI document and to the
//! files of `schemas/webhooks`.

use utoipa::ToSchema;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AdditionalProperties, RefBuilder, SchemaType};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

use super::bodies::PING_EVENT_TYPE;
use super::matching::CHECKPOINTED_EVENT;
use crate::records::{
    CheckpointRecord, KeyRecord, MemberRecord, OrganizationRecord, ProjectRecord,
    ServiceAccountRecord, SessionRecord, WebhookEndpointRecord,
};

/// The form of an event's id.
const EVENT_ID: &str = "^evt_[0-7][0-9A-HJKMNP-TV-Z]{25}$";

/// The schema of a body.
pub(crate) struct BodySchema {
    /// The body; it refers to its record among the document's components.
    pub(crate) body: Object,
    /// The record and all that it refers to, by their names there.
    pub(crate) records: Vec<(String, RefOr<Schema>)>,
}

/// The schema of the body of a type; `None` for one that is not delivered.
pub(crate) fn body_schema(name: &str) -> Option<BodySchema> {
    let family = name.split_once('.').map_or(name, |(family, _)| family);
    let (record, records) = match family {
        "organization" => of::<OrganizationRecord>(),
        "project" => of::<ProjectRecord>(),
        "member" | "subject" => of::<MemberRecord>(),
        "service_account" => of::<ServiceAccountRecord>(),
        "api_key" => of::<KeyRecord>(),
        "session" => of::<SessionRecord>(),
        "ledger" if name == CHECKPOINTED_EVENT => of::<CheckpointRecord>(),
        "webhook_endpoint" | PING_EVENT_TYPE => of::<WebhookEndpointRecord>(),
        _ => return None,
    };
    Some(BodySchema {
        body: body(name, &record),
        records,
    })
}

/// A record's name, its schema and those that it refers to.
fn of<T: ToSchema>() -> (String, Vec<(String, RefOr<Schema>)>) {
    let name = T::name().into_owned();
    let mut records = vec![(name.clone(), T::schema())];
    T::schemas(&mut records);
    for (_, schema) in &mut records {
        require_nullable(schema);
    }
    (name, records)
}

/// What may be null in what is sent is always there; what may be missing is never null.
pub(crate) fn require_nullable(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            let nullable = object
                .properties
                .iter()
                .filter(|(_, field)| is_nullable(field));
            let nullable: Vec<String> = nullable.map(|(name, _)| name.clone()).collect();
            object.required.extend(nullable);
            object.required.sort();
            object.required.dedup();
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(require_nullable),
        RefOr::Ref(_) | RefOr::T(_) => {}
    }
}

fn is_nullable(schema: &RefOr<Schema>) -> bool {
    let has_null = |kind: &SchemaType| match kind {
        SchemaType::Type(kind) => *kind == Type::Null,
        SchemaType::Array(kinds) => kinds.contains(&Type::Null),
        SchemaType::AnyValue => false,
    };
    match schema {
        RefOr::T(Schema::Object(object)) => has_null(&object.schema_type),
        RefOr::T(Schema::Array(array)) => has_null(&array.schema_type),
        RefOr::T(Schema::OneOf(one)) => one.items.iter().any(is_nullable),
        RefOr::T(_) | RefOr::Ref(_) => false,
    }
}

/// The frame: all bodies have the same fields and no others.
fn body(name: &str, record: &str) -> Object {
    let is_ping = name == PING_EVENT_TYPE;
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let id = text()
        .pattern(Some(EVENT_ID))
        .description(Some("The event: `webhook-id`, the same in every attempt."));
    let named = text().extensions(Some(Extensions::from_iter([("const", name)])));
    let timestamp = text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("When it happened."));
    let sequence = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .description(Some("The event's position in the log; null in a test."));
    let data = RefBuilder::new()
        .ref_location_from_schema_name(record)
        .description(Some("The record as it was after the event."));
    let test = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some(
            "True in a test, where nothing has happened; else not there.",
        ));
    let body = ObjectBuilder::new()
        .title(Some(name))
        .schema_type(Type::Object)
        .property("id", id)
        .property("type", named)
        .property("timestamp", timestamp)
        .property("sequence", sequence)
        .property("data", data)
        .property("test", test)
        .required("id")
        .required("type")
        .required("timestamp")
        .required("sequence")
        .required("data")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    if is_ping {
        body.required("test").build()
    } else {
        body.build()
    }
}
