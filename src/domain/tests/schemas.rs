//! The schemas of stored payloads: one of each type and version, made of the types themselves, and
//! what they let through.
//!
//! **Another type or version**: run this module with `KEYLEDGER_BLESS=1`, which writes its schema;
//! add its line to `event_schemas.rs`.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{OneOfBuilder, Schema};
use utoipa::openapi::{Object, ObjectBuilder, RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::digest::Digest32;
use crate::domain::envelope::ActorStamp;
use crate::domain::event::Fact;
use crate::domain::event::older;
use crate::domain::event_schemas::event_schemas;
use crate::domain::ids::{
    CredentialId, EndpointId, EventId, LogId, OrganizationId, Owner, Principal, ProjectId,
    SecretId, ServiceAccountId, SessionId, UserId, Via,
};
use crate::domain::personal::Personal;
use crate::domain::record::EventFilter;
use crate::domain::secret::{KeyHint, SecretHash};
use crate::domain::time::Timestamp;
use crate::seal::{DataKeyId, SealedValue};
use crate::webhooks::tests::bodies::pinned;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Where utoipa has what a schema by itself has among its definitions.
const COMPONENTS: &str = "#/components/schemas/";
/// What is stored only where it is true.
const OPTIONAL: &str = "keep";
/// Families of events that belong to no organization.
const OF_NO_ORGANIZATION: [&str; 4] = ["ledger", "catalogue", "usage", "signing_key"];
const PAYLOADS: [&str; 11] = [
    include_str!("payloads_v1.ndjson"),
    include_str!("payloads_v2.ndjson"),
    include_str!("payloads_v3.ndjson"),
    include_str!("payloads_v4.ndjson"),
    include_str!("payloads_v5.ndjson"),
    include_str!("payloads_v6.ndjson"),
    include_str!("payloads_v7.ndjson"),
    include_str!("payloads_v8.ndjson"),
    include_str!("payloads_v9.ndjson"),
    include_str!("payloads_v10.ndjson"),
    include_str!("payloads_v11.ndjson"),
];

/// What the `data` of a type looks like.
pub(in crate::domain) struct DataSchema {
    name: &'static str,
    version: u16,
    data: RefOr<Schema>,
    parts: Vec<(String, RefOr<Schema>)>,
}

impl DataSchema {
    pub(in crate::domain) fn of<T: ToSchema>(name: &'static str, version: u16) -> Self {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        ActorStamp::schemas(&mut parts);
        let data = T::schema();
        Self {
            name,
            version,
            data,
            parts,
        }
    }

    fn file(&self) -> String {
        format!("{}.v{}", self.name, self.version)
    }

    /// The schema of the whole payload.
    fn whole(self) -> Value {
        let (title, name, version) = (self.file(), self.name, self.version);
        let parts = self.parts.into_iter();
        let parts: BTreeMap<String, RefOr<Schema>> = parts.collect();
        let family = name.split_once('.').unwrap().0;
        let nobodys = OF_NO_ORGANIZATION.contains(&family);
        let of_organization = |schema: Value| {
            if nobodys {
                json!({"type": "null"})
            } else {
                schema
            }
        };
        let digest = hex(32);
        let mut whole = json!({
            "$schema": DIALECT,
            "title": title,
            "type": "object",
            "properties": {
                "position": {"type": "integer", "minimum": 0},
                "id": EventId::schema(),
                "type": {"const": name},
                "version": {"const": version},
                "occurred_at": Timestamp::schema(),
                "organization_id": of_organization(json!(OrganizationId::schema())),
                "organization_sequence":
                    of_organization(json!({"type": "integer", "minimum": 0})),
                "organization_previous": of_organization(or_null(&json!(digest))),
                "subject": subject(family),
                "subject_version": {"type": "integer", "minimum": 1},
                "actor": ActorStamp::schema(),
                "request_id": {"type": ["string", "null"]},
                "command_id": or_null(&json!(digest)),
                "command_digest": or_null(&json!(digest)),
                "nonce": hex(16),
                "data": self.data,
            },
            "$defs": parts,
        });
        close(&mut whole);
        let text = whole.to_string().replace(COMPONENTS, "#/$defs/");
        serde_json::from_str(&text).unwrap()
    }
}

/// Every key of every object is always there, and there are no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(parts) => parts.iter_mut().for_each(close),
        Value::Object(keys) => {
            let empty = Map::new();
            if keys.get("type") == Some(&json!("object")) {
                let properties = keys.get("properties").and_then(Value::as_object);
                let names = properties.unwrap_or(&empty).keys();
                let required: Vec<String> = names.filter(|key| *key != OPTIONAL).cloned().collect();
                if !keys.contains_key("additionalProperties") {
                    keys.insert("additionalProperties".to_owned(), json!(false));
                }
                if !required.is_empty() {
                    keys.insert("required".to_owned(), json!(required));
                }
            }
            keys.values_mut().for_each(close);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn or_null(schema: &Value) -> Value {
    json!({"oneOf": [{"type": "null"}, schema]})
}

fn text(pattern: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.pattern(Some(pattern)).build()
}

fn hex(bytes: usize) -> Object {
    text(&format!("^[0-9a-f]{{{}}}$", 2 * bytes))
}

fn id(prefix: &str) -> Object {
    text(&format!("^{prefix}_[0-7][0-9A-HJKMNP-TV-Z]{{25}}$"))
}

/// What events of a family change.
fn subject(family: &str) -> Object {
    match family {
        "organization" => id(OrganizationId::PREFIX),
        "project" => id(ProjectId::PREFIX),
        "member" | "subject" => id(UserId::PREFIX),
        "service_account" => id(ServiceAccountId::PREFIX),
        "api_key" => id(CredentialId::PREFIX),
        "session" => id(SessionId::PREFIX),
        "webhook_endpoint" => id(EndpointId::PREFIX),
        _ => hex(16),
    }
}

/// Types whose form is a text of one pattern.
macro_rules! texts {
    ($($name:ident = $schema:expr,)*) => {
        $(
            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    $schema.into()
                }
            }

            impl ToSchema for $name {}
        )*
    };
}

