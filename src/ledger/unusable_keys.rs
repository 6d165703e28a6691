//! Data keys that cannot be used: missing although nothing was erased, or damaged.
//!
//! Owns the list of them, whose each is, what is wrong with it, and how to mend it. All keys that
//! the state needs are checked when the ledger is opened. Must never stop the ledger, show a
//! secret, or decide anything. State and keys flow in, lines for the operator flow out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::SubmitError;
use super::key_holder::{KINDS, KeyHolder};
use crate::degraded::{DegradedParts, Part};
use crate::domain::personal::Personal;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::error_chain::error_chain;
use crate::seal::{DataKeyId, KeyStore, SealError};

/// Keys that are named in the log of a start; the others are counted. A line has some 400 bytes,
/// so 400 kB.
const KEYS_NAMED_MAX: usize = 1_000;

impl KeyHolder {
    /// What does not work without it.
    const fn effect(self) -> &'static str {
        match self {
            Self::Member(_) => {
                "the member's address, name and password are unavailable; the member can sign in \
                 with a link, read and revoke, and can do nothing else"
            }
            Self::Organization(_) => {
                "network addresses of the organization's history are unavailable; commands of its \
                 credentials are refused, except those that revoke, disable, delete or rotate"
            }
            Self::EndpointSecret { .. } => "deliveries to the endpoint are not signed with it",
        }
    }

    /// What to do when no export of the keys holds it.
    const fn without_export(self) -> &'static str {
        match self {
            Self::Member(_) => {
                "erase the member, whose values are lost already, and add them again"
            }
            Self::Organization(_) => {
                "give the organization a new key with `keyledger keys renew --organization ID`"
            }
            Self::EndpointSecret { .. } => "rotate the secret of the endpoint",
        }
    }
}

/// What is wrong with a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyProblem {
    /// There is no file.
    Missing,
    /// The file cannot be read as a key of this ledger.
    Unreadable(String),
    /// The file holds a key, and it does not open what was sealed.
    OtherKey,
    /// The person was erased, and the file could not be removed.
    NotDestroyed(String),
}

impl KeyProblem {
    pub(super) fn of(why: &SealError) -> Self {
        Self::Unreadable(error_chain(why))
    }
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the key file is missing although nothing was erased"),
            Self::Unreadable(why) => f.write_str(why),
            Self::OtherKey => f.write_str("the key in the file does not open what was sealed"),
            Self::NotDestroyed(why) => {
                write!(f, "the key of an erased person is still there: {why}")
            }
        }
    }
}

/// A data key that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnusableKey {
    /// Whose it is.
    pub holder: KeyHolder,
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: KeyProblem,
}

impl UnusableKey {
    pub(super) fn new(holder: KeyHolder, keys: &KeyStore, problem: KeyProblem) -> Self {
        Self {
            holder,
            file: keys.data_key_path(holder.data_key()),
            problem,
        }
    }

    /// How to mend it.
    #[must_use]
    pub fn cure(&self) -> String {
        let Self { holder, file, .. } = self;
        let file = file.display();
        if let KeyProblem::NotDestroyed(_) = self.problem {
            return format!("remove {file}, or start the server again once it can be removed");
        }
        let remade = holder.without_export();
        format!(
            "stop the server and run `keyledger keys import` with an export that holds the key; \
             if there is none, {remade}"
        )
    }

    fn warn(&self) {
        let (holder, file) = (self.holder.to_string(), self.file.display());
        let (why, effect, cure) = (&self.problem, self.holder.effect(), self.cure());
        tracing::warn!(%file, holder, %why, effect, cure, "a data key cannot be used");
    }
}

/// The keys that cannot be used, as far as is known.
#[derive(Debug)]
pub(crate) struct UnusableKeys {
    list: Mutex<BTreeMap<DataKeyId, UnusableKey>>,
    degraded: DegradedParts,
}

impl UnusableKeys {
    /// None is known yet; what is found is reported to `degraded`.
    pub(crate) fn new(degraded: DegradedParts) -> Self {
        Self {
            list: Mutex::default(),
            degraded,
        }
    }

