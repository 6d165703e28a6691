//! What a history with every type of event says, event by event, and the examples made of it.
//!
//! **Another type of event**: have `ledger::tests::company::found` make one; run this module with
//! `KEYLEDGER_BLESS=1`, which writes its example; add its line to `examples.rs`; run the tests with
//! `KEYLEDGER_BLESS=1` once more, which writes its schema and the OpenAPI document.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use ulid::Ulid;

use crate::domain::blot::without_secrets;
use crate::domain::event::Fact;
use crate::domain::ids::{EventId, OrganizationId};
use crate::ledger::Record;
use crate::ledger::tests::{World, found};
use crate::ledger::turns::Turn;
use crate::webhooks::bodies::{BodyCache, BodyJson, PING_EVENT_TYPE, body_bytes, record_json};
use crate::webhooks::examples::{EXAMPLE_ORGANIZATION_ID, ExampleEvent};
use crate::webhooks::matching::CHECKPOINTED_EVENT;

/// What to do when a file is not as it should be.
pub(super) const BLESS: &str = "run this with KEYLEDGER_BLESS=1 and look at what changes";

/// All that a history says.
pub(super) struct Said {
    /// Each body with its type and the organization's id.
    pub(super) bodies: Vec<(&'static str, String, Value)>,
    /// The types of events that belong to no organization.
    nobodys: BTreeSet<&'static str>,
}

impl Said {
    /// By the history with every type of event, and a ping at its end.
    pub(super) fn all() -> Self {
        let mut world = World::new(1);
        found(&mut world);
        let bodies = BodyCache::new(world.ledger.clone());
        let organizations = |position| {
            let event = world.ledger.event(position).unwrap().event;
            event.organization.map(|place| place.id)
        };
        let next = world.ledger.reader().next_position();
        let last = (0..next).rev().find_map(organizations).unwrap();
        let mut said = Self {
            bodies: Vec::new(),
            nobodys: BTreeSet::new(),
        };
        for position in 0..world.ledger.reader().next_position() {
            let event = world.ledger.event(position).unwrap().event;
            // What the ledger is, is told to all: here to the one that was made last.
            let to = event.organization.map_or(last, |place| place.id);
            let Some(body) = bodies
                .get_or_build(position, to, &mut Turn::alone())
                .unwrap()
            else {
                said.nobodys.insert(event.fact.name());
                continue;
            };
            let value = serde_json::from_slice(&body.bytes).unwrap();
            let organization = body.organization.to_string();
            said.bodies.push((body.name, organization, value));
        }
        said.bodies.push(ping(&world));
        said
    }
}

fn ping(world: &World) -> (&'static str, String, Value) {
    let endpoints = world.ledger.views().directory.all_webhook_endpoints();
    let endpoint = endpoints.iter().find(|endpoint| endpoint.is_active());
    let endpoint = endpoint.unwrap();
    let now = world.ledger.now();
    let record = Record::WebhookEndpoint(Arc::clone(endpoint));
    let form = BodyJson {
        id: EventId(Ulid::from_parts(now.0.unsigned_abs(), 1)),
        name: PING_EVENT_TYPE,
        timestamp: now,
        sequence: None,
        data: record_json(&world.ledger, &record, now).unwrap().0,
        test: Some(true),
    };
    let value = serde_json::from_slice(&body_bytes(&form).unwrap()).unwrap();
    (PING_EVENT_TYPE, endpoint.organization.to_string(), value)
}

/// Holds a folder of JSON files against what it should hold, and writes it first if that is asked.
pub(crate) fn pinned(folder: &str, expected: &BTreeMap<&str, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let path = |name: &str| -> PathBuf { folder.join(format!("{name}.json")) };
    if std::env::var_os("KEYLEDGER_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in expected {
            fs::write(path(name), text).unwrap();
        }
    }
    for (name, text) in expected {
        let stored = fs::read_to_string(path(name)).unwrap_or_default();
        assert!(stored == *text, "{}: {BLESS}", path(name).display());
    }
    let files = fs::read_dir(&folder).unwrap();
    let files: BTreeSet<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let expected = expected.keys().map(|name| path(name)).collect();
    assert_eq!(files, expected, "a file too many, or one too few");
}

#[test]
fn an_example_of_each_type_is_the_first_of_its_kind() {
    let mut examples = BTreeMap::new();
    for (name, organization, body) in Said::all().bodies {
        let text = serde_json::to_string_pretty(&body).unwrap() + "\n";
        let text = text.replace(&organization, EXAMPLE_ORGANIZATION_ID);
        examples.entry(name).or_insert(text);
    }
    pinned("fixtures/webhooks", &examples);
    // The constants of this build may be older than what was just written.
    let listed = ExampleEvent::all().chain([ExampleEvent::ping()]);
    let listed: BTreeMap<_, _> = listed
        .map(|example| (example.event_type(), example.json_text().to_owned()))
        .collect();
    let unlisted: Vec<_> = examples
        .keys()
        .filter(|name| !listed.contains_key(*name))
        .collect();
    assert!(
        unlisted.is_empty(),
        "{unlisted:?}: add a line to examples.rs"
    );
    assert!(listed == examples, "the files were written: run this again");
}

#[test]
fn every_type_of_an_organization_is_delivered() {
    let said = Said::all();
    let delivered: BTreeSet<_> = said.bodies.iter().map(|(name, ..)| *name).collect();
    let all = Fact::TYPES.iter().map(|(name, _)| *name);
    let missing: Vec<_> = all
        .filter(|name| !delivered.contains(name) && !said.nobodys.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}: have `found` make one");
    let nobodys = [
        "catalogue.adopted",
        "ledger.opened",
        "ledger.read",
        "ledger.restored",
        "signing_key.rotated",
        "usage.sealed",
    ];
    assert_eq!(said.nobodys, BTreeSet::from(nobodys));
    let examples: BTreeSet<_> = ExampleEvent::all().map(ExampleEvent::event_type).collect();
    let events: BTreeSet<_> = delivered
        .iter()
        .copied()
        .filter(|name| *name != PING_EVENT_TYPE)
        .collect();
    assert_eq!(examples, events);
}

#[test]
fn examples_hold_nobodys_secret_and_nobodys_address() {
    for example in ExampleEvent::all().chain([ExampleEvent::ping()]) {
        let (name, text) = (example.event_type(), example.json_text());
        // Hashes of everybody's tree look like those of tokens.
        if name != CHECKPOINTED_EVENT {
            assert_eq!(without_secrets(text), text, "{name}");
        }
        for prefix in ["whsec_", "whsk_"] {
            assert!(!text.contains(prefix), "{name}: {prefix}");
        }
        for after in text.split('@').skip(1) {
            let ends = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-');
            let domain = after.split(ends).next().unwrap();
            assert!(domain.ends_with(".example"), "{name}: {domain}");
        }
        let organizations = text.match_indices("org_").map(|(at, _)| &text[at..]);
        for organization in organizations {
            assert!(organization.starts_with(EXAMPLE_ORGANIZATION_ID), "{name}");
        }
    }
}

#[test]
fn an_example_is_sent_as_one_of_the_organization() {
    let organization = OrganizationId(Ulid(7));
    for example in ExampleEvent::all() {
        let data = example.data_for(organization).unwrap().get().to_owned();
        let name = example.event_type();
        assert!(!data.contains(EXAMPLE_ORGANIZATION_ID), "{name}");
        let is_nobodys = name == CHECKPOINTED_EVENT;
        assert!(
            is_nobodys || data.contains(&organization.to_string()),
            "{name}"
        );
        assert!(!data.contains('\n'), "{name}: as short as others are sent");
    }
}
