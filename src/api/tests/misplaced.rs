//! Tokens in places where none belongs: refused in what is stored for good, blotted out elsewhere.

use serde_json::{Value, json};

use crate::api::tests::secrets::bytes_below;
use crate::api::tests::{Ask, World, ask};

/// Ways in which a token gets into a text.
fn forms(token: &str) -> Vec<String> {
    let letters: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        token.to_owned(),
        token.to_uppercase(),
        format!("of.{token}.old"),
        token.replace('_', "%5F"),
        token.replace('_', "%255f"),
        letters,
    ]
}

/// Commands of Acme with a text in each place where one is stored.
fn commands(world: &World, text: &str) -> Vec<(&'static str, String, Value)> {
    let acme = &world.acme;
    let at = |path: &str| format!("{}/{path}", acme.path);
    let key = |more: Value| {
        let mut key = json!({"name": "CI", "scopes": ["cases:read"]});
        let fields = more.as_object().unwrap().clone();
        key.as_object_mut().unwrap().extend(fields);
        ("POST", at("api-keys"), key)
    };
    let endpoint = |url: &str, description: &str| {
        let types = ["api_key.*"];
        json!({"url": url, "description": description, "event_types": types})
    };
    let hook = format!("https://hooks.example/{text}");
    let (one, endpoints) = (
        at(&format!("api-keys/{}", acme.key)),
        at("webhook-endpoints"),
    );
    let member = |email: &str, name: &str| json!({"email": email, "name": name, "role": "viewer"});
    let address = format!("{text}@acme.example");
    vec![
        ("PATCH", acme.path.clone(), json!({"name": text})),
        ("POST", at("projects"), json!({"name": text})),
        (
            "PATCH",
            at(&format!("projects/{}", acme.project)),
            json!({"name": text}),
        ),
        ("POST", at("members"), member(&address, "Joe")),
        ("POST", at("members"), member("joe@acme.example", text)),
        (
            "POST",
            at(&format!("members/{}/erase", acme.owner)),
            json!({"reason": text}),
        ),
        (
            "POST",
            at("service-accounts"),
            json!({"name": text, "role": "engineer"}),
        ),
        key(json!({"name": text})),
        key(json!({"description": text})),
        key(json!({"metadata": {text: "value"}})),
        key(json!({"metadata": {"key": text}})),
        ("PATCH", one.clone(), json!({"name": text})),
        ("PATCH", one.clone(), json!({"metadata": {"key": text}})),
        ("POST", format!("{one}/revoke"), json!({"reason": text})),
        ("POST", endpoints.clone(), endpoint(&hook, "ours")),
        ("POST", endpoints, endpoint("https://hooks.example/", text)),
    ]
}

#[test]
fn no_text_that_is_stored_for_good_takes_a_token() {
    let world = World::new();
    let token = world.acme.admin.clone();
    let before = world.next_position();
    for form in forms(&token) {
        for (method, path, body) in commands(&world, &form) {
            let reply = world.send(ask(method, &path).by(&world.platform).json(&body));
            let code = reply.refused(422);
            assert_eq!(code, "field_holds_token", "{method} {path} {body}");
        }
    }
    assert_eq!(world.next_position(), before);
}

/// A request with a token in each header that could be kept.
fn with_headers(mut request: Ask, form: &str) -> Ask {
    for name in [
        "user-agent",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-uri",
        "x-forwarded-method",
        "x-forwarded-host",
        "forwarded",
        "referer",
        "traceparent",
        "tracestate",
    ] {
        request = request.with(name, form);
    }
    match form.len() {
        0..=255 => request.with("idempotency-key", form),
        _ => request,
    }
}

#[test]
fn no_token_is_in_the_folder_wherever_a_client_puts_it() {
    let world = World::new();
    let (id, token) = (world.acme.key.clone(), world.acme.admin.clone());
    let keys = format!("{}/api-keys", world.acme.path);
    for form in forms(&token) {
        let key = json!({"name": "CI", "scopes": ["cases:read"]});
        let create = with_headers(ask("POST", &keys).by(&token), &form).json(&key);
        world.send(create).expect(201);
        let read = format!("{keys}/{form}?cursor={form}");
        world.send(with_headers(ask("GET", &read).by(&token), &form));
        if form
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            world.send(ask(&form, &keys).by(&token));
        }
        let request = json!({
            "endpoint": format!("/a/{form}?b={form}"), "method": "GET", "user_agent": form,
            "request_id": form.get(..128).unwrap_or(&form),
        });
        let verify = json!({"key": token, "request": request});
        world
            .post(&world.acme.admin, "/v1/verify", &verify)
            .expect(200);
        let request_id = form.get(..128).unwrap_or(&form);
        let line = json!({
            "key_id": id, "endpoint": form, "method": "GET", "status_code": 200, "duration_ms": 1,
            "user_agent": form, "request_id": request_id,
        });
        let report = ask("POST", "/v1/usage")
            .by(&token)
            .body(format!("{line}\n"));
        let report = report.with("content-type", "application/x-ndjson");
        world.send(report).expect(201);
    }
    world.usage.write_and_stop();
    world.ledger.stop();
    let files = bytes_below(&world.folder.path().join("data"));
    let random = token.rsplit('_').next().unwrap();
    let letters: String = random.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for trace in [random.to_owned(), random.to_uppercase(), letters] {
        assert_eq!(
            memchr::memmem::find(&files, trace.as_bytes()),
            None,
            "{trace}"
        );
    }
    assert!(memchr::memmem::find(&files, b"[secret]").is_some());
}
