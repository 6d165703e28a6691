//! The past: what the records were at a position, what differs between two, who could have done
//! something.
//!
//! Owns the fold of payloads up to a moment. Must never know where payloads come from: whoever
//! reads a log or a bundle shows them in order, all of them or one organization's. Judgements over
//! credentials are those of the verification index; none is made here.

use std::collections::BTreeMap;
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::domain::Misfit;
use crate::domain::access::Authority;
use crate::domain::envelope::{ActorStamp, Event, commitment};
use crate::domain::heading::Heading;
use crate::domain::ids::{CredentialId, EventId, OrganizationId, ProjectId, SecretId, Subject};
use crate::domain::log_point::{LogPoint, Moment};
use crate::domain::record::Credential;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::unreadable::UnreadableEvent;
use crate::records::{AcceptedRecord, DeedRecord, DifferenceRecord, DoerRecord, KeyRecord, Use};
use crate::views::index::{VerificationCode, VerificationIndex, VerificationQuery};

/// Finds a moment in a log whose next position is `next`; `None` where it is not there yet.
///
/// # Errors
/// What `happened_at` fails with.
pub fn find<E>(
    point: LogPoint,
    next: u64,
    mut happened_at: impl FnMut(u64) -> Result<Timestamp, E>,
) -> Result<Option<Moment>, E> {
    match point {
        LogPoint::Position(position) if position >= next => Ok(None),
        LogPoint::Position(position) => {
            let at = happened_at(position)?;
            let position = Some(position);
            Ok(Some(Moment { position, at }))
        }
        LogPoint::Instant(at) => {
            let position = last_not_after(at, next, happened_at)?;
            Ok(Some(Moment { position, at }))
        }
    }
}

