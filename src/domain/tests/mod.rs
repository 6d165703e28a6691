//! The rules, tested from the outside: given a ledger, when a command comes, then these events or
//! this refusal.
//!
//! [`Ledger`] does what the write path does, without its files: it stamps what `decide` gives,
//! seals what is personal with a stand-in, writes the payload, reads it back and applies what it
//! read, so that every test exercises the codec and the fold as well.

mod accounts;
mod acme;
mod adoption;
mod auditor;
mod canonical;
mod catalogue;
pub(crate) mod chronicle;
mod dominance;
mod endpoint_changes;
mod endpoint_history;
mod endpoints;
mod expiry;
mod history;
mod keeping;
mod keys;
mod kinds;
mod members;
mod model;
mod order;
mod organizations;
mod payloads;
mod permissions;
mod pieces;
mod properties;
mod replacement;
mod rotation;
pub(crate) mod schemas;
mod sessions;
mod texts;
mod usage;

use std::collections::BTreeMap;

use ulid::Ulid;

use super::catalogue::Catalogue;
use super::command::{Actor, Command, OpenLedger, Request};
use super::decide::{Change, Decision, Facts, decide};
use super::digest::{Digest32, Nonce16};
use super::endpoint_secret::EndpointSecretText;
use super::envelope::{
    ActorStamp, ActorType, Event, OrganizationPlace, PAYLOAD_BYTES_MAX, commitment,
};
use super::event::Fact;
use super::ids::{CredentialId, LogId, Owner, Principal, Subject};
use super::record::Status;
use super::rejection::Rejection;
use super::secret::Token;
use super::sign_in::OpaqueToken;
use super::state::State;
use super::time::Timestamp;
use crate::seal::{DataKeyId, SealedValue};

/// 2026-04-24T15:30:00.000Z, when every test begins.
const START: Timestamp = Timestamp(1_777_044_600_000);
const SECOND_MS: i64 = 1_000;
/// What one event of a cascade may have: 5,000 of them fit one batch of 8 MiB.
const CASCADE_BYTES_MAX: usize = 1_500;
const TAG: [u8; 16] = [0; 16];

/// A ledger in memory, its time and its ids counted rather than drawn.
struct Ledger {
    state: State,
    now: Timestamp,
    /// The payloads, as they would be stored.
    log: Vec<Vec<u8>>,
    commands: u64,
    /// Whether every command carries an idempotency key.
    keyed: bool,
}

/// What a command came to.
#[derive(Debug)]
struct Outcome {
    result: Result<Done, Rejection>,
}

/// What an accepted command came to.
#[derive(Debug)]
struct Done {
    events: Vec<Event>,
    subject: Subject,
    token: Option<Token>,
    sign_in: Option<OpaqueToken>,
    endpoint_secret: Option<EndpointSecretText>,
}

impl Ledger {
    /// A ledger with the default catalogue and nothing else.
    fn opened() -> Self {
        let mut ledger = Self::empty();
        ledger.when(Actor::Operator, open_ledger()).accepted();
        ledger
    }

    fn empty() -> Self {
        Self {
            state: State::default(),
            now: START,
            log: Vec::new(),
            commands: 0,
            keyed: false,
        }
    }

    /// Facts that count: ids 1, 2, 3 and so on, events by their position.
    fn facts(&self) -> Facts {
        let id = |n: u64| Ulid(u128::from(self.commands * 4 + n));
        Facts {
            now: self.now,
            first_event: Ulid(self.log.len() as u128),
            ids: [id(1), id(2), id(3), id(4)],
            random: [self.commands.to_le_bytes()[0]; 32],
            link_random: [!self.commands.to_le_bytes()[0]; 32],
        }
    }

    fn when(&mut self, actor: Actor, command: impl Into<Command>) -> Outcome {
        self.when_at_version(actor, command, None)
    }

    fn when_at_version(
        &mut self,
        actor: Actor,
        command: impl Into<Command>,
        if_match: Option<u32>,
    ) -> Outcome {
        let request = Request {
            actor,
            command: command.into(),
            if_match,
        };
        let outcome = self.stage(&request);
        self.state.settle();
        outcome
    }

    /// Decides, appends and applies without settling, as within a batch.
    fn stage(&mut self, request: &Request) -> Outcome {
        let facts = self.facts();
        let decided = decide(&self.state, request, &facts);
        let again = decide(&self.state, request, &facts);
        assert_eq!(
            format!("{decided:?}"),
            format!("{again:?}"),
            "the same input gives the same output"
        );
        self.commands += 1;
        let result = decided.map(|decision| self.append(decision));
        Outcome { result }
    }

