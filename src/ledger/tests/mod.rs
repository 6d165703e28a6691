//! The ledger as a whole, below HTTP: what it answers, what it keeps, what it is after a restart.
//!
//! [`World`] is an open ledger in a temporary folder, with a clock that stands still and segments
//! that are small. Crashes are copies of the folder, or of a disk in memory, taken while it runs.

mod adoption;
mod audited;
mod clock;
mod company;
mod damaged;
mod endpoints;
mod erasure;
mod expiry;
mod faults;
mod fixture;
mod folds;
mod idempotency;
mod image;
mod lanes;
mod past;
mod quota;
mod restart;
mod restored;
mod sealed;
mod sessions;
mod signing;
mod telling;
mod unusable_keys;

pub(crate) use company::found;

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::boot::{self, BootError, Folder, Restored, Settings};
use super::{Answer, Idempotency, Ledger, Network, Record, Submission, SubmitError};
use crate::clock::{Clock, Entropy, ManualClock};
use crate::domain::command::{
    Actor, Command, CreateKey, Expiry, KeyTarget, Place, Request, RevokeKey,
};
use crate::domain::digest::Digest32;
use crate::domain::ids::{CredentialId, OrganizationId, Owner};
use crate::domain::kind::Kind;
use crate::domain::record::{Credential, Grant, Metadata};
use crate::log::{Disk, LogSettings, SpareMaker};

/// 2026-04-24T15:30:00.000Z.
const START_MS: i64 = 1_777_044_600_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How a world is made and opened.
struct Setup {
    dir: TempDir,
    disk: Disk,
    log: LogSettings,
    events_between_snapshots: u64,
    now_ms: i64,
    seed: u64,
    accept_clock: bool,
    restored: Option<Restored>,
}

/// An open ledger.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    hands: Arc<ManualClock>,
    setup: Setup,
}

impl Setup {
    fn new(seed: u64) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            disk: Disk::Real,
            log: LogSettings {
                segment_bytes: 64 * 1024,
                headroom_bytes: 0,
                spares: SpareMaker::ByCaller,
            },
            events_between_snapshots: 500_000,
            now_ms: START_MS,
            seed: seed * 1_000,
            accept_clock: false,
            restored: None,
        }
    }

    fn folder(&self) -> Folder {
        Folder::new(self.dir.path().join("data"))
    }

    fn settings(&self) -> (Settings, Arc<ManualClock>) {
        let (clock, hands) = Clock::manual(self.now_ms);
        let settings = Settings {
            disk: self.disk.clone(),
            log: self.log,
            events_between_snapshots: NonZeroU64::new(self.events_between_snapshots).unwrap(),
            between_checkpoints: Duration::from_millis(10),
            accept_clock: self.accept_clock,
            restored: self.restored,
            clock,
            entropy: Entropy::seeded(self.seed),
            ..Settings::usual(self.folder())
        };
        (settings, hands)
    }

    fn create(self) -> World {
        let (settings, hands) = self.settings();
        let ledger = boot::create(settings, Some("keyledger.example/log".to_owned())).unwrap();
        // A log in memory leaves no folder by which a ledger is known.
        fs::create_dir_all(self.folder().path().join("log")).unwrap();
        World {
            ledger,
            hands,
            setup: self,
        }
    }

    fn open(self) -> World {
        let (ledger, hands) = self.try_open().unwrap();
        World {
            ledger,
            hands,
            setup: self,
        }
    }

    fn try_open(&self) -> Result<(Ledger, Arc<ManualClock>), BootError> {
        let (settings, hands) = self.settings();
        Ok((boot::open(settings)?, hands))
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Setup::new(seed).create()
    }

    /// Both clocks go on.
    fn later(&mut self, ms: i64) {
        self.hands.advance_ms(ms);
        self.setup.now_ms += ms;
    }

    fn try_submit(&self, actor: Actor, command: impl Into<Command>) -> Result<Answer, SubmitError> {
        self.ledger.submit_blocking(submission(actor, command))
    }

    #[track_caller]
    fn submit(&self, actor: Actor, command: impl Into<Command>) -> Answer {
        self.try_submit(actor, command).unwrap()
    }

    /// As the operator.
    #[track_caller]
    fn run(&self, command: impl Into<Command>) -> Answer {
        self.submit(Actor::Operator, command)
    }

    /// As the operator, with an idempotency key and the digest of a body.
    fn keyed(&self, key: u8, body: u8, command: impl Into<Command>) -> Result<Answer, SubmitError> {
        self.ledger.submit_blocking(Submission {
            idempotency: Some(idempotency(key, body)),
            ..submission(Actor::Operator, command)
        })
    }

    /// A new API key of the organization, with its token.
    fn key(&self, organization: OrganizationId, name: &str) -> (Arc<Credential>, String) {
        let answer = self.run(api_key(organization, name));
        (credential(&answer), token(&answer))
    }

    fn events(&self) -> u64 {
        self.ledger.reader().next_position()
    }

    /// Makes keys of a new organization until there are so many events.
    pub(crate) fn keys_until(&self, events: u64) {
        let made = self.run(company::create_organization("Keys", "kim@keys.example"));
        let organization = company::organization(&made);
        while self.events() < events {
            self.key(organization, "one of many");
        }
    }

    /// Its data folder.
    pub(crate) fn folder(&self) -> Folder {
        self.setup.folder()
    }

    /// Stops, and gives what the data folder stands in.
    pub(crate) fn left(self) -> TempDir {
        self.stopped().dir
    }

    /// Stops and gives what a start needs; the clock goes on where it stood.
    fn stopped(self) -> Setup {
        let Self {
            ledger, mut setup, ..
        } = self;
        ledger.stop();
        drop(ledger);
        setup.seed += 1;
        setup
    }

    fn restarted(self) -> Self {
        self.stopped().open()
    }

    /// The folder as a crash at this moment would leave it; this ledger is stopped afterwards.
    fn crashed(self) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        // The floor first: what it says must be in the log that is copied later.
        for part in ["checkpoints", "keys", "log", "snapshots", "views"] {
            copy(
                &self.setup.folder().path().join(part),
                &dir.path().join("data").join(part),
            );
        }
        let time = self.setup.folder().time();
        if time.exists() {
            fs::copy(time, dir.path().join("data").join("time")).unwrap();
        }
        let mut setup = self.stopped();
        setup.dir = dir;
        setup
    }
}

