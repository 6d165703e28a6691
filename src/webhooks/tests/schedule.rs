//! The schedule's arithmetic.

use crate::webhooks::retry_schedule::*;

const S: i64 = 1_000;
const MIN: i64 = 60 * S;
const H: i64 = 60 * MIN;

#[test]
fn ten_attempts_each_spread_by_a_fifth() {
    assert_eq!(retry_delay_ms(0, 0, None, false), Some(0));
    assert_eq!(retry_delay_ms(0, 7, Some(H), true), Some(0));
    let steps = [
        (1, 4 * S, 5 * S, 6 * S),
        (2, 4 * MIN, 5 * MIN, 6 * MIN),
        (3, 24 * MIN, 30 * MIN, 36 * MIN),
        (4, 96 * MIN, 2 * H, 144 * MIN),
        (5, 4 * H, 5 * H, 6 * H),
        (6, 8 * H, 10 * H, 12 * H),
        (7, 672 * MIN, 14 * H, 1_008 * MIN),
        (8, 16 * H, 20 * H, 24 * H),
        (9, 1_152 * MIN, 24 * H, 1_728 * MIN),
    ];
    for (made, least, middle, most) in steps {
        for (jitter, expected) in [(0, least), (1 << 31, middle), (u32::MAX, most)] {
            let delay = retry_delay_ms(made, jitter, None, false);
            assert_eq!(delay, Some(expected), "{made} {jitter}");
        }
    }
    for made in [10, 11, u8::MAX] {
        assert_eq!(retry_delay_ms(made, 0, Some(H), true), None, "{made}");
    }
    assert_eq!(
        RETRY_DELAYS_MS.iter().sum::<i64>(),
        75 * H + 35 * MIN + 5 * S
    );
}

#[test]
fn what_the_receiver_asks_for_counts_from_once_to_twice_the_step() {
    // Attempts made, what is asked for, whether it was slow; the least and the longest wait.
    let cases = [
        (1, Some(0), false, 5 * S, 6 * S),
        (1, Some(-7), false, 5 * S, 6 * S),
        (1, Some(5_500), false, 5_500, 6 * S),
        (1, Some(8 * S), false, 8 * S, 8 * S),
        (1, Some(10 * S), false, 10 * S, 10 * S),
        (1, Some(i64::MAX), false, 10 * S, 10 * S),
        (9, Some(i64::MAX), false, 48 * H, 48 * H),
        (2, Some(1), false, 5 * MIN, 6 * MIN),
        // A minute at least, which then is the step.
        (1, None, true, 60 * S, 72 * S),
        (1, Some(90 * S), true, 90 * S, 90 * S),
        (1, Some(H), true, 120 * S, 120 * S),
        (2, None, true, 4 * MIN, 6 * MIN),
        (2, Some(H), true, 10 * MIN, 10 * MIN),
    ];
    for (made, asked, slow, least, most) in cases {
        let case = format!("{made} {asked:?} {slow}");
        assert_eq!(retry_delay_ms(made, 0, asked, slow), Some(least), "{case}");
        assert_eq!(
            retry_delay_ms(made, u32::MAX, asked, slow),
            Some(most),
            "{case}"
        );
    }
}

#[test]
fn the_owner_is_told_at_half_at_seven_tenths_and_at_nine_tenths() {
    assert_eq!(DISABLE_FAILING_AFTER_MS, 5 * 24 * H);
    for (failing_for, expected) in [
        (i64::MIN, None),
        (0, None),
        (60 * H - 1, None),
        (60 * H, Some(50)),
        (84 * H - 1, Some(50)),
        (84 * H, Some(70)),
        (108 * H - 1, Some(70)),
        (108 * H, Some(90)),
        (DISABLE_FAILING_AFTER_MS, Some(90)),
        (i64::MAX, Some(90)),
    ] {
        assert_eq!(
            failing_notice_percent(failing_for),
            expected,
            "{failing_for}"
        );
    }
}

#[test]
fn an_overloaded_endpoint_is_spared_twice_as_long_each_time() {
    for (overloads, expected) in [
        (0, 0),
        (1, S),
        (2, 2 * S),
        (3, 4 * S),
        (9, 256 * S),
        (10, 5 * MIN),
        (11, 5 * MIN),
        (u32::MAX, 5 * MIN),
    ] {
        assert_eq!(attempt_gap_ms(overloads), expected, "{overloads}");
    }
}
