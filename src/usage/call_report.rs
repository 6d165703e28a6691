//! A report of calls, made ready away from the buffer that it is handed to.
//!
//! Owns its records, in pieces: they are moved into the buffer, not copied, so that however long
//! a report is, no caller waits for the buffer meanwhile. Must never know who may report what.

use super::CredentialCall;
use super::call_record::{RECORD_BYTES_MAX, put_call};
use crate::domain::ids::OrganizationId;

/// Bytes of a piece: 256 KiB, of which the writing thread makes one block.
const PIECE_BYTES: usize = 256 * 1_024;

/// Calls of one organization that are taken together or not at all.
#[derive(Debug, Default)]
pub struct CallReport {
    organization: Option<OrganizationId>,
    pieces: Vec<Vec<u8>>,
    bytes: usize,
    calls: usize,
}

impl CallReport {
    pub fn add_call(&mut self, call: &CredentialCall<'_>) {
        self.organization = Some(call.organization);
        self.calls += 1;
        let has_room = |piece: &&mut Vec<u8>| piece.len() + RECORD_BYTES_MAX <= PIECE_BYTES;
        let mut new = Vec::new();
        let last = self.pieces.last_mut().filter(has_room);
        let is_new = last.is_none();
        let piece = last.unwrap_or(&mut new);
        let before = piece.len();
        put_call(piece, call);
        self.bytes += piece.len() - before;
        if is_new {
            self.pieces.push(new);
        }
    }

    /// How many calls it holds.
    #[must_use]
    pub const fn call_count(&self) -> usize {
        self.calls
    }

    /// Whose calls they are; of none where there are none.
    pub(super) const fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }

    pub(super) const fn byte_count(&self) -> usize {
        self.bytes
    }

    /// Its records in their order.
    pub(super) fn into_pieces(self) -> Vec<Vec<u8>> {
        self.pieces
    }
}