/// The position of the last event that did not happen after `instant`; `None` before the first one.
/// Instants never go back along the log, so that it is found by halving.
///
/// # Errors
/// What `happened_at` fails with.
pub fn last_not_after<E>(
    instant: Timestamp,
    next: u64,
    mut happened_at: impl FnMut(u64) -> Result<Timestamp, E>,
) -> Result<Option<u64>, E> {
    let (mut from, mut to) = (0, next);
    while from < to {
        let middle = from + (to - from) / 2;
        if happened_at(middle)? <= instant {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    Ok(from.checked_sub(1))
}

/// Why a payload could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// It is no event that this program knows.
    #[error("a stored event cannot be read")]
    Unreadable(#[from] UnreadableEvent),
    /// It does not fit the events before it.
    #[error("the events do not fit each other")]
    Misfit(#[from] Misfit),
    /// A sealed value in it.
    #[error("a sealed value does not open: {0}")]
    Sealed(String),
}

/// Opens the sealed values of an event, or blanks them.
pub type Opening<'a> = dyn FnMut(&mut Event) -> Result<(), String> + 'a;

/// Blanks the sealed values of an event, for whoever has no keys: as if all had been erased.
///
/// # Errors
/// None; it has the form of an [`Opening`].
pub fn blank(event: &mut Event) -> Result<(), String> {
    for (_field, value) in event.fact.personal_mut() {
        value.open(None);
    }
    Ok(())
}

/// What a record takes in maps and counters, beside what its events say.
const RECORD_BYTES: usize = 300;
/// What a deed takes, with its copy in the answer.
const DEED_BYTES: usize = 400;

/// The records as of a position, folded from the payloads before it.
///
/// Of one organization, it takes that one's events and those of no organization, such as the
/// adoption of a catalogue, and passes over all others unread.
#[derive(Debug)]
pub struct Fold {
    state: State,
    of: Option<(OrganizationId, Finder<'static>)>,
    /// Of each record, the length of its longest event.
    longest: BTreeMap<Subject, usize>,
    bytes: usize,
}

impl Fold {
    /// Nothing yet: of one organization, or of all.
    #[must_use]
    pub fn new(organization: Option<OrganizationId>) -> Self {
        let of = organization.map(|id| {
            let theirs = format!("\"organization_id\":\"{id}\"");
            (id, Finder::new(theirs.as_bytes()).into_owned())
        });
        Self {
            state: State::default(),
            of,
            longest: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Takes the next payload in order. Gives its event, unless it is one that does not count.
    ///
    /// # Errors
    /// Any of [`FoldError`].
    pub fn take(
        &mut self,
        payload: &[u8],
        open: &mut Opening<'_>,
    ) -> Result<Option<Event>, FoldError> {
        let Some(event) = self.event(payload, open)? else {
            return Ok(None);
        };
        self.apply(&event, payload)?;
        Ok(Some(event))
    }

    fn event(&self, payload: &[u8], open: &mut Opening<'_>) -> Result<Option<Event>, FoldError> {
        if !self.may_count(payload) {
            return Ok(None);
        }
        let mut event = Event::from_payload(payload)?;
        // A name that somebody chose may look like another organization's place.
        let own = self.of.as_ref().map(|(id, _)| *id);
        if let (Some(own), Some(place)) = (own, event.organization)
            && place.id != own
        {
            return Ok(None);
        }
        open(&mut event).map_err(FoldError::Sealed)?;
        Ok(Some(event))
    }

    fn apply(&mut self, event: &Event, payload: &[u8]) -> Result<(), FoldError> {
        self.state.apply(event, commitment(payload))?;
        drop(self.state.settle());
        let is_new = !self.longest.contains_key(&event.subject);
        let longest = self.longest.entry(event.subject).or_default();
        self.bytes += payload.len().saturating_sub(*longest);
        self.bytes += if is_new { RECORD_BYTES } else { 0 };
        *longest = payload.len().max(*longest);
        Ok(())
    }

    /// About how many bytes of RAM the records take. An event is longer than what it leaves in its
    /// record, so that it is not less.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn may_count(&self, payload: &[u8]) -> bool {
        let Some((_, theirs)) = &self.of else {
            return true;
        };
        let is_nobodys = || Heading::of(payload).is_none_or(|head| head.organization.is_none());
        theirs.find(payload).is_some() || is_nobodys()
    }

    /// The records.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The credentials, ended ones too, oldest first.
    #[must_use]
    pub fn credentials(&self) -> Vec<Arc<Credential>> {
        self.state.everything().credentials
    }

    /// A credential as the API shows it, in one line of JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&self, credential: &Credential, at: Timestamp) -> serde_json::Result<String> {
        serde_json::to_string(&self.record(credential, at))
    }

    /// A credential that would have been accepted, in one line of JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn accepted_line(&self, accepted: &Accepted, at: Timestamp) -> serde_json::Result<String> {
        let secrets = accepted.secrets.iter();
        serde_json::to_string(&AcceptedRecord {
            key: self.record(&accepted.credential, at),
            secret_ids: secrets.map(ToString::to_string).collect(),
        })
    }

    fn record(&self, credential: &Credential, at: Timestamp) -> KeyRecord {
        KeyRecord::new(&self.state, (credential, &Use::untold()), at)
    }

    /// Who would have been accepted at `at` for what is asked, oldest first: each credential with
    /// those of its secrets that would have been.
    ///
    /// # Errors
    /// What `go_on` fails with, which is asked between two credentials.
    pub fn who_could<E>(
        &self,
        asked: &Asked,
        at: Timestamp,
        go_on: &mut impl FnMut() -> Result<(), E>,
    ) -> Result<Vec<Accepted>, E> {
        let mut changes = self.state.everything();
        let credentials = std::mem::take(&mut changes.credentials);
        let index = VerificationIndex::from_changes(&changes);
        // Nothing is hidden from who reads the whole ledger.
        let authority = Authority::operator(self.state.catalogue());
        let ask = VerificationQuery {
            authority: &authority,
            key: "",
            required_scopes: &asked.scopes,
            project: asked.project,
            any_project: asked.project.is_none(),
            organization: asked.organization,
        };
        let mut accepted = Vec::new();
        for credential in credentials {
            go_on()?;
            let judged = index.codes_of_credential(&credential, &ask, at).into_iter();
            let secrets = judged.filter(|(_, code)| *code == VerificationCode::Valid);
            let secrets: Vec<_> = secrets.map(|(secret, _)| secret).collect();
            if !secrets.is_empty() {
                accepted.push(Accepted {
                    credential,
                    secrets,
                });
            }
        }
        Ok(accepted)
    }
}

/// What somebody could have done.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub scopes: Vec<String>,
    /// On a project; with `None` on any: a credential that is bound to one counts.
    pub project: Option<ProjectId>,
    /// In an organization; with `None` in its own.
    pub organization: Option<OrganizationId>,
}

/// A credential that would have been accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// As it was.
    pub credential: Arc<Credential>,
    /// Which of its secrets, the oldest first.
    pub secrets: Vec<SecretId>,
}

/// What differs between two moments, folded on from the earlier one.
#[derive(Debug)]
pub struct Differences {
    fold: Fold,
    changed: BTreeMap<CredentialId, Change>,
    deeds: usize,
}

#[derive(Debug)]
struct Change {
    before: Option<Arc<Credential>>,
    deeds: Vec<Deed>,
}

/// What happened to a credential between two moments.
#[derive(Clone, Debug)]
pub struct Difference {
    /// As it was at the earlier one; `None` where it was not there yet.
    pub before: Option<Arc<Credential>>,
    /// As it was at the later one.
    pub after: Arc<Credential>,
    /// What was done to it meanwhile, and by whom, in order.
    pub deeds: Vec<Deed>,
}

/// One event, without what is in it.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Where it stands.
    pub position: u64,
    pub event: EventId,
    /// Its type.
    pub name: &'static str,
    /// When.
    pub at: Timestamp,
    /// Who did it; the network is sealed.
    pub actor: ActorStamp,
}

