//! Events made by hand: a ledger with organizations and any number of credentials, without a disk.
//!
//! Everything follows from a credential's number, so that its token can be made again at any time.

use anyhow::Result;
use keyledger::domain::catalogue::Catalogue;
use keyledger::domain::digest::{Digest32, Nonce16};
use keyledger::domain::envelope::{ActorStamp, ActorType, Event, OrganizationPlace, commitment};
use keyledger::domain::event::{
    CatalogueAdopted, Fact, KeyCreated, LedgerOpened, NewSecret, OrganizationCreated,
    ServiceAccountCreated,
};
use keyledger::domain::ids::{
    CredentialId, EventId, LogId, OrganizationId, Owner, Principal, SecretId, ServiceAccountId,
    Subject, Via,
};
use keyledger::domain::kind::Kind;
use keyledger::domain::record::{Grant, Metadata};
use keyledger::domain::secret::{DEFAULT_PREFIX, Token};
use keyledger::domain::state::{Changes, State};
use keyledger::domain::time::Timestamp;
use keyledger::seal::{DataKeyId, SealedValue};
use ulid::Ulid;

use crate::numbers::Dice;

/// Organizations that the credentials are spread over.
const ORGANIZATIONS: u64 = 100;
/// Live credentials of one service account: below the limit of 5,000.
const KEYS_PER_ACCOUNT: u64 = 2_000;
/// Events between two settlings, as in a replay at start.
pub(crate) const STRIDE: u64 = 10_000;
/// 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;
/// Credentials made in one millisecond.
const PER_MS: u64 = 40;

/// Who the credentials act for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Owned {
    /// Organizations: names are free.
    ByOrganizations,
    /// Service accounts: names are unique, and credentials end with their account.
    ByAccounts,
}

/// The events of one imagined ledger, in order.
#[derive(Debug)]
pub(crate) struct Synthetic {
    owned: Owned,
    next: u64,
    opening: Vec<(Subject, Option<u64>, Fact)>,
    grants: [Grant; 2],
}

impl Synthetic {
    /// A ledger that is to have up to `credentials` of them.
    pub(crate) fn new(owned: Owned, credentials: u64) -> Result<Self> {
        let log = Subject::Ledger(LogId([7; 16]));
        let opened = LedgerOpened {
            log_id: LogId([7; 16]),
            origin: "bench".to_owned(),
            vkey: "bench".to_owned(),
        };
        let catalogue = Catalogue::embedded()?.text().clone();
        let mut opening: Vec<(Subject, Option<u64>, Fact)> = vec![
            (log, None, opened.into()),
            (log, None, CatalogueAdopted { catalogue }.into()),
        ];
        for number in 0..ORGANIZATIONS {
            let created = OrganizationCreated {
                name: format!("Organization {number}"),
                token_prefix: DEFAULT_PREFIX.to_owned(),
                created_by: None,
            };
            let subject = Subject::Organization(organization(number));
            opening.push((subject, Some(number), created.into()));
        }
        let accounts = match owned {
            Owned::ByOrganizations => 0,
            Owned::ByAccounts => credentials.div_ceil(KEYS_PER_ACCOUNT).max(ORGANIZATIONS),
        };
        for number in 0..accounts {
            let created = ServiceAccountCreated {
                name: format!("Account {number}"),
                slug: format!("account-{number}"),
                description: None,
                role: None,
                scopes: Some(vec!["issues:read".to_owned(), "projects:read".to_owned()]),
                created_by: None,
            };
            let subject = Subject::ServiceAccount(account(number));
            opening.push((subject, Some(number % ORGANIZATIONS), created.into()));
        }
        let scopes = |names: &[&str]| Grant {
            scopes: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Grant::default()
        };
        Ok(Self {
            owned,
            next: 0,
            opening,
            grants: [
                scopes(&["issues:read", "projects:read"]),
                scopes(&["issues:read", "issues:write", "analysis:run"]),
            ],
        })
    }

    /// Events before the first credential.
    pub(crate) fn opening_len(&self) -> u64 {
        self.opening.len() as u64
    }

    fn key_created(&self, number: u64) -> KeyCreated {
        let token = token(number);
        let (kind, owner) = match self.owned {
            Owned::ByOrganizations => {
                let owner = Owner::Organization(organization(number % ORGANIZATIONS));
                (Kind::Organization, owner)
            }
            Owned::ByAccounts => (
                Kind::ServiceAccount,
                Owner::ServiceAccount(account(number / KEYS_PER_ACCOUNT)),
            ),
        };
        let [usual, other] = &self.grants;
        KeyCreated {
            kind,
            owner,
            project_id: None,
            name: format!("deploy pipeline {number}"),
            description: None,
            grant: if number.is_multiple_of(10) {
                other
            } else {
                usual
            }
            .clone(),
            expires_at: None,
            metadata: Metadata::new(),
            created_by: Some(Principal::Credential(credential_id(u64::MAX / 2))),
            issued_via: Some(credential_id(u64::MAX / 2)),
            replaces: None,
            secret: NewSecret {
                id: secret_id(number),
                hash: token.hash(),
                prefix: DEFAULT_PREFIX.to_owned(),
                hint: token.hint(),
            },
        }
    }

