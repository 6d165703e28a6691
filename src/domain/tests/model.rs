//! A naive ledger of API keys, written from the documentation alone, and the real one beside it:
//! the same commands are accepted and refused, and the same keys come out.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::acme::{Acme, key_of, strings};
use crate::domain::command::{Actor, CreateKey, Expiry, RevokeKey, UpdateKey};
use crate::domain::ids::{CredentialId, SecretId};
use crate::domain::record::Status;

const SCOPES: [&str; 3] = ["cases:read", "cases:write", "admin:*"];

/// A key as a reader of the documentation would write it down.
#[derive(Debug, Default)]
struct Key {
    name: String,
    scopes: Vec<String>,
    expires: Option<i64>,
    disabled: bool,
    revoked: bool,
    /// Every secret with the second at which it stops, oldest first.
    secrets: Vec<(Option<SecretId>, Option<i64>)>,
    edits: u32,
}

impl Key {
    fn status(&self, now: i64) -> Status {
        match (self.revoked, self.expires.is_some_and(|at| at <= now)) {
            (true, _) => Status::Revoked,
            (false, true) => Status::Expired,
            (false, false) if self.disabled => Status::Disabled,
            (false, false) => Status::Active,
        }
    }

    fn ended(&self, now: i64) -> bool {
        matches!(self.status(now), Status::Revoked | Status::Expired)
    }