impl Differences {
    /// From what has been folded so far on.
    #[must_use]
    pub const fn since(fold: Fold) -> Self {
        let changed = BTreeMap::new();
        Self {
            fold,
            changed,
            deeds: 0,
        }
    }

    /// Takes the next payload in order.
    ///
    /// # Errors
    /// Any of [`FoldError`].
    pub fn take(&mut self, payload: &[u8], open: &mut Opening<'_>) -> Result<(), FoldError> {
        let Some(event) = self.fold.event(payload, open)? else {
            return Ok(());
        };
        if let Subject::Credential(id) = event.subject {
            let before = self.fold.state.credential(id);
            let change = self.changed.entry(id).or_insert_with(|| Change {
                before: before.cloned(),
                deeds: Vec::new(),
            });
            self.deeds += 1;
            change.deeds.push(Deed {
                position: event.position,
                event: event.id,
                name: event.fact.name(),
                at: event.occurred_at,
                actor: event.actor.clone(),
            });
        }
        self.fold.apply(&event, payload)
    }

    /// About how many bytes of RAM it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.fold.bytes() + self.deeds * DEED_BYTES
    }

    /// What has been folded by now.
    #[must_use]
    pub const fn fold(&self) -> &Fold {
        &self.fold
    }

    /// A difference in one line of JSON, with the statuses of the two moments.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(
        &self,
        difference: &Difference,
        (from, to): (Timestamp, Timestamp),
    ) -> serde_json::Result<String> {
        let before = difference.before.as_ref();
        serde_json::to_string(&DifferenceRecord {
            id: difference.after.id().to_string(),
            before: before.map(|before| self.fold.record(before, from)),
            after: self.fold.record(&difference.after, to),
            events: difference.deeds.iter().map(Deed::record).collect(),
        })
    }

    /// What differs, by credential, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = Difference> + '_ {
        self.changed.iter().filter_map(|(id, change)| {
            let after = self.fold.state.credential(*id)?;
            Some(Difference {
                before: change.before.clone(),
                after: Arc::clone(after),
                deeds: change.deeds.clone(),
            })
        })
    }
}

impl Deed {
    fn record(&self) -> DeedRecord {
        DeedRecord {
            position: self.position,
            id: self.event.to_string(),
            name: self.name,
            occurred_at: self.at.to_string(),
            actor: DoerRecord {
                kind: self.actor.kind,
                id: self.actor.id.map(|id| id.to_string()),
                via: self.actor.via.map(|via| via.to_string()),
            },
        }
    }
}
