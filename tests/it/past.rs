//! The past, three times: by the API of a running server, by `audit replay` on its folder, and by a
//! fold that knows nothing but the stored events as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Api, Dice, Server, code, init, run, seed, send, stderr, text};

/// Commands that are given by chance.
const COMMANDS: u64 = 120;
/// Moments that are looked at.
const MOMENTS: u64 = 12;

/// What is done with keys, in no order that anybody planned.
async fn happen(api: &Api, keys: &str, dice: &mut Dice) {
    let mut made: Vec<String> = Vec::new();
    for number in 0..COMMANDS {
        let pick = |dice: &mut Dice| {
            let count = u64::try_from(made.len()).unwrap();
            made[usize::try_from(dice.below(count)).unwrap()].clone()
        };
        let what = if made.is_empty() { 0 } else { dice.below(7) };
        let reply = match what {
            0 | 1 => {
                let body = json!({"name": format!("key {number}"), "scopes": ["cases:read"]});
                api.post(keys, &body).await.unwrap()
            }
            2 => {
                let path = format!("{keys}/{}", pick(dice));
                let body = json!({"name": format!("renamed {number}")});
                send(api.request(Method::PATCH, &path).json(&body))
                    .await
                    .unwrap()
            }
            3 => {
                let path = format!("{keys}/{}", pick(dice));
                let body = json!({"scopes": ["cases:read", "cases:write"]});
                send(api.request(Method::PATCH, &path).json(&body))
                    .await
                    .unwrap()
            }
            deed => {
                let deeds = ["disable", "enable", "revoke"];
                let deed = deeds[usize::try_from(deed - 4).unwrap()];
                let path = format!("{keys}/{}/{deed}", pick(dice));
                api.post(&path, &json!({})).await.unwrap()
            }
        };
        // What has ended takes no change: that is refused, and nothing happens.
        assert!(matches!(reply.status, 200 | 201 | 409), "{}", reply.text);
        if reply.status == 201 {
            made.push(text(&reply.json()["key"], "id").to_owned());
        }
    }
}

/// What a credential is, as far as stored events say it in their own words.
type Folded = BTreeMap<String, (String, String, Vec<Value>, u64)>;

/// The credentials after the event at a position.
fn folded(events: &[Value], position: u64) -> Folded {
    let mut keys = Folded::new();
    for event in events
        .iter()
        .filter(|event| event["position"].as_u64() <= Some(position))
    {
        let (data, subject) = (&event["data"], text(event, "subject"));
        if !subject.starts_with("key_") {
            continue;
        }
        let key = keys.entry(subject.to_owned()).or_default();
        key.3 = event["subject_version"].as_u64().unwrap();
        match text(event, "type") {
            "api_key.created" => {
                key.0 = text(data, "name").to_owned();
                key.1 = "active".to_owned();
                key.2 = data["grant"]["scopes"].as_array().unwrap().clone();
            }
            "api_key.updated" => key.0 = text(data, "name").to_owned(),
            "api_key.scopes_edited" => key.2 = data["scopes"].as_array().unwrap().clone(),
            "api_key.disabled" => key.1 = "disabled".to_owned(),
            "api_key.enabled" => key.1 = "active".to_owned(),
            "api_key.revoked" => key.1 = "revoked".to_owned(),
            other => panic!("{other}"),
        }
    }
    keys
}

/// The same of records.
fn told(lines: &str) -> Folded {
    let records = lines.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        let scopes = record["scopes"].as_array().unwrap().clone();
        let (name, status) = (text(&record, "name"), text(&record, "status"));
        let told = (
            name.to_owned(),
            status.to_owned(),
            scopes,
            record["version"].as_u64().unwrap(),
        );
        (text(&record, "id").to_owned(), told)
    });
    records.collect()
}

fn replayed(data: &Path, organization: &str, as_of: &str) -> String {
    let data = data.to_str().unwrap();
    let command = ["audit", "replay", "--data-dir", data, "--as-of", as_of];
    let output = run(command
        .into_iter()
        .chain(["--organization", organization, "--json"]));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_past_is_the_same_by_the_api_by_a_replay_and_by_a_plain_fold() {
    let mut dice = Dice::new(seed());
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &["--segment-mib", "1"]);
    let server = Server::start(&data, &["--segment-mib", "1"]);
    let api = server.api(text(&made, "raw_key"));
    let organization = text(&made, "organization_id");
    let keys = format!("/platform/organizations/{organization}/api-keys");
    happen(&api, &keys, &mut dice).await;

    let of = format!("organization_id={organization}");
    let all = api.get(&format!("/v1/ledger/events?{of}")).await.unwrap();
    assert_eq!(all.status, 200, "{}", all.text);
    let events: Vec<Value> = all
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = events.last().unwrap()["position"].as_u64().unwrap();
    for round in 0..MOMENTS {
        let position = if round == 0 {
            last
        } else {
            dice.below(last + 1)
        };
        let by_position = format!("/v1/ledger/state?{of}&as_of={position}");
        let state = api.get(&by_position).await.unwrap();
        assert_eq!(state.status, 200, "{}", state.text);
        assert_eq!(told(&state.text), folded(&events, position), "{position}");
        let replay = replayed(&data, organization, &position.to_string());
        assert_eq!(replay, state.text, "{position}");
        // An instant means what had happened by then.
        let happened = |event: &&Value| event["position"].as_u64() <= Some(position);
        let Some(event) = events.iter().rfind(happened) else {
            continue;
        };
        let at = text(event, "occurred_at");
        let by_instant = format!("/v1/ledger/state?{of}&as_of={at}");
        let state = api.get(&by_instant).await.unwrap();
        assert_eq!(replayed(&data, organization, at), state.text, "{at}");
    }
    server.stop();
}
