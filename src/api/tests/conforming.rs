//! Every request and answer of these tests is held against the OpenAPI document: what is answered
//! fits its schema, what is accepted fits the schema of its body, and what is refused for its shape
//! does not. So a schema that promises too much or too little is found by whatever test meets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request, header};
use http_body_util::BodyExt;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::api::tests::calls::Reply;
use crate::api::tests::routes::{body, documented, filled, kind};
use crate::api::tests::{World, ask};

/// The document that is served.
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(crate::api::document()).unwrap());

/// Validators of places in the document, each made once.
static VALIDATORS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());

/// The validator of a schema that stands in the document. What clients send may be written in other
/// ways than a format has it: spaces around an address are taken off.
fn validator(pointer: &str) -> Arc<Validator> {
    let is_answer = pointer.contains("/responses/");
    let mut known = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(validator) = known.get(pointer) {
        return Arc::clone(validator);
    }
    let mut schema = DOCUMENT.pointer(pointer).unwrap().clone();
    schema["components"] = DOCUMENT["components"].clone();
    let made = jsonschema::draft202012::options()
        .should_validate_formats(is_answer)
        .build(&schema);
    let made = Arc::new(made.unwrap());
    known.insert(pointer.to_owned(), Arc::clone(&made));
    made
}

/// A step of a JSON pointer.
fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The template of a path; a literal step goes before a parameter.
fn template(path: &str) -> Option<&'static str> {
    let steps: Vec<&str> = path.split('/').collect();
    let paths = DOCUMENT["paths"].as_object().unwrap().keys();
    let fits = |template: &&String| {
        let wanted: Vec<&str> = template.split('/').collect();
        // What is left of a path is one parameter.
        let rest = template.starts_with("/ledger/tile/") && steps.len() >= wanted.len();
        let pairs = wanted.iter().zip(&steps);
        (rest || wanted.len() == steps.len())
            && pairs
                .into_iter()
                .all(|(wanted, step)| wanted.starts_with('{') && !step.is_empty() || wanted == step)
    };
    let fitting = paths.filter(fits);
    let fewest = fitting.min_by_key(|template| template.matches('{').count());
    fewest.map(String::as_str)
}

/// What of a request is held against the document.
pub(super) struct Asked {
    line: String,
    /// The operation's place in the document.
    operation: Option<String>,
    query: Vec<String>,
    body: Option<Bytes>,
    kind: String,
}

