//! What the values of the API are, by the names of their fields: ids, instants, names of a fixed
//! set, texts and numbers with their bounds.
//!
//! A name means the same wherever it stands, or in one schema or path something else, so that the
//! document says it in one table and not at each field. The limits are those that the ledger
//! enforces. A test holds every answer and every accepted body of all other tests against the
//! document, and another one finds the texts that this table does not know.

use crate::api::document::form::{ANY, Form, ListForm};
use crate::domain::decide::{
    DESCRIPTION_CHARS_MAX, EMAIL_BYTES_MAX, NAME_CHARS_MAX, REASON_CHARS_MAX,
    SCOPES_PER_CREDENTIAL_MAX,
};

pub(crate) const KINDS: &[&str] = &[
    "organization",
    "personal",
    "service_account",
    "access",
    "admin",
    "project",
];
pub(crate) const CODES_OF_VERIFICATION: &[&str] = &[
    "malformed",
    "not_found",
    "revoked",
    "rotated",
    "expired",
    "disabled",
    "owner_inactive",
    "wrong_organization",
    "wrong_project",
    "insufficient_scope",
    "valid",
];
pub(crate) const PARTS: &[&str] = &[
    "views",
    "signing",
    "publishing",
    "snapshots",
    "deliveries",
    "usage",
    "keys",
    "restore",
    "clock",
    "tls_certificate",
];
const FAILURES: &[&str] = &[
    "status",
    "redirect",
    "timeout",
    "dns",
    "address_refused",
    "connect_refused",
    "connect",
    "tls",
    "body",
    "protocol",
    "url_refused",
    "proxy",
    "secret_lost",
    "unreadable",
];
const STATUSES: &[&str] = &["active", "disabled", "expired", "revoked"];
const STATUSES_LIVING: &[&str] = &["active", "disabled", "deleted"];
const STATUSES_OF_MEMBERS: &[&str] = &["active", "removed"];
const STATUSES_OF_DELIVERIES: &[&str] = &["pending", "delivered", "dead", "skipped"];
const ENDS_OF_SESSIONS: &[&str] = &[
    "signed_out",
    "password_changed",
    "role_changed",
    "member_removed",
    "expired",
    "limit",
];
const ACTORS: &[&str] = &[
    "user",
    "service_account",
    "credential",
    "system",
    "operator",
];
const FINDINGS: &[&str] = &[
    "without_expiry",
    "never_used",
    "not_used_for_days",
    "scopes_never_exercised",
];
const EFFECTS: &[&str] = &["ended", "disabled", "enabled", "rotated", "changed"];
const HEX_32: &str = "^[0-9a-f]{64}$";
const REQUEST_ID: &str = "^[A-Za-z0-9._-]{1,128}$";
const TOKEN: &str = "^[a-z0-9]{2,8}_[0-7][0-9A-HJKMNP-TV-Z]{25}_[0-9a-f]{72}$";
const EVENT_TYPE: &str = "^[a-z_]+(\\.[a-z_]+)?$";
const SIGNING_SECRET: &str = "^whsec_[A-Za-z0-9+/]{32,88}={0,2}$";
/// Longest URL of a webhook endpoint.
const URL_MAX: usize = 2_000;
/// Most types of events of a list, and most keys of one verification.
const EVENT_TYPES_MAX: usize = 50;
const BATCH_MAX: usize = 1_000;
/// Longest texts that the usage history keeps.
const ENDPOINT_MAX: usize = 2_048;
const METHOD_MAX: usize = 32;
const REQUEST_ID_MAX: usize = 128;
const USER_AGENT_MAX: usize = 512;
/// 30 days, in seconds, and 10 years, in days.
const GRACE_SECONDS_MAX: usize = 2_592_000;
const EXPIRY_DAYS_MAX: usize = 3_650;
/// A day.
const DURATION_MS_MAX: usize = 86_400_000;

