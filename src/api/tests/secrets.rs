//! A secret is in the one answer that made it, and its hash is nowhere.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::tests::routes::{body, documented, filled};
use crate::api::tests::{Ask, Reply, World, ask, text};

/// What a member signs in with.
const PASSWORD: &str = "nobody guesses this, surely";

/// All that is logged by anybody.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was sent and answered, and the tokens that came up.
struct Tape<'a> {
    world: &'a World,
    tokens: Vec<String>,
    /// Each answer as text with its headers, and the token that it may hold.
    answers: Vec<(String, Option<String>)>,
}

impl Tape<'_> {
    fn send(&mut self, request: Ask) -> Reply {
        let reply = self.world.send(request);
        let made = serde_json::from_str::<Value>(&reply.text).ok();
        let made = made.and_then(|body| made_by(&body, &reply));
        self.tokens.extend(made.clone());
        let answer = format!("{reply:?}");
        // Stored payloads hold hashes of tokens, where they are and nowhere else.
        let stored = reply.header("content-type") == Some("application/x-ndjson");
        let answer = if stored {
            without_stored_hashes(&answer)
        } else {
            answer
        };
        self.answers.push((answer, made));
        reply
    }

    fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.send(ask("POST", path).by(&self.world.acme.admin).json(body))
    }
}

/// A text without what stands in fields that are called `hash`.
fn without_stored_hashes(text: &str) -> String {
    const FIELD: &str = r#"\"hash\":\""#;
    let mut parts = text.split(FIELD);
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_at_checked(64).map_or(part, |(_, after)| after));
    rest.fold(first, |text, part| text + part)
}

/// What an answer alone carries: the token of a credential, a link, a session; what signs an
/// endpoint's deliveries.
fn made_by(body: &Value, reply: &Reply) -> Option<String> {
    let token = body["raw_key"].as_str().or_else(|| body["secret"].as_str());
    let link = body["sign_in_url"]
        .as_str()
        .and_then(|url| url.rsplit('/').next());
    let made = token.or(link).map(str::to_owned);
    let cookie = || reply.header("set-cookie")?.split(['=', ';']).nth(1);
    let cookie = || cookie().filter(|cookie| !cookie.is_empty());
    made.or_else(|| cookie().map(str::to_owned))
}

/// The texts that give a token away: its random part, and its hash as people write hashes.
fn traces(token: &str) -> Vec<String> {
    let hash = Sha256::digest(token.as_bytes());
    let hex = hex::encode(hash);
    let random = token.rsplit('_').next().unwrap_or_default();
    vec![
        random.get(..64).unwrap_or(random).to_owned(),
        hex.to_uppercase(),
        hex,
        STANDARD.encode(hash),
        URL_SAFE_NO_PAD.encode(hash),
    ]
}

/// Makes, renews and repeats; returns the path of a key.
fn make(tape: &mut Tape<'_>) -> String {
    let acme = &tape.world.acme;
    let keys = format!("{}/api-keys", acme.path);
    let key = json!({"name": "n", "scopes": ["cases:read"], "metadata": {"a": "b"}});
    let create = || {
        let request = ask("POST", &keys).by(&acme.admin);
        request.with("idempotency-key", "k").json(&key)
    };
    let made = tape.send(create()).expect(201);
    assert!(made["raw_key"].is_string());
    assert!(tape.send(create()).expect(201)["raw_key"].is_null());
    let one = format!("{keys}/{}", text(&made["key"]["id"]));
    for seconds in [60, 0] {
        let rotate = json!({"grace_period_seconds": seconds});
        let rotated = tape.post(&format!("{one}/rotate"), &rotate).expect(200);
        assert!(rotated["raw_key"].is_string());
    }
    endpoints(tape);
    in_person(tape);
    let body = json!({"name": "I", "owner_email": "bill@initech.example"});
    let organization = ask("POST", "/platform/organizations").by(&tape.world.platform);
    assert!(tape.send(organization.json(&body)).expect(201)["raw_key"].is_string());
    one
}

/// Endpoints with secrets of ours, of the receiver, and of nobody; returns nothing that is shown.
fn endpoints(tape: &mut Tape<'_>) {
    let acme = &tape.world.acme;
    let path = format!("{}/webhook-endpoints", acme.path);
    let body = |more: &Value| {
        let mut body = json!({"url": "https://hooks.example/", "event_types": ["*"]});
        let fields = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        body
    };
    let made = tape.post(&path, &body(&json!({}))).expect(201);
    let one = format!("{path}/{}", text(&made["endpoint"]["id"]));
    let given = format!("whsec_{}", STANDARD.encode([0xa7; 48]));
    for (body, echoed) in [(json!({}), false), (json!({"secret": given}), true)] {
        let rotated = tape.post(&format!("{one}/rotate-secret"), &body);
        assert_eq!(rotated.expect(200)["secret"] == given.as_str(), echoed);
    }
    let moved = ask("PATCH", &one).by(&acme.admin);
    let moved = tape.send(moved.json(&json!({"url": "https://other.example/"})));
    assert!(moved.expect(200)["secret"].is_string());
    let pair = tape.post(&path, &body(&json!({"signature": "v1a"})));
    assert!(pair.expect(201)["secret"].is_null());
    let repeated = || {
        let request = ask("POST", &path).by(&acme.admin);
        request
            .with("idempotency-key", "e")
            .json(&body(&json!({"description": "again"})))
    };
    assert!(tape.send(repeated()).expect(201)["secret"].is_string());
    assert!(tape.send(repeated()).expect(201)["secret"].is_null());
    // In the wrong place, in the wrong form, and where it is not taken.
    let bad = format!("{given}!");
    for wrong in [
        json!({"secret": bad}),
        json!({"secret": [given]}),
        json!({"signature": "v1a", "secret": given}),
        json!({"ordered": given}),
        json!({"event_types": [given]}),
        json!({"url": given}),
        json!({given: 1}),
    ] {
        tape.post(&path, &body(&wrong)).expect(422);
    }
    for path in ["", "/events"] {
        tape.send(ask("GET", &format!("{one}{path}")).by(&acme.admin))
            .expect(200);
    }
    tape.send(ask("GET", &path).by(&acme.admin)).expect(200);
}