fn essence(kind: Option<&axum::http::HeaderValue>) -> String {
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

impl Asked {
    /// Takes down a request, which goes on as it was.
    pub(super) async fn of(request: Request<Body>) -> (Request<Body>, Self) {
        let (parts, body) = request.into_parts();
        // A body without a length is one that a test lets out bit by bit.
        let (body, bytes) = match body.size_hint().exact() {
            Some(_) => {
                let bytes = body.collect().await.unwrap().to_bytes();
                (Body::from(bytes.clone()), Some(bytes))
            }
            None => (body, None),
        };
        let method = match parts.method {
            // Answered as GET, without the body.
            Method::HEAD => None,
            ref known => Some(known.as_str().to_ascii_lowercase()),
        };
        let operation = method
            .zip(template(parts.uri.path()))
            .map(|(method, path)| format!("/paths/{}/{method}", step(path)));
        let known = operation.filter(|place| DOCUMENT.pointer(place).is_some());
        let query = parts.uri.query().unwrap_or_default();
        let query = query.split('&').filter(|pair| !pair.is_empty());
        let query = query.map(|pair| pair.split('=').next().unwrap_or_default().to_owned());
        let asked = Self {
            line: format!("{} {}", parts.method, parts.uri),
            operation: known,
            query: query.collect(),
            body: bytes,
            kind: essence(parts.headers.get(header::CONTENT_TYPE)),
        };
        (Request::from_parts(parts, body), asked)
    }

    /// Holds request and answer against the document.
    pub(super) fn check(&self, reply: &Reply) {
        let Some(operation) = &self.operation else {
            return;
        };
        self.check_answer(operation, reply);
        self.check_body(operation, reply);
        if reply.status < 300 {
            self.check_query(operation);
        }
    }

    fn check_answer(&self, operation: &str, reply: &Reply) {
        let answers = &DOCUMENT.pointer(operation).unwrap()["responses"];
        let status = reply.status.to_string();
        let range = format!("{}XX", status.get(..1).unwrap());
        let line = &self.line;
        let found = [&status, &range]
            .into_iter()
            .find(|key| answers[key.as_str()].is_object());
        let status = found.unwrap_or_else(|| panic!("{line}: {status} is not documented"));
        let Some(contents) = answers[status.as_str()]["content"].as_object() else {
            assert!(reply.bytes.is_empty(), "{line}: {reply:?}");
            return;
        };
        let kind = essence(reply.headers.get(header::CONTENT_TYPE));
        let known: Vec<_> = contents.keys().collect();
        assert!(
            contents.contains_key(&kind),
            "{line}: {kind:?} is not among {known:?}"
        );
        if !kind.ends_with("json") || kind.contains("ndjson") {
            return;
        }
        let kind = step(&kind);
        let pointer = format!("{operation}/responses/{status}/content/{kind}/schema");
        let body = reply.json();
        let validator = validator(&pointer);
        let wrong: Vec<_> = validator
            .iter_errors(&body)
            .map(|why| why.to_string())
            .collect();
        assert!(wrong.is_empty(), "{line} -> {status}: {wrong:?}\n{body:#}");
    }

    /// What is accepted fits the schema; what is refused for its shape does not.
    fn check_body(&self, operation: &str, reply: &Reply) {
        let contents = &DOCUMENT.pointer(operation).unwrap()["requestBody"]["content"];
        let schema = &contents[&self.kind]["schema"];
        let text = self.body.as_deref().unwrap_or_default();
        if self.kind != "application/json" || schema.is_null() || text.is_empty() {
            return;
        }
        let Ok(body) = serde_json::from_slice::<Value>(text) else {
            return;
        };
        let pointer = format!(
            "{operation}/requestBody/content/{}/schema",
            step(&self.kind)
        );
        let fits = validator(&pointer).is_valid(&body);
        let line = &self.line;
        if reply.status < 300 {
            assert!(fits, "{line}: accepted what the schema refuses: {body}");
        }
        // Of an access token one of two fields, which mean the same.
        let either = line.contains("/access-tokens") && reply.text.contains("role: is missing");
        if reply.status == 422 && !either && is_of_shape(&reply.json()) {
            assert!(!fits, "{line}: {body} fits the schema\n{}", reply.text);
        }
    }

    /// What a route reads of its query is documented; one that reads none passes it over.
    fn check_query(&self, operation: &str) {
        let parameters = &DOCUMENT.pointer(operation).unwrap()["parameters"];
        let parameters = parameters.as_array().into_iter().flatten();
        let known = parameters.filter(|parameter| parameter["in"] == "query");
        let known: Vec<_> = known.map(|parameter| &parameter["name"]).collect();
        for name in self.query.iter().filter(|_| !known.is_empty()) {
            let line = &self.line;
            assert!(
                known.contains(&&json!(name)),
                "{line}: {name} is not documented"
            );
        }
    }
}

/// Whether a problem is of the shape of a body, which a schema can tell, and not of its meaning.
fn is_of_shape(problem: &Value) -> bool {
    let codes = [
        "field_missing",
        "field_unknown",
        "field_invalid",
        "field_too_long",
        "expiry_days_out_of_range",
        "grace_too_long",
        "overlap_too_long",
        "token_prefix_invalid",
    ];
    let message = problem["errors"][0]["message"].as_str().unwrap_or_default();
    let beyond = [
        // JSON with a name twice is one of the two to a reader of schemas.
        "more than once",
        // One of two forms, by what else is there.
        "sent alone",
        "not together with",
        "send sign_in_token",
        "must not lie before from",
    ];
    codes.iter().any(|code| problem["code"] == *code)
        && !beyond.iter().any(|beyond| message.contains(beyond))
}

/// The fields of an operation's body.
fn fields(method: &str, template: &str) -> Vec<String> {
    let method = method.to_ascii_lowercase();
    let body = &DOCUMENT["paths"][template][&method]["requestBody"];
    let schema = &body["content"]["application/json"]["schema"];
    let Some(place) = schema["$ref"].as_str() else {
        assert!(schema.is_null(), "{method} {template}: {schema}");
        return Vec::new();
    };
    let schema = DOCUMENT.pointer(place.trim_start_matches('#')).unwrap();
    let fields = schema["properties"].as_object();
    fields
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default()
}

/// Values of all types, and of all lengths that a limit could be at.
fn probes() -> Vec<Value> {
    let text = |length: usize| Value::from("x".repeat(length));
    let list = |length: usize| Value::from(vec![Value::from("x"); length]);
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1_000_000_000),
        text(0),
        text(1),
        text(201),
        text(501),
        text(2_001),
        list(0),
        list(2),
        list(101),
        json!({}),
        json!({"x": 1}),
        json!([1]),
    ]
}

