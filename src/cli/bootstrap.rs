//! The first key: the one that no other key can have made.
//!
//! It is made where the folder is held, by `init`, by the first `serve` and by `recover`, and it is
//! shown once.

use std::path::Path;

use serde::Serialize;
use zeroize::Zeroizing;

use super::exit::Stop;
use super::operator::operator_request;
use super::rehearsal::rehearse;
use super::usage;
use crate::clock::Clock;
use crate::config::PublicUrl;
use crate::domain::catalogue::Catalogue;
use crate::domain::command::{Command, CreateOrganization, IssueSignInLink, Request};
use crate::domain::event::Fact;
use crate::domain::ids::{CredentialId, OrganizationId, UserId};
use crate::domain::secret::Token;
use crate::ledger::boot::{self, Settings};
use crate::ledger::{Ledger, Record, Submission};

/// What a bootstrap key may do: all in its organization, and make and see every other one.
pub(super) const SCOPES: [&str; 2] = ["admin:*", "platform:*"];

/// What a new ledger begins with.
#[derive(Debug)]
pub(super) struct First {
    pub(super) organization: String,
    pub(super) owner_email: String,
    pub(super) origin: Option<String>,
    /// Its catalogue; `None`: the default one.
    pub(super) catalogue: Option<Catalogue>,
}

impl First {
    fn request(&self) -> Request {
        operator_request(Command::CreateOrganization(CreateOrganization {
            name: self.organization.clone(),
            owner_email: self.owner_email.clone(),
            key_scopes: SCOPES.map(str::to_owned).to_vec(),
        }))
    }

    fn catalogue(&self) -> Result<Catalogue, Stop> {
        match &self.catalogue {
            Some(catalogue) => Ok(catalogue.clone()),
            None => Ok(Catalogue::embedded().map_err(anyhow::Error::from)?),
        }
    }
}

/// Refuses what a new ledger would refuse to begin with.
pub(super) fn rehearse_first(first: &First, clock: &Clock) -> Result<(), Stop> {
    rehearse(&first.request(), &first.catalogue()?, clock)
}

/// A bootstrap key on its way to whoever asked for it.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) organization: OrganizationId,
    pub(super) owner: Option<UserId>,
    pub(super) key: CredentialId,
    pub(super) token: Token,
    pub(super) vkey: String,
    /// A link for the owner to sign in with.
    pub(super) sign_in_url: Option<Zeroizing<String>>,
}

#[derive(Serialize)]
struct IssuedJson<'a> {
    organization_id: OrganizationId,
    owner_id: Option<UserId>,
    key_id: CredentialId,
    raw_key: &'a str,
    vkey: &'a str,
    /// Works once, within a day, on a running server.
    sign_in_url: Option<&'a str>,
}

impl Issued {
    /// The one object on stdout.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(&IssuedJson {
            organization_id: self.organization,
            owner_id: self.owner,
            key_id: self.key,
            raw_key: self.token.reveal(),
            vkey: &self.vkey,
            sign_in_url: self.sign_in_url.as_ref().map(|url| url.as_str()),
        })?)
    }

    /// The same for people; the key itself only where it is in no file.
    pub(super) fn text(&self, key_file: Option<&Path>) -> String {
        let owner = self.owner.map(|id| id.to_string());
        let link = self.sign_in_url.as_ref().map(|url| {
            format!(
                "\nThe owner signs in here, once and within a day, when the server runs:\n\n{}\n",
                url.as_str()
            )
        });
        let key = Zeroizing::new(match key_file {
            Some(file) => format!("The key, which may do everything, is in {}", file.display()),
            None => format!(
                "The key, which is shown this once and kept nowhere. It may do everything:\n\n{}",
                self.token.reveal()
            ),
        });
        format!(
            "Organization  {}\n\
             Owner         {}\n\
             Key id        {}\n\
             Verifier key  {}\n\
             \n\
             {}\n{}",
            self.organization,
            owner.as_deref().unwrap_or("none"),
            self.key,
            self.vkey,
            *key,
            link.as_deref().unwrap_or_default(),
        )
    }
}

/// Makes a ledger with its first organization and key, in an empty folder.
pub(super) fn create(
    settings: Settings,
    first: First,
    public_url: &PublicUrl,
) -> Result<(Ledger, Issued), Stop> {
    rehearse_first(&first, &settings.clock)?;
    let request = first.request();
    let catalogue = first.catalogue()?;
    let folder = settings.folder.clone();
    boot::create_with(catalogue, settings, first.origin, |ledger| {
        usage::begin(ledger, &folder)?;
        let issued = issue(ledger, request)?;
        with_link(ledger, issued, public_url)
    })
}

/// Submits a command that makes a key, and waits until it is durable.
pub(super) fn issue(ledger: &Ledger, request: Request) -> Result<Issued, Stop> {
    let answer = ledger.submit_blocking(Submission::bare(request))?;
    let (mut organization, mut owner, mut key) = (None, None, None);
    for record in &answer.records {
        match record {
            Record::Organization(record) => organization = Some(record.id),
            Record::Member(record) => owner = Some(record.id),
            Record::Credential(record) => {
                organization = Some(record.organization());
                key = Some(record.id());
            }
            Record::Ledger
            | Record::Project(_)
            | Record::ServiceAccount(_)
            | Record::Session(_)
            | Record::WebhookEndpoint(_) => {}
        }
    }
    match (organization, key, answer.token) {
        (Some(organization), Some(key), Some(token)) => Ok(Issued {
            organization,
            owner,
            key,
            token,
            vkey: verifier_key(ledger)?,
            sign_in_url: None,
        }),
        (_, _, _) => Err(anyhow::anyhow!("the command made no key").into()),
    }
}

/// Adds a link for the owner, if there is one.
pub(super) fn with_link(
    ledger: &Ledger,
    mut issued: Issued,
    public_url: &PublicUrl,
) -> Result<Issued, Stop> {
    if let Some(member) = issued.owner {
        let command = Command::IssueSignInLink(IssueSignInLink {
            organization: issued.organization,
            member,
        });
        let answer = ledger.submit_blocking(Submission::bare(operator_request(command)))?;
        let url = answer.sign_in.map(|token| public_url.sign_in_url(&token));
        issued.sign_in_url = url.map(Zeroizing::new);
    }
    Ok(issued)
}

/// What auditors check the ledger's signatures with, as its first event says.
fn verifier_key(ledger: &Ledger) -> Result<String, Stop> {
    let first = ledger.event(0).map_err(anyhow::Error::from)?;
    let Fact::LedgerOpened(opened) = first.event.fact else {
        return Err(anyhow::anyhow!("the first event opens no ledger").into());
    };
    Ok(opened.vkey)
}
