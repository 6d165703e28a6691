//! The index against a plain model of it: lists that are searched from end to end, and rights as
//! the domain computes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use ulid::Ulid;

use super::{gateway, member, operator};
use crate::domain::access::{Authority, OwnerStanding};
use crate::domain::catalogue::{Catalogue, ScopeSet};
use crate::domain::ids::{CredentialId, OrganizationId, Owner, ServiceAccountId, UserId};
use crate::domain::record::{Grant, Member, Secret, ServiceAccount, Status, Unpacked};
use crate::domain::state::Changes;
use crate::domain::time::Timestamp;
use crate::views::fixtures::{credential, ended, grant, packed, secret, stamp, token};
use crate::views::index::{
    ShownCredential, VerificationCode, VerificationIndex, VerificationQuery,
};

const ROLES: [&str; 4] = ["viewer", "administrator", "owner", "no_such_role"];
const REQUIRED: [&str; 5] = [
    "issues:read",
    "issues:write",
    "keys:read",
    "admin:*",
    "no:such",
];

#[derive(Clone, Debug)]
enum Op {
    Create {
        owner: u128,
        grant: usize,
        lifetime: Option<i64>,
    },
    Rotate {
        key: usize,
        grace: i64,
    },
    Disable {
        key: usize,
        disabled: bool,
    },
    Regrant {
        key: usize,
        grant: usize,
    },
    Revoke {
        key: usize,
    },
    Member {
        id: u128,
        role: usize,
        removed: bool,
    },
    Account {
        id: u128,
        role: Option<usize>,
        disabled: bool,
    },
    Adopt {
        without: usize,
    },
    Wait {
        ms: i64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..20_usize;
    let lifetime = proptest::option::of(0..200_i64);
    prop_oneof![
        4 => (0..7_u128, 0..6_usize, lifetime)
            .prop_map(|(owner, grant, lifetime)| Op::Create { owner, grant, lifetime }),
        2 => (key.clone(), 0..100_i64).prop_map(|(key, grace)| Op::Rotate { key, grace }),
        1 => (key.clone(), any::<bool>())
            .prop_map(|(key, disabled)| Op::Disable { key, disabled }),
        1 => (key.clone(), 0..6_usize).prop_map(|(key, grant)| Op::Regrant { key, grant }),
        1 => key.prop_map(|key| Op::Revoke { key }),
        2 => (1..4_u128, 0..ROLES.len(), prop::bool::weighted(0.2))
            .prop_map(|(id, role, removed)| Op::Member { id, role, removed }),
        2 => (1..4_u128, proptest::option::of(0..ROLES.len()), prop::bool::weighted(0.2))
            .prop_map(|(id, role, disabled)| Op::Account { id, role, disabled }),
        1 => (0..4_usize).prop_map(|without| Op::Adopt { without }),
        2 => (0..60_i64).prop_map(|ms| Op::Wait { ms }),
    ]
}

fn some_grant(number: usize) -> Grant {
    let of = |role: Option<&str>, preset: Option<&str>| Grant {
        scopes: Vec::new(),
        role: role.map(str::to_owned),
        preset: preset.map(str::to_owned),
    };
    match number {
        0 => grant(&["issues:read", "issues:write"]),
        1 => grant(&["admin:*"]),
        2 => grant(&["*"]),
        3 => grant(&["platform:*", "issues:read"]),
        4 => of(Some("workspace_manager"), None),
        _ => of(None, Some("admin")),
    }
}

struct Model {
    now: Timestamp,
    catalogue: Arc<Catalogue>,
    credentials: Vec<Unpacked>,
    members: BTreeMap<u128, Member>,
    accounts: BTreeMap<u128, ServiceAccount>,
    secrets: u128,
}

impl Model {
    fn new() -> Self {
        Self {
            now: Timestamp(0),
            catalogue: Arc::new(Catalogue::embedded().unwrap()),
            credentials: Vec::new(),
            members: BTreeMap::new(),
            accounts: BTreeMap::new(),
            secrets: 0,
        }
    }

    fn next_secret(&mut self) -> Secret {
        self.secrets += 1;
        secret(self.secrets, self.now)
    }

    /// Changes the `key`-th credential that is live, as the domain would.
    fn edit(&mut self, key: usize, edit: impl FnOnce(&mut Unpacked, Timestamp)) -> Changes {
        let now = self.now;
        let record = self.credentials.get_mut(key);
        let live = record.filter(|record| {
            matches!(
                packed(record).status(now),
                Status::Active | Status::Disabled
            )
        });
        let Some(record) = live else {
            return Changes::default();
        };
        edit(record, now);
        record.stamp.updated_at = now;
        Changes {
            credentials: vec![packed(record)],
            ..Changes::default()
        }
    }