/// Copies a folder as it stands; what comes or goes meanwhile may be missing.
fn copy(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in entries {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if let Err(why) = fs::copy(&path, &target) {
            assert_eq!(
                why.kind(),
                std::io::ErrorKind::NotFound,
                "{}",
                path.display()
            );
        }
    }
}

fn submission(actor: Actor, command: impl Into<Command>) -> Submission {
    Submission::bare(Request {
        actor,
        command: command.into(),
        if_match: None,
    })
}

const fn idempotency(key: u8, body: u8) -> Idempotency {
    Idempotency {
        command: Digest32([key; 32]),
        digest: Digest32([body; 32]),
    }
}

fn network(ip: &str) -> Network {
    Network {
        ip: ip.to_owned(),
        user_agent: Some("curl/8.9.1 of a person".to_owned()),
    }
}

fn api_key(organization: OrganizationId, name: &str) -> CreateKey {
    CreateKey {
        organization,
        kind: Kind::Organization,
        owner: Owner::Organization(organization),
        project: None,
        name: name.to_owned(),
        description: None,
        grant: Grant {
            scopes: vec!["cases:read".to_owned()],
            ..Grant::default()
        },
        expiry: Expiry::Never,
        metadata: Metadata::new(),
    }
}

const fn target(organization: OrganizationId, key: CredentialId) -> KeyTarget {
    KeyTarget {
        organization,
        key,
        place: Place {
            kind: None,
            owner: None,
            project: None,
        },
    }
}

const fn revoke(organization: OrganizationId, key: CredentialId) -> RevokeKey {
    RevokeKey {
        target: target(organization, key),
        reason: None,
    }
}

#[track_caller]
fn credential(answer: &Answer) -> Arc<Credential> {
    let found = answer.records.iter().find_map(|record| match record {
        Record::Credential(record) => Some(Arc::clone(record)),
        Record::Ledger
        | Record::Organization(_)
        | Record::Project(_)
        | Record::Member(_)
        | Record::ServiceAccount(_)
        | Record::Session(_)
        | Record::WebhookEndpoint(_) => None,
    });
    found.unwrap()
}

#[track_caller]
fn token(answer: &Answer) -> String {
    answer.token.as_ref().unwrap().reveal().to_owned()
}

#[track_caller]
fn refusal(outcome: Result<Answer, SubmitError>) -> String {
    match outcome {
        Ok(answer) => panic!("{answer:?}"),
        Err(why) => format!("{why:?}"),
    }
}
