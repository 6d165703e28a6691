//! Notices of expiries as time goes on: which are given, when, once, whatever happens in between.
//!
//! [`Watched`] is a world with an announcer that runs when it is asked to, and credentials by name.

mod bounds;
mod days;
mod model;
mod trouble;

use super::company::{create_organization, organization};
use super::{Setup, World, api_key, credential, target};
use crate::domain::command::{CreateKey, Expiry, UpdateKey};
use crate::domain::envelope::Event;
use crate::domain::event::Fact;
use crate::domain::expiry::{Leads, Turn};
use crate::domain::ids::{CredentialId, OrganizationId, Subject};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;
use crate::domain::time::Timestamp;
use crate::log::{Disk, MemoryDisk};
use crate::workers::expiries::ExpiryAnnouncer;

const HOUR_MS: i64 = 60 * 60 * 1_000;
const LEADS: [u16; 3] = [30, 7, 1];

struct Watched {
    world: World,
    announcer: ExpiryAnnouncer,
    of: OrganizationId,
    began: Timestamp,
    /// Every credential with its name.
    keys: Vec<(CredentialId, String)>,
    /// Up to where the log has been read.
    read_to: u64,
}

fn announcer(world: &World) -> ExpiryAnnouncer {
    let leads = Leads::check(LEADS.to_vec()).unwrap();
    // So few places that most gatherings leave something for the next.
    ExpiryAnnouncer::new(world.ledger.clone(), leads, 4)
}

impl Watched {
    fn new(seed: u64) -> Self {
        Self::of(Setup {
            disk: Disk::Memory(MemoryDisk::new(seed)),
            ..Setup::new(seed)
        })
    }

    fn of(setup: Setup) -> Self {
        let world = setup.create();
        let of = organization(&world.run(create_organization("Acme", "ann@acme.example")));
        Self {
            announcer: announcer(&world),
            began: world.ledger.now(),
            read_to: world.events(),
            keys: Vec::new(),
            of,
            world,
        }
    }

    /// A new credential whose expiry can be edited.
    fn key(&mut self, name: &str, expiry: Expiry) -> CredentialId {
        let made = self.world.run(CreateKey {
            kind: Kind::Access,
            grant: Grant {
                role: Some("viewer".to_owned()),
                ..Grant::default()
            },
            expiry,
            ..api_key(self.of, name)
        });
        let key = credential(&made).id();
        self.keys.push((key, name.to_owned()));
        key
    }

    fn set_expiry(&self, key: CredentialId, expiry: Expiry) {
        self.world.run(UpdateKey {
            expiry: Some(expiry),
            ..UpdateKey::of(target(self.of, key))
        });
    }

    fn later(&mut self, ms: i64) {
        self.world.later(ms);
    }

    fn look(&mut self) {
        while self.announcer.announce_due() {}
    }

    /// Looks, and says what was told since it was last asked.
    fn told(&mut self) -> Vec<String> {
        self.look();
        self.read()
    }

    /// What was told since it was last asked: when, of whom, so many days ahead.
    fn read(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let (from, to) = (self.read_to, self.world.events());
        let scanned = self.world.ledger.reader().scan(from, to, |_, payload| {
            let event = Event::from_payload(payload).unwrap();
            lines.extend(self.line(&event));
        });
        scanned.unwrap();
        self.read_to = to;
        lines
    }

    fn line(&self, event: &Event) -> Option<String> {
        Turn::of(event)?;
        let Subject::Credential(key) = event.subject else {
            panic!("{event:?}");
        };
        assert_eq!(event.organization.map(|place| place.id), Some(self.of));
        let name = self.keys.iter().find(|(id, _)| *id == key);
        let hours = (event.occurred_at.0 - self.began.0) / HOUR_MS;
        let what = if let Fact::KeyExpiring(data) = &event.fact {
            format!("expires in {} days", data.days)
        } else {
            event.fact.name().to_owned()
        };
        let (day, hour) = (hours / 24, hours % 24);
        Some(format!("day {day}, {hour} h: {} {what}", name.unwrap().1))
    }

    fn restarted(self) -> Self {
        let Self {
            world,
            announcer: stopped,
            of,
            began,
            keys,
            read_to,
        } = self;
        drop(stopped);
        let world = world.restarted();
        Self {
            announcer: announcer(&world),
            world,
            of,
            began,
            keys,
            read_to,
        }
    }
}
