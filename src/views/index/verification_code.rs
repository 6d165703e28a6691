//! The codes of a verification: why a secret is or is not accepted.

/// Why, in order of precedence: the first that applies is the answer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum VerificationCode {
    /// No token: a wrong checksum, or a foreign form that was never imported.
    Malformed,
    /// Unknown, or another tenant's.
    NotFound,
    /// The credential was ended.
    Revoked,
    /// A rotation ended the secret; the credential may have a newer one.
    Rotated,
    /// The credential's time is over.
    Expired,
    /// The credential is disabled, until it is enabled again.
    Disabled,
    /// The member was removed, or the service account is disabled or deleted.
    OwnerInactive,
    /// Not of the organization that was named.
    WrongOrganization,
    /// Not for the project that was named, or bound to one and none was named.
    WrongProject,
    /// A required scope is missing or unknown.
    InsufficientScope,
    /// Accepted.
    Valid,
}

impl VerificationCode {
    /// All codes, in order of precedence.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::NotFound,
        Self::Revoked,
        Self::Rotated,
        Self::Expired,
        Self::Disabled,
        Self::OwnerInactive,
        Self::WrongOrganization,
        Self::WrongProject,
        Self::InsufficientScope,
        Self::Valid,
    ];

    /// The wire name.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::Revoked => "revoked",
            Self::Rotated => "rotated",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::OwnerInactive => "owner_inactive",
            Self::WrongOrganization => "wrong_organization",
            Self::WrongProject => "wrong_project",
            Self::InsufficientScope => "insufficient_scope",
            Self::Valid => "valid",
        }
    }

    /// The HTTP status where the code is answered as a status: 403 for a good secret in the wrong
    /// place, 401 for all that is no good.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Valid => 200,
            Self::WrongOrganization | Self::WrongProject | Self::InsufficientScope => 403,
            Self::Malformed
            | Self::NotFound
            | Self::Revoked
            | Self::Rotated
            | Self::Expired
            | Self::Disabled
            | Self::OwnerInactive => 401,
        }
    }
}
