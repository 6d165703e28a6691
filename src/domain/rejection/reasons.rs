//! The table of refusals: the stable code of each reason, its class and the field at fault.
//!
//! A row ends with what the code means, for the API's list of codes; rows without it are met only
//! by the command line and by the server itself.

use super::Rejection;

/// What stays the same whatever the values of a refusal are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reason {
    /// What is wrong, for programs; stable.
    pub code: &'static str,
    pub class: Class,
    /// The field of the body that is at fault.
    pub field: Option<&'static str>,
}

/// What a caller can do about a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Present another credential.
    Unauthenticated,
    /// Get a permission.
    Forbidden,
    /// Name another record.
    NotFound,
    /// Correct the request.
    Invalid,
    /// Change what is there first.
    Conflict,
    /// Read the record again.
    OtherVersion,
    /// Make room in the quota.
    QuotaUsedUp,
}

macro_rules! reasons {
    ($($variant:pat => $class:ident $code:literal $(of $field:expr)? $(, $meaning:literal)?;)+) => {
        /// The class, code and meaning of each reason that the API can answer with.
        pub const REASONS: &[(Class, &str, &str)] =
            &[$($((Class::$class, $code, $meaning),)?)+];

        impl Rejection {
            /// The row of this refusal.
            #[must_use]
            pub const fn reason(&self) -> Reason {
                match self {
                    $($variant => Reason {
                        code: $code,
                        class: Class::$class,
                        field: reasons!(@field $($field)?),
                    },)+
                }
            }
        }
    };
    (@field $field:expr) => { Some($field) };
    (@field) => { None };
}

