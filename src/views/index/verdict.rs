//! Verdicts: whether a presented secret is accepted, for what, and what is told of its credential.

use std::sync::Arc;

use crate::domain::access::Authority;
use crate::domain::catalogue::{ADMIN, Catalogue, EVERYTHING, PLATFORM};
use crate::domain::command::Actor;
use crate::domain::ids::{
    CredentialId, OrganizationId, Owner, Principal, ProjectId, SecretId, Via,
};
use crate::domain::kind::Kind;
use crate::domain::record::Credential;
use crate::domain::secret::{Form, SecretHash, form};
use crate::domain::time::Timestamp;

use super::Index;
use super::code::Code;
use super::entry::{Entry, Sought};
use crate::domain::access::{Ceiling, Rights};

/// What a verification asks.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who asks: only credentials of its organization are found, all of them on the platform.
    pub authority: &'a Authority,
    /// The secret presented.
    pub key: &'a str,
    /// Scopes that it must have.
    pub required_scopes: &'a [String],
    /// The project that it is used on.
    pub project: Option<ProjectId>,
    /// Whether a credential that is bound to a project will do though none is named.
    pub any_project: bool,
    /// The organization that it must be of.
    pub organization: Option<OrganizationId>,
}

/// What a verification answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Whether and why not.
    pub code: Code,
    /// Everything up to this position has been taken into account; 0 before the first event.
    pub position: u64,
    /// When a positive answer ends by itself: the earlier of expiry and the secret's own end.
    pub valid_until: Option<Timestamp>,
    /// What is told of the credential.
    pub key: Option<Shown>,
}

/// What is told of a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shown {
    /// Of a revoked, rotated or expired one: which, and no more.
    Ended {
        id: CredentialId,
        kind: Kind,
        organization: OrganizationId,
        /// Who it acted for.
        owner: Owner,
        /// The secret presented.
        secret: SecretId,
    },
    /// Of any other: all.
    Whole {
        credential: Arc<Credential>,
        /// The secret presented.
        secret: SecretId,
        /// The scopes of its role or preset, where it has one.
        named: Option<Arc<[String]>>,
    },
}

impl Shown {
    /// The credential and the secret presented.
    #[must_use]
    pub fn ids(&self) -> (CredentialId, SecretId) {
        match self {
            Self::Ended { id, secret, .. } => (*id, *secret),
            Self::Whole {
                credential, secret, ..
            } => (credential.id(), *secret),
        }
    }

    /// What was presented, and whose it is.
    #[must_use]
    pub fn found(&self) -> FoundSecret {
        match self {
            Self::Ended {
                id,
                organization,
                owner,
                secret,
                ..
            } => FoundSecret {
                organization: *organization,
                owner: *owner,
                credential: *id,
                secret: *secret,
            },
            Self::Whole {
                credential, secret, ..
            } => FoundSecret::of(credential, *secret),
        }
    }

    /// The scopes granted, by name; nothing of an ended credential.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        match self {
            Self::Ended { .. } => &[],
            Self::Whole {
                credential, named, ..
            } => named.as_deref().unwrap_or(&credential.grant().scopes),
        }
    }
}

/// Who calls this service's own interface.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For commands.
    pub actor: Actor,
    /// For reads.
    pub authority: Authority,
    /// The credential presented.
    pub credential: Arc<Credential>,
    pub secret: SecretId,
}

/// A secret that was found, and whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FoundSecret {
    /// The organization of the credential.
    pub organization: OrganizationId,
    /// Who the credential acts for.
    pub owner: Owner,
    pub credential: CredentialId,
    pub secret: SecretId,
}

/// A presented secret that is not accepted by this service's own interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    pub code: Code,
    /// Whose it is, where it is known.
    pub secret: Option<FoundSecret>,
}

impl FoundSecret {
    fn of(credential: &Credential, secret: SecretId) -> Self {
        Self {
            organization: credential.organization(),
            owner: credential.owner(),
            credential: credential.id(),
            secret,
        }
    }
}

impl Caller {
    /// What was presented, and whose it is.
    #[must_use]
    pub fn found(&self) -> FoundSecret {
        FoundSecret::of(&self.credential, self.secret)
    }
}

impl Ask<'_> {
    /// Whether a credential exists for the caller: one that is bound to a project sees those of
    /// the project. Only the platform is told that a credential belongs to another organization
    /// than the one named.
    fn sees(&self, credential: &Credential) -> bool {
        let organization = credential.organization();
        let own = self.authority.organization == Some(organization);
        let named = self.organization.is_none_or(|named| named == organization);
        self.authority.platform || (own && named && self.authority.reaches(credential.project()))
    }
}

