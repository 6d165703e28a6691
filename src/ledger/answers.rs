//! What the writer answers, and whom it bills.
//!
//! Called by the writer alone: answers go out when their batch is durable. Quotas are looked at
//! when a command is decided, before anything of it is staged.

use std::collections::VecDeque;

use super::lanes::Job;
use super::stamp::Stamped;
use super::writer::{COMMANDS_PER_BATCH_MAX, Decided, Writer};
use super::{Answer, Outcome, Submission, SubmitError};
use crate::domain::command::Urgency;
use crate::domain::decide::Decision;
use crate::domain::ids::OrganizationId;

impl Writer {
    /// Refuses what a client has decided on beyond its organization's quotas. What changes nothing
    /// and what ends or narrows something is never refused for that.
    pub(super) fn check_quota(
        &self,
        submission: &Submission,
        decision: &Decision,
        now_ms: i64,
    ) -> Result<(), SubmitError> {
        let command = &submission.request.command;
        match (submission.client_of, command.urgency()) {
            (Some(organization), Urgency::Ordinary) if !decision.changes.is_empty() => {
                self.quotas.check(organization, command, now_ms)
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Bills events to their organizations, and those of none to the client's.
    pub(super) fn bill(
        &mut self,
        submission: &Submission,
        (organizations, stamped): (&[Option<OrganizationId>], &[Stamped]),
        now_ms: i64,
    ) {
        for (organization, event) in organizations.iter().zip(stamped) {
            if let Some(organization) = organization.or(submission.client_of) {
                self.quotas
                    .count_bytes(organization, event.payload.len(), now_ms);
            }
        }
        if let Some(organization) = submission.client_of
            && !stamped.is_empty()
            && submission.request.command.creates()
        {
            self.quotas.count_creation(organization, now_ms);
        }
    }

    pub(super) fn answer(&self, decided: Vec<(Job, Result<Decided, SubmitError>)>) {
        let newest = self.log.next_position().saturating_sub(1);
        for (job, outcome) in decided {
            let outcome = outcome.map(|decided| match decided {
                Decided::Done {
                    records,
                    secrets: (token, sign_in, endpoint_secret),
                    last,
                } => {
                    let position = last.unwrap_or(newest);
                    Outcome::Done(Answer {
                        records,
                        token,
                        sign_in,
                        endpoint_secret,
                        position,
                        replayed: false,
                    })
                }
                Decided::Repeated { first, last } => Outcome::Repeated { first, last },
            });
            self.reply(job, outcome);
        }
    }

    pub(super) fn answer_all(
        &self,
        decided: Vec<(Job, Result<Decided, SubmitError>)>,
        outcome: Result<(), SubmitError>,
    ) {
        let Err(why) = outcome else { return };
        for (job, _) in decided {
            self.reply(job, Err(why.clone()));
        }
    }

    fn reply(&self, job: Job, outcome: Result<Outcome, SubmitError>) {
        if let Some(idempotency) = job.submission.idempotency {
            self.shared.lanes.finished(idempotency.command);
        }
        job.reply(outcome);
    }

    /// Refuses the commands that were taken and those that wait, after a failure.
    pub(super) fn refuse_all(self, taken: VecDeque<Job>) {
        self.shared.lanes.close();
        for job in taken {
            self.reply(job, Err(SubmitError::Stopping));
        }
        while let Some(jobs) = self.shared.lanes.take(COMMANDS_PER_BATCH_MAX) {
            for job in jobs {
                self.reply(job, Err(SubmitError::Stopping));
            }
        }
        self.signed.stop();
    }
}