    fn organization_of(&self, number: u64) -> u64 {
        match self.owned {
            Owned::ByOrganizations => number % ORGANIZATIONS,
            Owned::ByAccounts => number / KEYS_PER_ACCOUNT % ORGANIZATIONS,
        }
    }
}

impl Iterator for Synthetic {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let position = self.next;
        self.next += 1;
        let number = position.saturating_sub(self.opening_len());
        let at = usize::try_from(position).ok()?;
        let (subject, place, fact) = match self.opening.get(at) {
            Some(opening) => opening.clone(),
            None => (
                Subject::Credential(credential_id(number)),
                Some(self.organization_of(number)),
                self.key_created(number).into(),
            ),
        };
        let mut dice = Dice(position);
        let mut bytes = || [dice.roll().to_le_bytes(), dice.roll().to_le_bytes()].concat();
        let wide = |bytes: &[u8]| Digest32(std::array::from_fn(|at| bytes[at % bytes.len()]));
        let nonce: [u8; 16] = bytes().try_into().ok()?;
        Some(Event {
            position,
            id: EventId(Ulid(ulid_of(number, 0).0 | 3)),
            occurred_at: Timestamp(i64::try_from(START_MS + number / PER_MS).ok()?),
            organization: place.map(|place| OrganizationPlace {
                id: organization(place),
                sequence: position,
                previous: Some(wide(&bytes())),
            }),
            subject,
            subject_version: 1,
            actor: actor(&bytes()),
            request_id: Some(format!("req_{}", ulid_of(number, 2))),
            command_id: None,
            command_digest: None,
            nonce: Nonce16(nonce),
            fact,
        })
    }
}

/// Who makes credentials over HTTP: a credential, from an address that is sealed.
fn actor(random: &[u8]) -> ActorStamp {
    let maker = credential_id(u64::MAX / 2);
    ActorStamp {
        kind: ActorType::Credential,
        id: Some(Principal::Credential(maker)),
        via: Some(Via::Credential(maker)),
        network: Some(SealedValue {
            key_id: DataKeyId::new(organization(0).0),
            nonce: std::array::from_fn(|at| random[at % random.len()]),
            ciphertext: random.repeat(4),
        }),
    }
}

/// The token of credential `number`.
pub(crate) fn token(number: u64) -> Token {
    let mut dice = Dice(number);
    let mut random = [0; 32];
    for chunk in random.chunks_mut(8) {
        chunk.copy_from_slice(&dice.roll().to_le_bytes());
    }
    Token::compose(DEFAULT_PREFIX, secret_id(number), &random)
}

/// In the order of their making, with random bits below the millisecond, as real ones.
fn ulid_of(number: u64, slot: u64) -> Ulid {
    let ms = number / PER_MS;
    let random = u128::from(Dice(ms).roll()) << 10;
    Ulid::from_parts(
        START_MS + ms,
        random | u128::from(number % PER_MS * 4 + slot),
    )
}

fn credential_id(number: u64) -> CredentialId {
    CredentialId(ulid_of(number % (1 << 40), 0))
}

fn secret_id(number: u64) -> SecretId {
    SecretId(ulid_of(number, 1))
}

fn organization(number: u64) -> OrganizationId {
    OrganizationId(Ulid::from_parts(START_MS - 1, u128::from(number) << 32))
}

fn account(number: u64) -> ServiceAccountId {
    ServiceAccountId(Ulid::from_parts(START_MS - 1, u128::from(number) << 32 | 1))
}

/// A state that events are put into as at start, and what each settling hands out.
#[derive(Debug)]
pub(crate) struct Loading {
    pub(crate) state: State,
    events: Synthetic,
}

impl Loading {
    pub(crate) fn new(owned: Owned, credentials: u64) -> Result<Self> {
        let mut loading = Self {
            state: State::default(),
            events: Synthetic::new(owned, credentials)?,
        };
        let opening = loading.events.opening_len();
        loading.apply(opening)?;
        Ok(loading)
    }

    /// The records of the opening, which is applied already and not yet settled.
    pub(crate) fn opened(&mut self) -> Changes {
        self.state.settle()
    }

    /// Puts in so many more credentials, and hands every settled stride of them to `take`.
    pub(crate) fn load(&mut self, mut count: u64, mut take: impl FnMut(Changes)) -> Result<()> {
        while count > 0 {
            let stride = count.min(STRIDE);
            self.apply(stride)?;
            take(self.state.settle());
            count -= stride;
        }
        Ok(())
    }

    fn apply(&mut self, count: u64) -> Result<()> {
        let digest = commitment(b"not looked at");
        for event in self.events.by_ref().take(usize::try_from(count)?) {
            self.state.apply(&event, digest)?;
        }
        Ok(())
    }
}
