//! Classes and their names; what is asked for by `Retry-After`.

use crate::webhooks::attempt::*;

#[test]
fn every_class_has_one_name() {
    use AttemptFailure::{
        AddressRefused, Body, Connect, ConnectRefused, Dns, Protocol, Proxy, Redirect, Status,
        Timeout, Tls, UrlRefused,
    };
    for (failure, name) in [
        (Status, "status"),
        (Redirect, "redirect"),
        (Timeout, "timeout"),
        (Dns, "dns"),
        (AddressRefused, "address_refused"),
        (ConnectRefused, "connect_refused"),
        (Connect, "connect"),
        (Tls, "tls"),
        (Body, "body"),
        (Protocol, "protocol"),
        (UrlRefused, "url_refused"),
        (Proxy, "proxy"),
    ] {
        assert_eq!(failure.name(), name);
        let quoted = format!("\"{name}\"");
        assert_eq!(serde_json::to_string(&failure).unwrap(), quoted);
        assert_eq!(
            serde_json::from_str::<AttemptFailure>(&quoted).unwrap(),
            failure
        );
    }
}

#[test]
fn a_receiver_asks_for_time_in_seconds_or_by_a_date() {
    let now_ms = 784_111_777_000;
    for (value, expected) in [
        ("0", Some(0)),
        ("120", Some(120_000)),
        (" 7 ", Some(7_000)),
        ("99999999999999999999999", Some(i64::MAX)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60_000)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
    ] {
        assert_eq!(parse_retry_after_ms(value, now_ms), expected, "{value}");
    }
}

#[test]
fn an_answer_says_whether_to_slow_down_or_to_stop() {
    for (status, failure, gone, overloaded, slow) in [
        (Some(200), None, false, false, false),
        (Some(410), Some(AttemptFailure::Status), true, false, false),
        (Some(404), Some(AttemptFailure::Status), false, false, false),
        (Some(429), Some(AttemptFailure::Status), false, true, true),
        (Some(500), Some(AttemptFailure::Status), false, false, false),
        (Some(502), Some(AttemptFailure::Status), false, true, true),
        (Some(503), Some(AttemptFailure::Status), false, true, true),
        (Some(504), Some(AttemptFailure::Status), false, true, true),
        (None, Some(AttemptFailure::Timeout), false, false, true),
        (None, Some(AttemptFailure::Dns), false, false, false),
    ] {
        let attempt = HttpAttempt {
            status,
            failure,
            ..HttpAttempt::default()
        };
        let said = (
            attempt.is_gone(),
            attempt.is_overloaded(),
            attempt.is_overloaded_or_timed_out(),
        );
        assert_eq!(said, (gone, overloaded, slow), "{status:?} {failure:?}");
    }
}

#[test]
fn what_is_kept_of_an_answer_has_no_secret_nor_the_beginning_of_one() {
    let token = format!("rfk_01KQ01SD60AADFP7C33DS9A67N_{}", "0f".repeat(36));
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let link = "ab".repeat(32);
    let filled = |end: &str| format!("{:>1$}", format!("x {end}"), RESPONSE_BYTES_MAX);
    let whole = |cut: usize| format!("{:>1$}", "x ", RESPONSE_BYTES_MAX - cut);
    let cut = "[secret] ".repeat(585);
    for (response, kept) in [
        (b"ok".to_vec(), "ok"),
        (
            format!("{token} {secret},{link}").into_bytes(),
            "[secret] [secret],[secret]",
        ),
        (b"a\xffb".to_vec(), "a\u{fffd}b"),
        // A cut goes through the secret, or through what it begins with.
        (filled(&token[..60]).into_bytes(), &whole(60)),
        (filled("whs").into_bytes(), &whole(3)),
        (
            "x".repeat(RESPONSE_BYTES_MAX).into_bytes(),
            &"x".repeat(RESPONSE_BYTES_MAX),
        ),
        // What stands for secrets and for bytes that are no text may be longer than they are.
        (
            "whsec_ ".repeat(585).into_bytes(),
            &cut[..RESPONSE_BYTES_MAX],
        ),
        (vec![0xff; RESPONSE_BYTES_MAX], &"\u{fffd}".repeat(1_365)),
    ] {
        let attempt = HttpAttempt {
            response,
            ..HttpAttempt::default()
        };
        let found = String::from_utf8(attempt.without_secrets().response).unwrap();
        assert!(found.len() <= RESPONSE_BYTES_MAX);
        assert_eq!(found, kept);
    }
}
