//! What remains of an erased person in the data folder, read by someone who has all of its keys.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ConnectInfo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::tests::deliveries::answers::{PUBLIC_URL, public};
use crate::api::tests::secrets::bytes_below;
use crate::api::tests::sessions::PASSWORD;
use crate::api::tests::{Ask, World, ask, text};
use crate::domain::kind::Kind;
use crate::ledger::history::PastNetwork;

const EMAIL: &str = "carla.mueller@example.org";
/// Where Carla is, and where somebody tries to sign in as Carla.
const ADDRESSES: [&str; 2] = ["198.51.100.77", "198.51.100.78"];
/// What texts about Carla hold: address, names, clients and networks.
const NEEDLES: [&[u8]; 4] = [b"carla", b"Carla", b"Mueller", b"198.51.100.7"];

/// A request by Carla, or by somebody who tries to be Carla.
fn from(place: usize, method: &str, path: &str, body: &Value) -> Ask {
    let mut request = ask(method, path).with("user-agent", "CarlasLaptop/1.0");
    let peer = SocketAddr::new(ADDRESSES[place].parse().unwrap(), 40_000);
    request.0.extensions_mut().insert(ConnectInfo(peer));
    request.json(body)
}

fn added() -> Value {
    json!({"email": EMAIL, "name": "Carla Mueller", "role": "administrator"})
}

/// Everything that a member does and that is done about a member; returns the member's id.
fn live(world: &World) -> String {
    let acme = &world.acme;
    let members = format!("{}/members", acme.path);
    let add = ask("POST", &members).by(&acme.admin);
    let id = world
        .send(add.with("idempotency-key", "1").json(&added()))
        .created();
    let link = json!({"sign_in_token": world.link(&id)});
    let signed_in = world.send(from(0, "POST", "/v1/sessions", &link));
    signed_in.expect(201);
    let cookie = signed_in.cookie();
    let set = from(0, "PUT", "/v1/me/password", &json!({"password": PASSWORD}));
    world.send(set.in_session(&cookie)).expect(200);
    let sign_in = |place, password| {
        let body = json!({"email": EMAIL, "password": password});
        world.send(from(place, "POST", "/v1/sessions", &body))
    };
    sign_in(1, "a wrong guess").refused(401);
    let cookie = sign_in(0, PASSWORD).cookie();
    let keys = format!("{}/api-keys", acme.path);
    let key = from(
        0,
        "POST",
        &keys,
        &json!({"name": "CI", "scopes": ["cases:read"]}),
    );
    world.send(key.in_session(&cookie)).expect(201);
    let (_, token) = world.issue(Kind::Personal, &id, &["*"]);
    let read = from(0, "GET", &keys, &Value::Null).by(&token);
    world.send(read).expect(200);
    let request = json!({"endpoint": "/carla", "ip_address": ADDRESSES[0], "user_agent": "Carla"});
    let verify = json!({"key": token, "request": request});
    world.post(&acme.admin, "/v1/verify", &verify).expect(200);
    let changed = ask("PATCH", &format!("{members}/{id}")).by(&acme.admin);
    let changed = changed.with("idempotency-key", "2");
    world
        .send(changed.json(&json!({"role": "viewer"})))
        .expect(200);
    id
}

/// All sealed values of the log that open, as text.
fn opened(world: &World) -> Vec<u8> {
    let mut texts = Vec::new();
    for position in 0..world.next_position() {
        let mut past = world.ledger.event(position).unwrap();
        for (_, value) in past.event.fact.personal_mut() {
            texts.extend(value.text().unwrap_or_default().bytes());
        }
        if let PastNetwork::Shown(network) = past.network {
            texts.extend(network.to_string().bytes());
        }
    }
    texts
}

/// Whether a command of the log is the one that added Carla, as a holder of the keys can try.
fn is_guessed(world: &World) -> bool {
    let keys = world.ledger.keys();
    let digest = keys.command_digest(added().to_string().as_bytes());
    (0..world.next_position()).any(|position| {
        let event = world.ledger.event(position).unwrap().event;
        let known = event.command_digest;
        known.is_some_and(|known| keys.matches_command_digest(known.0, digest).unwrap())
    })
}

fn found_in(bytes: &[u8]) -> Vec<String> {
    let hash = Sha256::digest(EMAIL.as_bytes());
    let needles = NEEDLES.into_iter().chain([hash.as_slice()]);
    let found = needles.filter(|needle| memchr::memmem::find(bytes, needle).is_some());
    found
        .map(|needle| String::from_utf8_lossy(needle).into_owned())
        .collect()
}

#[test]
fn nothing_of_an_erased_person_is_found_in_the_folder_with_all_keys_that_are_left() {
    let sent = Arc::new(Mutex::new(String::new()));
    let inbox = Arc::clone(&sent);
    let echo = move |body: String| async move {
        inbox.lock().unwrap().push_str(&body);
        body
    };
    let world = public(Router::new().fallback(echo));
    let endpoints = format!("{}/webhook-endpoints", world.acme.path);
    let endpoint = json!({"url": PUBLIC_URL, "event_types": ["*"]});
    let endpoint = world.post(&world.acme.admin, &endpoints, &endpoint);
    let endpoint = text(&endpoint.expect(201)["endpoint"]["id"]);
    let id = live(&world);
    let deliveries = || {
        world.settled();
        let path = format!("{endpoints}/{endpoint}/deliveries?limit=100");
        world.get(&world.acme.admin, &path).expect(200)
    };
    // The search finds what is there.
    assert_eq!(found_in(&opened(&world)).len(), NEEDLES.len());
    assert_eq!(
        found_in(deliveries().to_string().as_bytes()),
        ["carla", "Carla", "Mueller"]
    );
    assert!(is_guessed(&world));

    let erase = format!("{}/members/{id}/erase", world.acme.path);
    let erase = ask("POST", &erase).by(&world.acme.admin);
    let erase = erase.with("idempotency-key", "3");
    world
        .send(erase.json(&json!({"reason": "Request 17 of 2026"})))
        .expect(200);
    assert_eq!(found_in(&opened(&world)), [""; 0]);
    sent.lock().unwrap().clear();
    // It shows the member as it was added, and was made before the erasure.
    let made = deliveries();
    let mut made = made.as_array().unwrap().iter();
    let added = made.find(|made| made["type"] == "member.added").unwrap();
    let added = text(&added["id"]);
    let again = format!("{endpoints}/{endpoint}/deliveries/{added}/redeliver");
    world
        .post(&world.acme.admin, &again, &json!({}))
        .expect(202);
    assert_eq!(found_in(deliveries().to_string().as_bytes()), [""; 0]);
    let sent = sent.lock().unwrap().clone();
    assert!(sent.contains("member.added"), "{sent}");
    assert_eq!(found_in(sent.as_bytes()), [""; 0]);
    assert!(!is_guessed(&world));
    assert!(memchr::memmem::find(&opened(&world), b"ann@acme.example").is_some());

    world.runtime.block_on(world.webhooks().stop());
    world.usage.write_and_stop();
    world.ledger.stop();
    let files = bytes_below(&world.folder.path().join("data"));
    assert_eq!(found_in(&files), [""; 0]);
    assert!(memchr::memmem::find(&files, b"Request 17 of 2026").is_some());
}
