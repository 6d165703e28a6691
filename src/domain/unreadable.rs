//! Why a stored payload is not an event that this program can read.
//!
//! Owns the reasons alone; reading is done by [`super::envelope`] and [`super::event`].

/// A stored event that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableEvent {
    /// A type or version from a newer program.
    #[error("event type {name} version {version} is unknown to this program")]
    UnknownType {
        /// The type's wire name.
        name: String,
        version: u16,
    },
    /// Organization, sequence and previous commitment do not make one place in one chain.
    #[error("the stored payload names half a place in an organization's chain")]
    OrganizationPlace,
    /// Not the JSON that the type has.
    #[error("the stored payload is not an event")]
    Form(#[from] serde_json::Error),
}