texts! {
    OrganizationId = id(OrganizationId::PREFIX),
    ProjectId = id(ProjectId::PREFIX),
    UserId = id(UserId::PREFIX),
    ServiceAccountId = id(ServiceAccountId::PREFIX),
    CredentialId = id(CredentialId::PREFIX),
    SecretId = id(SecretId::PREFIX),
    EventId = id(EventId::PREFIX),
    SessionId = id(SessionId::PREFIX),
    EndpointId = id(EndpointId::PREFIX),
    DataKeyId = id("dk"),
    Principal = text("^(usr|sa|key)_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
    Via = text("^(key|ses)_[0-7][0-9A-HJKMNP-TV-Z]{25}$"),
    LogId = hex(16),
    Digest32 = hex(32),
    SecretHash = hex(32),
    KeyHint = text("^[\\x21-\\x7e]{4}$"),
    Timestamp = text("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$"),
}

impl PartialSchema for SealedValue {
    fn schema() -> RefOr<Schema> {
        let version = ObjectBuilder::new().schema_type(Type::Integer);
        let sealed = ObjectBuilder::new()
            .description(Some(
                "XChaCha20-Poly1305 under the data key; blank for ever once that is destroyed.",
            ))
            .schema_type(Type::Object)
            .property("sealed", version.minimum(Some(1)).maximum(Some(1)))
            .property("key", DataKeyId::schema())
            .property("nonce", text("^[A-Za-z0-9+/]{32}$"))
            .property("text", text("^[A-Za-z0-9+/]{20,}={0,2}$"));
        Schema::from(sealed.build()).into()
    }
}

/// The name in the published schemas.
impl ToSchema for SealedValue {
    fn name() -> std::borrow::Cow<'static, str> {
        "Sealed".into()
    }
}

/// In a payload it is its sealed form.
impl PartialSchema for Personal {
    fn schema() -> RefOr<Schema> {
        SealedValue::schema()
    }
}

impl ToSchema for Personal {}

impl PartialSchema for Owner {
    fn schema() -> RefOr<Schema> {
        let of = |name: &str, id: Object| {
            let kind = ObjectBuilder::new().schema_type(Type::String);
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .property("type", kind.enum_values(Some([name])))
                .property("id", id)
        };
        let owners = OneOfBuilder::new()
            .item(of("organization", id(OrganizationId::PREFIX)))
            .item(of("user", id(UserId::PREFIX)))
            .item(of("service_account", id(ServiceAccountId::PREFIX)));
        Schema::from(owners.build()).into()
    }
}

impl ToSchema for Owner {}

impl PartialSchema for EventFilter {
    fn schema() -> RefOr<Schema> {
        Vec::<String>::schema()
    }
}

