//! The service about itself: the OpenAPI document, its page, liveness and readiness.

use axum::extract::FromRef;
use std::path::Path;

use serde_json::{Value, json};

use crate::api::tests::calls::Reply;
use crate::api::tests::metrics::from;
use crate::api::tests::routes::documented;
use crate::api::tests::{World, ask};
use crate::degraded::Part;
use crate::web::codes::all_codes;
use crate::webhooks::examples::ExampleEvent;

/// Set to write the file instead of comparing it.
const BLESS: &str = "KEYLEDGER_BLESS";

#[test]
fn the_page_of_error_codes_lists_every_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows =
        |(status, code, when): &(u16, &str, &str)| format!("| {status} | `{code}` | {when} |\n");
    let table: String = all_codes().iter().map(rows).collect();
    assert!(
        page.contains(&table),
        "the table of codes should be:\n{table}"
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test that writes what it pins is told so by the environment"
)]
fn the_stored_document_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/openapi.json");
    let document = crate::api::document().to_pretty_json().unwrap() + "\n";
    if std::env::var(BLESS).is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &document).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == document,
        "run this test with {BLESS}=1 and look at what changes"
    );

    let world = World::new();
    let served = world.send(ask("GET", "/openapi.json"));
    assert_eq!(
        served.expect(200),
        serde_json::from_str::<Value>(&document).unwrap()
    );
    assert_eq!(served.header("content-type"), Some("application/json"));
}

#[test]
fn the_document_tells_every_route_whole() {
    let document = serde_json::to_value(crate::api::document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let about = document["components"]["schemas"]["ProblemBody"]["description"].as_str();
    assert!(about.unwrap().contains("| 409 | `last_owner` |"));
    let security = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!(security, &json!({"type": "http", "scheme": "bearer"}));
    for (method, template) in documented() {
        let route = &document["paths"][&template][method.to_lowercase()];
        let name = format!("{method} {template}");
        assert!(route["summary"].is_string(), "{name}");
        assert!(route["operationId"].is_string(), "{name}");
        let answers = route["responses"].as_object().unwrap();
        assert!(
            answers.keys().any(|status| status.starts_with('2')),
            "{name}"
        );
        let open = OPEN.contains(&template.as_str());
        assert_eq!(
            route["security"] == json!([{}]),
            open,
            "{name}: {}",
            route["security"]
        );
        assert!(open || answers.contains_key("4XX"), "{name}");
        let parameters = route["parameters"].as_array().cloned().unwrap_or_default();
        for part in template
            .split('/')
            .filter_map(|part| part.strip_prefix('{'))
        {
            let part = part.trim_end_matches('}');
            let told = |parameter: &Value| parameter["name"] == part && parameter["in"] == "path";
            assert!(parameters.iter().any(told), "{name}: {part}");
        }
    }
    let ids: Vec<&Value> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|route| &route["operationId"])
        .collect();
    let unique: std::collections::BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(
        unique.len(),
        ids.len(),
        "an operationId stands twice: {ids:?}"
    );
}

/// All places that a document refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(place) => found.push(place.to_owned()),
                    None => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_tells_every_webhook_with_an_example_and_its_schema() {
    let document = serde_json::to_value(crate::api::document()).unwrap();
    let webhooks = document["webhooks"].as_object().unwrap();
    let names: Vec<_> = webhooks.keys().map(String::as_str).collect();
    let examples = ExampleEvent::all().chain([ExampleEvent::ping()]);
    let mut expected: Vec<_> = examples.map(ExampleEvent::event_type).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, webhook) in webhooks {
        let post = &webhook["post"];
        assert_eq!(post["security"], json!([{}]), "{name}");
        let content = &post["requestBody"]["content"]["application/json"];
        assert_eq!(content["example"]["type"], json!(name));
        let mut schema = content["schema"].clone();
        assert_eq!(schema["properties"]["type"]["const"], json!(name));
        schema["components"] = document["components"].clone();
        let schema = jsonschema::draft202012::new(&schema).unwrap();
        assert!(schema.is_valid(&content["example"]), "{name}");
    }
    let mut places = Vec::new();
    references(&document, &mut places);
    for place in places {
        let pointer = place.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{place}");
    }
}

