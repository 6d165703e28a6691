//! What an audit says: whole, or the first damage, with a code that a program can act upon.
//!
//! Owns the list of what can be wrong, what each means, and what to do about it. Must never find
//! anything itself.

use std::path::{Path, PathBuf};

use crate::log::{FailedCheck, LogDamage};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $means:literal, $todo:ident;)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code, for programs.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn means(self) -> &'static str {
                match self { $(Self::$name => $means,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn way_out(self) -> &'static str {
                match self { $(Self::$name => $todo,)* }
            }
        }
    };
}

const KEEP: &str = "Keep a copy of everything as it is. Restore the folder from a backup, or find \
    another copy that verifies; what the newest checkpoint elsewhere says is the measure";
const ASK: &str = "Do not rely on it. Ask for the whole again, compare it with checkpoints that \
    you or others have kept from earlier, and ask the operator to explain the difference";
const MEND: &str = "Run `keyledger keys import` with an export of the keys that holds it. The \
    start of the server says what to do when there is none. The log itself is whole";
const REMAKE: &str = "Keep a copy of it, then remove it: it is made again from the log, which is \
    whole";

kinds! {
    /// The header of a segment.
    SegmentHeader = "segment_header",
        "a file of the log does not begin as it was written", KEEP;
    /// A segment is missing, foreign, or follows another.
    SegmentOrder = "segment_order",
        "a file of the log is missing, stands in the wrong place, or is another log's", KEEP;
    /// A frame or batch.
    Batch = "batch",
        "stored events are not what was written", KEEP;
    /// A root in the log.
    Root = "root",
        "the log states a root of the tree that is not that of its events", KEEP;
    /// The end of the log.
    LogEnd = "log_end",
        "the log, or a file of it, ends before it should", KEEP;
    /// A payload is not one of ours.
    EventForm = "event_form",
        "a stored event is not of the form that this program writes", KEEP;
    /// A payload says another position.
    EventPosition = "event_position",
        "an event says that it stands elsewhere: it was moved", KEEP;
    /// Time goes back.
    EventTime = "event_time",
        "an event says that it happened before the one ahead of it", KEEP;
    /// A gap or a repetition in an organization's chain.
    OrganizationSequence = "organization_sequence",
        "an organization's events are not counted without a gap: one is missing or was added", KEEP;
    /// A wrong link of an organization's chain.
    OrganizationPrevious = "organization_previous",
        "an organization's event does not name the one before it: that one was replaced", KEEP;
    /// A gap or a repetition among a record's events.
    SubjectVersion = "subject_version",
        "a record's events are not counted without a gap", KEEP;
    /// An event that no state of before allows.
    Replay = "replay",
        "an event does not fit the events before it", KEEP;
    /// The form of a kept checkpoint's record or of its file.
    CheckpointFile = "checkpoint_file",
        "a file of checkpoints is missing or is not what was written", KEEP;
    /// A note that is no checkpoint of this log.
    CheckpointForm = "checkpoint_form",
        "a kept note is not a checkpoint of this log, or not the one that its record says", ASK;
    /// Not signed by a known key.
    CheckpointSignature = "checkpoint_signature",
        "a checkpoint is not signed by a known key: it is forged, or the key is another one", ASK;
    /// Another root than the log's.
    CheckpointRoot = "checkpoint_root",
        "a signed checkpoint states another root than the log has at its size: \
         the log was rewritten", ASK;
    /// Two checkpoints contradict each other.
    CheckpointsContradict = "checkpoints_contradict",
        "there are two signed checkpoints of one size with different roots: \
         the log has shown two histories", ASK;
    /// The log ends below a signed checkpoint.
    RolledBack = "rolled_back",
        "the log ends before an event that was signed, published or shown: its end is missing", ASK;
    /// There is no checkpoint.
    CheckpointMissing = "checkpoint_missing",
        "nothing is signed: there is no checkpoint", ASK;
    /// The key given is not the log's.
    WrongKey = "wrong_key",
        "the verifier key given is not one of this log's", ASK;
    /// The checkpoint kept from earlier is not signed by a known key.
    SinceSignature = "since_signature",
        "the checkpoint kept from earlier is not one of this log, signed by a known key", ASK;
    /// The checkpoint kept from earlier is of another history.
    SinceRoot = "since_root",
        "the log is no continuation of the checkpoint kept from earlier: \
         the history before it was rewritten", ASK;
    /// Nothing ties the checkpoint kept from earlier to what is there.
    SinceUnproven = "since_unproven",
        "nothing in it proves that the log is a continuation of the checkpoint kept from earlier",
        ASK;
    /// A tile on disk differs.
    Tile = "tile",
        "a tile is not the one of the tree", REMAKE;
    /// A tile that the checkpoint promises is not served.
    TileMissing = "tile_missing",
        "a tile that the checkpoint covers is not there", ASK;
    /// The served tree has another root than its checkpoint.
    TreeRoot = "tree_root",
        "the entries that are served have another root than the checkpoint", ASK;
    /// A data key is not there, although no one was erased.
    DataKeyMissing = "data_key_missing",
        "a key of sealed values is missing although nothing was erased", MEND;
    /// A data key's file is not what was written.
    DataKeyDamaged = "data_key_damaged",
        "the key of sealed values is damaged: they cannot be read", MEND;
    /// A view differs.
    Views = "views",
        "the history index is not what the log gives", REMAKE;
    /// A bundle ends too early.
    BundleTruncated = "bundle_truncated",
        "the bundle ends before it should", ASK;
    /// A bundle is not written as one.
    BundleForm = "bundle_form",
        "the bundle is not written as this program writes one", ASK;
    /// Something stands behind the end of a bundle.
    BundleTrailing = "bundle_trailing",
        "there are bytes behind the end of the bundle", ASK;
    /// A member of a bundle has another digest.
    BundleDigest = "bundle_digest",
        "a file in the bundle is not the one of which the bundle holds the digest", ASK;
    /// A manifest that does not fit.
    BundleManifest = "bundle_manifest",
        "the manifest contradicts what is in the bundle", ASK;
    /// A payload that is not in the tree where the bundle says.
    BundleProof = "bundle_proof",
        "the events in the bundle are not those of the signed tree: \
         one was changed, added, left out or moved", ASK;
    /// Checkpoints of a bundle without proof of consistency.
    BundleConsistency = "bundle_consistency",
        "a checkpoint in the bundle is not proven to be a beginning of the newest one", ASK;
    /// Events that do not stand in order.
    BundleOrder = "bundle_order",
        "the events in the bundle do not stand in the order of the log", ASK;
    /// An organization's chain has a hole.
    BundleIncomplete = "bundle_incomplete",
        "an event of the organization is missing from the bundle", ASK;
    /// An event of another organization than the bundle is of.
    BundleForeign = "bundle_foreign",
        "the bundle holds an event that it should not hold", ASK;
    /// A file that is no receipt.
    ReceiptForm = "receipt_form",
        "the file is not a receipt", ASK;
    /// A receipt whose checkpoint is not the log's.
    ReceiptSignature = "receipt_signature",
        "the checkpoint in the receipt is not signed by the key given", ASK;
    /// A receipt that proves nothing.
    ReceiptProof = "receipt_proof",
        "the receipt does not prove that the payload is in the log: it is another payload's, \
         or for another size", ASK;
}