    fn append(&mut self, decision: Decision) -> Done {
        let actor = actor_stamp(&decision);
        let cascades = decision.changes.len() > 3;
        let mut events = Vec::new();
        for change in decision.changes {
            let mut event = self.stamp(change, actor.clone());
            seal(&mut event);
            let payload = event.to_payload().expect("a sealed event can be written");
            let read = read(&payload);
            assert_eq!(read, event, "what is read is what was written");
            assert_eq!(read.to_payload().unwrap(), payload, "byte for byte");
            assert!(payload.len() <= PAYLOAD_BYTES_MAX);
            assert!(!cascades || events.is_empty() || payload.len() <= CASCADE_BYTES_MAX);
            let token = decision.token.as_ref().map(Token::reveal);
            let sign_in = decision.sign_in.as_ref().map(OpaqueToken::reveal);
            let secret = decision.endpoint_secret.as_ref();
            let secret = secret.map(EndpointSecretText::reveal);
            for token in [token, sign_in, secret].into_iter().flatten() {
                let text = String::from_utf8(payload.clone()).unwrap();
                assert!(!text.contains(token), "no payload holds a plain token");
            }
            self.state.apply(&read, commitment(&payload)).unwrap();
            self.log.push(payload);
            events.push(event);
        }
        Done {
            events,
            subject: decision.subject,
            token: decision.token,
            sign_in: decision.sign_in,
            endpoint_secret: decision.endpoint_secret,
        }
    }

    /// The place of a change in the log and in its organization's chain.
    fn stamp(&self, change: Change, actor: ActorStamp) -> Event {
        let position = self.log.len() as u64;
        let organization = change.organization.map(|id| {
            let head = self.state.head(id);
            OrganizationPlace {
                id,
                sequence: head.map_or(0, |head| head.sequence + 1),
                previous: head.map(|head| Digest32(head.commitment)),
            }
        });
        // In no order, as digests are.
        let key = self.keyed.then(|| commitment(&self.commands.to_be_bytes()));
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&position.to_be_bytes());
        Event {
            position,
            id: super::ids::EventId(Ulid(u128::from(position))),
            occurred_at: self.now,
            organization,
            subject: change.subject,
            subject_version: self.state.version(change.subject) + 1,
            actor,
            request_id: None,
            command_id: key,
            command_digest: key,
            nonce: Nonce16(nonce),
            fact: change.fact,
        }
    }

    fn later(&mut self, seconds: i64) {
        self.now = self.now.plus_ms(seconds * SECOND_MS);
    }

    /// A state made from the stored payloads alone.
    fn replayed(&self) -> State {
        let mut state = State::default();
        for payload in &self.log {
            state.apply(&read(payload), commitment(payload)).unwrap();
            state.settle();
        }
        state
    }
}

fn open_ledger() -> Command {
    Command::OpenLedger(OpenLedger {
        log_id: LogId([7; 16]),
        origin: String::from("keyledger.example/log"),
        vkey: String::from("keyledger.example/log+00000000+AA=="),
        catalogue: Catalogue::embedded().unwrap(),
    })
}

fn actor_stamp(decision: &Decision) -> ActorStamp {
    let authority = &decision.authority;
    ActorStamp {
        kind: match authority.principal {
            Some(Principal::User(_)) => ActorType::User,
            Some(Principal::ServiceAccount(_)) => ActorType::ServiceAccount,
            Some(Principal::Credential(_)) => ActorType::Credential,
            None => ActorType::Operator,
        },
        id: authority.principal,
        via: authority.via,
        network: None,
    }
}

/// Seals with a stand-in: the text itself and an empty tag, under a key named by the position.
fn seal(event: &mut Event) {
    let key = DataKeyId::new(Ulid(u128::from(event.position)));
    for (_, value) in event.fact.personal_mut() {
        let text = [value.text().unwrap().as_bytes(), &TAG].concat();
        let nonce = [9; 24];
        value.seal(SealedValue {
            key_id: key,
            nonce,
            ciphertext: text,
        });
    }
}