/// The code of a secret that is not there: one of our own form is not found, any other text can
/// only be known if it was imported.
fn absent(form: Form) -> Code {
    match form {
        Form::Plausible => Code::NotFound,
        Form::Malformed | Form::Foreign => Code::Malformed,
    }
}

/// What a presented text can be, and what to look for unless it cannot be known.
fn sought(text: &str) -> (Form, Option<Sought>) {
    let form = form(text);
    let known = form != Form::Malformed;
    (form, known.then(|| Sought(SecretHash::of(text))))
}

impl Index {
    /// Whether the secret is accepted at `now`, which is never before the last event.
    #[must_use]
    pub fn verify(&self, ask: &Ask<'_>, now: Timestamp) -> Verdict {
        // Read before the look-up: what it promises is in the entries already.
        let position = self.position.get().unwrap_or(0);
        let (form, sought) = sought(ask.key);
        let entries = self.entries.pin();
        let found = sought.and_then(|sought| entries.get_key_value(&sought));
        self.verdict((ask, form), found.map(|(entry, ())| entry), position, now)
    }

    /// Whether each of several secrets is accepted. Their look-ups stand together, apart from the
    /// hashing, so that the waits for memory overlap.
    #[must_use]
    pub fn verify_all(&self, asks: &[Ask<'_>], now: Timestamp) -> Vec<Verdict> {
        let position = self.position.get().unwrap_or(0);
        let all: Vec<_> = asks.iter().map(|ask| sought(ask.key)).collect();
        let entries = self.entries.pin();
        let find = |sought: &Sought| entries.get_key_value(sought).map(|(entry, ())| entry);
        let found = all.iter().map(|(_, sought)| sought.as_ref().and_then(find));
        let found: Vec<Option<&Entry>> = found.collect();
        let forms = all.iter().map(|(form, _)| *form);
        let asked = asks.iter().zip(forms).zip(found);
        asked
            .map(|(asked, entry)| self.verdict(asked, entry, position, now))
            .collect()
    }

    fn verdict(
        &self,
        (ask, form): (&Ask<'_>, Form),
        entry: Option<&Entry>,
        position: u64,
        now: Timestamp,
    ) -> Verdict {
        let verdict = |code, valid_until, key| Verdict {
            code,
            position,
            valid_until,
            key,
        };
        let Some(entry) = entry.filter(|entry| ask.sees(&entry.credential)) else {
            return verdict(absent(form), None, None);
        };
        match self.judge(entry, ask, now) {
            code @ (Code::Revoked | Code::Rotated | Code::Expired) => {
                verdict(code, None, Some(entry.ended()))
            }
            code @ (Code::Malformed
            | Code::NotFound
            | Code::Disabled
            | Code::OwnerInactive
            | Code::WrongOrganization
            | Code::WrongProject
            | Code::InsufficientScope
            | Code::Valid) => verdict(code, entry.valid_until(), Some(self.whole(entry))),
        }
    }

    /// What [`Index::verify`] would say if the secrets of a credential were presented, the oldest
    /// first. The credential need not be in the index, and `ask.key` is not looked at.
    #[must_use]
    pub fn judged(
        &self,
        credential: &Arc<Credential>,
        ask: &Ask<'_>,
        now: Timestamp,
    ) -> Vec<(SecretId, Code)> {
        let worth = self.worth(credential.grant());
        Entry::all(credential, &worth)
            .map(|entry| (entry.secret(), self.judge(&entry, ask, now)))
            .collect()
    }

    /// Who presents `token` to this service itself, or why nobody does.
    pub fn authenticate(&self, token: &str, now: Timestamp) -> Result<Caller, Refused> {
        let (form, sought) = sought(token);
        let entries = self.entries.pin();
        let found = sought.and_then(|sought| entries.get_key_value(&sought));
        let (entry, ()) = found.ok_or_else(|| Refused {
            code: absent(form),
            secret: None,
        })?;
        let credential = &entry.credential;
        let refused = |code| Refused {
            code,
            secret: Some(FoundSecret::of(credential, entry.secret())),
        };
        if let Some(code) = entry.refusal(now) {
            return Err(refused(code));
        }
        let catalogue = self.catalogue.load();
        let ceiling = self.ceiling(credential.owner(), &catalogue);
        let ceiling = ceiling.ok_or_else(|| refused(Code::OwnerInactive))?;
        let rights = entry.worth.rights(&catalogue).under(ceiling, &catalogue);
        let rights = rights.within(credential.project(), &catalogue);
        Ok(Caller {
            actor: Actor::Bearer {
                credential: credential.id(),
                secret: entry.secret(),
            },
            secret: entry.secret(),
            authority: authority(credential, rights),
            credential: Arc::clone(credential),
        })
    }

    /// The scopes that a credential has at present: a role that its owner has lost takes them away.
    /// Where it was granted `*` or `admin:*`, all that this comes to is named, since who reads it
    /// may know neither.
    #[must_use]
    pub fn scopes_in_force(&self, key: &Shown) -> Vec<String> {
        let Shown::Whole { credential, .. } = key else {
            return Vec::new();
        };
        let catalogue = self.catalogue.load();
        let Some(ceiling) = self.ceiling(credential.owner(), &catalogue) else {
            return Vec::new();
        };
        let granted = Authority::of_grant(credential.grant(), &catalogue).rights();
        let rights = granted.under(ceiling, &catalogue);
        let is_wide = |name: &String| name == EVERYTHING || name == ADMIN;
        if key.scopes().iter().any(is_wide) {
            return catalogue.names(rights.scopes).map(str::to_owned).collect();
        }
        let held = |name: &&String| match name.as_str() {
            PLATFORM => rights.platform,
            name => catalogue.holds(rights.scopes, name),
        };
        key.scopes().iter().filter(held).cloned().collect()
    }

    fn judge(&self, entry: &Entry, ask: &Ask<'_>, now: Timestamp) -> Code {
        if let Some(code) = entry.refusal(now) {
            return code;
        }
        let credential = &entry.credential;
        if !self.is_active(credential.owner()) {
            return Code::OwnerInactive;
        }
        let own = credential.organization();
        if ask.organization.is_some_and(|named| named != own) {
            return Code::WrongOrganization;
        }
        if !self.fits_project(credential, ask) {
            return Code::WrongProject;
        }
        // Most gateways ask for no scope, and what nobody asks for is not computed.
        if !ask.required_scopes.is_empty() {
            let catalogue = self.catalogue.load();
            let Some(ceiling) = self.ceiling(credential.owner(), &catalogue) else {
                return Code::OwnerInactive;
            };
            let rights = entry.worth.rights(&catalogue).under(ceiling, &catalogue);
            let holds = |scope: &String| catalogue.holds(rights.scopes, scope);
            if !ask.required_scopes.iter().all(holds) {
                return Code::InsufficientScope;
            }
        }
        Code::Valid
    }

    /// An unbound credential works on every project of its organization, and on no other's.
    fn fits_project(&self, credential: &Credential, ask: &Ask<'_>) -> bool {
        match (credential.project(), ask.project) {
            (None, None) => true,
            (None, Some(asked)) => {
                self.projects.pin().get(&asked) == Some(&credential.organization())
            }
            (Some(_), None) => ask.any_project,
            (Some(bound), Some(asked)) => bound == asked,
        }
    }

    fn is_active(&self, owner: Owner) -> bool {
        match owner {
            Owner::Organization(_) => true,
            Owner::User(id) => {
                let members = self.members.pin();
                members.get(&id).is_some_and(|standing| standing.active)
            }
            Owner::ServiceAccount(id) => {
                let accounts = self.accounts.pin();
                accounts.get(&id).is_some_and(|standing| standing.active)
            }
        }
    }

    /// The hold of an active owner on its credentials; `None` of any other.
    fn ceiling(&self, owner: Owner, catalogue: &Arc<Catalogue>) -> Option<Ceiling> {
        match owner {
            Owner::Organization(_) => Some(Ceiling::Organization),
            Owner::User(id) => {
                let members = self.members.pin();
                let standing = members.get(&id).filter(|standing| standing.active)?;
                Some(Ceiling::Member(standing.worth.allowed(catalogue)))
            }
            Owner::ServiceAccount(id) => {
                let accounts = self.accounts.pin();
                let standing = accounts.get(&id).filter(|standing| standing.active)?;
                Some(Ceiling::ServiceAccount(standing.worth.allowed(catalogue)))
            }
        }
    }

    fn whole(&self, entry: &Entry) -> Shown {
        let grant = &entry.credential.grant();
        let lists_itself = grant.role.is_none() && grant.preset.is_none();
        Shown::Whole {
            credential: Arc::clone(&entry.credential),
            secret: entry.secret(),
            named: if lists_itself {
                None
            } else {
                entry.worth.names(&self.catalogue.load())
            },
        }
    }
}

fn authority(credential: &Credential, rights: Rights) -> Authority {
    Authority {
        organization: Some(credential.organization()),
        principal: Some(match credential.owner() {
            Owner::Organization(_) => Principal::Credential(credential.id()),
            Owner::User(id) => Principal::User(id),
            Owner::ServiceAccount(id) => Principal::ServiceAccount(id),
        }),
        via: Some(Via::Credential(credential.id())),
        project: credential.project(),
        scopes: rights.scopes,
        owner: rights.owner,
        platform: rights.platform,
        everything: rights.everything,
        expires_at: credential.expires_at(),
    }
}
