//! The queue before the writer: bounded lanes, in which organizations take turns.
//!
//! What ends or narrows something is taken first and has places of its own. Those that end
//! thousands of records at once have a lane for themselves, one a batch, so that no revocation
//! waits for more than one of them. In every lane one organization holds at most a quarter of the
//! places, and the organizations that wait take turns, one command each. A full lane refuses at
//! once, it never blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use tokio::sync::oneshot;

use super::{Outcome, Submission, SubmitError};
use crate::domain::command::Urgency;
use crate::domain::digest::Digest32;
use crate::domain::ids::OrganizationId;
use crate::domain::rejection::Rejection;

/// Places of the ordinary lane: at 50,000 commands a second, a wait of 80 ms.
pub const ORDINARY_MAX: usize = 4_096;
/// Places for revocations and the like alone.
pub const ENDS_MAX: usize = 1_024;
/// Places for those that may end thousands of records: at some 50 ms each, 3 seconds of work.
pub const CASCADES_MAX: usize = 64;
/// The part of a batch that revocations leave to all others, so that none of these wait for ever.
const LEFT_TO_OTHERS: usize = 16;
/// So often the writer looks for work before it sleeps, giving way to others each time: a client
/// that has just been answered asks again before that, and need not wake it.
const LOOKS_BEFORE_SLEEP: u32 = 256;

/// One organization's share of a lane with so many places.
#[must_use]
pub const fn share_of(places: usize) -> usize {
    places / 4
}

/// A submission with the way back.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) submission: Submission,
    pub(crate) answer: oneshot::Sender<Result<Outcome, SubmitError>>,
}

impl Job {
    pub(crate) fn urgency(&self) -> Urgency {
        self.submission.request.command.urgency()
    }

    /// Sends the answer. Nobody may be waiting any more; what is done is done.
    pub(crate) fn reply(self, outcome: Result<Outcome, SubmitError>) {
        drop(self.answer.send(outcome));
    }
}

/// All lanes.
#[derive(Debug, Default)]
pub struct Lanes {
    queue: Mutex<Queue>,
    news: Condvar,
    /// Whether there is work, or no more of it; a hint for who has not slept yet.
    stirred: AtomicBool,
    /// How many revocations wait: the writer looks between two commands.
    ends_waiting: AtomicUsize,
}

#[derive(Debug)]
struct Queue {
    ends: Lane,
    cascades: Lane,
    ordinary: Lane,
    /// Commands with an idempotency key that are waiting or being decided.
    running: BTreeSet<Digest32>,
    closed: bool,
    /// The writer sleeps, and must be woken.
    asleep: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            ends: Lane::with_places(ENDS_MAX),
            cascades: Lane::with_places(CASCADES_MAX),
            ordinary: Lane::with_places(ORDINARY_MAX),
            running: BTreeSet::new(),
            closed: false,
            asleep: false,
        }
    }
}

/// A lane. Commands of one organization keep their order.
#[derive(Debug)]
struct Lane {
    places: usize,
    waiting: usize,
    /// What waits, by organization; commands that name none take turns as one.
    jobs: BTreeMap<Option<OrganizationId>, VecDeque<Job>>,
    /// The organizations with waiting jobs, in the order of their turns.
    turns: VecDeque<Option<OrganizationId>>,
}

impl Lane {
    fn with_places(places: usize) -> Self {
        Self {
            places,
            waiting: 0,
            jobs: BTreeMap::new(),
            turns: VecDeque::new(),
        }
    }

    fn has_place(&self, organization: Option<OrganizationId>) -> bool {
        let held = self.jobs.get(&organization).map_or(0, VecDeque::len);
        let share = match organization {
            Some(_) => share_of(self.places),
            None => self.places,
        };
        self.waiting < self.places && held < share
    }

    fn push(&mut self, organization: Option<OrganizationId>, job: Job) {
        let jobs = self.jobs.entry(organization).or_default();
        if jobs.is_empty() {
            self.turns.push_back(organization);
        }
        jobs.push_back(job);
        self.waiting += 1;
    }

