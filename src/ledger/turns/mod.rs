//! Turns: how work that reads the past, or a long report of calls, shares the machine between
//! organizations.
//!
//! Owns the queue of such work. Each organization has a line of its own; the lines are served one
//! after another, a slice of time each, and no organization ever holds all slices: however much one
//! of them asks for, another one's next reading begins at once. Work that takes longer than a slice
//! pauses between two events ([`Turn::go_on`]) and waits for its organization's next turn. It stops
//! where its caller has gone away or its time is over. It has threads of its own, which yield to
//! those that verify and write. Must never know what is read.

mod threads;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::domain::ids::OrganizationId;
use threads::{BEGUN_MAX, Threads};

/// Slices at once: with one of two cores for each, the service's own threads go on beside them.
const SLICES_MAX: usize = 2;
/// Slices of one organization at once: the other place is for somebody else.
const SLICES_EACH_MAX: usize = 1;
/// How long a slice is before it is another organization's turn.
const SLICE: Duration = Duration::from_millis(5);
/// Work of one organization that has begun and is not done: each holds a thread and what it has
/// read, and they take turns among each other. The rest waits without either.
pub(crate) const BEGUN_EACH_MAX: usize = 4;
/// What part of the free places of either kind one organization may take.
const FREE_PART: usize = 3;
/// Requests of one organization that wait to begin, while the others leave three times as many.
pub(crate) const WAITING_EACH_MAX: usize = 64;
/// The same of all organizations: with headers of 32 KiB and 8 KiB of its own each, 40 MiB.
const WAITING_MAX: usize = 1_024;
/// How long a request waits to begin: what its organization began before takes 10 seconds at most.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
/// How long one piece of work may take, waiting aside: some millions of events.
pub const WORK_MAX: Duration = Duration::from_secs(10);

/// Whose turn it is: the organization of the caller's credential, also where a caller with
/// `platform:*` reads another one's records. `None`: the server's own work.
pub type Tenant = Option<OrganizationId>;

/// Why work that had begun does not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Interrupted {
    /// Its time is over.
    #[error("not done within its time")]
    TooLong,
    /// The client has gone away.
    #[error("the caller has gone away")]
    Abandoned,
}

/// Why work has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum NoTurn {
    /// Too much of the organization's is waiting, or for too long.
    #[error("too many reads of the past are waiting")]
    Busy,
    #[error("a read of the past panicked")]
    Panicked(#[from] JoinError),
}

/// The lines, and who is being served.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Lines>,
    threads: Threads,
}

#[derive(Debug, Default)]
struct Lines {
    by_tenant: BTreeMap<Tenant, Line>,
    running: usize,
    begun: usize,
    /// Requests that wait in bounded lines.
    waiting: usize,
    /// Who was served last.
    last: Tenant,
}

/// What one organization waits for.
#[derive(Debug, Default)]
struct Line {
    running: usize,
    begun: usize,
    /// Of the new ones, those that count towards its share of the places to wait in.
    waiting: usize,
    paused: VecDeque<oneshot::Sender<Granted>>,
    new: VecDeque<oneshot::Sender<Granted>>,
}

/// A place to wait in; it is free again when this is dropped.
struct Waiting(Turns, Tenant);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut lines = self.0.lock();
        lines.waiting -= 1;
        lines.line(self.1).waiting -= 1;
    }
}

/// A slice, and with the first one the right to have begun.
#[derive(Debug)]
struct Granted {
    slice: Slice,
    begun: Option<Begun>,
}

/// A running slice; it is over when this is dropped.
#[derive(Debug)]
struct Slice(Turns, Tenant);

/// Work that has begun; it is done when this is dropped.
#[derive(Debug)]
struct Begun(Turns, Tenant);

impl Drop for Slice {
    fn drop(&mut self) {
        let mut lines = self.0.lock();
        lines.running -= 1;
        lines.line(self.1).running -= 1;
        drop(lines);
        self.0.serve();
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut lines = self.0.lock();
        lines.begun -= 1;
        lines.line(self.1).begun -= 1;
        drop(lines);
        self.0.serve();
    }
}

/// What one organization may have of places of which so many are free.
fn share(each: usize, free: usize) -> usize {
    each.min((free / FREE_PART).max(1)).min(free)
}

impl Line {
    fn forget_abandoned(&mut self) {
        self.paused.retain(|waiting| !waiting.is_closed());
        self.new.retain(|waiting| !waiting.is_closed());
    }

