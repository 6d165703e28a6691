//! The codes of problems, for those who read: status, code, when.
//!
//! Codes are stable. A test holds every answer that it sees against this table.

use crate::domain::rejection::REASONS;
use crate::web::problem::status_of;

/// Every code that a route answers with, by status.
pub(crate) fn all_codes() -> Vec<(u16, &'static str, &'static str)> {
    let reasons = REASONS.iter();
    let reasons = reasons.map(|(class, code, when)| (status_of(*class).as_u16(), *code, *when));
    let mut codes: Vec<_> = reasons.chain(WEB_CODES.iter().copied()).collect();
    codes.sort_unstable();
    codes
}

/// The codes of what is refused before the domain decides, or although it has.
const WEB_CODES: &[(u16, &str, &str)] = &[
    (400, "body_unreadable", "the body ended too early"),
    (
        400,
        "credentials_twice",
        "`Authorization` and a session's cookie at once, or two credentials for a gateway",
    ),
    (
        400,
        "cursor_invalid",
        "the cursor is not one that this list has given out",
    ),
    (
        400,
        "form_invalid",
        "a field of a form is missing, or given more than once",
    ),
    (
        400,
        "header_invalid",
        "a header is not plain text, or not what it should be",
    ),
    (
        400,
        "header_twice",
        "a header that may be given once is given more than once",
    ),
    (
        400,
        "idempotency_key_invalid",
        "`Idempotency-Key` is empty or longer than 255",
    ),
    (400, "if_match_invalid", "`If-Match` is not one entity tag"),
    (400, "not_json", "the body is not JSON, or not UTF-8"),
    (
        400,
        "position_invalid",
        "`Ledger-Min-Position` or `Last-Event-ID` is not a number",
    ),
    (
        400,
        "query_invalid",
        "a parameter of the query is unknown or out of range",
    ),
    (
        400,
        "request_malformed",
        "HTTP/1.1 without one valid `Host`, or both `Content-Length` and `Transfer-Encoding`",
    ),
    (
        401,
        "credential_missing",
        "the request has no credential, or one in another form than Bearer or Basic",
    ),
    (
        401,
        "gateway_not_accepted",
        "forward-auth: the request does not come from a known gateway",
    ),
    (
        403,
        "cross_site_request",
        "a session's cookie comes from another site",
    ),
    (
        403,
        "insufficient_scope",
        "forward-auth: the credential lacks a scope that is required",
    ),
    (
        403,
        "no_verdict",
        "forward-auth for nginx: anything but 401 and 403; see `X-Keyledger-Reason`",
    ),
    (
        403,
        "wrong_organization",
        "forward-auth: the credential is of another organization",
    ),
    (403, "password_wrong", "the current password is incorrect"),
    (
        405,
        "method_not_allowed",
        "the path does not take the method",
    ),
    (408, "timeout", "the request took too long"),
    (
        409,
        "organization_required",
        "a sign-in without `organization_id`: the password fits in several organizations",
    ),
    (
        409,
        "outside_filter",
        "the webhook endpoint does not ask for the delivery's event now",
    ),
    (
        409,
        "replay_running",
        "a replay of the webhook endpoint is under way",
    ),
    (
        409,
        "test_delivery",
        "a ping or an example is not delivered once more",
    ),
    (
        409,
        "webhook_endpoint_disabled",
        "nothing is replayed to a disabled webhook endpoint",
    ),
    (
        410,
        "ledger_restored",
        "the position is of an event that was lost when the ledger was restored from a backup",
    ),
    (
        413,
        "body_too_large",
        "the body is longer than the route takes",
    ),
    (
        413,
        "command_too_large",
        "the command makes an event beyond 65,535 bytes",
    ),
    (
        415,
        "content_encoding_unsupported",
        "the body is compressed; see `Accept-Encoding`",
    ),
    (
        415,
        "media_type_not_form",
        "the body is not sent as `application/x-www-form-urlencoded`",
    ),
    (
        415,
        "media_type_not_json",
        "the body is not of the media type that the route takes",
    ),
    (
        422,
        "credential_required",
        "a session was used where only a credential will do",
    ),
    (
        422,
        "expiry_invalid",
        "not RFC 3339, or both forms of expiry at once",
    ),
    (
        422,
        "field_invalid",
        "a field is of another type, or given more than once",
    ),
    (422, "field_missing", "a required field is missing"),
    (422, "field_unknown", "a field that the body does not have"),
    (
        422,
        "position_unknown",
        "a position lies beyond the ledger's end",
    ),
    (
        422,
        "unknown_key",
        "no such credential in this organization",
    ),
    (422, "unknown_secret", "no such secret of the credential"),
    (
        429,
        "too_many_attempts",
        "failed attempts to sign in make the next one wait; see `Retry-After`",
    ),
    (
        429,
        "too_many_bytes",
        "the organization writes more than it may; revocations are still accepted; \
         see `Retry-After`",
    ),
    (
        429,
        "too_many_creations",
        "the organization makes records faster than it may; see `Retry-After`",
    ),
    (
        429,
        "too_many_reports",
        "the organization reports calls faster than it may; see `Retry-After`",
    ),
    (
        429,
        "too_many_trials",
        "more than 10 pings, examples or redeliveries of the webhook endpoint in a minute",
    ),
    (
        500,
        "internal",
        "internal error; search the server log for the request id",
    ),
    (
        503,
        "clock_suspect",
        "the server's clock is suspect; only revoke, disable and delete are accepted",
    ),
    (
        503,
        "deliveries_unavailable",
        "the delivery history of webhooks cannot be read now; `/readyz` says why",
    ),
    (
        503,
        "disk_full",
        "the disk is full; `/oauth2/revoke` says so with this status",
    ),
    (
        503,
        "erasure_unfinished",
        "the erasure is recorded, but the key file could not be removed; see the server log",
    ),
    (
        503,
        "key_unusable",
        "a data key that the command needs is missing or damaged; see the server log",
    ),
    (
        503,
        "not_published",
        "no published checkpoint covers this yet; one is published every second",
    ),
    (503, "not_ready", "the service is starting or stopping"),
    (
        503,
        "outcome_unknown",
        "the write failed half-way; read before you repeat it",
    ),
    (
        503,
        "overloaded",
        "the service cannot take on more work now; retry later",
    ),
    (
        503,
        "past_busy",
        "too many historical reads of the organization are running or waiting; retry later",
    ),
    (
        503,
        "past_too_large",
        "the records of that moment need more memory than historical reads may use now",
    ),
    (
        503,
        "past_too_long",
        "that much history was not read within 10 seconds; retry, or ask for less",
    ),
    (
        503,
        "position_not_reached",
        "the position is not visible yet",
    ),
    (503, "queue_full", "too many commands are waiting"),
    (
        503,
        "streams_exhausted",
        "too many streams of the organization are open; close one, or retry later",
    ),
    (503, "stopping", "the service is stopping"),
    (
        503,
        "usage_busy",
        "too many calls are waiting to be recorded; retry later",
    ),
    (503, "usage_off", "this server does not record usage"),
    (503, "views_behind", "readers are too far behind"),
    (
        503,
        "views_unavailable",
        "lists and histories are being rebuilt from the log; `/readyz` says why",
    ),
    (503, "webhooks_off", "this server does not deliver webhooks"),
    (
        507,
        "disk_full",
        "the disk is full; only revoke, disable and delete are accepted",
    ),
];
