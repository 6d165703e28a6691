//! Verification: whether a presented secret is accepted, for what, and what is shown of its
//! credential.

use std::sync::Arc;

use crate::domain::access::Authority;
use crate::domain::catalogue::{ADMIN, Catalogue, EVERYTHING, PLATFORM};
use crate::domain::command::Actor;
use crate::domain::ids::{OrganizationId, Owner, Principal, ProjectId, SecretId, Via};
use crate::domain::record::Credential;
use crate::domain::secret::{Form, SecretHash, form};
use crate::domain::time::Timestamp;

use super::VerificationIndex;
use super::secret_entry::{SecretEntry, SoughtHash};
use super::shown_credential::{PresentedSecret, ShownCredential};
use super::verification_code::VerificationCode;
use crate::domain::access::{Ceiling, Rights};

/// What a verification asks.
#[derive(Clone, Copy, Debug)]
pub struct VerificationQuery<'a> {
    /// The caller's authority: only credentials of its organization are found, all on the platform.
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
pub struct VerificationResult {
    /// Whether and why not.
    pub code: VerificationCode,
    /// Everything up to this position has been taken into account; 0 before the first event.
    pub position: u64,
    /// When a positive answer ends by itself: the earlier of expiry and the secret's own end.
    pub valid_until: Option<Timestamp>,
    /// What the caller may see of the credential.
    pub key: Option<ShownCredential>,
}

/// Who calls this service's own interface.
#[derive(Clone, Debug)]
pub struct AuthenticatedCaller {
    /// For commands.
    pub actor: Actor,
    /// For reads.
    pub authority: Authority,
    /// The credential presented.
    pub credential: Arc<Credential>,
    pub secret: SecretId,
}

/// A presented secret that is not accepted by this service's own interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthenticationRefusal {
    pub code: VerificationCode,
    /// Whose it is, where it is known.
    pub secret: Option<PresentedSecret>,
}

impl AuthenticatedCaller {
    /// What was presented, and whose it is.
    #[must_use]
    pub fn presented_secret(&self) -> PresentedSecret {
        PresentedSecret::of(&self.credential, self.secret)
    }
}

impl VerificationQuery<'_> {
    /// Whether a credential exists for the caller: one that is bound to a project sees those of
    /// the project. Only the platform is told that a credential belongs to another organization
    /// than the one named.
    fn may_see(&self, credential: &Credential) -> bool {
        let organization = credential.organization();
        let own = self.authority.organization == Some(organization);
        let named = self.organization.is_none_or(|named| named == organization);
        self.authority.platform || (own && named && self.authority.reaches(credential.project()))
    }
}

/// The code of a secret that is not there: one of our own form is not found, any other text can
/// only be known if it was imported.
fn absent(form: Form) -> VerificationCode {
    match form {
        Form::Plausible => VerificationCode::NotFound,
        Form::Malformed | Form::Foreign => VerificationCode::Malformed,
    }
}

/// What a presented text can be, and what to look for unless it cannot be known.
fn sought(text: &str) -> (Form, Option<SoughtHash>) {
    let form = form(text);
    let known = form != Form::Malformed;
    (form, known.then(|| SoughtHash(SecretHash::of(text))))
}

impl VerificationIndex {
    /// Whether the secret is accepted at `now`, which is never before the last event.
    #[must_use]
    pub fn verify(&self, ask: &VerificationQuery<'_>, now: Timestamp) -> VerificationResult {
        // Read before the look-up: what it promises is in the entries already.
        let position = self.position.get().unwrap_or(0);
        let (form, sought) = sought(ask.key);
        let entries = self.entries.pin();
        let found = sought.and_then(|sought| entries.get_key_value(&sought));
        self.verdict(ask, form, found.map(|(entry, ())| entry), position, now)
    }