#[test]
fn a_schema_takes_what_the_server_takes() {
    let mut sent = 0;
    for (method, template) in documented() {
        let fields = fields(&method, &template);
        if fields.is_empty() {
            continue;
        }
        // One of these may end what the next would change.
        let world = World::new();
        for field in fields {
            for probe in probes() {
                let mut body = body(&method, &template).unwrap();
                body[&field] = probe;
                let path = filled(&template, &world.acme, &world.acme);
                let request = ask(&method, &path).with("content-type", kind(&template));
                let in_person = ["/v1/me", "/v1/api-tokens"];
                let request = match in_person.iter().any(|path| template.starts_with(path)) {
                    true => request.in_session(&world.session(&world.acme.owner)),
                    false => request.by(&world.acme.admin),
                };
                // The checks are those of every request of these tests.
                world.send(request.body(body.to_string()));
                sent += 1;
            }
        }
    }
    assert!(sent > 1_000, "{sent}");
}

#[test]
fn no_schema_says_that_a_field_may_be_missing_or_null_where_one_of_both_is_meant() {
    let asked = asked_for();
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        assert!(
            !["BTreeMap", "HashMap", "Vec", "Told"].contains(&name.as_str()),
            "{name}"
        );
        if asked.contains(name) {
            continue;
        }
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            let required = schema_requires(&DOCUMENT["components"]["schemas"][name], field);
            assert!(required || !is_nullable(schema), "{name}.{field}");
        }
    }
}

/// The names of the schemas that clients send.
fn asked_for() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let operations = DOCUMENT["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|item| item.as_object().unwrap().values());
    let mut more: Vec<&Value> = operations
        .map(|operation| &operation["requestBody"])
        .collect();
    while let Some(value) = more.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(place) = fields.get("$ref").and_then(Value::as_str)
                    && names.insert(place.rsplit('/').next().unwrap().to_owned())
                {
                    more.push(DOCUMENT.pointer(place.trim_start_matches('#')).unwrap());
                }
                more.extend(fields.values());
            }
            Value::Array(items) => more.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    names
}

fn schema_requires(schema: &Value, field: &str) -> bool {
    let required = schema["required"].as_array();
    required.is_some_and(|required| required.iter().any(|name| name == field))
}

fn is_nullable(schema: &Value) -> bool {
    schema["type"] == "null"
        || schema["type"]
            .as_array()
            .is_some_and(|kinds| kinds.contains(&json!("null")))
        || schema["oneOf"]
            .as_array()
            .is_some_and(|items| items.iter().any(is_nullable))
}
