//! Ledgers that earlier versions of this program made, kept in `fixtures/logs`: each opens for ever
//! after, and shows what it showed then.
//!
//! A fixture holds `log`, `checkpoints` and `keys` of a data folder, the zeros at the end of a file
//! left out; `tokens.txt`, the tokens that it issued; `state.txt`, what it shows. It is never made
//! anew: a new event type or a new form gets a folder of its own beside it. With `KEYLEDGER_BLESS`
//! set, the newest one is made if it is not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::company::found;
use super::image::{shown, verdicts};
use super::{DAY_MS, START_MS, Setup, World};
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::tests::schemas::Schemas;
use crate::domain::time::Timestamp;

const NEWEST: &str = "v11";
const SEGMENT_BYTES: u64 = 32 * 1024;
/// Where a file of the log or of the checkpoints says how long it is.
const LOG_LENGTH_AT: usize = 40;
const CHECKPOINTS_LENGTH_AT: usize = 32;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/logs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What a ledger shows, and what becomes of its tokens as time goes on.
fn state(world: &World, tokens: &[(String, String)]) -> String {
    let ledger = &world.ledger;
    let mut text = shown(ledger);
    // At its end, after the grace of an hour, after that of a day, after the expiry of two days.
    for hours in [0, 2, 26, 50] {
        let now = ledger.now().plus_ms(hours * DAY_MS / 24);
        write!(
            text,
            "after {hours} hours\n{}",
            verdicts(ledger, tokens, now)
        )
        .unwrap();
    }
    let before = Timestamp(START_MS);
    assert!(ledger.now() > before);
    text
}

/// Makes the newest fixture.
fn bless(to: &Path) {
    let mut setup = Setup::new(1);
    setup.log.segment_bytes = SEGMENT_BYTES;
    let mut world = setup.create();
    let tokens = found(&mut world);
    let state = state(&world, &tokens);
    let setup = world.stopped();
    for part in ["log", "checkpoints", "keys"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for path in files(&setup.folder().path().join(part)) {
            let kept = match path.extension() {
                Some(extension) => extension == "seg" || extension == "notes",
                None => part == "keys",
            };
            if kept {
                let bytes = fs::read(&path).unwrap();
                let length = bytes
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |at| at + 1);
                let target = to.join(part).join(path.file_name().unwrap());
                fs::write(target, &bytes[..length]).unwrap();
            }
        }
    }
    let tokens: String = tokens
        .iter()
        .map(|(name, token)| format!("{token} {name}\n"))
        .collect();
    fs::write(to.join("tokens.txt"), tokens).unwrap();
    fs::write(to.join("state.txt"), state).unwrap();
}

/// Copies a fixture to where it can be opened: zeros and permissions as they were.
fn unpacked(from: &Path) -> Setup {
    let setup = Setup::new(9);
    for (part, length_at) in [
        ("log", Some(LOG_LENGTH_AT)),
        ("checkpoints", Some(CHECKPOINTS_LENGTH_AT)),
        ("keys", None),
    ] {
        let folder = setup.folder().path().join(part);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        for path in files(&from.join(part)) {
            let mut bytes = fs::read(&path).unwrap();
            if let Some(at) = length_at {
                let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                bytes.resize(usize::try_from(length).unwrap(), 0);
            }
            let target = folder.join(path.file_name().unwrap());
            fs::write(&target, bytes).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    setup
}

fn tokens(fixture: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(fixture.join("tokens.txt")).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(token, name)| (name.to_owned(), token.to_owned()))
        .collect()
}

#[test]
fn ledgers_of_every_version_open_and_show_what_they_showed() {
    let newest = fixtures().join(NEWEST);
    if std::env::var_os("KEYLEDGER_BLESS").is_some() && !newest.exists() {
        bless(&newest);
    }
    let (mut seen, schemas) = (BTreeSet::new(), Schemas::new());
    for fixture in files(&fixtures()) {
        let tokens = tokens(&fixture);
        let expected = fs::read_to_string(fixture.join("state.txt")).unwrap();
        let mut setup = unpacked(&fixture);
        // A clock set back makes the end of the log the present.
        setup.now_ms = START_MS;
        let world = setup.open();
        let name = fixture.display();
        let actual = state(&world, &tokens);
        for (number, (actual, expected)) in (1..).zip(actual.lines().zip(expected.lines())) {
            assert_eq!(actual, expected, "{name}, line {number} of state.txt");
        }
        assert_eq!(actual.len(), expected.len(), "{name}");
        let reader = world.ledger.reader();
        let scanned = reader.scan(0, reader.next_position(), |_, payload| {
            schemas.check(payload);
            let event = Event::from_payload(payload).unwrap();
            let newest = format!("\"version\":{},", event.fact.version());
            if String::from_utf8_lossy(payload).contains(&newest) {
                seen.insert((event.fact.name(), event.fact.version()));
                let written = event.to_payload().unwrap();
                assert_eq!(written, payload, "{name}: the stored form");
            }
        });
        scanned.unwrap();
        // It can be gone on with, too.
        let events = world.events();
        world.run(super::company::create_organization(
            "Initech",
            "eve@initech.example",
        ));
        assert_eq!(world.restarted().events(), events + 3);
    }
    let all: BTreeSet<_> = Fact::TYPES.iter().copied().collect();
    assert_eq!(seen, all, "every type of event stands in a fixture");
}