    fn accepts(&self, secret: usize, now: i64) -> bool {
        self.status(now) == Status::Active && self.secrets[secret].1.is_none_or(|at| at > now)
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Create { scope: usize, days: u32 },
    Rename { key: usize, name: u8 },
    Rescope { key: usize, scope: usize },
    Rotate { key: usize, grace: u32 },
    Disable { key: usize },
    Enable { key: usize },
    Revoke { key: usize },
    Wait { seconds: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0_usize..6;
    prop_oneof![
        (0_usize..3, 0_u32..3).prop_map(|(scope, days)| Act::Create { scope, days }),
        (key.clone(), 0_u8..3).prop_map(|(key, name)| Act::Rename { key, name }),
        (key.clone(), 0_usize..3).prop_map(|(key, scope)| Act::Rescope { key, scope }),
        (key.clone(), prop_oneof![Just(0), 1_u32..100_000])
            .prop_map(|(key, grace)| Act::Rotate { key, grace }),
        key.clone().prop_map(|key| Act::Disable { key }),
        key.clone().prop_map(|key| Act::Enable { key }),
        key.prop_map(|key| Act::Revoke { key }),
        (1_u32..60_000).prop_map(|seconds| Act::Wait { seconds }),
    ]
}

/// Both ledgers; time in seconds since the start.
struct Both {
    real: Acme,
    model: BTreeMap<CredentialId, Key>,
    now: i64,
}

impl Both {
    /// Which of the keys made so far, the oldest first.
    fn pick(&self, n: usize) -> Option<CredentialId> {
        let keys = self.model.len();
        (keys > 0).then(|| *self.model.keys().nth(n % keys).unwrap())
    }

    fn create(&mut self, scope: usize, days: u32) {
        let command = CreateKey {
            expiry: match days {
                0 => Expiry::Never,
                days => Expiry::InDays(days),
            },
            ..self.real.api_key(&[SCOPES[scope]])
        };
        let done = self.real.when(Actor::Operator, command).accepted();
        let secret = self.real.credential(key_of(&done)).secret().id;
        let key = Key {
            name: String::from("CI pipeline"),
            scopes: strings(&[SCOPES[scope]]),
            expires: (days > 0).then(|| self.now + i64::from(days) * 86_400),
            secrets: vec![(Some(secret), None)],
            edits: 1,
            ..Key::default()
        };
        self.model.insert(key_of(&done), key);
    }

    fn edit(&mut self, id: CredentialId, name: Option<String>, scope: Option<usize>) {
        let scopes = scope.map(|scope| strings(&[SCOPES[scope]]));
        let command = UpdateKey {
            name: name.clone(),
            scopes: scopes.clone(),
            ..self.real.edit(id)
        };
        let accepted = self.real.when(Actor::Operator, command).result.is_ok();
        let now = self.now;
        let key = self.model.get_mut(&id).unwrap();
        assert_eq!(accepted, !key.ended(now));
        if accepted {
            let (name, scopes) = (
                name.unwrap_or_else(|| key.name.clone()),
                scopes.unwrap_or_else(|| key.scopes.clone()),
            );
            key.edits += u32::from(key.name != name) + u32::from(key.scopes != scopes);
            (key.name, key.scopes) = (name, scopes);
        }
    }

    fn rotate(&mut self, id: CredentialId, grace: u32) {
        let command = self.real.rotate(id, grace);
        let accepted = self.real.when(Actor::Operator, command).result.is_ok();
        let secret = self.real.credential(id).secret().id;
        let now = self.now;
        let key = self.model.get_mut(&id).unwrap();
        assert_eq!(accepted, !key.ended(now));
        if !accepted {
            return;
        }
        // The last one gets its grace, never past the expiry; those before it end at once.
        let grace_end = (now + i64::from(grace)).min(key.expires.unwrap_or(i64::MAX));
        for (_, end) in &mut key.secrets {
            *end = match *end {
                None => Some(grace_end),
                Some(end) => Some(end.min(now)),
            };
        }
        key.secrets.push((Some(secret), None));
        key.edits += 1;
    }

    fn switch(&mut self, id: CredentialId, disabled: bool) {
        let command = if disabled {
            self.real.disable(id)
        } else {
            self.real.enable(id)
        };
        let accepted = self.real.when(Actor::Operator, command).result.is_ok();
        let now = self.now;
        let key = self.model.get_mut(&id).unwrap();
        assert_eq!(accepted, !key.ended(now));
        if accepted {
            key.edits += u32::from(key.disabled != disabled);
            key.disabled = disabled;
        }
    }

    fn revoke(&mut self, id: CredentialId) {
        let command = RevokeKey {
            reason: Some(String::from("leaked")),
            ..self.real.revoke(id)
        };
        self.real.when(Actor::Operator, command).accepted();
        let key = self.model.get_mut(&id).unwrap();
        key.edits += u32::from(!key.revoked);
        key.revoked = true;
    }

    fn act(&mut self, act: Act) {
        let key = match act {
            Act::Create { scope, days } => return self.create(scope, days),
            Act::Wait { seconds } => {
                self.now += i64::from(seconds);
                return self.real.later(i64::from(seconds));
            }
            Act::Rename { key, .. }
            | Act::Rescope { key, .. }
            | Act::Rotate { key, .. }
            | Act::Disable { key }
            | Act::Enable { key }
            | Act::Revoke { key } => self.pick(key),
        };
        let Some(id) = key else { return };
        match act {
            Act::Rename { name, .. } => self.edit(id, Some(format!("key {name}")), None),
            Act::Rescope { scope, .. } => self.edit(id, None, Some(scope)),
            Act::Rotate { grace, .. } => self.rotate(id, grace),
            Act::Disable { .. } => self.switch(id, true),
            Act::Enable { .. } => self.switch(id, false),
            Act::Revoke { .. } => self.revoke(id),
            Act::Create { .. } | Act::Wait { .. } => {}
        }
    }

    fn check(&self) {
        let now = self.real.now;
        for (id, expected) in &self.model {
            let key = self.real.credential(*id);
            assert_eq!(key.status(now), expected.status(self.now));
            assert_eq!(
                (key.name(), &key.grant().scopes),
                (&*expected.name, &expected.scopes)
            );
            assert_eq!(key.stamp().version, expected.edits);
            let ids: Vec<_> = key.secrets().map(|secret| Some(secret.id)).collect();
            let expected_ids = expected.secrets.iter().map(|(id, _)| *id);
            assert_eq!(ids, expected_ids.collect::<Vec<_>>());
            for (n, secret) in key.secrets().enumerate() {
                let actor = Actor::Bearer {
                    credential: *id,
                    secret: secret.id,
                };
                let accepted = self.real.state.authority(actor, now).is_ok();
                assert_eq!(accepted, expected.accepts(n, self.now), "{expected:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_naive_ledger_of_keys_agrees(acts in prop::collection::vec(act(), 1..60)) {
        let mut both = Both {
            real: Acme::new(),
            model: BTreeMap::new(),
            now: 0,
        };
        for act in acts {
            both.act(act);
            both.check();
        }
    }
}
