//! Which parts of the service are degraded: what is wrong, since when, and what to do about it.
//!
//! Owns one entry for each part that does not work as it should although the ledger goes on:
//! damage to anything but the log never stops the ledger, and none passes in silence. Each part
//! reports here when its trouble begins and when it ends; both are logged here and nowhere else.
//! `/readyz` and `/metrics` read it. Must never decide anything, nor hold a secret.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, fs, io};

use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// Between the name of what was set aside and the time, in milliseconds since 1970.
pub const DAMAGED: &str = ".damaged-";

/// Files or folders of one name that are kept aside: the first shows how it began, and two more.
pub const SET_ASIDE_MAX: usize = 3;

/// Damaged files that are listed, the newest ones: 300 bytes each.
pub const DAMAGES_LISTED_MAX: usize = 32;

/// A part of the service that can be degraded while the ledger goes on.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    /// The view on disk that finds the events of a record.
    Views,
    /// Signed checkpoints.
    Signing,
    /// Tiles and published checkpoints.
    Publishing,
    /// Snapshots of the state.
    Snapshots,
    /// What webhooks have delivered.
    Deliveries,
    /// The usage history.
    Usage,
    /// Data keys.
    Keys,
    /// A ledger that was restored from an older copy, or rolled back.
    Restore,
    Clock,
    /// The files of the server's own certificate.
    TlsCertificate,
}

impl Part {
    /// All parts, in the order in which they are listed.
    pub const ALL: [Self; 10] = [
        Self::Views,
        Self::Signing,
        Self::Publishing,
        Self::Snapshots,
        Self::Deliveries,
        Self::Usage,
        Self::Keys,
        Self::Restore,
        Self::Clock,
        Self::TlsCertificate,
    ];

    /// The name in `/readyz`, metrics and log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Views => "views",
            Self::Signing => "signing",
            Self::Publishing => "publishing",
            Self::Snapshots => "snapshots",
            Self::Deliveries => "deliveries",
            Self::Usage => "usage",
            Self::Keys => "keys",
            Self::Restore => "restore",
            Self::Clock => "clock",
            Self::TlsCertificate => "tls_certificate",
        }
    }

    const fn bit(self) -> u64 {
        1 << self.number()
    }

    const fn number(self) -> usize {
        match self {
            Self::Views => 0,
            Self::Signing => 1,
            Self::Publishing => 2,
            Self::Snapshots => 3,
            Self::Deliveries => 4,
            Self::Usage => 5,
            Self::Keys => 6,
            Self::Restore => 7,
            Self::Clock => 8,
            Self::TlsCertificate => 9,
        }
    }
}

/// What is wrong with a part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Degradation {
    pub part: Part,
    /// When it began.
    pub since: Timestamp,
    /// What is wrong, with the file's name.
    pub reason: String,
    /// What to do, or what the service does by itself.
    pub remedy: &'static str,
}

/// A file or folder that was found damaged and dealt with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Damage {
    /// Whose it is.
    pub part: Part,
    /// When it was found.
    pub at: Timestamp,
    /// Where it is, or was.
    pub file: PathBuf,
    /// Under which name it was set aside; `None`: it stays in its place.
    pub kept_as: Option<PathBuf>,
    /// What was wrong, and what was done about it.
    pub reason: String,
}

/// The parts that are degraded. Clones are handles to the same list.
#[derive(Clone)]
pub struct DegradedParts(Arc<Shared>);

struct Shared {
    clock: Clock,
    parts: Mutex<BTreeMap<Part, Degradation>>,
    /// A bit for each part that is in there, by its number.
    degraded: AtomicU64,
    damages: Mutex<VecDeque<Damage>>,
    damaged: [AtomicU64; Part::ALL.len()],
}

