//! The schemas of bodies: files that anybody may validate with, and what they let through.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::bodies::{Said, pinned};
use crate::webhooks::examples::ExampleEvent;
use crate::webhooks::schemas::body_schema;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Where the OpenAPI document has what a schema by itself has among its definitions.
const COMPONENTS: &str = "#/components/schemas/";

/// The schema of a type's body, whole: with the records that it refers to.
fn whole(name: &str) -> Value {
    let schema = body_schema(name).unwrap();
    let records = schema.records.into_iter();
    let records: BTreeMap<String, Value> = records
        .map(|(name, record)| (name, serde_json::to_value(record).unwrap()))
        .collect();
    let mut whole = serde_json::to_value(schema.body).unwrap();
    whole["$schema"] = json!(DIALECT);
    whole["$defs"] = json!(records);
    let text = whole.to_string().replace(COMPONENTS, "#/$defs/");
    serde_json::from_str(&text).unwrap()
}

fn validators(edit: impl Fn(Value) -> Value) -> BTreeMap<&'static str, Validator> {
    let all = ExampleEvent::all().chain([ExampleEvent::ping()]);
    let validator = |schema: &Value| jsonschema::draft202012::new(schema).unwrap();
    all.map(|example| {
        (
            example.event_type(),
            validator(&edit(whole(example.event_type()))),
        )
    })
    .collect()
}

/// A schema that takes no key of a record that it does not name.
fn closed(mut schema: Value) -> Value {
    for (name, record) in schema["$defs"].as_object_mut().unwrap() {
        // `Origin` is a part of others.
        if name != "Origin" && (record["properties"].is_object() || record["allOf"].is_array()) {
            record["unevaluatedProperties"] = json!(false);
        }
    }
    schema
}

#[test]
fn the_stored_schemas_are_those_of_the_records() {
    let all = ExampleEvent::all().chain([ExampleEvent::ping()]);
    let files = all.map(|example| {
        let schema = serde_json::to_string_pretty(&whole(example.event_type())).unwrap();
        (example.event_type(), schema + "\n")
    });
    pinned("schemas/webhooks", &files.collect());
    for example in ExampleEvent::all().chain([ExampleEvent::ping()]) {
        jsonschema::meta::validate(&whole(example.event_type())).unwrap();
    }
    for name in ["ledger.opened", "usage.sealed", "api_keys.created", ""] {
        assert!(body_schema(name).is_none(), "{name}");
    }
}

#[test]
fn every_body_is_what_its_schema_says_and_no_more() {
    let (open, closed) = (validators(|schema| schema), validators(closed));
    for (name, _, body) in Said::all().bodies {
        for schemas in [&open, &closed] {
            let wrong = schemas[name].iter_errors(&body).next();
            assert!(wrong.is_none(), "{name}: {}\n{body:#}", wrong.unwrap());
        }
    }
}

#[test]
fn examples_are_valid_and_so_are_they_as_tests() {
    let schemas = validators(|schema| schema);
    for example in ExampleEvent::all().chain([ExampleEvent::ping()]) {
        let mut body: Value = serde_json::from_str(example.json_text()).unwrap();
        let name = example.event_type();
        assert!(schemas[name].is_valid(&body), "{name}");
        (body["sequence"], body["test"]) = (Value::Null, json!(true));
        assert!(schemas[name].is_valid(&body), "{name}");
    }
}

/// The parts of an object with one key left out, each with that key.
fn lessened(object: &Map<String, Value>) -> impl Iterator<Item = (String, Map<String, Value>)> {
    object.keys().map(|key| {
        let mut less = object.clone();
        less.remove(key);
        (key.clone(), less)
    })
}

#[test]
fn a_schema_takes_nothing_else() {
    let schemas = validators(|schema| schema);
    for example in ExampleEvent::all() {
        let schema = &schemas[example.event_type()];
        let body: Value = serde_json::from_str(example.json_text()).unwrap();
        let mut wrong = Vec::new();
        for (key, less) in lessened(body.as_object().unwrap()) {
            wrong.push((key, Value::Object(less)));
        }
        for (key, less) in lessened(body["data"].as_object().unwrap()) {
            let mut body = body.clone();
            body["data"] = Value::Object(less);
            wrong.push((format!("data.{key}"), body));
        }
        for (key, value) in [
            ("type", json!("ping")),
            ("type", json!(null)),
            ("id", json!("org_01H2XA9C000000000000000000")),
            ("sequence", json!(1.5)),
            ("sequence", json!("1")),
            ("timestamp", json!(1)),
            ("data", json!(null)),
            ("data", json!([])),
            ("test", json!("yes")),
            ("further", json!(1)),
        ] {
            let mut body = body.clone();
            body[key] = value;
            wrong.push((key.to_owned(), body));
        }
        for (key, body) in wrong {
            assert!(!schema.is_valid(&body), "{} {key}", example.event_type());
        }
    }
}
