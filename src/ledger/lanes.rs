//! The queue before the writer: two bounded lanes.
//!
//! What ends or narrows something is taken first and has places of its own; in the ordinary lane
//! one organization holds at most a quarter. A full lane refuses at once, it never blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use tokio::sync::oneshot;

use super::{Outcome, Submission, SubmitError};
use crate::domain::command::Urgency;
use crate::domain::envelope::Digest32;
use crate::domain::ids::OrganizationId;
use crate::domain::rejection::Rejection;

/// Places of the ordinary lane: at 50,000 commands a second, a wait of 80 ms.
pub const ORDINARY_MAX: usize = 4_096;
/// Places for ends alone.
pub const ENDS_MAX: usize = 1_024;
/// One organization's share of the ordinary lane.
pub const SHARE_MAX: usize = ORDINARY_MAX / 4;
/// So often the writer looks for work before it sleeps, giving way to others each time: a client
/// that has just been answered asks again before that, and need not wake it.
const LOOKS_BEFORE_SLEEP: u32 = 256;

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

/// Both lanes.
#[derive(Debug, Default)]
pub struct Lanes {
    queue: Mutex<Queue>,
    news: Condvar,
    /// Whether there is work, or no more of it; a hint for who has not slept yet.
    stirred: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    ends: VecDeque<Job>,
    ordinary: VecDeque<Job>,
    shares: BTreeMap<OrganizationId, usize>,
    /// Commands with an idempotency key that are waiting or being decided.
    running: BTreeSet<Digest32>,
    closed: bool,
    /// The writer sleeps, and must be woken.
    asleep: bool,
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
        match job.urgency() {
            Urgency::Ends if queue.ends.len() >= ENDS_MAX => return Err(SubmitError::QueueFull),
            Urgency::Ends => {}
            Urgency::Ordinary => {
                let share = organization.and_then(|id| queue.shares.get(&id)).copied();
                if queue.ordinary.len() >= ORDINARY_MAX || share.unwrap_or(0) >= SHARE_MAX {
                    return Err(SubmitError::QueueFull);
                }
            }
        }
        if let Some(idempotency) = job.submission.idempotency
            && !queue.running.insert(idempotency.command)
        {
            return Err(Rejection::CommandStillRunning.into());
        }
        match job.urgency() {
            Urgency::Ends => queue.ends.push_back(job),
            Urgency::Ordinary => {
                if let Some(id) = organization {
                    *queue.shares.entry(id).or_default() += 1;
                }
                queue.ordinary.push_back(job);
            }
        }
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

    /// Waits for work and takes up to `max` jobs, ends first; `None` once closed and empty.
    pub(crate) fn take(&self, max: usize) -> Option<Vec<Job>> {
        self.look_around();
        let mut queue = self.lock();
        while queue.ends.is_empty() && queue.ordinary.is_empty() {
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
        let ends = queue.ends.len().min(max);
        let mut jobs: Vec<Job> = queue.ends.drain(..ends).collect();
        let ordinary = queue.ordinary.len().min(max - ends);
        let taken: Vec<Job> = queue.ordinary.drain(..ordinary).collect();
        for job in &taken {
            if let Some(id) = job.submission.request.command.organization()
                && let Some(share) = queue.shares.get_mut(&id)
            {
                *share = share.saturating_sub(1);
                if *share == 0 {
                    queue.shares.remove(&id);
                }
            }
        }
        let done = queue.ends.is_empty() && queue.ordinary.is_empty() && !queue.closed;
        self.stirred.store(!done, Ordering::Release);
        jobs.extend(taken);
        Some(jobs)
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

    /// How many jobs wait in the lane of ends and in the ordinary one.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.ends.len(), queue.ordinary.len())
    }
}