    /// Checks every key that the state needs, and reports what cannot be used.
    pub(crate) fn check(&self, keys: &KeyStore, state: &State) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        for holder in holders(state) {
            if let Some(problem) = problem_of(keys, state, holder) {
                let unusable = UnusableKey::new(holder, keys, problem);
                if list.len() < KEYS_NAMED_MAX {
                    unusable.warn();
                }
                list.insert(holder.data_key(), unusable);
            }
        }
        if list.len() > KEYS_NAMED_MAX {
            let (all, named) = (list.len(), KEYS_NAMED_MAX);
            tracing::warn!(
                all,
                named,
                "more data keys cannot be used than are named here"
            );
        }
        self.report(&list);
    }

    /// The answer to a command whose values could not be sealed.
    pub(super) fn refuse(&self, why: SealRefusal) -> SubmitError {
        match why {
            SealRefusal::KeyUnusable(key) => {
                let holder = key.holder;
                self.add(key);
                SubmitError::KeyUnusable(holder)
            }
            SealRefusal::KeyNotWritten(why) => {
                let why = error_chain(&why);
                tracing::warn!(why, "a data key could not be written");
                SubmitError::DiskFull
            }
            SealRefusal::Value(why) => {
                let why = error_chain(&why);
                tracing::error!(why, "a value could not be sealed");
                SubmitError::TooLarge
            }
        }
    }

    /// Adds a key that turned out to be unusable, and reports it the first time.
    pub(crate) fn add(&self, unusable: UnusableKey) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(place) = list.entry(unusable.holder.data_key()) {
            unusable.warn();
            place.insert(unusable);
            self.report(&list);
        }
    }

    /// Takes a key off the list whose holder needs it no more.
    pub(crate) fn forget(&self, id: DataKeyId) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.remove(&id);
        self.report(&list);
    }

    /// In numbers alone: anyone may read it.
    fn report(&self, list: &BTreeMap<DataKeyId, UnusableKey>) {
        if list.is_empty() {
            self.degraded.end(Part::Keys);
            return;
        }
        let counts = counts_of(list).into_iter().filter(|(_, count)| *count > 0);
        let counts: Vec<_> = counts
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect();
        let reason = format!("data keys are missing or damaged, {}", counts.join(", "));
        let remedy = "the server log names each file and how to mend it";
        self.degraded.begin(Part::Keys, reason, remedy);
    }

    /// How many there are, by the kind of their holder.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        counts_of(&list)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<UnusableKey> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.values().cloned().collect()
    }
}

fn counts_of(list: &BTreeMap<DataKeyId, UnusableKey>) -> [(&'static str, u64); 3] {
    KINDS.map(|kind| {
        let of_kind = list.values().filter(|key| key.holder.kind() == kind);
        (kind, of_kind.count() as u64)
    })
}

/// Whose keys the state needs: members who were not erased, removed ones too; organizations; the
/// secrets that deliveries are still signed with.
fn holders(state: &State) -> impl Iterator<Item = KeyHolder> {
    let organizations = state.organization_ids().map(KeyHolder::Organization);
    let members = state.members_not_erased();
    let members = members.map(|member| KeyHolder::Member(member.id));
    let now = state.last_at().unwrap_or(Timestamp(0));
    let endpoints = state.endpoints_not_deleted().flat_map(move |endpoint| {
        let secrets = endpoint.secrets.iter();
        let secrets = secrets.filter(move |secret| secret.signs_at(now));
        secrets.map(|secret| KeyHolder::EndpointSecret {
            endpoint: endpoint.id,
            secret: secret.id,
        })
    });
    organizations.chain(members).chain(endpoints)
}

fn problem_of(keys: &KeyStore, state: &State, holder: KeyHolder) -> Option<KeyProblem> {
    match keys.data_key(holder.data_key()) {
        Err(why) => Some(KeyProblem::of(&why)),
        Ok(None) => Some(KeyProblem::Missing),
        Ok(Some(_)) => has_unopened_value(state, holder).then_some(KeyProblem::OtherKey),
    }
}

/// Whether a value of the holder did not open although its key can be read.
fn has_unopened_value(state: &State, holder: KeyHolder) -> bool {
    match holder {
        KeyHolder::Organization(_) => false,
        KeyHolder::Member(id) => {
            let member = state.member(id);
            let means = state.sign_in_means(id);
            let password = means.and_then(|means| means.password.as_ref());
            member.is_some_and(|member| member.email.is_unavailable())
                || password.is_some_and(|password| password.hash.is_unavailable())
        }
        KeyHolder::EndpointSecret { endpoint, secret } => {
            let endpoint = state.endpoint(endpoint);
            let mut secrets = endpoint.iter().flat_map(|endpoint| &endpoint.secrets);
            secrets.any(|one| one.id == secret && Personal::is_unavailable(&one.key))
        }
    }
}

/// Why a decision could not be sealed. Nothing has been staged.
#[derive(Debug)]
pub(crate) enum SealRefusal {
    /// A key that the command needs cannot be used.
    KeyUnusable(UnusableKey),
    /// A new key could not be written.
    KeyNotWritten(SealError),
    /// A value cannot be sealed at all.
    Value(SealError),
}
