//! What an auditor asks: the tree and receipts here, then stored events, then the past.

mod events;
mod past;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::tests::{Reply, World, ask, text};
use crate::merkle::proof::check_consistency;
use crate::merkle::tile::{parse_bundle, parse_tile_hashes};
use crate::merkle::{Checkpoint, Frontier, Hash, NoteVerifier, Receipt, TreeHead, leaf_hash};
use crate::web::http_settings::HttpSettings;

/// Waits until all that has happened is published.
fn published(world: &World) -> u64 {
    let size = world.next_position();
    let tiles = world.ledger.tiles();
    let wait = tiles.wait_until_published(size - 1, Duration::from_secs(20));
    assert!(world.runtime.block_on(wait));
    size
}

fn keys(world: &World) -> Vec<NoteVerifier> {
    let reply = world.send(ask("GET", "/ledger/vkey"));
    let lines = reply.text.lines();
    lines.map(|key| NoteVerifier::parse(key).unwrap()).collect()
}

fn checkpoint(world: &World) -> Checkpoint {
    let reply = world.send(ask("GET", "/ledger/checkpoint"));
    assert_eq!(reply.status, 200);
    Checkpoint::from_verified_note_of_any_log(&reply.text, &keys(world)).unwrap()
}

/// The stored payloads that an answer holds.
fn payloads(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    reply.text.lines().map(str::to_owned).collect()
}

fn parsed(payloads: &[String]) -> Vec<Value> {
    let parse = |payload: &String| serde_json::from_str(payload).unwrap();
    payloads.iter().map(parse).collect()
}

fn commitment(payload: &str) -> Hash {
    Sha256::digest(payload).into()
}

#[test]
fn the_tree_is_open_to_all_and_is_that_of_the_stored_events() {
    let world = World::new();
    let size = published(&world);
    let checkpoint = checkpoint(&world);
    assert_eq!(checkpoint.size, size);
    let all = payloads(&world.get(&world.platform, "/v1/ledger/events"));
    assert_eq!(all.len() as u64, size);
    let mut frontier = Frontier::new();
    for payload in &all {
        frontier.append_commitment(&commitment(payload));
    }
    assert_eq!(checkpoint.root, frontier.root());

    let tile = world.send(ask("GET", &format!("/ledger/tile/0/000.p/{size}")));
    let leaves: Vec<Hash> = all.iter().map(|p| leaf_hash(&commitment(p))).collect();
    assert_eq!(parse_tile_hashes(&tile.bytes), Some(leaves));
    let bundle = world.send(ask("GET", &format!("/ledger/tile/entries/000.p/{size}")));
    let commitments = all.iter().map(|p| commitment(p)).collect();
    assert_eq!(parse_bundle(&bundle.bytes), Some(commitments));
    for (path, kind, cache) in [
        (
            "checkpoint",
            "text/plain; charset=utf-8",
            "public, max-age=1",
        ),
        ("vkey", "text/plain; charset=utf-8", "public, max-age=1"),
        (
            "tile/0/000.p/7",
            "application/octet-stream",
            "public, max-age=31536000, immutable",
        ),
    ] {
        let reply = world.send(ask("GET", &format!("/ledger/{path}")));
        assert_eq!(reply.header("content-type"), Some(kind));
        assert_eq!(reply.header("cache-control"), Some(cache));
    }
}

#[test]
fn no_tile_is_there_that_the_published_tree_does_not_have() {
    let world = World::new();
    let size = published(&world);
    for path in [
        format!("0/000.p/{}", size + 1),
        "0/000".to_owned(),
        "0/001.p/1".to_owned(),
        "1/000.p/1".to_owned(),
        "0/0".to_owned(),
        "00/000.p/1".to_owned(),
        "entries/000.p/0".to_owned(),
        "0/000.p/1%30".to_owned(),
        "data/000.p/1".to_owned(),
        "x".to_owned(),
    ] {
        let reply = world.send(ask("GET", &format!("/ledger/tile/{path}")));
        assert_eq!(reply.refused(404), "not_found", "{path}");
    }
}

#[test]
fn a_closed_tree_is_for_those_who_read_the_ledger_and_below_another_path_if_asked() {
    let world = World::new();
    published(&world);
    let settings = HttpSettings {
        ledger_prefix: "/transparency/log".parse().unwrap(),
        ledger_closed: true,
        ..HttpSettings::default()
    };
    let router = crate::api::router(world.ledger.clone(), settings);
    let reader = world.holder(&["ledger:read"]);
    let other = world.holder(&["keys:verify"]);
    let get = |path: &str, by: Option<&str>| {
        let request = ask("GET", path);
        let request = match by {
            Some(token) => request.by(token),
            None => request,
        };
        let router = router.clone();
        world
            .runtime
            .block_on(crate::api::tests::calls::answered(router, request))
    };
    for path in ["checkpoint", "vkey", "tile/0/000.p/1"] {
        let path = format!("/transparency/log/{path}");
        assert_eq!(get(&path, None).refused(401), "credential_missing");
        assert_eq!(get(&path, Some(&other)).refused(403), "forbidden");
        assert_eq!(get(&path, Some(&reader)).status, 200);
    }
    assert_eq!(get("/ledger/checkpoint", Some(&reader)).status, 404);
}