impl ToSchema for EventFilter {}

/// All schemas by their names.
fn all() -> BTreeMap<String, Value> {
    let schemas = Fact::schemas().into_iter().chain(older::schemas());
    schemas.map(|one| (one.file(), one.whole())).collect()
}

/// Holds stored payloads against their schemas.
pub(crate) struct Schemas(BTreeMap<String, Validator>);

impl Schemas {
    pub(crate) fn new() -> Self {
        let validator = |schema: &Value| jsonschema::draft202012::new(schema).unwrap();
        let all = all().into_iter();
        Self(
            all.map(|(name, schema)| (name, validator(&schema)))
                .collect(),
        )
    }

    fn of(&self, payload: &Value) -> &Validator {
        let name = format!(
            "{}.v{}",
            payload["type"].as_str().unwrap(),
            payload["version"]
        );
        &self.0[&name]
    }

    /// The payload is what its schema says.
    #[track_caller]
    pub(crate) fn check(&self, payload: &[u8]) {
        let payload: Value = serde_json::from_slice(payload).unwrap();
        let wrong = self.of(&payload).iter_errors(&payload).next();
        assert!(wrong.is_none(), "{}\n{payload:#}", wrong.unwrap());
    }
}

#[test]
fn the_stored_schemas_are_those_of_the_types() {
    let all = all();
    let files = all.iter().map(|(name, schema)| {
        let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
        (name.as_str(), text)
    });
    let files: BTreeMap<&str, String> = files.collect();
    pinned("schemas/events", &files);
    for (name, schema) in &all {
        jsonschema::meta::validate(schema).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    // The constants of this build may be older than what was just written.
    let listed = event_schemas().map(|(name, text)| (name, text.to_owned()));
    assert!(
        listed.collect::<BTreeMap<_, _>>() == files,
        "list it in event_schemas.rs, run again"
    );
}

#[test]
fn every_pinned_payload_is_what_its_schema_says() {
    let schemas = Schemas::new();
    let mut seen = BTreeMap::new();
    for line in PAYLOADS.iter().flat_map(|file| file.lines()) {
        schemas.check(line.as_bytes());
        let payload: Value = serde_json::from_str(line).unwrap();
        seen.insert(
            (payload["type"].to_string(), payload["version"].to_string()),
            (),
        );
    }
    assert_eq!(
        seen.len(),
        schemas.0.len(),
        "every type and version is pinned"
    );
}

/// All that can be made of an object by leaving out a key, at any depth, with the key's path.
fn lessened(value: &Value, path: &str) -> Vec<(String, Value)> {
    let Some(object) = value.as_object() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, inner) in object {
        let path = format!("{path}.{key}");
        let mut less = object.clone();
        less.remove(key);
        found.push((path.clone(), Value::Object(less)));
        for (path, inner) in lessened(inner, &path) {
            let mut changed = object.clone();
            changed.insert(key.clone(), inner);
            found.push((path, Value::Object(changed)));
        }
    }
    found
}

#[test]
fn a_schema_takes_nothing_else() {
    let schemas = Schemas::new();
    for line in PAYLOADS.iter().flat_map(|file| file.lines()) {
        let payload: Value = serde_json::from_str(line).unwrap();
        let schema = schemas.of(&payload);
        let mut wrong = lessened(&payload, "");
        // Metadata has the keys that its owner gives it.
        wrong.retain(|(path, _)| !path.starts_with(".data.metadata."));
        for (key, value) in [
            ("further", json!(1)),
            ("position", json!(-1)),
            ("position", json!("1")),
            ("id", json!("org_01H2XA9C000000000000000000")),
            ("type", json!("api_key.stolen")),
            ("version", json!(99)),
            ("occurred_at", json!("2026-04-24T15:30:00Z")),
            ("subject", json!("job_01H2XA9C000000000000000000")),
            ("subject_version", json!(0)),
            ("nonce", json!("00")),
            ("organization_id", json!("x")),
            ("actor", Value::Null),
            ("data", Value::Null),
        ] {
            let mut changed = payload.clone();
            changed[key] = value;
            wrong.push((format!("{key} changed"), changed));
        }
        let mut changed = payload.clone();
        changed["data"]["further"] = json!(1);
        wrong.push(("data.further".to_owned(), changed));
        for (what, changed) in wrong {
            assert!(!schema.is_valid(&changed), "{} {what}", payload["type"]);
        }
    }
}
