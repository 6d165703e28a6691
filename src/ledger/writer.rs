//! The writer: the one thread that decides and appends.
//!
//! It drains the lanes, decides each command on the state with its overlay, appends all events as
//! one batch, settles the state, lets the views change, and answers. It adds no delay: a lone
//! command is a batch of its own. A failed write or sync ends the process.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::checkpoints::Signed;
use super::clock_trouble::report_clock;
use super::lanes::Job;
use super::quota::Quotas;
use super::stamp::{StampError, Stamped, Stamper};
use super::{Health, Record, Shared, Submission, SubmitError, command_digest, erasure};
use crate::clock::{ClockGuard, ClockSuspicion, Entropy};
use crate::domain::command::{Actor, Urgency};
use crate::domain::decide::{Decision, Facts, decide};
use crate::domain::endpoint_secret::EndpointSecretText;
use crate::domain::ids::Subject;
use crate::domain::secret::Token;
use crate::domain::sign_in::OpaqueToken;
use crate::domain::state::{Changes, State};
use crate::domain::time::Timestamp;
use crate::error_chain::error_chain;
use crate::log::{AppendError, AppendSpace, Log};
use crate::views::CommittedBatch;
use crate::views::revocations::RevocationEntry;
use crate::views::snapshot::SnapshotHead;

/// Most commands of one batch; those that make many events are held to the limits below.
pub(super) const COMMANDS_PER_BATCH_MAX: usize = 1_024;
/// A batch is closed when it holds so many bytes: 1 MiB is written and synced in some 10 ms by a
/// disk that writes 100 MB a second.
const BATCH_BYTES_SOFT: usize = 1024 * 1024;
/// A batch is closed when deciding has taken so many microseconds, so that its last command adds
/// little to what a revocation waits for: a tenth of the 50 ms that it may.
const BATCH_US_SOFT: u64 = 5_000;
/// A batch is closed when it holds so many events.
const BATCH_EVENTS_SOFT: usize = 4_000;
/// Records that an answer shows at most: an organization, its owner, its key.
const ANSWER_RECORDS_MAX: usize = 3;

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Log,
    /// Held only while it is decided on or settled, so that a snapshot can be taken meanwhile.
    pub(crate) state: Arc<Mutex<State>>,
    /// Where snapshots are ordered, and the position from which the next one is due.
    pub(crate) snapshots: SyncSender<SnapshotHead>,
    pub(crate) snapshot_due: u64,
    pub(crate) events_between_snapshots: u64,
    pub(crate) entropy: Entropy,
    pub(crate) guard: ClockGuard,
    pub(crate) signed: Signed,
    pub(crate) quotas: Quotas,
    /// Dropped with the writer: the ledger's time is stored once more then.
    pub(crate) _running: Sender<()>,
}

/// What is decided and not yet durable.
#[derive(Default)]
struct Pending {
    payloads: Vec<Vec<u8>>,
    bytes: usize,
    events: Vec<(Subject, u32, u64)>,
    entries: Vec<Arc<RevocationEntry>>,
    kinds: Vec<&'static str>,
    decided: Vec<(Job, Result<Decided, SubmitError>)>,
}

impl Pending {
    /// Makes room for so many events at once: a cascade has thousands.
    fn reserve(&mut self, events: usize) {
        self.payloads.reserve(events);
        self.events.reserve(events);
        self.entries.reserve(events);
        self.kinds.reserve(events);
    }
}

/// What a command made that is shown once: a credential's token, that of a link or a session, the
/// signing secret of an endpoint.
pub(super) type NewSecrets = (
    Option<Token>,
    Option<OpaqueToken>,
    Option<EndpointSecretText>,
);

/// A command that has been decided, with what its answer needs.
pub(super) enum Decided {
    Done {
        records: Vec<Record>,
        secrets: NewSecrets,
        last: Option<u64>,
    },
    Repeated {
        first: u64,
        last: u64,
    },
}

/// Whether revocations that come while a batch is decided join it.
#[derive(Clone, Copy)]
enum Intake {
    Open,
    /// What is decided again after a refusal of the disk stays by itself.
    Closed,
}

impl Writer {
    /// Works until the lanes are closed and empty, or a write fails.
    pub(crate) fn run(mut self) {
        while let Some(mut jobs) = self.shared.lanes.take(COMMANDS_PER_BATCH_MAX) {
            if self.write(&mut jobs, Intake::Open).is_err() {
                self.refuse_all(jobs);
                return;
            }
        }
        self.finish();
    }

