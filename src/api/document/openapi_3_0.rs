//! The same document as OpenAPI 3.0.3, for generators of clients that do not know version 3.1.
//!
//! Version 3.0 has no webhooks, so that they and what they alone refer to are left out; and it says
//! in other words what may be null. Nothing else differs.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The document in the words of version 3.0.
pub(crate) fn of(mut document: Value) -> Value {
    if let Some(fields) = document.as_object_mut() {
        fields.insert("openapi".to_owned(), Value::from("3.0.3"));
        fields.remove("webhooks");
    }
    if let Some(license) = document.pointer_mut("/info/license") {
        // An SPDX identifier is a field of version 3.1.
        remove(license, "identifier");
    }
    if let Some(Value::Array(tags)) = document.get_mut("tags") {
        tags.retain(|tag| tag["name"] != "webhooks");
    }
    rewrite(&mut document);
    drop_unused(&mut document);
    document
}

fn remove(value: &mut Value, field: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(field);
    }
}

fn rewrite(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            rewrite_schema(fields);
            fields.values_mut().for_each(rewrite);
        }
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The keywords of a schema. A property that is called like one holds an object, so that nothing
/// else is taken for one.
fn rewrite_schema(fields: &mut Map<String, Value>) {
    if fields.get("$ref").is_some_and(Value::is_string) {
        fields.retain(|name, _| name == "$ref");
        return;
    }
    fields.remove("propertyNames");
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        let kind = kinds.pop();
        fields.insert("nullable".to_owned(), Value::from(true));
        match kind {
            Some(kind) => fields.insert("type".to_owned(), kind),
            None => fields.remove("type"),
        };
    }
    if let Some(Value::Array(items)) = fields.get_mut("oneOf") {
        let all = items.len();
        items.retain(|item| item["type"] != "null");
        if items.len() < all {
            let items = fields.remove("oneOf").unwrap_or_default();
            fields.insert("allOf".to_owned(), items);
            fields.insert("nullable".to_owned(), Value::from(true));
        }
    }
    if fields.get("const").is_some_and(Value::is_string) {
        let only = fields.remove("const").unwrap_or_default();
        fields.insert("enum".to_owned(), json!([only]));
    }
    if let Some(Value::Array(examples)) = fields.get_mut("examples") {
        let first = examples.first().cloned().unwrap_or_default();
        fields.remove("examples");
        fields.insert("example".to_owned(), first);
    }
}

/// Drops the components that nothing refers to any more.
fn drop_unused(document: &mut Value) {
    let mut used = BTreeSet::new();
    let mut more = vec![document["paths"].clone()];
    while let Some(value) = more.pop() {
        let mut places = Vec::new();
        references(&value, &mut places);
        for place in places {
            let target = place
                .strip_prefix('#')
                .and_then(|place| document.pointer(place));
            let target = target.cloned();
            if used.insert(place) {
                more.extend(target);
            }
        }
    }
    for kind in ["schemas", "parameters"] {
        if let Some(Value::Object(parts)) = document.pointer_mut(&format!("/components/{kind}")) {
            parts.retain(|name, _| used.contains(&format!("#/components/{kind}/{name}")));
        }
    }
}

fn references(value: &Value, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(place)) = fields.get("$ref") {
                places.push(place.clone());
            }
            fields.values().for_each(|value| references(value, places));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, places)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
