//! The members of a bundle by their names, and what is wrong with one.

use std::path::Path;

use crate::audit::archive::{Archive, ArchiveError, Member};
use crate::audit::verdict::{Finding, Kind};

/// What is wrong with the member `name`.
pub(super) fn bundle_finding(kind: Kind, name: &str, what: impl Into<String>) -> ArchiveError {
    Finding::new(kind, what).in_file(Path::new(name)).into()
}

pub(super) fn named_member<'a>(
    archive: &'a Archive,
    name: &str,
) -> Result<&'a Member, ArchiveError> {
    let member = archive.member(name);
    member.ok_or_else(|| bundle_finding(Kind::BundleForm, name, format!("{name} is missing")))
}
