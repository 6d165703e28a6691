//! Why a command is refused: one variant a reason, with its text. The code, the class and the field
//! of each are one row in `reasons`; how a class is answered is no business of the domain.

mod reasons;

pub use reasons::{Class, REASONS, Reason};

use super::catalogue::EVERYTHING;
use super::event::Fact;
use super::ids::CredentialId;
use super::in_use::InUse;
use super::kind::Kind;
use super::nearest::nearest;
use super::record::WrongEventType;

/// Why a command is refused. Nothing was appended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// The actor's credential has ended, expired or been disabled since it was presented.
    #[error("the credential is no longer accepted")]
    CredentialNotAccepted,
    /// No such record in this organization; somebody else's is the same as none.
    #[error("there is no such {what} here")]
    NotFound {
        /// The kind of record.
        what: &'static str,
    },
    /// The link has been used or has ended, or address and password are not a member's.
    #[error("the link, or the address and password, are not accepted")]
    SignInRefused,
    /// Only a member in person does this.
    #[error("this needs a member's session; a credential will not do")]
    SessionRequired,
    /// A password is set by whoever knows the one before, or has just used a link.
    #[error("this needs the current password, or a sign-in link used within 10 minutes")]
    PasswordProofNeeded,
    /// The actor may not do this.
    #[error("{}", who_may(needs))]
    Forbidden {
        /// The scope that would do.
        needs: &'static str,
    },
    #[error("only the command line can do this, on the server's own machine")]
    OperatorOnly,
    #[error("only the server itself records this")]
    ServerOnly,

    /// The actor's credential is bound to another project.
    #[error("your credential works on another project")]
    WrongProject,

    /// A required text is empty.
    #[error("must not be empty")]
    FieldEmpty { field: &'static str },
    /// A text or list is too long.
    #[error("must have at most {max} {unit}")]
    FieldTooLong {
        field: &'static str,
        /// The limit.
        max: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// A text with control characters.
    #[error("must not contain control characters")]
    FieldControlCharacters { field: &'static str },
    /// A text with one of our own secrets in it.
    #[error(
        "must not contain a token or another secret, since it is stored for good; remove the secret"
    )]
    FieldHoldsToken { field: &'static str },
    /// Not an e-mail address.
    #[error("must be an e-mail address, such as ada@example.com")]
    EmailInvalid { field: &'static str },
    /// A password that is too easily guessed.
    #[error("must have at least {} characters", super::sign_in::PASSWORD_CHARS_MIN)]
    PasswordTooShort,
    /// Not a prefix of tokens.
    #[error("must be 2 to 8 lower-case letters and digits")]
    TokenPrefixInvalid,
    /// A scope that the catalogue does not hold.
    #[error(
        "the scope {scope:?} is unknown{}; GET /v1/api-tokens/scopes lists all",
        meant(nearest.as_deref())
    )]
    UnknownScope {
        scope: String,
        /// The one that may have been meant.
        nearest: Option<String>,
    },
    /// A scope that this kind does not take, such as `*` outside personal tokens.
    #[error("the scope {scope:?} cannot be given to this kind of credential")]
    ScopeNotForKind { scope: String },
    /// A grant of another form than the kind's: a role beside scopes, scopes beside a preset.
    #[error("a credential of the kind {} does not take a grant of this form", kind.name())]
    GrantNotForKind { kind: Kind },
    /// A scope that the service account does not have.
    #[error("the service account does not have the scope {scope:?}")]
    ScopeBeyondAccount { scope: String },
    #[error("the scope {scope:?} is given more than once")]
    ScopeTwice { scope: String },
    /// A role that the catalogue does not hold.
    #[error("the role {role:?} is unknown; must be one of: {known}")]
    UnknownRole {
        role: String,
        /// Those that can be given.
        known: String,
    },
    /// A preset that the catalogue does not hold.
    #[error("the preset {preset:?} is unknown; must be one of: {known}")]
    UnknownPreset {
        preset: String,
        /// Those that can be given.
        known: String,
    },
    /// An owner that is not of this organization, or not of the sort that the kind has.
    #[error("a credential of the kind {} has no such owner in this organization", kind.name())]
    UnknownOwner { kind: Kind },
    /// An address that nothing is delivered to.
    #[error("{why}")]
    UrlRefused {
        /// Why, in one sentence.
        why: String,
    },
    /// A type of event, or a family, that an endpoint cannot ask for.
    #[error("the event type {event_type:?} {why}{}", meant(meant_type(event_type, *why)))]
    EventTypeNotDelivered {
        /// The entry.
        event_type: String,
        why: WrongEventType,
    },
    /// A signing secret that cannot be used.
    #[error("{why}")]
    SigningSecretInvalid {
        /// Why; it never quotes the secret.
        why: String,
    },
    /// An overlap of secrets beyond 30 days.
    #[error("must be a whole number from 0 to 2592000 (30 days)")]
    OverlapTooLong,
    /// More endpoints than an organization may have.
    #[error("an organization has at most {max} webhook endpoints; delete one first")]
    TooManyEndpoints {
        /// The limit.
        max: u64,
    },
    /// A project in a body that is not one of this organization.
    #[error("there is no such project in this organization")]
    UnknownProject,
    /// The kind is never bound to a project, or always.
    #[error(
        "a credential of the kind {} {}",
        kind.name(),
        if *bound { "is not bound to a project" } else { "must name a project" }
    )]
    ProjectBinding {
        kind: Kind,
        /// Whether the request names a project.
        bound: bool,
    },
    /// An expiry that has passed.
    #[error("must be in the future")]
    ExpiryInPast,
    /// Not a number of days that is allowed.
    #[error("must be a whole number from 1 to 3650")]
    ExpiryDaysOutOfRange,
    /// A grace period beyond 30 days.
    #[error("must be a whole number from 0 to 2592000 (30 days)")]
    GraceTooLong,
    /// Metadata beyond its size.
    #[error("must be at most 4096 bytes of keys and values")]
    MetadataTooLarge,
    /// The idempotency key was used for another body.
    #[error("the idempotency key was used for another request, or for a person erased since")]
    IdempotencyKeyReused,

    /// The actor's own authority does not cover what the command makes or changes.
    #[error("this goes beyond your own authority: {why}")]
    BeyondYourAuthority { why: Beyond },

    /// The record has another version.
    #[error("the record has version {current}")]
    VersionMismatch {
        /// The version it has.
        current: u32,
    },

    /// The credential has ended.
    #[error("the credential has ended; make a new one")]
    CredentialEnded,
    /// It has been replaced, and both still live.
    #[error("the credential has been replaced by {by}; revoke that one to replace this one again")]
    AlreadyReplaced {
        /// Its replacement.
        by: CredentialId,
    },
    /// The kind does not do this.
    #[error("a credential of the kind {} cannot be {action}", kind.name())]
    NotForKind {
        kind: Kind,
        /// What was asked, as a participle.
        action: &'static str,
    },
    /// The service account has been deleted.
    #[error("the service account has been deleted")]
    ServiceAccountDeleted,
    /// The webhook endpoint has been deleted.
    #[error("the webhook endpoint has been deleted; make a new one")]
    WebhookEndpointDeleted,
    /// The member has been removed.
    #[error("the member has been removed")]
    MemberRemoved,
    #[error("the project is archived")]
    ProjectArchived,
    #[error("the name is taken")]
    NameTaken,
    /// The address is a member's already.
    #[error("the address belongs to a member already")]
    EmailTaken,
    /// The organization would be without an owner.
    #[error("the last owner can neither be removed nor get another role")]
    LastOwner,
    /// An organization has as many as it may.
    #[error("an organization has at most {max} {what}")]
    QuotaReached {
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// Too many of something.
    #[error("there can be at most {max} {what}")]
    LimitReached {
        what: &'static str,
        /// The limit.
        max: u64,
    },
    #[error("this ledger is already initialized")]
    LedgerAlreadyInitialized,
    #[error("a checkpoint of this size or a larger one is already recorded")]
    CheckpointAlreadyRecorded,
    #[error("a checkpoint must cover from 1 to {events} events")]
    CheckpointSizeInvalid {
        /// The events of the ledger.
        events: u64,
    },
    #[error("must be a whole number of days from 0 to {max}")]
    SigningOverlapTooLong {
        /// The limit.
        max: u32,
    },
    #[error("this signing key has been used before; make a new one")]
    SigningKeyReused,
    #[error("a restore must give up from 1 to {max} positions")]
    PositionsOutOfRange {
        /// The limit.
        max: u64,
    },
    #[error("the use of this credential's ended secrets was recorded less than an hour ago")]
    EndedUseAlreadyRecorded,
    #[error("these segments of the usage history are already anchored")]
    UsageAlreadyAnchored,
    /// A catalogue drops what is live.
    #[error("the catalogue drops what {} live records have", by.total)]
    CatalogueInUse { by: InUse },
    /// The same idempotency key is being worked on.
    #[error("the first request with this idempotency key is still running")]
    CommandStillRunning,
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}

