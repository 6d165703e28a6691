//! Calls of persons are stored sealed, and are erased with the person's key.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use ulid::Ulid;

use super::{ASK, LOG_ID, START, World, call, key, reported};
use crate::clock::Entropy;
use crate::domain::ids::UserId;
use crate::seal::{DataKeyId, KeyStore};
use crate::usage::{
    BucketSize, BucketSummary, CredentialCall, StoredCall, UsageRetention, UsageSummaryQuery,
    VerificationCode,
};

const CARLA: UserId = UserId(Ulid(50));
const BOB: UserId = UserId(Ulid(51));
const HOUR_MS: i64 = 60 * 60 * 1_000;

fn data_key(person: UserId) -> DataKeyId {
    DataKeyId::new(person.ulid())
}

/// A history with the keys of two persons, and little room for what is kept for certain.
fn world() -> (World, Arc<KeyStore>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut entropy = Entropy::seeded(1);
    let path = folder.path().join("keys");
    let keys = KeyStore::create(&path, None, LOG_ID, &mut entropy).unwrap();
    for person in [CARLA, BOB] {
        keys.create_data_key(data_key(person), &mut entropy)
            .unwrap();
    }
    let keys = Arc::new(keys);
    let world = World::with(|settings| crate::usage::UsageSettings {
        keys: Some(Arc::clone(&keys)),
        retention: UsageRetention {
            bytes_max: 1 << 20,
            ..settings.retention
        },
        ..settings
    });
    (world, keys, folder)
}

fn of_person<'a>(person: UserId, number: u128, endpoint: &'a str) -> CredentialCall<'a> {
    CredentialCall {
        person: Some(person),
        ip: Some(IpAddr::from([198, 51, 100, 66])),
        user_agent: Some("CarlasLaptop/1.0"),
        request_id: Some("req-of-carla"),
        method: "CARLAGET",
        scopes: &["cases:read"],
        ..call(key(number), endpoint)
    }
}

/// Files of the folder that hold one of these texts.
fn found(folder: &Path, texts: &[&[u8]]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(self::found(&path, texts));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let holds = |text: &&&[u8]| bytes.windows(text.len()).any(|window| window == **text);
        let held = texts.iter().filter(holds);
        found.extend(held.map(|text| format!("{}: {}", path.display(), text.escape_ascii())));
    }
    found
}

/// What says where Carla was: also her address as four bytes.
const TEXTS: [&[u8]; 6] = [
    b"198.51.100.66",
    &[198, 51, 100, 66],
    b"CarlasLaptop",
    b"req-of-carla",
    b"/of-carla",
    b"CARLAGET",
];

fn calls(world: &World, number: u128) -> Vec<StoredCall> {
    world.usage.last_calls(key(number), &ASK).unwrap().calls
}

fn summary(world: &World, number: u128) -> Vec<BucketSummary> {
    let ask = UsageSummaryQuery {
        bucket: BucketSize::Day,
        from: START.plus_ms(-HOUR_MS),
        to: START.plus_ms(4 * HOUR_MS),
    };
    world.usage.usage_summary(key(number), &ask).unwrap()
}

/// Calls of Carla's key: kept ones, ones of the overflow, refused and reported ones, over hours.
fn use_keys(world: &World) {
    for number in 0..60 {
        let at = START.plus_ms(number / 20 * HOUR_MS);
        let endpoint = format!("/of-carla/{number}");
        let own = of_person(CARLA, 1, &endpoint);
        for outcome in [VerificationCode::Valid, VerificationCode::Revoked] {
            world.record(&CredentialCall {
                at,
                outcome,
                ..own.clone()
            });
        }
        world.record(&CredentialCall {
            at,
            reporter: reported(key(1), "").reporter,
            ..own
        });
        world.record(&of_person(BOB, 2, "/of-bob"));
        world.record(&call(key(3), "/of the organization"));
    }
    world.usage.wait_until_settled();
}