/// Fields that mean something else in some schemas; the first row that fits counts.
pub(crate) const IN_SCHEMAS: &[(&[&str], &[&str], Form)] = &[
    (&["KeyRecord", "VerifiedKey"], &["id"], Form::Id(&["key"])),
    (&["OrganizationRecord"], &["id"], Form::Id(&["org"])),
    (&["ProjectRecord"], &["id"], Form::Id(&["prj"])),
    (&["MemberRecord"], &["id"], Form::Id(&["usr"])),
    (&["ServiceAccountRecord"], &["id"], Form::Id(&["sa"])),
    (&["SessionRecord"], &["id"], Form::Id(&["ses"])),
    (&["WebhookEndpointRecord"], &["id"], Form::Id(&["whe"])),
    (
        &["SecretRecord", "EndpointSecretRecord"],
        &["id"],
        Form::Id(&["sec"]),
    ),
    (&["EventRecord", "PulledEvent"], &["id"], Form::Id(&["evt"])),
    (
        &[
            "WebhookAttemptRecord",
            "WebhookDeliveryRecord",
            "BegunDelivery",
        ],
        &["id"],
        Form::Id(&["dlv"]),
    ),
    (&["OwnerRecord"], &["id"], Form::Id(&["org", "usr", "sa"])),
    (
        &["OwnerRecord"],
        &["type"],
        Form::OneOf(&["organization", "user", "service_account"]),
    ),
    (&["EventActor"], &["id"], Form::Id(&["usr", "sa", "key"])),
    (&["EventActor"], &["via"], Form::Id(&["key", "ses"])),
    (&["EventActor"], &["type"], Form::OneOf(ACTORS)),
    (&["KeyRecord"], &["status"], Form::OneOf(STATUSES)),
    (
        &["ServiceAccountRecord", "WebhookEndpointRecord"],
        &["status"],
        Form::OneOf(STATUSES_LIVING),
    ),
    (
        &["MemberRecord"],
        &["status"],
        Form::OneOf(STATUSES_OF_MEMBERS),
    ),
    (
        &["SessionRecord"],
        &["status"],
        Form::OneOf(&["active", "ended"]),
    ),
    (
        &["SessionRecord"],
        &["signed_in_by"],
        Form::OneOf(&["link", "password"]),
    ),
    (
        &["EndedSession"],
        &["reason"],
        Form::OneOf(ENDS_OF_SESSIONS),
    ),
    (
        &["WebhookDeliveryRecord"],
        &["status"],
        Form::OneOf(STATUSES_OF_DELIVERIES),
    ),
    (
        &["WebhookAttemptRecord"],
        &["outcome"],
        Form::OneOf(&["delivered", "failed", "dead"]),
    ),
    (
        &["WebhookAttemptRecord"],
        &["cause"],
        Form::OneOf(&["event", "redelivery", "ping", "example"]),
    ),
    (&["WebhookAttemptRecord"], &["error"], Form::OneOf(FAILURES)),
    (
        &["WebhookEndpointRecord"],
        &["signature"],
        Form::OneOf(&["v1", "v1a"]),
    ),
    (
        &["WebhookEndpointRecord"],
        &["disabled_because"],
        Form::OneOf(&["requested", "gone", "failing"]),
    ),
    (
        &["Readiness"],
        &["status"],
        Form::OneOf(&["ready", "degraded"]),
    ),
    (&["Finding"], &["finding"], Form::OneOf(FINDINGS)),
    (
        &["Finding"],
        &["state"],
        Form::OneOf(&["found", "not_found", "not_tracked"]),
    ),
    (&["Revocation"], &["effect"], Form::OneOf(EFFECTS)),
    (
        &["VerifyResponse"],
        &["code"],
        Form::OneOf(CODES_OF_VERIFICATION),
    ),
    (
        &["UsageSummary"],
        &["bucket"],
        Form::OneOf(&["hour", "day"]),
    ),
    (
        &["UsageSummary", "CollapsedRecord", "GapRecord"],
        &["from", "to"],
        Form::Instant,
    ),
    (&["ProblemBody"], &["type"], Form::OneOf(&["about:blank"])),
    (&["ProblemBody"], &["code"], Form::Like("^[a-z0-9_]+$")),
    (&["ProblemBody"], &["status"], Form::Number(400, 599)),
    (&["ProblemBody"], &["request_id"], Form::Like(REQUEST_ID)),
    (
        &["ProblemBody"],
        &["error"],
        Form::OneOf(&["invalid_client", "insufficient_scope", "invalid_request"]),
    ),
    (
        &["Introspection"],
        &["client_id"],
        Form::Id(&["org", "usr", "sa"]),
    ),
    (
        &["Introspection"],
        &["token_type"],
        Form::OneOf(&["Bearer"]),
    ),
    (
        &["AuthorizationServerMetadata"],
        &["grant_types_supported"],
        Form::Free,
    ),
    (
        &["SignInRequest", "TokenForm"],
        &["email", "password", "client_id"],
        Form::Free,
    ),
    (&["PasswordPut"], &["password"], Form::Chars(8, 1_024)),
    (&["VerifyRequest"], &["required_scopes"], Form::Free),
    (
        &["RevokeRequest"],
        &["reason"],
        Form::Chars(0, REASON_CHARS_MAX),
    ),
    (&["PresentedWith"], &["user_agent"], Form::Free),
    (
        &["ReportedCall"],
        &["duration_ms"],
        Form::Number(0, DURATION_MS_MAX),
    ),
];

