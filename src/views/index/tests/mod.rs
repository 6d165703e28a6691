//! Verifications: the table of codes, what callers are shown, and what holds while the writer
//! works.

mod adoption;
mod histories;
mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ulid::Ulid;

use crate::domain::access::Authority;
use crate::domain::catalogue::Catalogue;
use crate::domain::ids::{EventId, OrganizationId, Owner, ProjectId, SecretId, UserId};
use crate::domain::personal::Personal;
use crate::domain::record::{Grant, Member, Project, Unpacked};
use crate::domain::secret::{SecretHash, TOKEN_BYTES_MAX};
use crate::domain::state::Changes;
use crate::domain::time::Timestamp;
use crate::views::fixtures::{
    credential, ended, grant, packed, secret, stamp, token, verify_as_operator,
};
use crate::views::index::{
    ShownCredential, VerificationCode, VerificationIndex, VerificationQuery, VerificationResult,
};

const NOW: Timestamp = Timestamp(100);

fn index() -> VerificationIndex {
    let index = VerificationIndex::new(Arc::default());
    index.apply(&Changes {
        catalogue: Some(Arc::new(Catalogue::embedded().unwrap())),
        ..Changes::default()
    });
    index
}

fn put(index: &VerificationIndex, record: &Unpacked) {
    index.apply(&Changes {
        credentials: vec![packed(record)],
        ..Changes::default()
    });
}

fn member(id: u128, role: &str) -> Member {
    Member {
        id: UserId(Ulid(id)),
        organization: OrganizationId(Ulid(1)),
        email: Personal::new("someone@example.com".to_owned()),
        name: None,
        role: role.to_owned(),
        removed: false,
        erased_at: None,
        sealed_by: EventId(Ulid(1)),
        stamp: stamp(1, Timestamp(0)),
    }
}

fn put_member(index: &VerificationIndex, member: Member) {
    index.apply(&Changes {
        members: vec![Arc::new(member)],
        ..Changes::default()
    });
}

fn operator() -> Authority {
    Authority::operator(&Catalogue::embedded().unwrap())
}

/// A caller of organization `of` who may verify.
fn gateway(of: u128) -> Authority {
    Authority {
        organization: Some(OrganizationId(Ulid(of))),
        platform: false,
        ..operator()
    }
}

fn plain<'a>(authority: &'a Authority, key: &'a str) -> VerificationQuery<'a> {
    VerificationQuery {
        authority,
        key,
        required_scopes: &[],
        project: None,
        any_project: false,
        organization: None,
    }
}

/// A case has the fault of its own code and of every code after it; the first one is the answer.
#[test]
fn the_first_code_that_applies_is_the_answer() {
    let (operator, stranger) = (operator(), gateway(2));
    let nonsense = ["no:such".to_owned()];
    for code in VerificationCode::ALL {
        let index = index();
        let has = |fault: VerificationCode| code <= fault;
        let mut owner = member(7, "owner");
        owner.removed = has(VerificationCode::OwnerInactive);
        put_member(&index, owner);
        let mut record = credential(1, 1);
        record.owner = Owner::User(UserId(Ulid(7)));
        record.project = Some(ProjectId(Ulid(3)));
        record.disabled = has(VerificationCode::Disabled);
        record.expires_at = Some(Timestamp(if has(VerificationCode::Expired) {
            100
        } else {
            101
        }));
        record.secrets[0].ends_at = has(VerificationCode::Rotated).then_some(NOW);
        record.ended = has(VerificationCode::Revoked).then(|| ended(NOW));
        put(&index, &record);

        let mut key = token(record.secrets[0].id);
        if code == VerificationCode::Malformed {
            // Another last digit of the checksum.
            let last = key.pop();
            key.push(if last == Some('0') { '1' } else { '0' });
        }
        let ask = VerificationQuery {
            authority: if has(VerificationCode::NotFound) {
                &stranger
            } else {
                &operator
            },
            key: &key,
            required_scopes: if has(VerificationCode::InsufficientScope) {
                &nonsense
            } else {
                &[]
            },
            project: Some(ProjectId(Ulid(if has(VerificationCode::WrongProject) {
                4
            } else {
                3
            }))),
            any_project: false,
            organization: has(VerificationCode::WrongOrganization)
                .then_some(OrganizationId(Ulid(9))),
        };
        let verdict = index.verify(&ask, NOW);
        assert_eq!(verdict.code, code, "{}", code.wire_name());
        check_shown(&verdict, &record);
    }
}

/// Nothing of what is not there, little of what has ended, all of the rest.
fn check_shown(verdict: &VerificationResult, record: &Unpacked) {
    match (verdict.code, &verdict.key) {
        (VerificationCode::Malformed | VerificationCode::NotFound, None) => {}
        (
            VerificationCode::Revoked | VerificationCode::Rotated | VerificationCode::Expired,
            Some(ShownCredential::Ended {
                id,
                kind,
                organization,
                owner,
                secret,
            }),
        ) => {
            let shown = (*id, *kind, *organization, *owner);
            let expected = (record.id, record.kind, record.organization, record.owner);
            assert_eq!(shown, expected);
            assert_eq!(*secret, record.secrets[0].id);
            assert_eq!(verdict.valid_until, None);
        }
        (_, Some(ShownCredential::Full { credential, .. }))
            if verdict.code > VerificationCode::Expired =>
        {
            assert_eq!(credential.unpacked(), *record);
            assert_eq!(verdict.valid_until, record.expires_at);
        }
        (code, shown) => panic!("{} shows {shown:?}", code.wire_name()),
    }
}