    fn is_idle(&self) -> bool {
        let is_served = self.running > 0 || self.begun > 0;
        !is_served && self.waiting == 0 && self.paused.is_empty() && self.new.is_empty()
    }

    /// Who is served next; what has begun takes turns with what has not.
    /// It may have begun `most` in all.
    fn pop(&mut self, most: usize) -> Option<(oneshot::Sender<Granted>, bool)> {
        match (self.new.front(), self.paused.front()) {
            (Some(_), _) if self.begun < most => Some((self.new.pop_front()?, true)),
            (_, Some(_)) => Some((self.paused.pop_front()?, false)),
            (Some(_) | None, None) => None,
        }
    }
}

impl Lines {
    fn line(&mut self, tenant: Tenant) -> &mut Line {
        self.by_tenant.entry(tenant).or_default()
    }

    /// The next slice: of the first line after the one served last that may have one.
    fn next(&mut self) -> Option<(oneshot::Sender<Granted>, Tenant, bool)> {
        if self.running >= SLICES_MAX {
            return None;
        }
        let most = share(BEGUN_EACH_MAX, BEGUN_MAX.saturating_sub(self.begun));
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let tenants = self.by_tenant.range(after).map(|(tenant, _)| *tenant);
        let before = self.by_tenant.range(..=self.last);
        let order: Vec<_> = tenants.chain(before.map(|(tenant, _)| *tenant)).collect();
        let mut served = None;
        for tenant in order {
            let line = self.line(tenant);
            line.forget_abandoned();
            if line.is_idle() {
                self.by_tenant.remove(&tenant);
                continue;
            }
            if line.running >= SLICES_EACH_MAX {
                continue;
            }
            if let Some((waiting, begins)) = line.pop(most) {
                line.running += 1;
                line.begun += usize::from(begins);
                served = Some((waiting, tenant, begins));
                break;
            }
        }
        let (waiting, tenant, begins) = served?;
        self.running += 1;
        self.begun += usize::from(begins);
        self.last = tenant;
        Some((waiting, tenant, begins))
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests of an organization wait to begin.
    #[cfg(test)]
    pub(crate) fn waiting_of(&self, tenant: Tenant) -> usize {
        self.lock().line(tenant).waiting
    }

    /// How many requests are in an organization's line and have not begun.
    #[cfg(test)]
    pub(crate) fn in_line(&self, tenant: Tenant) -> usize {
        self.lock().line(tenant).new.len()
    }

    /// How much work of an organization has begun and is not done.
    #[cfg(test)]
    pub(crate) fn begun_of(&self, tenant: Tenant) -> usize {
        self.lock().line(tenant).begun
    }

    /// Gives out what slices there are.
    fn serve(&self) {
        loop {
            let Some((waiting, tenant, begins)) = self.lock().next() else {
                return;
            };
            let granted = Granted {
                slice: Slice(self.clone(), tenant),
                begun: begins.then(|| Begun(self.clone(), tenant)),
            };
            // If the caller has stopped waiting, dropping it gives it back.
            drop(waiting.send(granted));
        }
    }

    /// A place to wait in, if there is one for this organization.
    fn place_to_wait(&self, tenant: Tenant) -> Result<Waiting, NoTurn> {
        let mut lines = self.lock();
        let free = WAITING_MAX.saturating_sub(lines.waiting);
        if lines.line(tenant).waiting >= share(WAITING_EACH_MAX, free) {
            return Err(NoTurn::Busy);
        }
        lines.waiting += 1;
        lines.line(tenant).waiting += 1;
        Ok(Waiting(self.clone(), tenant))
    }

    /// The end of an organization's line.
    fn line_up(&self, tenant: Tenant) -> oneshot::Receiver<Granted> {
        let (waiting, granted) = oneshot::channel();
        self.lock().line(tenant).new.push_back(waiting);
        self.serve();
        granted
    }

    /// Does work for a caller on a thread that may block, in its organization's turns. It is
    /// abandoned when the future is dropped.
    ///
    /// # Errors
    /// When too much is waiting, or the work panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        tenant: Tenant,
        work: impl FnOnce(&mut Turn) -> T + Send + 'static,
    ) -> Result<T, NoTurn> {
        let waiting = self.place_to_wait(tenant)?;
        let granted = tokio::time::timeout(BEGIN_WITHIN, self.line_up(tenant)).await;
        drop(waiting);
        let Ok(Ok(granted)) = granted else {
            return Err(NoTurn::Busy);
        };
        self.begin(granted, WORK_MAX, work).await
    }