/// Parameters that mean something else on some paths.
pub(crate) const ON_PATHS: &[(&str, &[&str], Form)] = &[
    ("/v1/service-accounts/", &["id"], Form::Id(&["sa"])),
    ("/v1/", &["id"], Form::Id(&["key"])),
    ("/members", &["status"], Form::OneOf(STATUSES_OF_MEMBERS)),
    (
        "/service-accounts",
        &["status"],
        Form::OneOf(STATUSES_LIVING),
    ),
    (
        "/webhook-endpoints",
        &["status"],
        Form::OneOf(STATUSES_LIVING),
    ),
    (
        "/deliveries",
        &["outcome"],
        Form::OneOf(&["delivered", "failed", "dead"]),
    ),
    ("/usage", &["limit"], Form::Number(1, 1_000)),
    ("/usage", &["from", "to"], Form::Instant),
    ("/usage/summary", &["from", "to"], Form::Instant),
    ("/v1/ledger/events", &["limit"], Form::Number(1, 1_000_000)),
];

/// What clients send, where answers may hold what was taken before there was a limit.
pub(crate) const ASKED: &[(&[&str], Form)] = &[
    (&["name", "label"], Form::Chars(1, NAME_CHARS_MAX)),
    (&["description"], Form::Chars(0, DESCRIPTION_CHARS_MAX)),
    (&["reason"], Form::Chars(1, REASON_CHARS_MAX)),
    (
        &["email", "owner_email"],
        Form::Format("idn-email", EMAIL_BYTES_MAX),
    ),
    (&["url"], Form::Format("uri", URL_MAX)),
    (&["secret"], Form::Like(SIGNING_SECRET)),
    (
        &["role", "preset", "scope", "scopes", "token"],
        Form::Chars(1, ANY),
    ),
    (&["event_types", "types", "type"], Form::Chars(1, ANY)),
    (
        &["expires_in_days", "unused_days"],
        Form::Number(1, EXPIRY_DAYS_MAX),
    ),
    (
        &["grace_period_seconds", "overlap_seconds"],
        Form::Number(0, GRACE_SECONDS_MAX),
    ),
    (&["endpoint"], Form::Chars(0, ENDPOINT_MAX)),
    (&["method"], Form::Chars(0, METHOD_MAX)),
    (&["request_id"], Form::Chars(0, REQUEST_ID_MAX)),
    (&["user_agent"], Form::Chars(0, USER_AGENT_MAX)),
    (&["limit"], Form::Number(1, 200)),
    (&["wait"], Form::Number(0, 30)),
    (&["status"], Form::OneOf(STATUSES)),
    (&["bucket"], Form::OneOf(&["hour", "day"])),
    (&["owner"], Form::Id(&["org", "usr", "sa"])),
    (&["Idempotency-Key"], Form::Chars(1, 255)),
    (&["X-Request-Id"], Form::Like(REQUEST_ID)),
    (&["Ledger-Min-Position"], Form::Like("^[0-9]+$")),
    (
        &[
            "from", "to", "as_of", "after", "cursor", "q", "subject", "actor",
        ],
        Form::Free,
    ),
];

