//! Random histories for those who read what the domain decides: what changed, what the tokens are,
//! and what each is worth by the model of `dominance`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::acme::Acme;
use super::dominance::accepted_scopes;
use super::history::{Step, crowded, request, step};
use crate::domain::ids::SecretId;
use crate::domain::record::Secret;
use crate::domain::secret::Token;
use crate::domain::state::Changes;
use crate::domain::time::Timestamp;

/// Some steps of a history.
pub(crate) fn steps() -> impl Strategy<Value = Steps> {
    prop::collection::vec(step(), 1..60).prop_map(Steps)
}

/// What is to happen, in order.
#[derive(Clone, Debug)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    /// How many steps.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A history as it happens.
pub(crate) struct Chronicle {
    acme: Acme,
    /// Every token there has ever been.
    tokens: BTreeMap<SecretId, String>,
}

/// A token as somebody holds it, and what it is worth.
pub(crate) struct Held {
    pub(crate) token: String,
    /// The scopes that it is accepted for, by name; `None`: it is not accepted.
    pub(crate) scopes: Option<Vec<String>>,
}

impl Chronicle {
    /// A company of people and credentials, and all of it as a change.
    pub(crate) fn begin() -> (Self, Changes) {
        let acme = crowded(Acme::new());
        let changes = acme.state.everything();
        let tokens = BTreeMap::new();
        let mut chronicle = Self { acme, tokens };
        chronicle.keep_tokens(&changes);
        (chronicle, changes)
    }

    /// Lets everything happen; what changed is handed out after each step.
    pub(crate) fn happen(&mut self, steps: &Steps, mut changed: impl FnMut(&Self, &Changes)) {
        for step in &steps.0 {
            self.acme.later(step.gap());
            let request = request(&self.acme, step);
            self.acme.stage(&request);
            let changes = self.acme.state.settle();
            self.keep_tokens(&changes);
            changed(self, &changes);
        }
    }

    fn keep_tokens(&mut self, changes: &Changes) {
        let secrets = changes.credentials.iter().flat_map(|key| key.secrets());
        for secret in secrets {
            let token = || token_of(&secret);
            self.tokens.entry(secret.id).or_insert_with(token);
        }
    }

    /// The present instant.
    pub(crate) fn now(&self) -> Timestamp {
        self.acme.now
    }

    /// Every scope of the catalogue in force.
    pub(crate) fn scopes(&self) -> Vec<String> {
        let scopes = self.acme.state.catalogue().text().scopes.iter();
        scopes.map(|scope| scope.name.clone()).collect()
    }

    /// Every token there has ever been, and what it is worth at an instant.
    pub(crate) fn tokens_at(&self, now: Timestamp) -> Vec<Held> {
        let state = &self.acme.state;
        let mut held = Vec::new();
        for (_, key) in state.credentials.settled_after(None) {
            let scopes = accepted_scopes(state, key, now);
            for secret in key.secrets() {
                let live = secret.ends_at.is_none_or(|at| at > now);
                held.push(Held {
                    token: self.tokens[&secret.id].clone(),
                    scopes: scopes.clone().filter(|_| live),
                });
            }
        }
        held
    }
}

/// The token of a stored secret: tests draw 32 times the same byte for it.
fn token_of(secret: &Secret) -> String {
    let composed = |byte| Token::compose(&secret.prefix, secret.id, &[byte; 32]);
    let mut tokens = (0..=u8::MAX).map(composed);
    let token = tokens.find(|token| token.hash() == secret.hash).unwrap();
    token.reveal().to_owned()
}