    /// Whether each of several secrets is accepted. Their look-ups are done together, apart from
    /// the hashing, so that the waits for memory overlap.
    #[must_use]
    pub fn verify_many(
        &self,
        asks: &[VerificationQuery<'_>],
        now: Timestamp,
    ) -> Vec<VerificationResult> {
        let position = self.position.get().unwrap_or(0);
        let all: Vec<_> = asks.iter().map(|ask| sought(ask.key)).collect();
        let entries = self.entries.pin();
        let find = |sought: &SoughtHash| entries.get_key_value(sought).map(|(entry, ())| entry);
        let found = all.iter().map(|(_, sought)| sought.as_ref().and_then(find));
        let found: Vec<Option<&SecretEntry>> = found.collect();
        let forms = all.iter().map(|(form, _)| *form);
        let asked = asks.iter().zip(forms).zip(found);
        asked
            .map(|((ask, form), entry)| self.verdict(ask, form, entry, position, now))
            .collect()
    }

    fn verdict(
        &self,
        ask: &VerificationQuery<'_>,
        form: Form,
        entry: Option<&SecretEntry>,
        position: u64,
        now: Timestamp,
    ) -> VerificationResult {
        let verdict = |code, valid_until, key| VerificationResult {
            code,
            position,
            valid_until,
            key,
        };
        let Some(entry) = entry.filter(|entry| ask.may_see(&entry.credential)) else {
            return verdict(absent(form), None, None);
        };
        match self.judge(entry, ask, now) {
            code @ (VerificationCode::Revoked
            | VerificationCode::Rotated
            | VerificationCode::Expired) => verdict(code, None, Some(entry.ended_credential())),
            code @ (VerificationCode::Malformed
            | VerificationCode::NotFound
            | VerificationCode::Disabled
            | VerificationCode::OwnerInactive
            | VerificationCode::WrongOrganization
            | VerificationCode::WrongProject
            | VerificationCode::InsufficientScope
            | VerificationCode::Valid) => {
                verdict(code, entry.valid_until(), Some(self.whole(entry)))
            }
        }
    }

    /// What [`VerificationIndex::verify`] would say if the secrets of a credential were presented,
    /// the oldest first. The credential need not be in the index, and `ask.key` is not looked at.
    #[must_use]
    pub fn codes_of_credential(
        &self,
        credential: &Arc<Credential>,
        ask: &VerificationQuery<'_>,
        now: Timestamp,
    ) -> Vec<(SecretId, VerificationCode)> {
        let worth = self.rights_of_grant(credential.grant());
        SecretEntry::entries_of(credential, &worth)
            .map(|entry| (entry.secret_id(), self.judge(&entry, ask, now)))
            .collect()
    }

    /// The caller who presents `token` to this service's own interface, or why it is refused.
    pub fn authenticate(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<AuthenticatedCaller, AuthenticationRefusal> {
        let (form, sought) = sought(token);
        let entries = self.entries.pin();
        let found = sought.and_then(|sought| entries.get_key_value(&sought));
        let (entry, ()) = found.ok_or_else(|| AuthenticationRefusal {
            code: absent(form),
            secret: None,
        })?;
        let credential = &entry.credential;
        let refused = |code| AuthenticationRefusal {
            code,
            secret: Some(PresentedSecret::of(credential, entry.secret_id())),
        };
        if let Some(code) = entry.refusal_code(now) {
            return Err(refused(code));
        }
        let catalogue = self.catalogue.load();
        let ceiling = self.ceiling(credential.owner(), &catalogue);
        let ceiling = ceiling.ok_or_else(|| refused(VerificationCode::OwnerInactive))?;
        let rights = entry.rights.rights(&catalogue).under(ceiling, &catalogue);
        let rights = rights.within(credential.project(), &catalogue);
        Ok(AuthenticatedCaller {
            actor: Actor::Bearer {
                credential: credential.id(),
                secret: entry.secret_id(),
            },
            secret: entry.secret_id(),
            authority: authority(credential, rights),
            credential: Arc::clone(credential),
        })
    }

    /// The scopes that a credential has at present: a role that its owner has lost takes them away.
    /// Where it was granted `*` or `admin:*`, all that this comes to is named, since the reader
    /// may know neither.
    #[must_use]
    pub fn effective_scopes(&self, key: &ShownCredential) -> Vec<String> {
        let ShownCredential::Full { credential, .. } = key else {
            return Vec::new();
        };
        let catalogue = self.catalogue.load();
        let Some(ceiling) = self.ceiling(credential.owner(), &catalogue) else {
            return Vec::new();
        };
        let granted = Authority::of_grant(credential.grant(), &catalogue).rights();
        let rights = granted.under(ceiling, &catalogue);
        let is_wide = |name: &String| name == EVERYTHING || name == ADMIN;
        if key.granted_scopes().iter().any(is_wide) {
            return catalogue.names(rights.scopes).map(str::to_owned).collect();
        }
        let held = |name: &&String| match name.as_str() {
            PLATFORM => rights.platform,
            name => catalogue.holds(rights.scopes, name),
        };
        key.granted_scopes().iter().filter(held).cloned().collect()
    }

    fn judge(
        &self,
        entry: &SecretEntry,
        ask: &VerificationQuery<'_>,
        now: Timestamp,
    ) -> VerificationCode {
        if let Some(code) = entry.refusal_code(now) {
            return code;
        }
        let credential = &entry.credential;
        if !self.is_active(credential.owner()) {
            return VerificationCode::OwnerInactive;
        }
        let own = credential.organization();
        if ask.organization.is_some_and(|named| named != own) {
            return VerificationCode::WrongOrganization;
        }
        if !self.fits_project(credential, ask) {
            return VerificationCode::WrongProject;
        }
        // Most gateways require no scope, and then no rights are computed.
        if !ask.required_scopes.is_empty() {
            let catalogue = self.catalogue.load();
            let Some(ceiling) = self.ceiling(credential.owner(), &catalogue) else {
                return VerificationCode::OwnerInactive;
            };
            let rights = entry.rights.rights(&catalogue).under(ceiling, &catalogue);
            let holds = |scope: &String| catalogue.holds(rights.scopes, scope);
            if !ask.required_scopes.iter().all(holds) {
                return VerificationCode::InsufficientScope;
            }
        }
        VerificationCode::Valid
    }

    /// An unbound credential works on every project of its organization, and on no other's.
    fn fits_project(&self, credential: &Credential, ask: &VerificationQuery<'_>) -> bool {
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
                Some(Ceiling::Member(standing.rights.role_rights(catalogue)))
            }
            Owner::ServiceAccount(id) => {
                let accounts = self.accounts.pin();
                let standing = accounts.get(&id).filter(|standing| standing.active)?;
                Some(Ceiling::ServiceAccount(
                    standing.rights.role_rights(catalogue),
                ))
            }
        }
    }

    fn whole(&self, entry: &SecretEntry) -> ShownCredential {
        let grant = &entry.credential.grant();
        let lists_itself = grant.role.is_none() && grant.preset.is_none();
        ShownCredential::Full {
            credential: Arc::clone(&entry.credential),
            secret: entry.secret_id(),
            named: if lists_itself {
                None
            } else {
                entry.rights.scope_names(&self.catalogue.load())
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
