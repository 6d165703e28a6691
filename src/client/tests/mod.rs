//! What is remembered, by the clock and by what the feed says; then the client under a broken, slow
//! and lying stream.

mod served;

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::cache::{RevocationEntry, StreamHeartbeat};
use super::sse::{Event, EventParser, InvalidStream};
use super::verification::RequestDigest;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn answer(position: u64, code: &str) -> Value {
    json!({"valid": code == "valid", "code": code, "position": position, "valid_until": null,
        "key": {"id": "key_1", "kind": "organization", "organization_id": "org_1",
            "secret_id": "sec_1", "owner": {"type": "user", "id": "usr_1"}}})
}

fn verified(position: u64, code: &str) -> Verification {
    serde_json::from_value(answer(position, code)).unwrap()
}

fn entry(position: u64, keys: &[&str], owner: Option<&str>, all: bool) -> RevocationEntry {
    let owner = owner.map(|id| json!({"type": "user", "id": id}));
    let entry = json!({"position": position, "effect": "ended", "key_ids": keys, "owner": owner,
        "all": all, "organization_id": "org_1"});
    serde_json::from_value(entry).unwrap()
}

fn beat(position: u64, elapsed_ms: impl Into<Option<u64>>) -> StreamHeartbeat {
    let elapsed_ms = elapsed_ms.into();
    StreamHeartbeat {
        position,
        elapsed_ms,
    }
}

/// A cache whose stream began at `position` and was complete 10 ms later, which is now.
fn live(position: u64) -> (VerificationCache, Instant) {
    let mut cache = VerificationCache::new(3);
    let now = Instant::now();
    cache.begin_stream(now, None);
    cache
        .apply_heartbeat(&beat(position, 10), now + 10 * MS)
        .unwrap();
    (cache, now + 10 * MS)
}

const ASKED: RequestDigest = [7; 32];
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn an_answer_is_remembered_while_the_stream_is_less_than_a_second_behind() {
    let (mut cache, now) = live(5);
    assert_eq!(cache.get(&ASKED, now), None);
    cache.insert(ASKED, verified(5, "valid"), now, HOUR);
    assert_eq!(cache.get(&ASKED, now), Some(verified(5, "valid")));
    assert!(cache.get(&ASKED, now + 1_000 * MS).is_some());
    assert!(cache.get(&ASKED, now + 1_001 * MS).is_none());
    // A heartbeat that comes late, or says the same again and again, makes nothing newer.
    cache
        .apply_heartbeat(&beat(5, 10), now + 2_000 * MS)
        .unwrap();
    assert!(cache.get(&ASKED, now + 2_000 * MS).is_none());
    cache
        .apply_heartbeat(&beat(5, None), now + 2_000 * MS)
        .unwrap();
    assert!(!cache.is_current(now + 2_000 * MS));
    cache
        .apply_heartbeat(&beat(5, 1_900), now + 2_000 * MS)
        .unwrap();
    assert!(cache.get(&ASKED, now + 2_000 * MS).is_some());
}

#[test]
fn an_answer_holds_as_long_as_it_says_and_a_refusal_for_a_second() {
    for (code, age, held) in [
        ("valid", 700 * MS, 700 * MS),
        ("revoked", HOUR, 1_000 * MS),
        ("not_found", 300 * MS, 300 * MS),
    ] {
        let (mut cache, now) = live(5);
        cache.insert(ASKED, verified(5, code), now, age);
        assert!(cache.get(&ASKED, now + held - MS).is_some(), "{code}");
        assert!(cache.get(&ASKED, now + held).is_none(), "{code}");
        cache.insert(ASKED, verified(5, code), now, Duration::MAX);
    }
    let mut ends = verified(5, "valid");
    ends.valid_until = Some("2026-11-24T00:00:10.500Z".to_owned());
    let date = |text: &str| {
        Some(
            DateTime::parse_from_rfc3339(text)
                .unwrap()
                .timestamp_millis(),
        )
    };
    for (at, expected) in [
        (date("2026-11-24T00:00:00Z"), Some(8_500 * MS)),
        (date("2026-11-24T00:00:09Z"), None),
        (date("2026-11-24T00:00:11Z"), None),
        (None, None),
    ] {
        assert_eq!(cacheable_for(&ends, at), expected);
    }
    ends.valid_until = Some("soon".to_owned());
    assert_eq!(cacheable_for(&ends, Some(0)), None);
}

