//! The form of a record: what is written is read, and garbage is refused.

use std::net::IpAddr;

use ulid::Ulid;

use crate::domain::ids::{CredentialId, OrganizationId, SecretId};
use crate::domain::time::Timestamp;
use crate::usage::call_record::{
    RECORD_BYTES_MAX, parse_record, put_call, record_length, set_previous_record,
};
use crate::usage::call_texts::ENDPOINT_BYTES_MAX;
use crate::usage::outcome_byte::{outcome_byte, outcome_from_byte};
use crate::usage::{CredentialCall, StoredCall, VerificationCode};

fn record_call<'a>(endpoint: &'a str, scopes: &'a [&'a str]) -> CredentialCall<'a> {
    CredentialCall {
        organization: OrganizationId(Ulid(6)),
        person: None,
        credential: CredentialId(Ulid(7)),
        secret: Some(SecretId(Ulid(8))),
        at: Timestamp(1_777_044_600_000),
        outcome: VerificationCode::Valid,
        status: 200,
        duration_us: 142_700,
        endpoint,
        method: "POST",
        request_id: Some("req-1"),
        ip: Some(IpAddr::from([203, 0, 113, 10])),
        user_agent: Some("curl/8.4"),
        reporter: None,
        scopes,
    }
}

#[test]
fn every_outcome_has_its_byte() {
    for (byte, outcome) in (0_u8..).zip(VerificationCode::ALL) {
        assert_eq!(outcome_byte(outcome), byte);
        assert_eq!(outcome_from_byte(byte), Some(outcome));
    }
    assert_eq!(outcome_from_byte(11), None);
}

#[test]
fn what_is_written_is_read() {
    let scopes = ["cases:read", "cases:write"];
    let whole = record_call("/api/v1/analysis/validate", &scopes);
    let bare = CredentialCall {
        secret: None,
        request_id: None,
        ip: None,
        user_agent: None,
        reporter: Some(CredentialId(Ulid(9))),
        scopes: &[],
        ..whole.clone()
    };
    let six = CredentialCall {
        ip: Some("2001:db8::1".parse().unwrap()),
        ..whole.clone()
    };
    for call in [whole, bare, six] {
        let mut bytes = vec![1, 2, 3];
        put_call(&mut bytes, &call);
        let record = &mut bytes[3..];
        assert_eq!(record_length(record), Some(record.len()));
        set_previous_record(record, 77);
        let read = parse_record(record).unwrap();
        let detail = read.detail.unwrap();
        assert_eq!(detail.previous_address, 77);
        assert!(detail.scopes().eq(call.scopes.iter().copied()));
        let shown = read.to_stored_call(Ulid(5)).unwrap();
        let expected = StoredCall {
            id: shown.id.clone(),
            credential: call.credential,
            secret: call.secret,
            at: call.at,
            outcome: call.outcome,
            status: call.status,
            duration_us: call.duration_us,
            endpoint: call.endpoint.to_owned(),
            method: call.method.to_owned(),
            request_id: call.request_id.map(str::to_owned),
            ip: call.ip,
            user_agent: call.user_agent.map(str::to_owned),
            reporter: call.reporter,
        };
        assert_eq!(shown, expected);
        assert_ne!(read.to_stored_call(Ulid(6)).unwrap().id, shown.id);
    }
}

#[test]
fn a_text_is_cut_at_a_character() {
    let long = "\u{e9}".repeat(2_000);
    let mut bytes = Vec::new();
    put_call(&mut bytes, &record_call(&long, &[]));
    let read = parse_record(&bytes).unwrap();
    assert_eq!(
        read.detail.unwrap().plain_texts().unwrap().endpoint,
        "\u{e9}".repeat(ENDPOINT_BYTES_MAX / 2)
    );
    let scope = "s".repeat(250);
    let scopes = vec![scope.as_str(); 60];
    let agent = "a".repeat(9_999);
    let call = CredentialCall {
        method: &agent,
        request_id: Some(&agent),
        user_agent: Some(&agent),
        reporter: Some(CredentialId(Ulid(1))),
        ip: Some(IpAddr::from([1; 16])),
        ..record_call(&long, &scopes)
    };
    bytes.clear();
    put_call(&mut bytes, &call);
    assert!(bytes.len() <= RECORD_BYTES_MAX && RECORD_BYTES_MAX < usize::from(u16::MAX));
    assert_eq!(record_length(&bytes), Some(bytes.len()));
}

#[test]
fn garbage_is_no_record() {
    let mut bytes = Vec::new();
    put_call(&mut bytes, &record_call("/a", &[]));
    for end in 0..bytes.len() {
        assert_eq!(record_length(&bytes[..end]), None);
        if end < bytes.len() - 1 {
            assert!(parse_record(&bytes[..end]).is_none(), "{end}");
        }
    }
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0xff;
        // Whatever it reads, it does not panic.
        drop(parse_record(&other).map(|read| read.to_stored_call(Ulid(1))));
    }
}
