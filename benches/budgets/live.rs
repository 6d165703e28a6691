//! A real ledger on a real disk, and clients that make keys in it as HTTP handlers do.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use keyledger::domain::command::{Actor, Command, CreateKey, CreateOrganization, Expiry, Request};
use keyledger::domain::ids::{OrganizationId, Owner};
use keyledger::domain::kind::Kind;
use keyledger::domain::record::{Credential, Grant, Metadata};
use keyledger::ledger::boot::{self, Folder, Settings};
use keyledger::ledger::{Answer, Ledger, Network, Record, Submission, SubmitError};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Tenants, each with the key that makes its keys. Their shares of the lane are far from full.
const TENANTS: u64 = 16;
/// Clients of the rows with many.
pub(crate) const CLIENTS: u64 = 256;
/// Of so many keys, the token of one is kept.
const KEPT_OF: u64 = 5;

/// Whether a command carries the client's address, which is sealed before it is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClientAddress {
    /// As over HTTP.
    Sealed,
    /// As from the command line.
    None,
}

/// An open ledger with tenants.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) ledger: Ledger,
    tenants: Arc<[Tenant]>,
    made: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Tenant {
    organization: OrganizationId,
    actor: Actor,
    token: String,
}

/// What many clients came to.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    pub(crate) made: u64,
    /// Refused because a queue or a backlog was full; tried again after a millisecond.
    pub(crate) refused: u64,
    pub(crate) took: Duration,
    pub(crate) latencies: Vec<Duration>,
    tokens: Vec<String>,
}

impl Live {
    /// Makes a ledger in an empty folder.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        Self::make_with(folder, TENANTS)
    }

    /// The same with so many tenants.
    pub(crate) fn make_with(folder: &Path, tenants: u64) -> Result<Self> {
        let ledger = boot::create(Settings::usual(Folder::new(folder)), None)?;
        Self::beside_with(&ledger, tenants)
    }

    /// The same under settings of its own.
    pub(crate) fn make_under(settings: Settings) -> Result<Self> {
        Self::beside(&boot::create(settings, None)?)
    }

    /// New tenants in a ledger that is open.
    pub(crate) fn beside(ledger: &Ledger) -> Result<Self> {
        Self::beside_with(ledger, TENANTS)
    }

    /// The same, so many of them.
    pub(crate) fn beside_with(ledger: &Ledger, tenants: u64) -> Result<Self> {
        let tenants = (0..tenants).map(|number| Tenant::make(ledger, number));
        Ok(Self {
            tenants: tenants.collect::<Result<_>>()?,
            ledger: ledger.clone(),
            made: Arc::default(),
        })
    }

    /// The tenants.
    pub(crate) fn organizations(&self) -> Vec<OrganizationId> {
        let tenants = self.tenants.iter();
        tenants.map(|tenant| tenant.organization).collect()
    }

    /// The first tenant.
    pub(crate) fn first(&self) -> Result<OrganizationId> {
        let first = self.tenants.first().context("there are tenants")?;
        Ok(first.organization)
    }

    /// Has the first tenant do something.
    pub(crate) fn submit(&self, command: Command) -> Result<Answer> {
        let first = self.tenants.first().context("there are tenants")?;
        Ok(self.ledger.submit_blocking(Submission::bare(Request {
            actor: first.actor,
            command,
            if_match: None,
        }))?)
    }

    /// A tenant's token and organization.
    pub(crate) fn tenant(&self) -> Option<(String, String)> {
        let tenant = self.tenants.first()?;
        Some((tenant.token.clone(), tenant.organization.to_string()))
    }

    /// The next key of some tenant.
    pub(crate) fn create_key(&self, network: ClientAddress) -> Submission {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let count = self.tenants.len() as u64;
        let at = usize::try_from(number % count).unwrap_or_default();
        let tenant = &self.tenants[at];
        let command = Command::CreateKey(CreateKey {
            organization: tenant.organization,
            kind: Kind::Organization,
            owner: Owner::Organization(tenant.organization),
            project: None,
            name: format!("deploy pipeline {number}"),
            description: None,
            grant: Grant {
                scopes: vec!["issues:read".to_owned(), "projects:read".to_owned()],
                ..Grant::default()
            },
            expiry: Expiry::Never,
            metadata: Metadata::new(),
        });
        let mut submission = Submission::bare(Request {
            actor: tenant.actor,
            command,
            if_match: None,
        });
        submission.request_id = Some("req_01H2XA9CKEB7WZG8RMN2KPQV7D".to_owned());
        submission.network = (network == ClientAddress::Sealed).then(|| Network {
            ip: "203.0.113.77".to_owned(),
            user_agent: Some("terraform-provider/1.9.2".to_owned()),
        });
        submission
    }

    /// Has [`CLIENTS`] clients make keys until `until` says that it is enough.
    pub(crate) fn drive(
        &self,
        runtime: &Runtime,
        network: ClientAddress,
        until: Until,
    ) -> Result<Driven> {
        let start = Instant::now();
        let driven = runtime.block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..CLIENTS {
                clients.spawn(self.clone().client(network, until, start));
            }
            let mut driven = Driven::default();
            while let Some(one) = clients.join_next().await {
                driven.add(one??);
            }
            anyhow::Ok(driven)
        })?;
        Ok(Driven {
            took: start.elapsed(),
            ..driven
        })
    }

    async fn client(self, network: ClientAddress, until: Until, start: Instant) -> Result<Driven> {
        let mut mine = Driven::default();
        while !until.reached(self.made.load(Ordering::Relaxed), start) {
            let submission = self.create_key(network);
            let begun = Instant::now();
            match self.ledger.submit(submission).await {
                Ok(answer) => {
                    mine.latencies.push(begun.elapsed());
                    mine.made += 1;
                    if let Some(token) = answer.token
                        && mine.made.is_multiple_of(KEPT_OF)
                    {
                        mine.tokens.push(token.reveal().to_owned());
                    }
                }
                Err(SubmitError::QueueFull | SubmitError::ViewsBehind) => {
                    mine.refused += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(why) => return Err(why.into()),
            }
        }
        Ok(mine)
    }
}

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After so long.
    After(Duration),
    /// After so many keys.
    Made(u64),
}

