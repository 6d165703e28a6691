//! Verification after another catalogue has come into force.

use super::*;

use crate::domain::catalogue::CatalogueText;

fn adopt(index: &VerificationIndex, change: impl FnOnce(&mut CatalogueText)) {
    let mut text = Catalogue::embedded().unwrap().text().clone();
    change(&mut text);
    index.apply(&Changes {
        catalogue: Some(Arc::new(Catalogue::check(text).unwrap())),
        ..Changes::default()
    });
}

fn asked(index: &VerificationIndex, record: &Unpacked, scope: &str) -> VerificationCode {
    let authority = operator();
    let key = token(record.secrets[0].id);
    let required_scopes = [scope.to_owned()];
    let ask = VerificationQuery {
        required_scopes: &required_scopes,
        ..plain(&authority, &key)
    };
    index.verify(&ask, NOW).code
}

/// The scopes that a verification shows of what does not list them itself.
fn named(index: &VerificationIndex, record: &Unpacked) -> Vec<String> {
    match verify_as_operator(index, &token(record.secrets[0].id)).key {
        Some(ShownCredential::Full {
            named: Some(named), ..
        }) => named.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_grant_and_every_ceiling_is_priced_anew() {
    let index = index();
    put_member(&index, member(7, "engineer"));
    let listed = credential(1, 1);
    let mut by_role = credential(1, 2);
    by_role.grant = Arc::new(Grant {
        role: Some("engineer".to_owned()),
        ..Grant::default()
    });
    let mut personal = credential(1, 3);
    personal.owner = Owner::User(UserId(Ulid(7)));
    let mut everything = personal.clone();
    everything.secrets = vec![secret(4, Timestamp(0))];
    everything.grant = Arc::new(Grant {
        role: Some("engineer".to_owned()),
        ..grant(&["*"])
    });
    let all = [&listed, &by_role, &personal, &everything];
    for record in all {
        put(&index, record);
    }
    let check = |expected: [bool; 4]| {
        let codes = all.map(|record| asked(&index, record, "issues:read"));
        assert_eq!(codes.map(|code| code == VerificationCode::Valid), expected);
    };
    check([true; 4]);
    // The role no longer names the scope.
    adopt(&index, |text| {
        for role in &mut text.roles {
            role.scopes.retain(|scope| scope != "issues:read");
        }
    });
    check([true, false, false, false]);
    assert!(!named(&index, &by_role).contains(&"issues:read".to_owned()));
    // Kept for old tokens: those that list it, under the ceilings of those roles that name it.
    adopt(&index, |text| text.scopes[0].keep = true);
    check([true, false, true, false]);
    assert!(!named(&index, &by_role).contains(&"issues:read".to_owned()));
    // A kept role gives what it gave.
    adopt(&index, |text| {
        text.scopes[0].keep = true;
        text.roles
            .iter_mut()
            .for_each(|role| role.keep = !role.owner);
    });
    check([true; 4]);
    assert!(named(&index, &by_role).contains(&"issues:read".to_owned()));
    adopt(&index, |_| {});
    check([true; 4]);
}
