//! Verification after any history: no credential is ever accepted for more than the rules leave
//! it, nor after its end, its owner's end, its account's deletion, or its secret's grace.

use proptest::prelude::*;

use super::{operator, plain};
use crate::domain::tests::chronicle::{Chronicle, Held, steps};
use crate::domain::time::Timestamp;
use crate::views::index::{VerificationCode, VerificationIndex, VerificationQuery};

/// Holds the index's verdicts on one token against what it is worth.
fn check(index: &VerificationIndex, held: &Held, scopes: &[String], now: Timestamp) {
    let authority = operator();
    let ask = VerificationQuery {
        any_project: true,
        ..plain(&authority, &held.token)
    };
    let bare = index.verify(&ask, now);
    let accepted = held.scopes.is_some();
    assert_eq!(bare.code == VerificationCode::Valid, accepted, "{bare:?}");
    for scope in scopes {
        let required_scopes = [scope.clone()];
        let ask = VerificationQuery {
            required_scopes: &required_scopes,
            ..ask
        };
        let code = index.verify(&ask, now).code;
        let within = held.scopes.iter().flatten().any(|held| held == scope);
        let expected = match (accepted, within) {
            (true, true) => VerificationCode::Valid,
            (true, false) => VerificationCode::InsufficientScope,
            (false, _) => bare.code,
        };
        assert_eq!(code, expected, "{scope} of {bare:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_token_verifies_with_more_than_it_has_nor_after_its_end(steps in steps()) {
        let (mut chronicle, all) = Chronicle::begin();
        let index = VerificationIndex::new(std::sync::Arc::default());
        index.apply(&all);
        let mut step = 0;
        chronicle.happen(&steps, |chronicle, changes| {
            index.apply(changes);
            step += 1;
            // Every few steps and at the end.
            if step % 8 != 0 && step != steps.len() {
                return;
            }
            // What ends by time alone is looked at without any event, too.
            for now in [chronicle.now(), chronicle.now().plus_ms(86_400_000)] {
                let asked = chronicle.tokens_at(now);
                let every = chronicle.scopes();
                let scopes = if now == chronicle.now() { &every[..] } else { &[] };
                for held in &asked {
                    check(&index, held, scopes, now);
                }
            }
        });
    }
}