impl Until {
    fn reached(self, made: u64, start: Instant) -> bool {
        match self {
            Self::After(length) => start.elapsed() >= length,
            Self::Made(enough) => made >= enough,
        }
    }
}

impl Tenant {
    fn make(ledger: &Ledger, number: u64) -> Result<Self> {
        let command = Command::CreateOrganization(CreateOrganization {
            name: format!("Tenant {number}"),
            owner_email: format!("owner{number}@example.com"),
            key_scopes: vec!["admin:*".to_owned(), "platform:*".to_owned()],
        });
        let answer = ledger.submit_blocking(Submission::bare(Request {
            actor: Actor::Operator,
            command,
            if_match: None,
        }))?;
        let key = made_key(&answer)?;
        let secret = key.secret();
        let token = answer.token.as_ref().context("a new key has a token")?;
        Ok(Self {
            organization: key.organization(),
            actor: Actor::Bearer {
                credential: key.id(),
                secret: secret.id,
            },
            token: token.reveal().to_owned(),
        })
    }
}

/// The credential that a command has made.
pub(crate) fn made_key(answer: &Answer) -> Result<&Credential> {
    let key = answer.records.iter().find_map(|record| match record {
        Record::Credential(key) => Some(key),
        Record::Ledger
        | Record::Organization(_)
        | Record::Project(_)
        | Record::Member(_)
        | Record::ServiceAccount(_)
        | Record::Session(_)
        | Record::WebhookEndpoint(_) => None,
    });
    Ok(key.context("a key was made")?.as_ref())
}

impl Driven {
    fn add(&mut self, mut other: Self) {
        self.made += other.made;
        self.refused += other.refused;
        self.latencies.append(&mut other.latencies);
        self.tokens.append(&mut other.tokens);
    }
}

/// As many workers as there are cores, as the server has.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().build()?)
}

/// The ledger's own folder in that of a group.
pub(crate) fn ledger_folder(folder: &Path) -> Folder {
    Folder::new(folder.join("data"))
}

/// Tokens of some of the keys, a line each; the first is the key that verifies.
pub(crate) fn tokens_file(folder: &Path) -> PathBuf {
    folder.join("tokens")
}

/// Makes a ledger with so many credentials, and stops it.
pub(crate) fn build(folder: &Path, credentials: u64) -> Result<()> {
    let live = Live::make(ledger_folder(folder).path())?;
    let driven = live.drive(&runtime()?, ClientAddress::Sealed, Until::Made(credentials))?;
    live.ledger.stop();
    let mut file = BufWriter::new(File::create(tokens_file(folder))?);
    let verifier = live.tenants.first().map(|tenant| &tenant.token);
    for token in verifier.into_iter().chain(&driven.tokens) {
        writeln!(file, "{token}")?;
    }
    file.flush()?;
    let seconds = driven.took.as_secs();
    println!(
        "made {} keys in {seconds} s, refused {}",
        driven.made, driven.refused
    );
    Ok(())
}