#[test]
fn the_older_form_says_the_same_without_webhooks() {
    let world = World::new();
    let newest = world.send(ask("GET", "/openapi.json")).expect(200);
    let older = world.send(ask("GET", "/openapi-3.0.json")).expect(200);
    assert_eq!(older["openapi"], "3.0.3");
    assert_eq!(older.get("webhooks"), None);
    let operations = |document: &Value| {
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let answers = operation["responses"].as_object().unwrap();
                let answers: Vec<_> = answers.keys().cloned().collect();
                let parameters = operation["parameters"].as_array().unwrap().len();
                found.push((path.clone(), method.clone(), answers, parameters));
            }
        }
        found
    };
    assert_eq!(operations(&older), operations(&newest));
    let schemas = older["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() > 60, "{}", schemas.len());
    for (name, schema) in schemas {
        let newest = &newest["components"]["schemas"][name];
        let fields = |schema: &Value| -> Vec<String> {
            let fields = schema["properties"].as_object();
            fields
                .map(|fields| fields.keys().cloned().collect())
                .unwrap_or_default()
        };
        assert_eq!(fields(schema), fields(newest), "{name}");
        assert_eq!(schema["required"], newest["required"], "{name}");
    }
    let text = older.to_string();
    for newer in [
        "\"const\"",
        "\"null\"]",
        "\"type\":\"null\"",
        "\"propertyNames\"",
    ] {
        assert!(!text.contains(newer), "{newer}");
    }
    let mut places = Vec::new();
    references(&older, &mut places);
    for place in places {
        let pointer = place.strip_prefix('#').unwrap();
        assert!(older.pointer(pointer).is_some(), "{place}");
    }
}

#[test]
fn every_answer_is_described_and_problems_are_problems() {
    let document = serde_json::to_value(crate::api::document()).unwrap();
    let problem = json!({"$ref": "#/components/schemas/ProblemBody"});
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap();
            for range in ["4XX", "5XX"] {
                let content = json!({"application/problem+json": {"schema": problem}});
                assert_eq!(answers[range]["content"], content, "{method} {path}");
            }
            for (status, answer) in answers {
                let about = answer["description"].as_str().unwrap_or_default();
                assert!(!about.is_empty(), "{method} {path} {status}");
                let schema = &answer["content"]["application/json"]["schema"];
                assert_ne!(schema, &problem, "{method} {path} {status}");
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert_eq!(body.get("oneOf"), None, "{method} {path}: no body is null");
        }
    }
}

#[test]
fn the_page_opens_with_the_api() {
    let document = serde_json::to_value(crate::api::document()).unwrap();
    let about = document["info"]["description"].as_str().unwrap();
    assert!(!about.contains('|'), "{about}");
    let tags = document["tags"].as_array().unwrap();
    assert_eq!(tags[0]["name"], "verification");
    let known: Vec<_> = tags.iter().map(|tag| &tag["name"]).collect();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            assert!(
                known.contains(&&operation["tags"][0]),
                "{}",
                operation["tags"]
            );
        }
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let world = World::new();
    let page = world.send(ask("GET", "/docs"));
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.text.contains("/openapi.json"));
    for foreign in ["http:", "https:", "src=", "@import"] {
        assert!(!page.text.contains(foreign), "{foreign}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; connect-src 'self';"),
        "{policy}"
    );
}