    /// The next job of the organization whose turn it is.
    fn pop(&mut self) -> Option<Job> {
        let organization = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&organization)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&organization);
        } else {
            self.turns.push_back(organization);
        }
        self.waiting -= usize::from(job.is_some());
        job
    }

    fn take_up_to(&mut self, max: usize, taken: &mut VecDeque<Job>) {
        for _ in 0..max {
            match self.pop() {
                Some(job) => taken.push_back(job),
                None => return,
            }
        }
    }
}

impl Queue {
    fn lane(&mut self, job: &Job) -> &mut Lane {
        match job.urgency() {
            Urgency::Ends if job.submission.request.command.may_cascade() => &mut self.cascades,
            Urgency::Ends => &mut self.ends,
            Urgency::Ordinary => &mut self.ordinary,
        }
    }

    fn waiting(&self) -> usize {
        self.ends.waiting + self.cascades.waiting + self.ordinary.waiting
    }
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic elsewhere leaves the queue whole: each change is one step.
        match self.queue.lock() {
            Ok(queue) => queue,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Adds a job, or says why not.
    pub(crate) fn push(&self, job: Job) -> Result<(), SubmitError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(SubmitError::Stopping);
        }
        let organization = job.submission.request.command.organization();
        if !queue.lane(&job).has_place(organization) {
            return Err(SubmitError::QueueFull);
        }
        if let Some(idempotency) = job.submission.idempotency
            && !queue.running.insert(idempotency.command)
        {
            return Err(Rejection::CommandStillRunning.into());
        }
        queue.lane(&job).push(organization, job);
        self.ends_waiting
            .store(queue.ends.waiting, Ordering::Release);
        self.stir(queue);
        Ok(())
    }

    fn stir(&self, queue: MutexGuard<'_, Queue>) {
        let asleep = queue.asleep;
        self.stirred.store(true, Ordering::Release);
        drop(queue);
        if asleep {
            self.news.notify_one();
        }
    }

    /// Gives way to others a while, unless there is news.
    fn look_around(&self) {
        for _ in 0..LOOKS_BEFORE_SLEEP {
            if self.stirred.load(Ordering::Acquire) {
                return;
            }
            thread::yield_now();
        }
    }

    /// Waits for work and takes up to `max` jobs, revocations first and one cascade after them;
    /// `None` once closed and empty.
    pub(crate) fn take(&self, max: usize) -> Option<VecDeque<Job>> {
        self.look_around();
        let mut queue = self.lock();
        while queue.waiting() == 0 {
            if queue.closed {
                return None;
            }
            queue.asleep = true;
            queue = match self.news.wait(queue) {
                Ok(queue) => queue,
                Err(poisoned) => poisoned.into_inner(),
            };
            queue.asleep = false;
        }
        let mut taken = VecDeque::with_capacity(max.min(queue.waiting()));
        queue
            .ends
            .take_up_to(max - max / LEFT_TO_OTHERS, &mut taken);
        let cascades = (max - taken.len()).min(1);
        queue.cascades.take_up_to(cascades, &mut taken);
        let ordinary = max - taken.len();
        queue.ordinary.take_up_to(ordinary, &mut taken);
        self.ends_waiting
            .store(queue.ends.waiting, Ordering::Release);
        let done = queue.waiting() == 0 && !queue.closed;
        self.stirred.store(!done, Ordering::Release);
        Some(taken)
    }

    /// Takes up to `max` revocations that have come since, without waiting, to the front of what
    /// has been taken. While none wait, it costs one look.
    pub(crate) fn take_ends(&self, max: usize, taken: &mut VecDeque<Job>) {
        if self.ends_waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut queue = self.lock();
        let mut ends = VecDeque::new();
        queue.ends.take_up_to(max, &mut ends);
        self.ends_waiting
            .store(queue.ends.waiting, Ordering::Release);
        drop(queue);
        ends.append(taken);
        *taken = ends;
    }

    /// Forgets that a command with an idempotency key is running.
    pub(crate) fn finished(&self, command: Digest32) {
        self.lock().running.remove(&command);
    }

    /// Takes no more jobs; those that wait are still done.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        self.stir(queue);
    }

    /// Whether no more jobs are taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many jobs wait in the lanes of revocations and in the ordinary one.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (
            queue.ends.waiting + queue.cascades.waiting,
            queue.ordinary.waiting,
        )
    }
}