    /// Decides and commits jobs, in as many batches as they need. Revocations that come meanwhile
    /// are decided next while the intake is open, so that they wait for one command, and one batch
    /// at most.
    fn write(&mut self, jobs: &mut VecDeque<Job>, intake: Intake) -> Result<(), Poisoned> {
        while !jobs.is_empty() {
            let batch = self.decide_batch(jobs, intake);
            self.commit(batch)?;
        }
        Ok(())
    }

    /// Decides jobs until a batch is full: of bytes, of events, or of time. What may cascade is
    /// alone in its batch.
    fn decide_batch(&mut self, jobs: &mut VecDeque<Job>, intake: Intake) -> Pending {
        let began_us = self.shared.clock.monotonic_us();
        let mut pending = Pending::default();
        loop {
            let room = COMMANDS_PER_BATCH_MAX.saturating_sub(pending.decided.len());
            match intake {
                Intake::Open => self.shared.lanes.take_ends(room, jobs),
                Intake::Closed => {}
            }
            let alone = |job: &Job| job.submission.request.command.may_cascade();
            let Some(job) = jobs.pop_front() else {
                return pending;
            };
            let cascades = alone(&job);
            if cascades && !pending.payloads.is_empty() {
                jobs.push_front(job);
                return pending;
            }
            let outcome = self.decide(&job.submission, &mut pending);
            pending.decided.push((job, outcome));
            let spent_us = self.shared.clock.monotonic_us().saturating_sub(began_us);
            let full = pending.bytes >= BATCH_BYTES_SOFT
                || pending.payloads.len() >= BATCH_EVENTS_SOFT
                || pending.decided.len() >= COMMANDS_PER_BATCH_MAX
                || spent_us >= BATCH_US_SOFT;
            if full || (cascades && !pending.payloads.is_empty()) {
                return pending;
            }
        }
    }

    /// Decides one command and stages what it changes.
    fn decide(
        &mut self,
        submission: &Submission,
        pending: &mut Pending,
    ) -> Result<Decided, SubmitError> {
        if let Some(idempotency) = submission.idempotency
            && let Some(known) = self.state().remembered(&idempotency.command)
        {
            if !command_digest::is_same(&self.shared.keys, known.digest, idempotency.digest) {
                return Err(crate::domain::rejection::Rejection::IdempotencyKeyReused.into());
            }
            return Ok(Decided::Repeated {
                first: known.first,
                last: known.last,
            });
        }
        if self.shared.clock_accepted.swap(false, Ordering::AcqRel) {
            let at = self.shared.clock.read_both_clocks();
            self.guard.accept_reading(at);
            self.shared.time.anchor(at);
        }
        if submission.request.command.urgency() == Urgency::Ordinary {
            self.check_ordinary(submission.request.actor)?;
        }
        let facts = self.facts();
        let mut decision = decide(&self.state(), &submission.request, &facts)?;
        let now_ms = self.shared.clock.monotonic_ms();
        self.check_quota(submission, &decision, now_ms)?;
        let organizations: Vec<_> = decision.changes.iter().map(|c| c.organization).collect();
        let subject = decision.subject;
        let secrets = (
            decision.token.take(),
            decision.sign_in.take(),
            decision.endpoint_secret.take(),
        );
        let events = decision.changes.len();
        let stamped = self.stamp(submission, decision, &facts, pending)?;
        let mut subjects: Vec<Subject> = vec![subject];
        for event in stamped.iter().take(ANSWER_RECORDS_MAX) {
            if !subjects.contains(&event.subject) {
                subjects.push(event.subject);
            }
        }
        self.bill(submission, (&organizations, &stamped), now_ms);
        pending.reserve(stamped.len());
        for event in stamped {
            let position = self.log.next_position() + pending.payloads.len() as u64;
            pending.bytes += event.payload.len();
            pending
                .events
                .push((event.subject, event.version, position));
            pending.payloads.push(event.payload);
            pending.entries.extend(event.entry.map(Arc::new));
            pending.kinds.push(event.kind);
        }
        let records = subjects
            .into_iter()
            .map(|subject| self.record(subject))
            .collect();
        let last = pending
            .events
            .last()
            .filter(|_| events > 0)
            .map(|(_, _, position)| *position);
        Ok(Decided::Done {
            records,
            secrets,
            last,
        })
    }