reasons! {
    Self::CredentialNotAccepted => Unauthenticated "credential_not_accepted",
        "the credential is unknown, or no longer valid";
    Self::SignInRefused => Unauthenticated "sign_in_refused",
        "the link was used or has expired, or address and password do not match";
    Self::SessionRequired => Forbidden "session_required", "only a member in a session does this";
    Self::PasswordProofNeeded => Forbidden "password_proof_needed",
        "neither the current password nor a link used within 10 minutes";
    Self::Forbidden { .. } => Forbidden "forbidden", "the caller lacks the permission";
    Self::OperatorOnly => Forbidden "operator_only";
    Self::ServerOnly => Forbidden "server_only";
    Self::WrongProject => Forbidden "wrong_project", "the credential works on another project";
    Self::BeyondYourAuthority { .. } => Forbidden "beyond_your_authority",
        "the request grants or changes more than the caller may";
    Self::NotFound { .. } => NotFound "not_found",
        "no such record in this organization, or no such page";
    Self::FieldEmpty { field } => Invalid "field_empty" of *field,
        "a required text or list is empty";
    Self::FieldTooLong { field, .. } => Invalid "field_too_long" of *field,
        "a text or list is too long";
    Self::FieldControlCharacters { field } => Invalid "field_control_characters" of *field,
        "control characters in a text";
    Self::FieldHoldsToken { field } => Invalid "field_holds_token" of *field,
        "a token or another secret in a text that is kept for good";
    Self::EmailInvalid { field } => Invalid "email_invalid" of *field, "not an e-mail address";
    Self::PasswordTooShort => Invalid "password_too_short" of "password",
        "a password of less than 8 characters";
    Self::TokenPrefixInvalid => Invalid "token_prefix_invalid" of "token_prefix",
        "not 2 to 8 lower-case letters and digits";
    Self::UnknownScope { .. } => Invalid "unknown_scope" of "scopes", "no such scope";
    Self::ScopeNotForKind { .. } => Invalid "scope_not_for_kind" of "scopes",
        "the kind does not take the scope";
    Self::ScopeBeyondAccount { .. } => Invalid "scope_beyond_account" of "scopes",
        "the service account does not have the scope";
    Self::ScopeTwice { .. } => Invalid "scope_twice" of "scopes", "a scope is given more than once";
    Self::GrantNotForKind { .. } => Invalid "grant_not_for_kind",
        "scopes, role or preset where the kind takes another";
    Self::UnknownRole { .. } => Invalid "unknown_role" of "role", "no such role";
    Self::UnknownPreset { .. } => Invalid "unknown_preset" of "scope", "no such preset";
    Self::UnknownOwner { .. } => Invalid "unknown_owner" of "owner",
        "no such owner in this organization";
    Self::UnknownProject => Invalid "unknown_project" of "project_id",
        "no such project in this organization";
    Self::ProjectBinding { .. } => Invalid "project_binding" of "project_id",
        "the kind is always or never bound to a project";
    Self::UrlRefused { .. } => Invalid "url_refused" of "url",
        "webhooks are not delivered to this URL";
    Self::EventTypeNotDelivered { .. } => Invalid "event_type_not_delivered" of "event_types",
        "no such type or family of events, one of no organization, or one given more than once";
    Self::SigningSecretInvalid { .. } => Invalid "signing_secret_invalid" of "secret",
        "not `whsec_` and the base64 of 24 to 64 bytes, or given for `v1a`";
    Self::OverlapTooLong => Invalid "overlap_too_long" of "overlap_seconds",
        "more than 2592000 seconds";
    Self::TooManyEndpoints { .. } => Invalid "too_many_endpoints" of "url",
        "the organization has 50 webhook endpoints";
    Self::ExpiryInPast => Invalid "expiry_in_past" of "expires_at", "the expiry has passed";
    Self::ExpiryDaysOutOfRange => Invalid "expiry_days_out_of_range" of "expires_in_days",
        "not 1 to 3650 days";
    Self::GraceTooLong => Invalid "grace_too_long" of "grace_period_seconds",
        "more than 2592000 seconds";
    Self::MetadataTooLarge => Invalid "metadata_too_large" of "metadata",
        "more than 4096 bytes of metadata";
    Self::IdempotencyKeyReused => Invalid "idempotency_key_reused",
        "the idempotency key was used with another body";
    Self::SigningOverlapTooLong { .. } => Invalid "signing_overlap_too_long" of "overlap_days";
    Self::PositionsOutOfRange { .. } => Invalid "positions_out_of_range";
    Self::CheckpointSizeInvalid { .. } => Invalid "checkpoint_size_invalid";
    Self::CredentialEnded => Conflict "credential_ended", "the credential is revoked or expired";
    Self::AlreadyReplaced { .. } => Conflict "already_replaced",
        "the token has been replaced, and its replacement has not ended";
    Self::NotForKind { .. } => Conflict "not_for_kind", "credentials of this kind do not do that";
    Self::ServiceAccountDeleted => Conflict "service_account_deleted",
        "the service account has been deleted";
    Self::WebhookEndpointDeleted => Conflict "webhook_endpoint_deleted",
        "the webhook endpoint has been deleted";
    Self::MemberRemoved => Conflict "member_removed", "the member has been removed";
    Self::ProjectArchived => Conflict "project_archived", "the project is archived";
    Self::NameTaken => Conflict "name_taken" of "name", "the name is taken";
    Self::EmailTaken => Conflict "email_taken" of "email",
        "the address belongs to a member already";
    Self::LastOwner => Conflict "last_owner", "the organization would be without an owner";
    Self::LimitReached { .. } => Conflict "limit_reached",
        "the limit on records of this kind is reached";
    Self::CatalogueInUse { .. } => Conflict "catalogue_in_use",
        "a new catalogue drops what is in use; only the command line adopts one";
    Self::CommandStillRunning => Conflict "command_still_running",
        "the first request with this idempotency key is not done";
    Self::LedgerAlreadyInitialized => Conflict "ledger_already_initialized";
    Self::CheckpointAlreadyRecorded => Conflict "checkpoint_already_recorded";
    Self::SigningKeyReused => Conflict "signing_key_reused";
    Self::EndedUseAlreadyRecorded => Conflict "ended_use_already_recorded";
    Self::UsageAlreadyAnchored => Conflict "usage_already_anchored";
    Self::VersionMismatch { .. } => OtherVersion "version_mismatch",
        "the record has another version than `If-Match` names";
    Self::QuotaReached { .. } => QuotaUsedUp "quota_reached",
        "the organization's quota is used up; revoke or delete something first";
}