    /// The same where the number of such works is bounded by something else, such as streams or
    /// deliveries: it waits as long as it must.
    ///
    /// # Errors
    /// When the work panicked.
    pub async fn run_bounded<T: Send + 'static>(
        &self,
        tenant: Tenant,
        work: impl FnOnce(&mut Turn) -> T + Send + 'static,
    ) -> Result<T, NoTurn> {
        let granted = self
            .line_up(tenant)
            .await
            .map_err(|_dropped| NoTurn::Busy)?;
        self.begin(granted, Duration::MAX, work).await
    }

    async fn begin<T: Send + 'static>(
        &self,
        granted: Granted,
        most: Duration,
        work: impl FnOnce(&mut Turn) -> T + Send + 'static,
    ) -> Result<T, NoTurn> {
        let is_abandoned = Arc::new(AtomicBool::new(false));
        let _abandons = Abandons(Arc::clone(&is_abandoned));
        let (turns, tenant) = (self.clone(), granted.slice.1);
        let done = self.0.threads.spawn(move || {
            let Granted { slice, begun } = granted;
            let mut turn = Turn {
                began: Instant::now(),
                spent: Duration::ZERO,
                most,
                #[cfg(test)]
                steps: Steps::UNBOUNDED,
                queue: Some(Queued {
                    turns,
                    tenant,
                    slice: Some(slice),
                    is_abandoned,
                    _begun: begun,
                }),
            };
            work(&mut turn)
        });
        Ok(done.await?)
    }
}

/// Tells the work when its caller is gone.
struct Abandons(Arc<AtomicBool>);

impl Drop for Abandons {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The time that one piece of work has, slice by slice.
#[derive(Debug)]
pub struct Turn {
    /// When the slice began.
    began: Instant,
    /// In the slices before.
    spent: Duration,
    most: Duration,
    queue: Option<Queued>,
    #[cfg(test)]
    steps: Steps,
}

/// What tests count and bound instead of time.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
struct Steps {
    taken: u64,
    most: u64,
}

#[cfg(test)]
impl Steps {
    const UNBOUNDED: Self = Self {
        taken: 0,
        most: u64::MAX,
    };
}

#[derive(Debug)]
struct Queued {
    turns: Turns,
    tenant: Tenant,
    slice: Option<Slice>,
    is_abandoned: Arc<AtomicBool>,
    _begun: Option<Begun>,
}

impl Turn {
    /// A turn that no one else waits for, such as that of a command line.
    #[must_use]
    pub fn alone() -> Self {
        Self::within(Duration::MAX)
    }

    /// The same with a bound.
    #[must_use]
    pub fn within(most: Duration) -> Self {
        Self {
            began: Instant::now(),
            spent: Duration::ZERO,
            most,
            queue: None,
            #[cfg(test)]
            steps: Steps::UNBOUNDED,
        }
    }

    /// A turn that is over after so many steps.
    #[cfg(test)]
    pub(crate) fn of_steps(most: u64) -> Self {
        let mut turn = Self::alone();
        turn.steps.most = most;
        turn
    }

    /// The steps of the work so far.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> u64 {
        self.steps.taken
    }

    /// How long the work has been done, waiting aside.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.spent.saturating_add(self.began.elapsed())
    }

    /// Between two steps of the work, each of them well below a slice: waits for the next slice
    /// when this one is over.
    ///
    /// # Errors
    /// When the work must not go on.
    pub fn go_on(&mut self) -> Result<(), Interrupted> {
        #[cfg(test)]
        {
            if self.steps.taken >= self.steps.most {
                return Err(Interrupted::TooLong);
            }
            self.steps.taken += 1;
        }
        let slice = self.began.elapsed();
        if self.spent.saturating_add(slice) >= self.most {
            return Err(Interrupted::TooLong);
        }
        let Some(queued) = &mut self.queue else {
            return Ok(());
        };
        if queued.is_abandoned.load(Ordering::Relaxed) {
            return Err(Interrupted::Abandoned);
        }
        if slice >= SLICE {
            self.spent = self.spent.saturating_add(slice);
            queued.pause()?;
            self.began = Instant::now();
        }
        Ok(())
    }
}

impl Queued {
    /// Gives the slice back and waits for the next one.
    fn pause(&mut self) -> Result<(), Interrupted> {
        let (waiting, granted) = oneshot::channel();
        self.turns
            .lock()
            .line(self.tenant)
            .paused
            .push_back(waiting);
        drop(self.slice.take());
        let granted = granted.blocking_recv();
        let granted = granted.map_err(|_dropped| Interrupted::Abandoned)?;
        self.slice = Some(granted.slice);
        Ok(())
    }
}