impl fmt::Debug for DegradedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl DegradedParts {
    /// No part is degraded yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            parts: Mutex::default(),
            degraded: AtomicU64::new(0),
            damages: Mutex::default(),
            damaged: Default::default(),
        }))
    }

    /// A part is degraded. One that was already keeps its beginning; only news is logged.
    pub fn begin(&self, part: Part, reason: impl Into<String>, remedy: &'static str) {
        let reason = reason.into();
        let mut parts = self.lock();
        let known = parts.get(&part);
        if known.is_some_and(|known| known.reason == reason && known.remedy == remedy) {
            return;
        }
        let now = Timestamp(self.0.clock.now_ms());
        let since = known.map_or(now, |known| known.since);
        let degradation = Degradation {
            part,
            since,
            reason: reason.clone(),
            remedy,
        };
        parts.insert(part, degradation);
        self.0.degraded.fetch_or(part.bit(), Ordering::Release);
        drop(parts);
        tracing::error!(part = part.name(), reason, remedy, "a part is degraded");
    }

    /// A part works as it should, again or still. Costs one load where it does still.
    pub fn end(&self, part: Part) {
        if !self.is_degraded(part) {
            return;
        }
        let mut parts = self.lock();
        self.0.degraded.fetch_and(!part.bit(), Ordering::Release);
        if parts.remove(&part).is_some() {
            tracing::info!(part = part.name(), "a part has recovered");
        }
    }

    /// Moves a damaged file or folder of a part aside, so that it can be made anew: it stays
    /// beside as `<name>.damaged-<time>`, of each name the newest [`SET_ASIDE_MAX`].
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, part: Part, path: &Path, why: &str) -> io::Result<PathBuf> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let name = path.file_name().and_then(|name| name.to_str());
        let prefix = format!("{}{DAMAGED}", name.unwrap_or_default());
        // In a name without colons, and in order: of two in one millisecond one waits.
        let at = self.0.clock.now_ms().max(0);
        let mut to = folder.join(format!("{prefix}{at:013}"));
        for number in 1..=SET_ASIDE_MAX {
            if !to.try_exists()? {
                break;
            }
            to = folder.join(format!("{prefix}{at:013}-{number}"));
        }
        fs::rename(path, &to)?;
        remove_oldest(folder, &prefix)?;
        let kept_as = to.display();
        let (name, file) = (part.name(), path.display());
        tracing::error!(part = name, %file, %kept_as, why, "a damaged file was set aside");
        self.keep(part, path, (Some(&to), why));
        Ok(to)
    }

    /// A file or folder of a part is damaged and stays in its place: what of it is good is used.
    pub fn note_damage(&self, part: Part, path: &Path, why: &str) {
        let (name, file) = (part.name(), path.display());
        tracing::error!(part = name, %file, why, "a file is damaged");
        self.keep(part, path, (None, why));
    }

    fn keep(&self, part: Part, path: &Path, (kept_as, why): (Option<&Path>, &str)) {
        if let Some(count) = self.0.damaged.get(part.number()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let damage = Damage {
            part,
            at: Timestamp(self.0.clock.now_ms()),
            file: path.to_owned(),
            kept_as: kept_as.map(Path::to_owned),
            reason: why.to_owned(),
        };
        let mut damages = self.damages();
        damages.push_back(damage);
        while damages.len() > DAMAGES_LISTED_MAX {
            damages.pop_front();
        }
    }

    /// Whether a part is degraded.
    #[must_use]
    pub fn is_degraded(&self, part: Part) -> bool {
        self.0.degraded.load(Ordering::Acquire) & part.bit() != 0
    }

    /// The damage that was found since the start, the newest [`DAMAGES_LISTED_MAX`], oldest first.
    #[must_use]
    pub fn damage_found(&self) -> Vec<Damage> {
        self.damages().iter().cloned().collect()
    }

    /// All parts that are degraded now.
    #[must_use]
    pub fn list(&self) -> Vec<Degradation> {
        self.lock().values().cloned().collect()
    }

    /// How many files and folders of a part were found damaged since the start.
    #[must_use]
    pub fn damaged_count(&self, part: Part) -> u64 {
        let count = self.0.damaged.get(part.number());
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn damages(&self) -> MutexGuard<'_, VecDeque<Damage>> {
        self.0
            .damages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// One insertion or removal is whole, so that a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, Degradation>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes all but the newest of what was set aside under a name.
fn remove_oldest(folder: &Path, prefix: &str) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(prefix)) {
            found.push(entry.path());
        }
    }
    found.sort();
    let surplus = found.len().saturating_sub(SET_ASIDE_MAX);
    for path in found.into_iter().take(surplus) {
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_listed_from_its_first_trouble_until_it_recovers() {
        let (clock, by_hand) = Clock::manual(1_000);
        let degraded = DegradedParts::new(clock);
        assert_eq!(degraded.list(), []);
        degraded.begin(Part::Usage, "a.seg cannot be read", "look at the disk");
        by_hand.set_wall_ms(2_000);
        degraded.begin(Part::Usage, "b.seg cannot be read", "look at the disk");
        degraded.begin(Part::Views, "sled failed", "it is rebuilt");
        let shown: Vec<_> = degraded
            .list()
            .into_iter()
            .map(|one| (one.part.name(), one.since.0, one.reason))
            .collect();
        assert_eq!(
            shown,
            [
                ("views", 2_000, "sled failed".to_owned()),
                ("usage", 1_000, "b.seg cannot be read".to_owned()),
            ]
        );
        degraded.end(Part::Usage);
        degraded.end(Part::Usage);
        assert!(!degraded.is_degraded(Part::Usage));
        assert!(degraded.is_degraded(Part::Views));
    }

    #[test]
    fn every_part_has_its_own_name_and_count() {
        let degraded = DegradedParts::new(Clock::system());
        for (number, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part.number(), number);
            let others = Part::ALL.into_iter().filter(|other| *other != part);
            assert!(others.clone().all(|other| other.name() != part.name()));
            assert_eq!(degraded.damaged_count(part), 0);
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("a");
            fs::write(&file, "damaged").unwrap();
            degraded.set_aside(part, &file, "a test").unwrap();
            assert_eq!(degraded.damaged_count(part), 1);
        }
    }

    #[test]
    fn what_is_set_aside_stays_beside_and_the_oldest_goes() {
        let (clock, by_hand) = Clock::manual(1_000);
        let degraded = DegradedParts::new(clock);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut made = Vec::new();
        for number in 0..SET_ASIDE_MAX + 2 {
            by_hand.advance_ms(i64::from(number != 1));
            if number % 2 == 0 {
                fs::create_dir(&path).unwrap();
            } else {
                fs::write(&path, "damaged").unwrap();
            }
            made.push(degraded.set_aside(Part::Views, &path, "a test").unwrap());
            assert!(!path.exists());
        }
        let kept: Vec<_> = made.iter().filter(|path| path.exists()).collect();
        assert_eq!(kept, made[2..].iter().collect::<Vec<_>>());
        let listed = degraded.damage_found();
        let listed: Vec<_> = listed.iter().map(|one| one.kept_as.clone()).collect();
        assert_eq!(listed, made.iter().cloned().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn the_newest_damage_is_listed_and_all_of_it_counted() {
        let degraded = DegradedParts::new(Clock::system());
        let most = DAMAGES_LISTED_MAX + 3;
        for number in 0..most {
            let file = PathBuf::from(number.to_string());
            degraded.note_damage(Part::Usage, &file, "a block is damaged");
        }
        let listed = degraded.damage_found();
        assert_eq!(listed.len(), DAMAGES_LISTED_MAX);
        assert_eq!(listed[0].file, Path::new("3"));
        assert_eq!(listed[0].kept_as, None);
        assert_eq!(degraded.damaged_count(Part::Usage), most as u64);
        assert!(!degraded.is_degraded(Part::Usage));
    }
}
