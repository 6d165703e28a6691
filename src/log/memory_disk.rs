//! A disk in memory that misbehaves as disks do.
//!
//! Owns the model of what survives a crash: synced sectors for certain, unsynced 512-byte sectors
//! by chance, and of the unsynced changes of a folder the first few. Must never be used for data
//! that matters. Tests choose which operation fails; [`MemoryDisk::after_crash`] gives the disk
//! as the next start would find it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::SECTOR_BYTES;

/// What happens at the operation at which a fault is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskFault {
    /// This operation fails, later ones work: an error of the device.
    Error,
    /// This operation and all later ones fail: the machine is gone.
    Crash,
}

/// A disk in memory; clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub(crate) struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
}

#[derive(Clone, Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    operations: u64,
    fault: Option<(u64, DiskFault)>,
    crashed: bool,
    capacity: Option<u64>,
    random: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl MemoryDisk {
    /// An empty disk; `seed` decides what survives.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                inodes: Vec::new(),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                unsynced_names: Vec::new(),
                operations: 0,
                fault: None,
                crashed: false,
                capacity: None,
                random: seed,
            })),
        }
    }

    /// Sets a fault at the n-th operation from now (0 is the next). Creating, writing, syncing,
    /// renaming, removing and syncing a folder are operations; reading is none.
    pub fn inject_fault_after(&self, operations: u64, fault: DiskFault) {
        let mut state = self.lock();
        state.fault = Some((state.operations + operations, fault));
    }

    /// How many operations there have been.
    #[must_use]
    pub fn operation_count(&self) -> u64 {
        self.lock().operations
    }

    /// Lets the files hold so many bytes in all; `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// How many bytes the named files hold.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used()
    }

    /// Another disk with what a crash at this moment would leave of this one.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> Self {
        let mut state = self.lock().clone();
        state.random = seed;
        state.crash();
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Another disk with the content of this one, as a restart of the process alone finds it.
    #[must_use]
    pub fn after_restart(&self) -> Self {
        let mut state = self.lock().clone();
        state.revive();
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The content of a file, if it is there.
    #[must_use]
    pub fn file_content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.names.get(path)?;
        Some(state.inodes.get(*inode)?.live.clone())
    }

    /// Puts a file there as if it had always been there, synced.
    pub fn put_synced_file(&self, path: &Path, content: Vec<u8>) {
        let mut state = self.lock();
        let inode = state.inodes.len();
        state.inodes.push(Inode {
            live: content.clone(),
            durable: content,
            dirty: BTreeSet::new(),
        });
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
    }

    /// The paths of all files.
    #[must_use]
    pub fn file_paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    pub(crate) fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut state = self.lock();
        state.operation()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_owned(), inode);
        let change = NameChange::Link(path.to_owned(), inode);
        state.unsynced_names.push(change);
        Ok(self.file(inode))
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        let inode = self.lock().names.get(path).copied();
        inode.map(|inode| self.file(inode)).ok_or_else(not_found)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.operation()?;
        let inode = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), inode);
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        state.unsynced_names.push(change);
        Ok(())
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.operation()?;
        state.names.remove(path).ok_or_else(not_found)?;
        state
            .unsynced_names
            .push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    pub(crate) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if let Err(error) = state.operation() {
            // Whether the changes got there is not known.
            if state.chance(2) {
                state.sync_names(path);
            }
            return Err(error);
        }
        state.sync_names(path);
        Ok(())
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let inside = state
            .names
            .keys()
            .filter(|name| name.parent() == Some(path));
        Ok(inside
            .filter_map(|name| Some(name.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn file(&self, inode: usize) -> MemoryFile {
        MemoryFile {
            disk: self.clone(),
            inode,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryFile {
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start + bytes.len();
        let mut bytes = bytes;
        let mut outcome = state.operation();
        if outcome.is_err() {
            // A write that fails may have done any part of its work, in whole sectors.
            let sectors = state.below(bytes.len() / SECTOR_BYTES + 1);
            let boundary = (start / SECTOR_BYTES + sectors) * SECTOR_BYTES;
            bytes = bytes
                .get(..boundary.saturating_sub(start))
                .unwrap_or_default();
        } else if state.is_full(self.inode, end) {
            bytes = &[];
            outcome = Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(inode) = state.inodes.get_mut(self.inode) {
            inode.write(start, bytes);
        }
        outcome
    }

    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let state = self.disk.lock();
        let bytes = state.inodes.get(self.inode).map(|inode| &inode.live);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(rest) = bytes.and_then(|bytes| bytes.get(start..)) else {
            return 0;
        };
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.chunks_mut(4096).zip(rest.chunks(4096)) {
            let piece = to.len().min(from.len());
            if let (Some(to), Some(from)) = (to.get_mut(..piece), from.get(..piece)) {
                to.copy_from_slice(from);
            }
        }
        length
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let outcome = state.operation();
        let failed = outcome.is_err();
        let dirty = state.inodes.get_mut(self.inode).map(|inode| {
            let whole = inode.durable.len().max(inode.live.len());
            if !failed {
                inode.durable.resize(whole, 0);
            }
            std::mem::take(&mut inode.dirty)
        });
        // A failed sync leaves the pages marked clean, whether they got there or not.
        for sector in dirty.unwrap_or_default() {
            let reached = !failed || state.chance(2);
            if let Some(inode) = state.inodes.get_mut(self.inode).filter(|_| reached) {
                inode.keep(sector);
            }
        }
        outcome
    }

    pub(crate) fn length(&self) -> u64 {
        let state = self.disk.lock();
        let inode = state.inodes.get(self.inode);
        inode.map_or(0, |inode| inode.live.len() as u64)
    }
}

impl Inode {
    fn write(&mut self, start: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = start + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        if let Some(place) = self.live.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        self.dirty
            .extend(start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    /// Copies one sector from the live to the durable content.
    fn keep(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.live.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        if let (Some(to), Some(from)) =
            (self.durable.get_mut(start..end), self.live.get(start..end))
        {
            to.copy_from_slice(from);
        }
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.crashed {
            return Err(io::Error::other("the machine is gone"));
        }
        match self.fault {
            Some((at, fault)) if at == number => {
                self.crashed = fault == DiskFault::Crash;
                Err(io::Error::other(format!("fault at operation {number}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        let sizes = named.iter().filter_map(|inode| self.inodes.get(*inode));
        sizes.map(|inode| inode.live.len() as u64).sum()
    }

    fn is_full(&self, inode: usize, end: usize) -> bool {
        let length = self.inodes.get(inode).map_or(0, |inode| inode.live.len());
        let growth = end.saturating_sub(length) as u64;
        let free = self.capacity.map(|all| all.saturating_sub(self.used()));
        growth > 0 && free.is_some_and(|free| growth > free)
    }

    fn sync_names(&mut self, folder: &Path) {
        let changes = std::mem::take(&mut self.unsynced_names);
        for change in changes {
            let path = match &change {
                NameChange::Link(path, _) | NameChange::Remove(path) => path,
                NameChange::Rename(_, to) => to,
            };
            if path.parent() == Some(folder) {
                self.make_durable(change);
            } else {
                self.unsynced_names.push(change);
            }
        }
    }

    fn make_durable(&mut self, change: NameChange) {
        match change {
            NameChange::Link(path, inode) => {
                self.durable_names.insert(path, inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = self.durable_names.remove(&from) {
                    self.durable_names.insert(to, inode);
                }
            }
            NameChange::Remove(path) => {
                self.durable_names.remove(&path);
            }
        }
    }

    fn crash(&mut self) {
        let changes = std::mem::take(&mut self.unsynced_names);
        let survivors = self.below(changes.len() + 1);
        for change in changes.into_iter().take(survivors) {
            self.make_durable(change);
        }
        self.names = self.durable_names.clone();
        for number in 0..self.inodes.len() {
            // From crash to crash: nearly none, nearly all, or half of the sectors survive.
            let likely = self.below(5);
            let dirty = self
                .inodes
                .get_mut(number)
                .map(|i| std::mem::take(&mut i.dirty));
            for sector in dirty.unwrap_or_default() {
                let survives = self.below(4) < likely;
                if let Some(inode) = self.inodes.get_mut(number).filter(|_| survives) {
                    inode.keep(sector);
                }
            }
            if let Some(inode) = self.inodes.get_mut(number) {
                inode.live.clone_from(&inode.durable);
            }
        }
        self.revive();
    }

    const fn revive(&mut self) {
        self.fault = None;
        self.crashed = false;
    }

    /// A number below `bound`, from the seed (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        usize::try_from(z % bound.max(1) as u64).unwrap_or(0)
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}