/// The first damage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// In which file, member of a bundle, or address.
    pub file: Option<PathBuf>,
    /// At which offset in it.
    pub offset: Option<u64>,
    /// At which position of the log, or at which size of the tree.
    pub position: Option<u64>,
    /// In words.
    pub what: String,
}

impl Finding {
    /// A finding without a place.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            file: None,
            offset: None,
            position: None,
            what: what.into(),
        }
    }

    /// The same with the file.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// The same with the offset in it.
    #[must_use]
    pub const fn at_offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same with the position in the log.
    #[must_use]
    pub const fn at_position(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// Stored bytes of the log that have failed a check.
    #[must_use]
    pub fn of_log(failed: FailedCheck, damage: &LogDamage) -> Self {
        let kind = match failed {
            FailedCheck::Header => Kind::SegmentHeader,
            FailedCheck::SegmentOrder => Kind::SegmentOrder,
            FailedCheck::Batch => Kind::Batch,
            FailedCheck::Root => Kind::Root,
            FailedCheck::LogEnd => Kind::LogEnd,
        };
        Self::of_damage(kind, damage)
    }

    /// Stored bytes that are not what was written.
    #[must_use]
    pub fn of_damage(kind: Kind, damage: &LogDamage) -> Self {
        Self {
            kind,
            file: Some(damage.file.clone()),
            offset: Some(damage.offset),
            position: Some(damage.position),
            what: damage.what.to_owned(),
        }
    }
}

/// Whether all that was looked at is whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing is wrong.
    Whole,
    /// Something is, and this is the first.
    Damaged(Box<Finding>),
}

impl From<Option<Finding>> for Verdict {
    fn from(first: Option<Finding>) -> Self {
        first.map_or(Self::Whole, |finding| Self::Damaged(Box::new(finding)))
    }
}