    fn run(&mut self, op: Op) -> Changes {
        match op {
            Op::Create {
                owner,
                grant,
                lifetime,
            } => {
                let secret = self.next_secret();
                let number = self.credentials.len() as u128 + 1;
                let record = Unpacked {
                    owner: match owner {
                        0 => Owner::Organization(OrganizationId(Ulid(1))),
                        1..=3 => Owner::User(UserId(Ulid(owner))),
                        _ => Owner::ServiceAccount(ServiceAccountId(Ulid(owner - 3))),
                    },
                    grant: Arc::new(some_grant(grant)),
                    expires_at: lifetime.map(|ms| self.now.plus_ms(ms)),
                    secrets: vec![secret],
                    stamp: stamp(1, self.now),
                    ..credential(1 + number % 2, number)
                };
                self.credentials.push(record.clone());
                Changes {
                    credentials: vec![packed(&record)],
                    ..Changes::default()
                }
            }
            Op::Rotate { key, grace } => {
                let new = self.next_secret();
                self.edit(key, |record, now| rotate(record, new, now, grace))
            }
            Op::Disable { key, disabled } => self.edit(key, |record, _| record.disabled = disabled),
            Op::Regrant { key, grant } => {
                self.edit(key, |record, _| record.grant = Arc::new(some_grant(grant)))
            }
            Op::Revoke { key } => self.edit(key, |record, now| record.ended = Some(ended(now))),
            Op::Member { id, role, removed } => self.put_member(id, role, removed),
            Op::Account { id, role, disabled } => self.put_account(id, role, disabled),
            Op::Adopt { without } => self.adopt(without),
            Op::Wait { ms } => {
                self.now = self.now.plus_ms(ms);
                Changes::default()
            }
        }
    }

    fn put_member(&mut self, id: u128, role: usize, removed: bool) -> Changes {
        let record = Member {
            removed,
            ..member(id, ROLES[role])
        };
        self.members.insert(id, record.clone());
        Changes {
            members: vec![Arc::new(record)],
            ..Changes::default()
        }
    }

    fn put_account(&mut self, id: u128, role: Option<usize>, disabled: bool) -> Changes {
        let record = ServiceAccount {
            id: ServiceAccountId(Ulid(id)),
            organization: OrganizationId(Ulid(1)),
            name: "robot".to_owned(),
            slug: "robot".to_owned(),
            description: None,
            role: role.map(|role| ROLES[role].to_owned()),
            scopes: None,
            disabled,
            deleted: false,
            stamp: stamp(1, self.now),
        };
        self.accounts.insert(id, record.clone());
        Changes {
            accounts: vec![Arc::new(record)],
            ..Changes::default()
        }
    }

    /// A catalogue in which all scopes have other bits, and whose viewers have lost one.
    fn adopt(&mut self, without: usize) -> Changes {
        let mut text = self.catalogue.text().clone();
        text.scopes.reverse();
        let viewer = text
            .roles
            .iter_mut()
            .find(|role| role.name == "viewer")
            .unwrap();
        if without < viewer.scopes.len() {
            viewer.scopes.remove(without);
        }
        self.catalogue = Arc::new(Catalogue::check(text).unwrap());
        Changes {
            catalogue: Some(Arc::clone(&self.catalogue)),
            ..Changes::default()
        }
    }

    fn standing(&self, owner: Owner) -> OwnerStanding<'_> {
        let unknown = OwnerStanding::Unknown;
        match owner {
            Owner::Organization(_) => OwnerStanding::Organization,
            Owner::User(id) => self
                .members
                .get(&id.ulid().0)
                .map_or(unknown, OwnerStanding::Member),
            Owner::ServiceAccount(id) => self
                .accounts
                .get(&id.ulid().0)
                .map_or(unknown, OwnerStanding::ServiceAccount),
        }
    }

    fn authority(&self, record: &Unpacked) -> Authority {
        let standing = self.standing(record.owner);
        Authority::of_credential(&packed(record), &standing, &self.catalogue)
    }