    /// What may be refused is refused while the clock or the views cannot take it.
    fn check_ordinary(&self, actor: Actor) -> Result<(), SubmitError> {
        let suspicion = self
            .guard
            .suspicion_at(self.shared.clock.read_both_clocks());
        report_clock(&self.shared.degraded, suspicion.as_ref());
        match suspicion {
            None => {}
            // The command line must be able to make the key with which to revoke. What it writes
            // takes the last event's time, so that a wrong clock moves nothing.
            Some(ClockSuspicion::BehindLastEvent { .. }) if actor == Actor::Operator => {}
            Some(_) => return Err(SubmitError::ClockSuspect),
        }
        if self.shared.views.history.is_backlog_full() {
            return Err(SubmitError::ViewsBehind);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&mut self) -> Facts {
        let last_ms = self.state().last_at().map_or(0, |at| at.0);
        let at = self.shared.clock.read_both_clocks();
        let now = self.guard.event_time_ms(at, last_ms);
        let now = now.max(self.shared.time.floor(at));
        let ids = [(); 4].map(|()| self.entropy.next_ulid(now));
        Facts {
            now: Timestamp(now),
            first_event: self.entropy.next_ulid(now),
            ids,
            random: self.entropy.random_bytes(),
            link_random: self.entropy.random_bytes(),
        }
    }

    fn stamp(
        &mut self,
        submission: &Submission,
        decision: Decision,
        facts: &Facts,
        pending: &Pending,
    ) -> Result<Vec<Stamped>, SubmitError> {
        let last_event = facts.event_id(decision.changes.len());
        let position = self.log.next_position() + pending.payloads.len() as u64;
        let mut stamper = Stamper {
            keys: &self.shared.keys,
            entropy: &mut self.entropy,
            log_id: self.shared.log_id,
        };
        let sealed = stamper.seal_all(decision, submission, facts);
        let sealed = sealed.map_err(|why| self.shared.unusable_keys.refuse(why))?;
        let place = (submission, facts);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamped = stamper.stamp_and_stage(&mut state, sealed, place, position);
        drop(state);
        self.entropy.continue_ulids_after(last_event.0);
        // From here on the overlay holds part of the command: no way back but a restart.
        stamped.map_err(|why| self.fail(&why))
    }

    fn fail(&self, why: &StampError) -> SubmitError {
        let chain = error_chain(why);
        tracing::error!(why = chain, "a decided command could not be stamped");
        self.shared.health.send_replace(Health::Failed(chain));
        SubmitError::OutcomeUnknown
    }

    fn record(&self, subject: Subject) -> Record {
        let state = self.state();
        let record = match subject {
            Subject::Ledger(_) => None,
            Subject::Organization(id) => state.organization(id).cloned().map(Record::Organization),
            Subject::Project(id) => state.project(id).cloned().map(Record::Project),
            Subject::Member(id) => state.member(id).cloned().map(Record::Member),
            Subject::ServiceAccount(id) => state.account(id).cloned().map(Record::ServiceAccount),
            Subject::Credential(id) => state.credential(id).cloned().map(Record::Credential),
            Subject::Session(id) => state.session(id).cloned().map(Record::Session),
            Subject::WebhookEndpoint(id) => {
                state.endpoint(id).cloned().map(Record::WebhookEndpoint)
            }
        };
        record.unwrap_or(Record::Ledger)
    }

    /// Makes a batch durable and visible, then answers.
    fn commit(&mut self, pending: Pending) -> Result<(), Poisoned> {
        if matches!(*self.shared.health.borrow(), Health::Failed(_)) {
            self.answer_all(pending.decided, Err(SubmitError::OutcomeUnknown));
            return Err(Poisoned);
        }
        if pending.payloads.is_empty() {
            self.answer(pending.decided);
            return Ok(());
        }
        let only_ends = pending
            .decided
            .iter()
            .all(|(job, _)| job.urgency() == Urgency::Ends);
        let lane = if only_ends {
            AppendSpace::WithReserve
        } else {
            AppendSpace::Ordinary
        };
        match self.log.append(&pending.payloads, lane) {
            Ok(appended) => {
                let changes = self.state().settle();
                self.publish(&changes, &pending, appended.root);
                self.destroy_keys(&changes, pending);
                Ok(())
            }
            Err(AppendError::DiskFull(why)) => {
                tracing::warn!(%why, "the log has no room");
                self.state().abandon();
                self.without_room(pending.decided, lane)
            }
            Err(AppendError::Poisoned(why)) => {
                let text = why
                    .as_ref()
                    .map_or_else(|| "an earlier failure".to_owned(), |why| error_chain(why));
                tracing::error!(why = text, "the log's own write failed");
                self.shared.health.send_replace(Health::Failed(text));
                self.answer_all(pending.decided, Err(SubmitError::OutcomeUnknown));
                Err(Poisoned)
            }
            Err(
                why @ (AppendError::EmptyBatch
                | AppendError::TooManyEvents { .. }
                | AppendError::PayloadTooLong { .. }
                | AppendError::BatchTooLong { .. }),
            ) => {
                tracing::warn!(%why, "a batch is beyond the log's limits");
                self.state().abandon();
                self.one_by_one(pending.decided)
            }
        }
    }

    /// Destroys the keys of erased persons, and answers: the batch is durable by now, so that a
    /// crash here is made good at the next start, and so is a file that cannot be removed.
    fn destroy_keys(&mut self, changes: &Changes, pending: Pending) {
        let (keys, unusable) = (&self.shared.keys, &self.shared.unusable_keys);
        let left = erasure::destroy_keys(keys, unusable, &changes.members);
        let mut decided = pending.decided;
        for (_, outcome) in &mut decided {
            let erases = |record: &Record| match record {
                Record::Member(member) => left.contains(&member.id),
                Record::Ledger
                | Record::Organization(_)
                | Record::Project(_)
                | Record::ServiceAccount(_)
                | Record::Credential(_)
                | Record::Session(_)
                | Record::WebhookEndpoint(_) => false,
            };
            if matches!(outcome, Ok(Decided::Done { records, .. }) if records.iter().any(erases)) {
                *outcome = Err(SubmitError::KeyNotDestroyed);
            }
        }
        self.answer(decided);
    }

    fn publish(&mut self, changes: &Changes, pending: &Pending, root: [u8; 32]) {
        let position = self.log.next_position().saturating_sub(1);
        let last_at = self.state().last_at();
        if let Some(at) = last_at {
            self.shared.time.advance(at.0);
        }
        self.shared.views.apply(&CommittedBatch {
            changes,
            events: &pending.events,
            revocation_entries: &pending.entries,
            position,
            root,
        });
        for kind in &pending.kinds {
            self.shared.appended.count(kind);
        }
        let next = self.log.next_position();
        self.signed.announce(next, root);
        if next >= self.snapshot_due {
            self.order_snapshot(root);
        }
    }

    /// Orders a snapshot as of now, unless one is still being written: then the next batch asks.
    fn order_snapshot(&mut self, root: [u8; 32]) {
        let position = self.log.next_position();
        let frontier = self.log.frontier().subtree_roots().to_vec();
        let head = SnapshotHead::new(
            self.shared.log_id,
            position,
            frontier,
            root,
            self.state().once(),
        );
        if self.snapshots.try_send(head).is_ok() {
            self.snapshot_due = position + self.events_between_snapshots;
        }
    }

    /// The disk is full: what can be refused is, and ends are decided again alone, with the
    /// reserve.
    fn without_room(
        &mut self,
        decided: Vec<(Job, Result<Decided, SubmitError>)>,
        lane: AppendSpace,
    ) -> Result<(), Poisoned> {
        if lane == AppendSpace::WithReserve {
            self.answer_all(decided, Err(SubmitError::DiskFull));
            return Ok(());
        }
        let (ends, ordinary): (Vec<_>, Vec<_>) = decided
            .into_iter()
            .partition(|(job, _)| job.urgency() == Urgency::Ends);
        self.answer_all(ordinary, Err(SubmitError::DiskFull));
        let ends: Vec<Job> = ends.into_iter().map(|(job, _)| job).collect();
        if ends.is_empty() {
            Ok(())
        } else {
            self.write(&mut ends.into(), Intake::Closed)
        }
    }

    /// One command of a batch is too large: each is tried alone, and the one that is, is refused.
    fn one_by_one(
        &mut self,
        decided: Vec<(Job, Result<Decided, SubmitError>)>,
    ) -> Result<(), Poisoned> {
        if decided.len() == 1 {
            self.answer_all(decided, Err(SubmitError::TooLarge));
            return Ok(());
        }
        for (job, _) in decided {
            self.write(&mut [job].into(), Intake::Closed)?;
        }
        Ok(())
    }

    /// The log first: the history index may have much to write, and can be made again.
    fn finish(self) {
        self.signed.stop();
        if let Err(why) = self.log.close() {
            tracing::warn!(
                why = error_chain(&why),
                "the clean-stop mark could not be written"
            );
        }
        if let Err(why) = self.shared.views.history.flush() {
            tracing::warn!(
                why = error_chain(&why),
                "the history index is rebuilt at the next start"
            );
        }
    }
}

/// The log has failed and the process must end.
struct Poisoned;