#[test]
fn what_the_feed_names_is_forgotten_at_once() {
    for (named, forgotten) in [
        (entry(6, &["key_1"], None, false), true),
        (entry(6, &["key_0", "key_1"], None, false), true),
        (entry(6, &[], Some("usr_1"), false), true),
        (entry(6, &[], None, true), true),
        (entry(6, &["key_2"], Some("usr_2"), false), false),
    ] {
        let (mut cache, now) = live(5);
        cache.insert(ASKED, verified(5, "valid"), now, HOUR);
        let told = format!("{named:?}");
        cache.apply_revocation(named).unwrap();
        assert_eq!(cache.get(&ASKED, now).is_none(), forgotten, "{told}");
        assert_eq!(cache.len(), usize::from(!forgotten));
    }
}

#[test]
fn an_answer_that_its_revocation_has_overtaken_is_not_remembered() {
    // Asked before position 6, answered after the entry had arrived.
    for (position, kept) in [(5, false), (6, true), (9, true)] {
        for named in [
            entry(6, &["key_1"], None, false),
            entry(6, &[], Some("usr_1"), false),
            entry(6, &[], None, true),
        ] {
            let (mut cache, now) = live(5);
            cache.apply_revocation(named).unwrap();
            cache.insert(ASKED, verified(position, "valid"), now, HOUR);
            assert_eq!(cache.get(&ASKED, now).is_some(), kept, "{position}");
        }
    }
    // Older than what the stream tells of, or than what is kept of it.
    let (mut cache, now) = live(5);
    cache.insert(ASKED, verified(4, "valid"), now, HOUR);
    assert_eq!(cache.len(), 0);
    for position in 6..20_006 {
        cache
            .apply_revocation(entry(position, &["key_2"], None, false))
            .unwrap();
    }
    cache.insert(ASKED, verified(10_004, "valid"), now, HOUR);
    assert_eq!(cache.len(), 0);
    cache.insert(ASKED, verified(10_005, "valid"), now, HOUR);
    assert_eq!(cache.len(), 1);
    // A stream that has begun anew knows nothing of what was before it.
    cache.begin_stream(now, None);
    cache.insert(ASKED, verified(30_000, "valid"), now, HOUR);
    assert_eq!(cache.len(), 0);
    cache
        .apply_heartbeat(&beat(30_001, 1), now + 10 * MS)
        .unwrap();
    cache.insert(ASKED, verified(30_000, "valid"), now, HOUR);
    assert_eq!(cache.len(), 0);
}

#[test]
fn the_oldest_answer_makes_room() {
    let (mut cache, now) = live(5);
    for number in 0..5 {
        cache.insert([number; 32], verified(5, "valid"), now, HOUR);
    }
    let kept = (0..5).map(|number| cache.get(&[number; 32], now).is_some());
    assert_eq!(kept.collect::<Vec<_>>(), [false, false, true, true, true]);
    cache.insert([3; 32], verified(6, "valid"), now, HOUR);
    assert_eq!(cache.get(&[3; 32], now).unwrap().position, 6);
    cache
        .apply_revocation(entry(6, &["key_1"], None, false))
        .unwrap();
    assert_eq!(cache.len(), 0);
}

/// What a stream says to a cache at an instant.
type Told = fn(&mut VerificationCache, Instant) -> Result<(), InvalidStream>;