    fn code(
        &self,
        record: &Unpacked,
        secret: &Secret,
        ask: &VerificationQuery<'_>,
    ) -> VerificationCode {
        let asks_own = ask.authority.organization == Some(record.organization)
            && ask
                .organization
                .is_none_or(|named| named == record.organization);
        let holds = |scopes: ScopeSet, name: &String| self.catalogue.holds(scopes, name);
        if !asks_own && !ask.authority.platform {
            VerificationCode::NotFound
        } else if packed(record).status(self.now) == Status::Revoked {
            VerificationCode::Revoked
        } else if secret.ends_at.is_some_and(|at| at <= self.now) {
            VerificationCode::Rotated
        } else if packed(record).status(self.now) == Status::Expired {
            VerificationCode::Expired
        } else if packed(record).status(self.now) == Status::Disabled {
            VerificationCode::Disabled
        } else if !self.standing(record.owner).is_active() {
            VerificationCode::OwnerInactive
        } else if ask
            .organization
            .is_some_and(|named| named != record.organization)
        {
            VerificationCode::WrongOrganization
        } else {
            let scopes = self.authority(record).scopes;
            if ask.required_scopes.iter().all(|name| holds(scopes, name)) {
                VerificationCode::Valid
            } else {
                VerificationCode::InsufficientScope
            }
        }
    }

    /// Every secret there is, asked about by everybody.
    fn check(&self, index: &VerificationIndex) {
        let askers = [operator(), gateway(1), gateway(2)];
        let organizations = [None, Some(OrganizationId(Ulid(1)))];
        for record in &self.credentials {
            for (number, secret) in (0..).zip(&record.secrets) {
                let key = token(secret.id);
                for (asker, organization) in
                    askers.iter().flat_map(|a| organizations.map(|o| (a, o)))
                {
                    let required = REQUIRED[(record.id.0.0 as usize + number) % REQUIRED.len()];
                    let required = [required.to_owned()];
                    for required_scopes in [&[], required.as_slice()] {
                        let ask = VerificationQuery {
                            authority: asker,
                            key: &key,
                            required_scopes,
                            project: None,
                            any_project: false,
                            organization,
                        };
                        let verdict = index.verify(&ask, self.now);
                        assert_eq!(verdict.code, self.code(record, secret, &ask));
                        let twice = index.verify_many(&[ask, ask], self.now);
                        assert_eq!(twice, [verdict.clone(), verdict.clone()]);
                        if let Some(ShownCredential::Full { credential, .. }) = &verdict.key {
                            assert_eq!(credential.unpacked(), *record);
                            assert_eq!(verdict.valid_until, secret.valid_until(credential));
                        }
                    }
                }
                self.check_caller(index, record, secret);
            }
        }
    }

    /// Who authenticates has the very authority that commands are decided by.
    fn check_caller(&self, index: &VerificationIndex, record: &Unpacked, secret: &Secret) {
        let operator = operator();
        let key = token(secret.id);
        let ask = VerificationQuery {
            authority: &operator,
            key: &key,
            required_scopes: &[],
            project: None,
            any_project: false,
            organization: None,
        };
        match index.authenticate(&key, self.now) {
            Ok(caller) => {
                assert_eq!(self.code(record, secret, &ask), VerificationCode::Valid);
                assert_eq!(caller.authority, self.authority(record));
                let actor = crate::domain::command::Actor::Bearer {
                    credential: CredentialId(record.id.0),
                    secret: secret.id,
                };
                assert_eq!(caller.actor, actor);
            }
            Err(refused) => {
                assert_eq!(refused.code, self.code(record, secret, &ask));
                let found = refused.secret.map(|found| (found.credential, found.secret));
                assert_eq!(found, Some((record.id, secret.id)));
            }
        }
    }
}

fn rotate(record: &mut Unpacked, new: Secret, now: Timestamp, grace: i64) {
    let current = record.secrets.len() - 1;
    for (number, old) in record.secrets.iter_mut().enumerate() {
        let end = if number == current {
            now.plus_ms(grace)
        } else {
            now
        };
        old.ends_at = Some(old.ends_at.map_or(end, |at| at.min(end)));
    }
    record.secrets.push(new);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_equal_a_plain_model(ops in proptest::collection::vec(op(), 1..60)) {
        let index = VerificationIndex::new(Arc::default());
        let mut model = Model::new();
        index.apply(&Changes {
            catalogue: Some(Arc::clone(&model.catalogue)),
            ..Changes::default()
        });
        for op in ops {
            let changes = model.run(op);
            index.apply(&changes);
        }
        model.check(&index);
    }
}