/// Reads a payload and opens what the stand-in sealed.
fn read(payload: &[u8]) -> Event {
    let mut event = Event::from_payload(payload).unwrap();
    for (_, value) in event.fact.personal_mut() {
        let text = value.sealed().unwrap().ciphertext.strip_suffix(&TAG);
        let text = String::from_utf8(text.unwrap().to_vec()).unwrap();
        value.open(Some(text));
    }
    event
}

/// All that a state holds, hidden values included, in text that can be compared.
pub(crate) fn fingerprint(state: &State) -> String {
    let credentials: Vec<_> = state.everything().credentials;
    let members = state.members.settled_after(None);
    let emails: Vec<_> = members.map(|(_, member)| member.email.text()).collect();
    // An expired credential no longer has its name; whether it is still noted there is all one.
    let expired = |id: &CredentialId| {
        let now = state.last_at().unwrap_or(START);
        state.credential(*id).unwrap().status(now) == Status::Expired
    };
    let names = state.key_names.settled_after(None);
    let names: Vec<_> = names.filter(|(_, holder)| !expired(holder)).collect();
    // What has expired counts nowhere, whether it is forgotten yet or not.
    let at = state.last_at().unwrap_or_default();
    let all = state.credentials.settled_after(None);
    let live: BTreeMap<Owner, _> = all
        .map(|(_, record)| record.owner())
        .map(|owner| (owner, state.live_credentials_of(owner, at)))
        .collect();
    let of_organizations = state.organizations.settled_after(None);
    let of_organizations = of_organizations
        .map(|(id, _)| (id, state.live.count_of_organization(id, at)))
        .collect::<Vec<_>>();
    let live = (live, of_organizations);
    let records = (
        &state.organizations,
        &state.heads,
        &state.projects,
        &state.members,
        &state.accounts,
        &state.credentials,
    );
    let indexes = (
        &state.counts,
        &state.emails,
        &state.account_names,
        &state.slugs,
        names,
        live,
        &state.commands,
        &state.commands_order,
    );
    let means = state.sign_ins.settled_after(None);
    let passwords = means.filter_map(|(_, means)| means.password.as_ref());
    let passwords: Vec<_> = passwords.map(|set| set.hash.text()).collect();
    let signing_in = (
        &state.sessions,
        &state.sessions_of,
        &state.sign_ins,
        passwords,
    );
    let endpoints = state.endpoints.settled_after(None);
    let secrets = endpoints.flat_map(|(_, endpoint)| &endpoint.secrets);
    let secrets: Vec<_> = secrets.map(|secret| secret.key.text()).collect();
    let endpoints = (&state.endpoints, secrets);
    let links = serde_json::to_string(&state.everything().sign_ins.means).unwrap();
    let whole = (
        state.ledger(),
        state.last_at(),
        state.last_id(),
        state.catalogue().text(),
    );
    let hashes = serde_json::to_string(&credentials).unwrap();
    format!(
        "{whole:?} {records:?} {indexes:?} {emails:?} {signing_in:?} {hashes} {links} {endpoints:?}"
    )
}

/// An event as tests write it: type, subject, data.
fn line(event: &Event) -> String {
    let data = if matches!(event.fact, Fact::CatalogueAdopted(_)) {
        String::from("{...}")
    } else {
        serde_json::to_string(&event.fact).unwrap()
    };
    format!("{} {} {data}", event.fact.name(), event.subject)
}

impl Outcome {
    /// Exactly these events: type, subject, data. Long ones may be broken over lines.
    #[track_caller]
    fn then(self, expected: &[&str]) {
        let done = self.accepted();
        let events: Vec<String> = done.events.iter().map(line).collect();
        let unbroken = |text: &&str| text.lines().map(str::trim_start).collect::<String>();
        let expected: Vec<String> = expected.iter().map(unbroken).collect();
        assert_eq!(events, expected);
    }

    /// All is as asked already.
    #[track_caller]
    fn then_nothing(self) {
        self.then(&[]);
    }

    /// Exactly this refusal.
    #[track_caller]
    fn refused(self, expected: Rejection) {
        match self.result {
            Ok(done) => panic!("expected {expected:?}, got {done:?}"),
            Err(rejection) => assert_eq!(rejection, expected),
        }
    }

    #[track_caller]
    fn accepted(self) -> Done {
        self.result
            .unwrap_or_else(|why| panic!("refused: {why} ({why:?})"))
    }

    /// The stable code of a refusal, or `accepted`.
    fn code(&self) -> &'static str {
        match &self.result {
            Ok(_) => "accepted",
            Err(why) => why.reason().code,
        }
    }
}