#[test]
fn codes_have_names_and_statuses() {
    let names =
        VerificationCode::ALL.map(|code| format!("{} {}", code.wire_name(), code.http_status()));
    assert_eq!(
        names.join(", "),
        "malformed 401, not_found 401, revoked 401, rotated 401, expired 401, disabled 401, \
         owner_inactive 401, wrong_organization 403, wrong_project 403, insufficient_scope 403, \
         valid 200"
    );
}

#[test]
fn other_tenants_keys_do_not_exist() {
    let index = index();
    let record = credential(1, 1);
    put(&index, &record);
    let mut imported = credential(1, 2);
    imported.secrets[0].hash = SecretHash::of("ghp_foreign");
    put(&index, &imported);
    let key = token(record.secrets[0].id);
    let unknown = token(SecretId(Ulid(99)));
    let too_long = "x".repeat(TOKEN_BYTES_MAX + 1);
    let (own, stranger, operator) = (gateway(1), gateway(2), operator());
    let named = |of| Some(OrganizationId(Ulid(of)));
    for (authority, key, organization, expected) in [
        (&own, key.as_str(), None, VerificationCode::Valid),
        (&own, &key, named(1), VerificationCode::Valid),
        (&own, &key, named(2), VerificationCode::NotFound),
        (&stranger, &key, None, VerificationCode::NotFound),
        (&stranger, &key, named(1), VerificationCode::NotFound),
        (&operator, &key, None, VerificationCode::Valid),
        (&operator, &key, named(1), VerificationCode::Valid),
        (
            &operator,
            &key,
            named(2),
            VerificationCode::WrongOrganization,
        ),
        (&operator, &unknown, None, VerificationCode::NotFound),
        // A foreign form that the caller may not see looks like one that does not exist.
        (&own, "ghp_foreign", None, VerificationCode::Valid),
        (&stranger, "ghp_foreign", None, VerificationCode::Malformed),
        (&own, "ghp_unknown", None, VerificationCode::Malformed),
        (&own, "", None, VerificationCode::Malformed),
        (&own, &too_long, None, VerificationCode::Malformed),
    ] {
        let ask = VerificationQuery {
            organization,
            ..plain(authority, key)
        };
        assert_eq!(
            index.verify(&ask, NOW).code,
            expected,
            "{key} {organization:?}"
        );
    }
}

#[test]
fn a_bound_key_is_for_its_project_and_an_unbound_one_for_those_of_its_organization() {
    let index = index();
    let project = |of, id| {
        Arc::new(Project {
            id: ProjectId(Ulid(id)),
            organization: OrganizationId(Ulid(of)),
            name: "p".to_owned(),
            archived: false,
            stamp: stamp(1, Timestamp(0)),
        })
    };
    index.apply(&Changes {
        projects: vec![project(1, 3), project(1, 4), project(2, 5)],
        ..Changes::default()
    });
    let unbound = credential(1, 1);
    let mut bound = credential(1, 2);
    bound.project = Some(ProjectId(Ulid(3)));
    put(&index, &unbound);
    put(&index, &bound);
    let operator = operator();
    for (record, project, any_project, expected) in [
        (&unbound, None, false, VerificationCode::Valid),
        (&unbound, Some(3), false, VerificationCode::Valid),
        (&unbound, Some(5), false, VerificationCode::WrongProject),
        (&unbound, Some(9), true, VerificationCode::WrongProject),
        (&bound, None, false, VerificationCode::WrongProject),
        (&bound, None, true, VerificationCode::Valid),
        (&bound, Some(3), false, VerificationCode::Valid),
        (&bound, Some(4), false, VerificationCode::WrongProject),
        (&bound, Some(4), true, VerificationCode::WrongProject),
    ] {
        let key = token(record.secrets[0].id);
        let ask = VerificationQuery {
            project: project.map(|id| ProjectId(Ulid(id))),
            any_project,
            ..plain(&operator, &key)
        };
        let code = index.verify(&ask, NOW).code;
        assert_eq!(code, expected, "{project:?} {any_project}");
    }
}