fn check_readable(world: &World) {
    let own = calls(world, 1);
    assert!(own.len() > 60, "{}", own.len());
    for call in &own {
        assert!(call.endpoint.starts_with("/of-carla/"), "{call:?}");
        assert_eq!(call.method, "CARLAGET");
        assert_eq!(call.ip, Some(IpAddr::from([198, 51, 100, 66])));
        assert_eq!(call.user_agent.as_deref(), Some("CarlasLaptop/1.0"));
        assert_eq!(call.request_id.as_deref(), Some("req-of-carla"));
    }
    assert_eq!(own[0].endpoint, "/of-carla/59");
    let [day] = summary(world, 1).try_into().unwrap();
    assert_eq!(day.calls, 180);
    assert!(day.endpoints.iter().any(|(text, _)| text == "/of-carla/1"));
    let addresses: Vec<_> = day.addresses.iter().map(|(text, _)| text).collect();
    assert_eq!(addresses, ["198.51.100.66"]);
}

#[test]
fn nothing_that_says_where_a_person_was_is_stored_in_the_clear() {
    let (mut world, _keys, _folder) = world();
    use_keys(&world);
    check_readable(&world);
    assert_eq!(found(&world.settings.folder, &TEXTS), [""; 0]);
    let killed = world.killed();
    check_readable(&killed);
    world.restart();
    check_readable(&world);
    assert_eq!(found(&world.settings.folder, &TEXTS), [""; 0]);
    // What it is searched with finds what is stored in the clear.
    let clear = found(&world.settings.folder, &[b"/of the organization"]);
    assert!(!clear.is_empty());
}

#[test]
fn an_erased_persons_calls_are_counts_and_everyone_elses_stay() {
    let (mut world, keys, _folder) = world();
    use_keys(&world);
    keys.destroy_data_key(data_key(CARLA)).unwrap();
    // Recorded before it was known here, and a key that is tried afterwards.
    use_keys(&world);
    let kept = calls(&world, 1).len();
    for round in ["live", "restarted", "recounted"] {
        for call in calls(&world, 1) {
            let texts = (call.endpoint.as_str(), call.method.as_str(), call.ip);
            assert_eq!(texts, ("", "", None), "{round}");
            assert_eq!((call.user_agent, call.request_id), (None, None), "{round}");
        }
        assert_eq!(calls(&world, 1).len(), kept, "{round}");
        let known = world.usage.usage_of(key(1));
        let counts = (known.accepted, known.denied, known.reported);
        assert_eq!(counts, (120, 120, 120), "{round}");
        assert_eq!(
            world.usage.exercised_scopes(key(1)),
            ["cases:read"],
            "{round}"
        );
        let [day] = summary(&world, 1).try_into().unwrap();
        assert_eq!(day.calls, 360, "{round}");
        assert_eq!(calls(&world, 2)[0].endpoint, "/of-bob", "{round}");
        assert_eq!(
            calls(&world, 2)[0].ip,
            Some(IpAddr::from([198, 51, 100, 66]))
        );
        assert_eq!(
            calls(&world, 3)[0].endpoint,
            "/of the organization",
            "{round}"
        );
        if round == "live" {
            world.restart();
            let [day] = summary(&world, 1).try_into().unwrap();
            assert!(
                day.endpoints.is_empty() && day.addresses.is_empty(),
                "{day:?}"
            );
        } else {
            world.usage.write_and_stop();
            fs::remove_file(world.settings.folder.join("checkpoint")).unwrap();
            fs::write(world.settings.folder.join("running"), "").unwrap();
            world.usage = crate::usage::UsageHistory::open(world.settings.clone()).unwrap();
        }
    }
    assert_eq!(found(&world.settings.folder, &TEXTS), [""; 0]);
}

#[test]
fn without_keys_nothing_of_a_person_is_stored() {
    let world = World::new();
    world.record(&of_person(CARLA, 1, "/of-carla"));
    world.usage.wait_until_settled();
    let [call] = calls(&world, 1).try_into().unwrap();
    assert_eq!((call.endpoint.as_str(), call.ip), ("", None));
    world.usage.write_and_stop();
    assert_eq!(found(&world.settings.folder, &TEXTS), [""; 0]);
}