/// The type of events that an unknown one may mean.
fn meant_type(event_type: &str, why: WrongEventType) -> Option<&'static str> {
    let types = Fact::TYPES.iter().map(|(name, _)| *name);
    match why {
        WrongEventType::Unknown => nearest(event_type, types),
        WrongEventType::Twice | WrongEventType::OfNoOrganization => None,
    }
}

/// Who may do what needs a scope. `*` is in no role: it stands for its member.
fn who_may(needs: &str) -> String {
    if needs == EVERYTHING {
        return String::from(
            "personal tokens are for the member they belong to: this needs that member's session, \
             or a personal token with the scope *",
        );
    }
    format!("this needs the permission {needs}")
}

/// What lies beyond an actor's authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Beyond {
    /// Scopes that the actor does not hold.
    #[error("you do not hold all of its scopes")]
    Scopes,
    /// Owners are made and changed by owners.
    #[error("only an owner covers the role owner")]
    OwnerRole,
    /// The platform permission.
    #[error("only a holder of platform:* grants it")]
    Platform,
    /// Another project, or no project at all.
    #[error("your credential is bound to one project")]
    Project,
    /// An expiry after the actor's own.
    #[error("a credential cannot make one that outlives it")]
    Expiry,
    /// Somebody else's personal token.
    #[error("personal tokens are made by the member they belong to")]
    Person,
}