#[test]
fn a_stream_that_cannot_be_right_is_a_lie() {
    let now = || live(5).1;
    let lies: [(&str, Told); 6] = [
        ("goes back", |cache, now| {
            cache.apply_heartbeat(&beat(4, 20), now + 20 * MS)
        }),
        ("goes back", |cache, _| {
            cache.apply_revocation(entry(5, &[], None, true))
        }),
        ("goes back", |cache, _| {
            cache.apply_revocation(entry(3, &["key_1"], None, false))
        }),
        ("ahead of time", |cache, now| {
            cache.apply_heartbeat(&beat(5, 11), now)
        }),
        ("ahead of time", |cache, now| {
            cache.apply_heartbeat(&beat(5, u64::MAX), now)
        }),
        ("time goes back", |cache, now| {
            cache.apply_heartbeat(&beat(5, 9), now)
        }),
    ];
    for (why, lie) in lies {
        let (mut cache, now) = live(5);
        let Err(InvalidStream(said)) = lie(&mut cache, now) else {
            panic!("{why}");
        };
        assert!(said.contains(why), "{said}");
    }
    // It claims to be complete, and lacks what an answer has shown before.
    let (mut cache, _) = live(5);
    let then = now();
    cache.begin_stream(then, None);
    cache.apply_heartbeat(&beat(5, 10), then + 10 * MS).unwrap();
    cache.note_position(8, then + 15 * MS);
    cache.apply_heartbeat(&beat(5, 14), then + 20 * MS).unwrap();
    assert!(cache.apply_heartbeat(&beat(7, 15), then + 20 * MS).is_err());
    assert!(cache.apply_heartbeat(&beat(8, 15), then + 20 * MS).is_ok());
}

#[test]
fn what_is_asked_is_part_of_the_question() {
    let ask = || VerificationRequest::new("secret");
    let asks = [
        ask(),
        VerificationRequest::new("secre"),
        ask().require_scope("a"),
        ask().require_scope("a").require_scope("b"),
        ask().require_scope("ab"),
        ask().for_project("a"),
        ask().require_organization("a"),
        ask().allow_any_project(),
    ];
    let digests: std::collections::BTreeSet<_> =
        asks.iter().map(VerificationRequest::digest).collect();
    assert_eq!(digests.len(), asks.len());
    assert!(!format!("{:?}", ask()).contains("secret"));
}

#[test]
fn events_are_read_however_they_are_cut() {
    let text = ": hello\r\nevent: a\nid: 1\ndata: x\ndata:y\n\n\nevent: none\n\ndata: z\n\n";
    let event = |name: &str, id: &str, data: &str| Event {
        name: name.to_owned(),
        id: id.to_owned(),
        data: data.to_owned(),
    };
    for size in 1..text.len() {
        let (mut events, mut seen) = (EventParser::default(), VecDeque::new());
        for piece in text.as_bytes().chunks(size) {
            events.feed(piece, &mut seen).unwrap();
        }
        assert_eq!(
            seen,
            [event("a", "1", "x\ny"), event("", "", "z")],
            "{size}"
        );
    }
    let endless = || vec![b'x'; 64 * 1024];
    let feed = |begin: &str, end: &str| {
        let (mut events, mut seen) = (EventParser::default(), VecDeque::new());
        let mut fed = events.feed(begin.as_bytes(), &mut seen);
        for _ in 0..20 {
            fed = fed.and_then(|()| events.feed(&endless(), &mut seen));
            fed = fed.and_then(|()| events.feed(end.as_bytes(), &mut seen));
        }
        fed
    };
    assert_eq!(
        feed("data: ", ""),
        Err(InvalidStream("an event is too long"))
    );
    assert_eq!(
        feed("", "\ndata: "),
        Err(InvalidStream("an event is too long"))
    );
    assert_eq!(
        EventParser::default().feed(b"\xff\n", &mut VecDeque::new()),
        Err(InvalidStream("not UTF-8"))
    );
}