/// What names mean everywhere else.
pub(crate) const ANYWHERE: &[(&[&str], Form)] = &[
    (
        &[
            "organization_id",
            "workspace_id",
            "keyledger_organization_id",
        ],
        Form::Id(&["org"]),
    ),
    (&["project_id", "aud"], Form::Id(&["prj"])),
    (&["member_id"], Form::Id(&["usr"])),
    (&["sa_id"], Form::Id(&["sa"])),
    (&["key_id", "key_ids", "tok_id", "sub"], Form::Id(&["key"])),
    (
        &["issued_via", "replaces", "replaced_by", "reported_by"],
        Form::Id(&["key"]),
    ),
    (&["secret_id"], Form::Id(&["sec"])),
    (&["event_id"], Form::Id(&["evt"])),
    (&["session_id"], Form::Id(&["ses"])),
    (&["endpoint_id"], Form::Id(&["whe"])),
    (&["delivery_id"], Form::Id(&["dlv"])),
    (&["created_by"], Form::Id(&["usr", "sa", "key"])),
    (
        &["at", "since", "start", "timestamp", "valid_until"],
        Form::Instant,
    ),
    (&["failing_since", "tracked_since"], Form::Instant),
    (&["kind", "keyledger_kind"], Form::OneOf(KINDS)),
    (&["outcome"], Form::OneOf(CODES_OF_VERIFICATION)),
    (&["part"], Form::OneOf(PARTS)),
    (
        &["usage_status"],
        Form::OneOf(&["used", "never_used", "not_tracked"]),
    ),
    (&["status_code"], Form::Number(100, 599)),
    (&["percent"], Form::Number(0, 100)),
    (&["raw_key"], Form::Like(TOKEN)),
    (&["key_prefix"], Form::Chars(12, 12)),
    (&["key_hint"], Form::Chars(4, 4)),
    (&["secret"], Form::Like("^whsec_[A-Za-z0-9+/]+={0,2}$")),
    (&["public_key"], Form::Like("^whpk_[A-Za-z0-9+/]+={0,2}$")),
    (&["token_prefix"], Form::Like("^[a-z0-9]{2,8}$")),
    (&["root", "organization_commitment"], Form::Like(HEX_32)),
    (&["hashes"], Form::Like("^[A-Za-z0-9+/]{43}=$")),
    (&["type"], Form::Like(EVENT_TYPE)),
    (
        &[
            "url",
            "sign_in_url",
            "iss",
            "issuer",
            "service_documentation",
        ],
        Form::Format("uri", ANY),
    ),
    (
        &["introspection_endpoint", "revocation_endpoint"],
        Form::Format("uri", ANY),
    ),
    (&["email"], Form::Format("idn-email", ANY)),
    (
        &["subject"],
        Form::Id(&["org", "prj", "usr", "sa", "key", "ses", "whe", "log"]),
    ),
    (
        &[
            "name",
            "label",
            "description",
            "title",
            "detail",
            "field",
            "message",
            "reason",
            "remedy",
            "role",
            "preset",
            "scope",
            "scopes",
            "permissions",
            "slug",
            "event_types",
            "token",
            "token_id",
            "token_type_hint",
            "client_secret",
            "key",
            "sign_in_token",
            "current_password",
            "endpoint",
            "method",
            "request_id",
            "ip_address",
            "user_agent",
            "value",
            "response",
            "checkpoint",
            "file",
            "kept_as",
            "error",
            "id",
            "tile",
            "If-Match",
            "keyledger_role",
            "introspection_endpoint_auth_methods_supported",
            "response_types_supported",
            "revocation_endpoint_auth_methods_supported",
            "receipt",
            "X-API-Key",
            "X-Forwarded-Uri",
            "X-Original-URI",
            "X-Keyledger-Gateway",
            "X-Keyledger-Query-Parameter",
            "X-Keyledger-Require-Organization",
            "X-Keyledger-Require-Project",
            "X-Keyledger-Require-Scopes",
        ],
        Form::Free,
    ),
];

/// Lists that clients send: the fewest and the most items, and whether one may be there twice.
pub(crate) const LISTS: &[(&[&str], ListForm)] = &[
    (&["scopes"], ListForm::unique(1, SCOPES_PER_CREDENTIAL_MAX)),
    (
        &["event_types", "types"],
        ListForm::unique(1, EVENT_TYPES_MAX),
    ),
    (&["keys"], ListForm::any(0, BATCH_MAX)),
];