#[test]
fn the_service_says_whether_it_lives_and_is_ready() {
    let mut world = World::new();
    let ready = r#"{"status":"ready","degraded":[],"damaged":[]}"#;
    for (path, text) in [("/livez", "ok\n"), ("/readyz", ready)] {
        let reply = world.send(ask("GET", path));
        assert_eq!((reply.status, reply.text.as_str()), (200, text), "{path}");
        let head = world.send(ask("HEAD", path));
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
    }
    let (router, state) =
        crate::api::app(world.ledger.clone(), crate::api::HttpSettings::default());
    crate::web::app::App::from_ref(&state)
        .ready
        .store(false, std::sync::atomic::Ordering::Release);
    world.router = router;
    let reply = world.send(ask("GET", "/readyz"));
    assert_eq!(reply.refused(503), "not_ready");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(world.send(ask("GET", "/livez")).status, 200);
}

#[test]
fn degraded_parts_are_listed_and_do_not_make_the_service_unready() {
    let world = World::new();
    let degraded = world.ledger.degraded();
    degraded.begin(Part::Deliveries, "a.redb: page 3", "it is tried again");
    degraded.begin(Part::Keys, "dk_1 is missing", "import the keys");
    let shown = |reply: Reply| {
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["status"], "degraded");
        reply.json()["degraded"].clone()
    };
    let list = shown(world.send(ask("GET", "/readyz")));
    let parts: Vec<_> = list.as_array().unwrap().iter().collect();
    assert_eq!(
        [&parts[0]["part"], &parts[1]["part"]],
        ["deliveries", "keys"]
    );
    // The network learns which parts, this machine learns what to do.
    for part in parts {
        assert!(part["since"].is_string());
        assert_eq!(part["reason"], Value::Null);
        assert_eq!(part["remedy"], Value::Null);
    }
    let list = shown(world.send(from("127.0.0.1:9", "/readyz")));
    assert_eq!(list[1]["reason"], "dk_1 is missing");
    assert_eq!(list[1]["remedy"], "import the keys");
    let text = world.send(from("127.0.0.1:9", "/metrics")).text;
    for line in [
        "keyledger_degraded{part=\"keys\"} 1",
        "keyledger_degraded{part=\"views\"} 0",
        "keyledger_damaged_files_total{part=\"usage\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    degraded.end(Part::Keys);
    degraded.end(Part::Deliveries);
    let reply = world.send(ask("GET", "/readyz"));
    assert_eq!(reply.json()["status"], "ready");
}

/// Routes that anybody may call.
const OPEN: [&str; 14] = [
    "/ledger/checkpoint",
    "/ledger/vkey",
    "/ledger/tile/{tile}",
    "/.well-known/oauth-authorization-server",
    "/v1/forward-auth",
    "/v1/forward-auth/nginx",
    "/v1/forward-auth/envoy",
    "/livez",
    "/readyz",
    "/docs",
    "/openapi.json",
    "/openapi-3.0.json",
    "/v1/sessions",
    "/sign-in/{token}",
];

async fn boom() -> &'static str {
    panic!("a defect")
}

#[test]
fn a_handler_that_panics_is_a_problem() {
    let mut world = World::new();
    let settings = crate::api::HttpSettings::default();
    let app = crate::web::app::App::new(world.ledger.clone(), settings);
    let state = crate::api::state::ApiState::new(app, Default::default());
    let router = axum::Router::new().route("/boom", axum::routing::get(boom));
    world.router = crate::api::layered(router, state);
    let reply = world.send(ask("GET", "/boom").with("x-request-id", "r-1"));
    assert_eq!(reply.refused(500), "internal");
    assert_eq!(reply.json()["request_id"], "r-1");
    assert!(!reply.text.contains("a defect"), "{reply:?}");
}

#[test]
fn a_ledger_that_stops_takes_no_more_writes() {
    let world = World::new();
    world.ledger.stop();
    let path = format!("{}/projects", world.acme.path);
    let reply = world.post(&world.acme.admin, &path, &json!({"name": "p"}));
    assert_eq!(reply.refused(503), "stopping");
    assert_eq!(reply.header("retry-after"), Some("1"));
    world.get(&world.acme.admin, &path).expect(200);
}