/// A member signs in by a link, sets a password, signs in by it and out.
fn in_person(tape: &mut Tape<'_>) {
    let acme = &tape.world.acme;
    let member = json!({"email": "zoe@acme.example", "role": "viewer"});
    let members = ask("POST", &format!("{}/members", acme.path)).by(&tape.world.platform);
    tape.send(members.json(&member)).expect(201);
    let link = json!({"sign_in_token": tape.tokens.last()});
    let cookie = |reply: Reply| {
        reply.expect(201);
        reply.cookie()
    };
    let by_link = cookie(tape.send(ask("POST", "/v1/sessions").json(&link)));
    let set = ask("PUT", "/v1/me/password").in_session(&by_link);
    tape.send(set.json(&json!({"password": PASSWORD})))
        .expect(200);
    let wrong = json!({"email": "zoe@acme.example", "password": format!("{PASSWORD}!")});
    tape.send(ask("POST", "/v1/sessions").json(&wrong))
        .expect(401);
    let right = json!({"email": "zoe@acme.example", "password": PASSWORD});
    let by_password = cookie(tape.send(ask("POST", "/v1/sessions").json(&right)));
    for (method, path) in [
        ("GET", "/v1/me"),
        ("GET", "/v1/me/sessions"),
        ("DELETE", "/v1/me/sessions"),
    ] {
        tape.send(ask(method, path).in_session(&by_password))
            .expect(200);
    }
}

/// Presents every token where it belongs and where it does not.
fn present(tape: &mut Tape<'_>, key: &str) {
    for token in tape.tokens.clone() {
        tape.post("/v1/verify", &json!({"key": token})).expect(200);
        tape.post("/v1/verify/batch", &json!({"keys": [{"key": token}]}))
            .expect(200);
        tape.post("/v1/verify", &json!({"key": [token]}))
            .expect(422);
        tape.send(ask("GET", key).with("authorization", &format!("Basic {token}")));
        tape.send(ask("GET", &format!("{key}/events")).by(&token));
    }
}

/// Every route, on a key and on others' records, without ending who calls.
fn tour(tape: &mut Tape<'_>, key: &str) {
    let world = tape.world;
    let (acme, globex) = (&world.acme, &world.globex);
    for (method, template) in documented() {
        let right = body(&method, &template);
        let own = filled(&template, acme, acme);
        let key_id = key.rsplit('/').next().unwrap_or_default();
        for path in [
            own.replace(&acme.key, key_id),
            filled(&template, globex, acme),
        ] {
            let request = ask(&method, &path).by(&acme.admin);
            tape.send(match &right {
                Some(right) => request.json(right),
                None => request,
            });
        }
    }
}

/// What a signing secret is in any file that holds it: its text, or its bytes.
fn plain_forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.strip_prefix("whsec_");
    let bytes = bytes.map(|text| STANDARD.decode(text).unwrap());
    bytes.into_iter().chain([secret.into()]).collect()
}

/// Every byte of every file below a folder.
pub(super) fn bytes_below(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else {
            bytes.extend(fs::read(&path).unwrap());
        }
    }
    bytes
}

#[test]
fn secrets_are_shown_once_and_hashes_never() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For the threads of the ledger too. Other tests of the process write here as well.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let world = World::new();
    let known = [&world.acme.admin, &world.globex.admin, &world.platform];
    let mut tape = Tape {
        world: &world,
        tokens: known.map(Clone::clone).to_vec(),
        answers: Vec::new(),
    };
    let key = make(&mut tape);
    present(&mut tape, &key);
    tour(&mut tape, &key);

    let Tape {
        tokens, answers, ..
    } = tape;
    assert!(tokens.len() > 6 && answers.len() > 60);
    let shown = answers.iter().filter(|(_, own)| own.is_some()).count();
    assert!(shown >= 4, "{shown}");
    let signing = tokens.iter().filter(|token| token.starts_with("whsec_"));
    assert!(signing.count() >= 5);
    world.ledger.stop();
    let files = bytes_below(world.folder.path());
    assert!(memchr::memmem::find(&files, b"https://other.example/").is_some());
    for form in tokens.iter().flat_map(|token| plain_forms(token)) {
        assert_eq!(memchr::memmem::find(&files, &form), None);
    }
    drop(world);
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let template = "/platform/organizations/{organization_id}/api-keys";
    assert!(lines.contains(template), "{lines}");
    assert!(
        !lines.contains("/platform/organizations/org_"),
        "a raw path is logged"
    );
    assert!(
        !lines.contains("bill@initech.example"),
        "an address is logged"
    );
    assert!(!lines.contains(PASSWORD), "a password is logged");
    assert!(answers.iter().all(|(answer, _)| !answer.contains(PASSWORD)));
    for token in &tokens {
        for (at, trace) in traces(token).iter().enumerate() {
            assert!(!lines.contains(trace.as_str()), "{trace} is logged");
            for (answer, own) in &answers {
                let own_secret = at == 0 && own.as_ref() == Some(token);
                assert!(
                    own_secret || !answer.contains(trace.as_str()),
                    "{trace} in {answer}"
                );
            }
        }
    }
}
