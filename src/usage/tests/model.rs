//! Random histories against a plain model: what was recorded, restarted and killed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{START, World, call, key};
use crate::domain::time::Timestamp;
use crate::usage::{
    BucketSize, CredentialCall, UsageSettings, UsageSummaryQuery, VerificationCode,
};

const HOUR_MS: i64 = 60 * 60 * 1_000;

#[derive(Clone, Debug)]
enum Step {
    Call {
        key: u8,
        endpoint: u8,
        minutes: u16,
        outcome: u8,
        reported: bool,
    },
    Settle,
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let call = (0..4_u8, 0..40_u8, 0..300_u16, any::<u8>(), any::<bool>());
    prop_oneof![
        20 => call.prop_map(|(key, endpoint, minutes, outcome, reported)| {
            Step::Call { key, endpoint, minutes, outcome, reported }
        }),
        3 => Just(Step::Settle),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// What the model knows of one key.
#[derive(Debug, Default)]
struct Known {
    endpoints: Vec<String>,
    counts: [u64; 3],
    last: [Option<Timestamp>; 2],
    hours: BTreeMap<i64, u64>,
}

fn outcome(byte: u8) -> VerificationCode {
    if byte < 128 {
        VerificationCode::Valid
    } else {
        VerificationCode::ALL[usize::from(byte % 10)]
    }
}

impl Known {
    fn add(&mut self, call: &CredentialCall<'_>) {
        self.endpoints.push(call.endpoint.to_owned());
        *self.hours.entry(call.at.0.div_euclid(HOUR_MS)).or_default() += 1;
        let (count, last) = match (call.reporter, call.outcome) {
            (Some(_), _) => (2, Some(1)),
            (None, VerificationCode::Valid) => (0, Some(0)),
            (None, _) => (1, None),
        };
        self.counts[count] += 1;
        if let Some(last) = last {
            self.last[last] = self.last[last].max(Some(call.at));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_read_is_what_was_recorded(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::with(|settings| UsageSettings { segment_bytes: 2_048, ..settings });
        let mut model: BTreeMap<u8, Known> = BTreeMap::new();
        for step in &steps {
            match step {
                Step::Call { key: number, endpoint, minutes, outcome: byte, reported } => {
                    let name = format!("/{endpoint}");
                    let call = CredentialCall {
                        at: START.plus_ms(i64::from(*minutes) * 60_000),
                        outcome: outcome(*byte),
                        reporter: reported.then(|| key(99)),
                        ..call(key(u128::from(*number)), &name)
                    };
                    world.record(&call);
                    model.entry(*number).or_default().add(&call);
                }
                Step::Settle => world.usage.wait_until_settled(),
                Step::Restart => world.restart(),
                Step::Kill => {
                    // What has been settled is written.
                    world.usage.wait_until_settled();
                    let killed = world.killed();
                    world = killed;
                }
            }
        }
        world.usage.wait_until_settled();
        for (number, known) in &model {
            let id = key(u128::from(*number));
            let seen = world.last(id, 1_000);
            prop_assert!(seen.iter().eq(known.endpoints.iter().rev()), "{seen:?} {known:?}");
            let usage = world.usage.usage_of(id);
            prop_assert_eq!([usage.accepted, usage.denied, usage.reported], known.counts);
            prop_assert_eq!([usage.last_used_at, usage.last_reported_at], known.last);
            let ask = UsageSummaryQuery {
                bucket: BucketSize::Hour,
                from: START.plus_ms(-HOUR_MS),
                to: START.plus_ms(10 * HOUR_MS),
            };
            let summary = world.usage.usage_summary(id, &ask).unwrap();
            let hours = summary.iter().map(|one| (one.start.0 / HOUR_MS, one.calls));
            let hours: Vec<_> = hours.collect();
            let expected: Vec<_> = known.hours.clone().into_iter().collect();
            prop_assert_eq!(hours, expected);
            for bucket in &summary {
                let endpoints: u64 = bucket.endpoints.iter().map(|(_, calls)| calls).sum();
                let addresses: u64 = bucket.addresses.iter().map(|(_, calls)| calls).sum();
                prop_assert_eq!((endpoints, addresses), (bucket.calls, bucket.calls));
            }
        }
    }
}