#[test]
fn scopes_are_shown_as_granted_and_asked_for_as_they_stand() {
    let index = index();
    put_member(&index, member(7, "viewer"));
    let operator = operator();
    let with_role = Grant {
        role: Some("viewer".to_owned()),
        ..Grant::default()
    };
    let with_preset = Grant {
        preset: Some("read-only".to_owned()),
        ..Grant::default()
    };
    // `*` is stored with the role at issuance.
    let everything = Grant {
        role: Some("viewer".to_owned()),
        ..grant(&["*"])
    };
    let user = Owner::User(UserId(Ulid(7)));
    let all = Owner::Organization(OrganizationId(Ulid(1)));
    for (id, (owner, grant, shown, required, expected)) in (1..).zip([
        (
            all,
            grant(&["admin:*"]),
            Some("admin:*"),
            "cases:read",
            true,
        ),
        (all, grant(&["admin:*"]), None, "admin:*", true),
        (all, grant(&["admin:*"]), None, "platform:*", false),
        (all, grant(&["admin:*"]), None, "no:such", false),
        (all, grant(&["platform:*"]), None, "cases:read", false),
        (all, with_role, None, "issues:read", true),
        (
            all,
            with_preset,
            Some("projects:status projects:read"),
            "projects:write",
            false,
        ),
        (user, everything.clone(), None, "issues:read", true),
        (user, everything, None, "issues:write", false),
        (
            user,
            grant(&["issues:write"]),
            Some("issues:write"),
            "issues:write",
            false,
        ),
    ]) {
        let mut record = credential(1, id);
        (record.owner, record.grant) = (owner, Arc::new(grant));
        put(&index, &record);
        let (key, required) = (token(record.secrets[0].id), [required.to_owned()]);
        let ask = VerificationQuery {
            required_scopes: &required,
            ..plain(&operator, &key)
        };
        let verdict = index.verify(&ask, NOW);
        assert_eq!(
            verdict.code == VerificationCode::Valid,
            expected,
            "case {id}"
        );
        let scopes = verdict.key.unwrap().granted_scopes().join(" ");
        assert!(!scopes.is_empty());
        assert!(shown.is_none_or(|shown| shown == scopes), "{scopes}");
    }
}

#[test]
fn a_rotated_secret_lives_through_its_grace_and_is_revoked_with_its_credential() {
    let index = index();
    let mut record = credential(1, 1);
    record.secrets.push(secret(2, Timestamp(50)));
    record.secrets[0].ends_at = Some(Timestamp(150));
    record.stamp = stamp(2, Timestamp(50));
    record.expires_at = Some(Timestamp(1_000));
    put(&index, &record);
    let old = token(record.secrets[0].id);
    let new = token(record.secrets[1].id);
    let operator = operator();
    let at = |key: &str, now| {
        let verdict = index.verify(&plain(&operator, key), Timestamp(now));
        (verdict.code, verdict.valid_until.map(|at| at.0))
    };
    assert_eq!(at(&old, 149), (VerificationCode::Valid, Some(150)));
    assert_eq!(at(&old, 150), (VerificationCode::Rotated, None));
    assert_eq!(at(&new, 150), (VerificationCode::Valid, Some(1_000)));
    assert_eq!(at(&new, 1_000), (VerificationCode::Expired, None));
    // The next event after the grace changes no answer, nor does a clock read just before it.
    record.stamp = stamp(3, Timestamp(200));
    record.disabled = true;
    put(&index, &record);
    assert_eq!(at(&old, 200), (VerificationCode::Rotated, None));
    assert_eq!(at(&old, 149), (VerificationCode::Rotated, None));
    assert_eq!(at(&new, 200).0, VerificationCode::Disabled);
    assert_eq!(
        index
            .authenticate(&new, Timestamp(200))
            .map_err(|refused| refused.code)
            .err(),
        Some(VerificationCode::Disabled)
    );
    record.ended = Some(ended(Timestamp(300)));
    record.stamp = stamp(4, Timestamp(300));
    put(&index, &record);
    assert_eq!(at(&old, 300), (VerificationCode::Revoked, None));
    assert_eq!(at(&new, 300), (VerificationCode::Revoked, None));
    assert_eq!(index.secret_count(), 2);
}

/// Two threads verify while keys are made, so that the maps grow under them, and revoked.
#[test]
fn what_is_revoked_is_never_accepted_again() {
    const KEYS: u64 = 20_000;
    let index = index();
    let (made, revoked) = (AtomicU64::new(0), AtomicU64::new(0));
    let tokens: Vec<String> = (1..=KEYS)
        .map(|id| token(SecretId(Ulid(u128::from(id)))))
        .collect();
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut checked = 0_u64;
                while revoked.load(Ordering::Acquire) < KEYS {
                    let dead = revoked.load(Ordering::Acquire);
                    let alive = made.load(Ordering::Acquire);
                    checked += 1;
                    if dead > 0 {
                        let key = &tokens[usize::try_from(checked % dead).unwrap()];
                        assert_eq!(
                            verify_as_operator(&index, key).code,
                            VerificationCode::Revoked
                        );
                    }
                    if alive > 0 {
                        let key = &tokens[usize::try_from(alive - 1).unwrap()];
                        let code = verify_as_operator(&index, key).code;
                        assert!(
                            matches!(code, VerificationCode::Valid | VerificationCode::Revoked),
                            "{code:?}"
                        );
                    }
                }
            });
        }
        for id in 1..=KEYS {
            let mut record = credential(1, u128::from(id));
            put(&index, &record);
            made.store(id, Ordering::Release);
            record.ended = Some(ended(NOW));
            put(&index, &record);
            revoked.store(id, Ordering::Release);
        }
    });
    assert_eq!(index.secret_count(), tokens.len());
}
