//! Whatever comes in, the answer is never the server's fault.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Map, Value, json};

use crate::api::tests::deliveries::inside;
use crate::api::tests::routes::{body, documented, filled, kind};
use crate::api::tests::{Ask, World, ask};

const CASES: u32 = 1_500;

/// Every field of every body.
const FIELDS: [&str; 35] = [
    "sign_in_token",
    "password",
    "current_password",
    "name",
    "description",
    "scopes",
    "expires_in_days",
    "expires_at",
    "project_id",
    "metadata",
    "reason",
    "grace_period_seconds",
    "email",
    "role",
    "is_active",
    "archived",
    "owner_email",
    "token_prefix",
    "key",
    "keys",
    "required_scopes",
    "any_project",
    "organization_id",
    "request",
    "url",
    "event_types",
    "ordered",
    "signature",
    "overlap_seconds",
    "from",
    "to",
    "type",
    "types",
    "dry_run",
    "nonsense",
];

const HEADERS: [&str; 18] = [
    "x-api-key",
    "x-forwarded-uri",
    "x-keyledger-gateway",
    "x-keyledger-query-parameter",
    "x-keyledger-require-organization",
    "x-keyledger-require-project",
    "x-keyledger-require-scopes",
    "authorization",
    "content-type",
    "content-length",
    "if-match",
    "idempotency-key",
    "last-event-id",
    "ledger-min-position",
    "x-request-id",
    "x-forwarded-for",
    "user-agent",
    "cookie",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z]{1,8}:(read|write|\\*)".prop_map(Value::from),
        "(org|prj|key|usr|sa)_[0-9A-Z]{26}".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:00)"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let fields = vec((any::<String>(), inner.clone()), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    let field = proptest::sample::select(FIELDS.as_slice());
    vec((field, value()), 0..6).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

/// What becomes of a right body.
#[derive(Clone, Debug)]
enum Sent {
    Raw(Vec<u8>),
    Changed(Map<String, Value>),
    Cut(usize),
    Nested(usize),
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(Sent::Raw),
        object().prop_map(Sent::Changed),
        (0_usize..60).prop_map(Sent::Cut),
        (0_usize..400).prop_map(Sent::Nested),
    ]
}

fn bytes(sent: &Sent, right: Option<Value>) -> Vec<u8> {
    let mut right = right.unwrap_or_else(|| json!({}));
    match sent {
        Sent::Raw(bytes) => bytes.clone(),
        Sent::Changed(fields) => {
            right.as_object_mut().unwrap().extend(fields.clone());
            right.to_string().into_bytes()
        }
        Sent::Cut(at) => right
            .to_string()
            .into_bytes()
            .into_iter()
            .take(*at)
            .collect(),
        Sent::Nested(depth) => format!("{{\"name\":{}", "[".repeat(*depth)).into_bytes(),
    }
}

/// What stands in a path: bytes that an address can hold, and escapes of any others.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'/' | b'&' | b'=' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

#[derive(Clone, Debug)]
struct Wild {
    route: usize,
    /// In place of one of the ids.
    id: Option<Vec<u8>>,
    query: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
    sent: Sent,
}

fn wild(routes: usize) -> impl Strategy<Value = Wild> {
    let header = (
        proptest::sample::select(HEADERS.as_slice()),
        vec(any::<u8>(), 0..20),
    );
    let id = proptest::option::weighted(0.3, vec(any::<u8>(), 0..40));
    let query = prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 0..30),
        "(limit|cursor|after|status|kind|owner|project_id|q|type|outcome)=[a-zA-Z0-9_-]{0,30}"
            .prop_map(String::into_bytes),
    ];
    let parts = (0..routes, id, query, vec(header, 0..3), sent());
    parts.prop_map(|(route, id, query, headers, sent)| Wild {
        route,
        id,
        query,
        headers,
        sent,
    })
}

fn request(world: &World, routes: &[(String, String)], wild: &Wild) -> Option<Ask> {
    let (method, template) = &routes[wild.route];
    let mut path = filled(template, &world.acme, &world.acme);
    if let Some(id) = &wild.id {
        let known = [
            &world.acme.key,
            &world.acme.account,
            &world.acme.owner,
            &world.acme.id,
        ];
        let known = known
            .into_iter()
            .find(|known| path.contains(known.as_str()));
        if let Some(known) = known {
            path = path.replace(known.as_str(), &escaped(id));
        }
    }
    if !wild.query.is_empty() {
        path = format!("{path}?{}", escaped(&wild.query));
    }
    path.parse::<axum::http::Uri>().ok()?;
    let mut request = ask(method, &path).body(bytes(&wild.sent, body(method, template)));
    if !wild
        .headers
        .iter()
        .any(|(name, _)| *name == "authorization")
    {
        request = request.by(&world.platform);
    }
    if !wild.headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.with("content-type", kind(template));
    }
    for (name, value) in &wild.headers {
        if let Ok(value) = axum::http::HeaderValue::from_bytes(value) {
            request.0.headers_mut().append(*name, value);
        }
    }
    Some(request)
}

#[test]
fn no_input_is_the_servers_fault() {
    let world = World::delivering(inside());
    let routes = documented();
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let accepted = Cell::new(0);
    let outcome = TestRunner::new(config).run(&wild(routes.len()), |wild| {
        let Some(request) = request(&world, &routes, &wild) else {
            return Ok(());
        };
        let line = format!("{:?}", request.0);
        let reply = world.send(request);
        if reply.status >= 500 {
            return Err(TestCaseError::fail(format!("{line}: {reply:?}")));
        }
        if reply.status < 300 {
            accepted.set(accepted.get() + 1);
        } else {
            reply.refused(reply.status);
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(
        accepted.get() > CASES / 20,
        "the inputs are too wild: {}",
        accepted.get()
    );
}

#[test]
fn no_path_is_the_servers_fault() {
    let world = World::new();
    let config = Config {
        cases: CASES / 3,
        failure_persistence: None,
        ..Config::default()
    };
    let methods =
        proptest::sample::select(["GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE"].as_slice());
    let inputs = (methods, vec(any::<u8>(), 0..40));
    let outcome = TestRunner::new(config).run(&inputs, |(method, bytes)| {
        for prefix in ["/", "/platform/organizations/", "/v1/", "/v1/forward-auth/"] {
            let path = format!("{prefix}{}", escaped(&bytes));
            if path.starts_with("//") || path.parse::<axum::http::Uri>().is_err() {
                continue;
            }
            let reply = world.send(ask(method, &path).by(&world.acme.admin));
            if reply.status >= 500 {
                return Err(TestCaseError::fail(format!("{method} {path}: {reply:?}")));
            }
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
}