#[test]
fn a_receipt_proves_its_event_with_nothing_but_the_payload_and_the_key() {
    let world = World::new();
    let keys = keys(&world);
    let admin = &world.acme.admin;
    let first = published(&world);
    world.key(&json!({"name": "later", "scopes": ["cases:read"]}));
    for payload in payloads(&world.get(admin, "/v1/ledger/events")) {
        let event: Value = serde_json::from_str(&payload).unwrap();
        let path = format!("/v1/events/{}/proof", text(&event["id"]));
        let reply = world.get(admin, &path);
        let receipt = Receipt::parse(&reply.text).unwrap();
        assert_eq!(Some(receipt.index), event["position"].as_u64());
        let checkpoint = receipt.verify(&commitment(&payload), &keys).unwrap();
        assert!(checkpoint.size > receipt.index);
        assert!(
            receipt
                .verify(&commitment("something else"), &keys)
                .is_err()
        );
        if receipt.index < first {
            let then = world.get(admin, &format!("{path}?size={first}"));
            let receipt = Receipt::parse(&then.text).unwrap();
            let checkpoint = receipt.verify(&commitment(&payload), &keys).unwrap();
            assert_eq!(checkpoint.size, first);
        }
    }
    let path = format!("/v1/events/{}/proof", world.acme.event);
    for size in ["0", "1", "x", "", "99999"] {
        let refused = world.get(admin, &format!("{path}?size={size}"));
        assert_eq!(refused.refused(400), "query_invalid", "{size}");
    }
    // Whoever gets an event by webhook may prove it, and nobody another tenant's.
    let hooks = world.holder(&["webhooks:write"]);
    assert_eq!(world.get(&hooks, &path).status, 200);
    let stranger = world.get(&world.globex.admin, &path);
    assert_eq!(stranger.refused(404), "not_found");
    let opened = parsed(&payloads(
        &world.get(&world.platform, "/v1/ledger/events?limit=1"),
    ));
    let opened = format!("/v1/events/{}/proof", text(&opened[0]["id"]));
    assert_eq!(world.get(&hooks, &opened).refused(403), "forbidden");
    assert_eq!(world.get(admin, &opened).status, 200);
}

#[test]
fn one_tree_is_proven_to_be_the_beginning_of_the_next() {
    let world = World::new();
    let reader = world.holder(&["ledger:read"]);
    published(&world);
    let old = checkpoint(&world);
    world.key(&json!({"name": "later", "scopes": ["cases:read"]}));
    published(&world);
    let new = checkpoint(&world);
    let path = format!("/v1/ledger/consistency?from={}&to={}", old.size, new.size);
    let answer = world.get(&reader, &path).expect(200);
    let hashes = answer["hashes"].as_array().unwrap().iter();
    let proof: Vec<Hash> = hashes
        .map(|hash| STANDARD.decode(text(hash)).unwrap().try_into().unwrap())
        .collect();
    check_consistency(
        &proof,
        TreeHead::new(old.size, old.root),
        TreeHead::new(new.size, new.root),
    )
    .unwrap();
    let newest = format!("/v1/ledger/consistency?from={}", old.size);
    assert_eq!(world.get(&reader, &newest).expect(200), answer);
    for (query, status, code) in [
        ("", 400, "query_invalid"),
        ("?from=x", 400, "query_invalid"),
        ("?from=9&to=8", 400, "query_invalid"),
        ("?from=1&to=99999", 422, "position_unknown"),
        ("?from=1&size=2", 400, "query_invalid"),
    ] {
        let reply = world.get(&reader, &format!("/v1/ledger/consistency{query}"));
        assert_eq!(reply.refused(status), code, "{query}");
    }
}

#[test]
fn a_history_comes_with_receipts_if_they_are_asked_for() {
    let world = World::new();
    let keys = keys(&world);
    let admin = &world.acme.admin;
    let path = format!("{}/api-keys/{}/events", world.acme.path, world.acme.key);
    let plain = world.get(admin, &path).expect(200);
    let proven = world
        .get(admin, &format!("{path}?with_proofs=true"))
        .expect(200);
    for (plain, proven) in plain
        .as_array()
        .unwrap()
        .iter()
        .zip(proven.as_array().unwrap())
    {
        let receipt = Receipt::parse(&text(&proven["receipt"])).unwrap();
        let payload = world.ledger.reader().read_payload(receipt.index).unwrap();
        receipt.verify(&Sha256::digest(&payload), &keys).unwrap();
        let mut without = proven.clone();
        without.as_object_mut().unwrap().remove("receipt");
        assert_eq!(&without, plain);
    }
    let refused = world.get(admin, &format!("{path}?with_proofs=1"));
    assert_eq!(refused.refused(400), "query_invalid");
}
