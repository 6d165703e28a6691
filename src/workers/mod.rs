//! What the server does by itself as time goes on: it announces checkpoints and expiries, and
//! records what the usage history has found out.
//!
//! Owns the one thread that does this, a step of each worker once a second. The workers give
//! commands, as any client does, and the ledger decides; what cannot be done now is done later, and
//! nothing waits for them, a verification least of all. Only one process may do this for a ledger.
//! Each worker keeps nothing but when it may try again: what is due follows from the ledger.

pub(crate) mod checkpoints;
pub(crate) mod expiries;
pub(crate) mod usage;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::domain::command::{Actor, Command, Request};
use crate::domain::expiry::Leads;
use crate::ledger::{Ledger, Submission};
use crate::usage::UsageHistory;
use crate::views::expiry_calendar::CALENDAR_ENTRIES_MAX;
use checkpoints::CheckpointAnnouncer;
use expiries::ExpiryAnnouncer;
use usage::UsageRecorder;

/// How late anything is done, at most, while all is well.
const STEP_EVERY: Duration = Duration::from_secs(1);

/// The thread; it ends when this is stopped or dropped.
#[derive(Debug)]
pub struct Workers {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts the workers of `ledger`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(ledger: Ledger, leads: Leads, usage: Option<UsageHistory>) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = Builder::new().name("workers".to_owned());
        let thread = thread.spawn(move || {
            let mut checkpoints = CheckpointAnnouncer::new(ledger.clone());
            let mut usage = usage.map(|usage| UsageRecorder::new(ledger.clone(), usage));
            let mut expiries = ExpiryAnnouncer::new(ledger, leads, CALENDAR_ENTRIES_MAX);
            let mut more = true;
            while goes_on(&stopped, more) {
                checkpoints.announce_due();
                if let Some(usage) = &mut usage {
                    usage.record_due();
                }
                more = expiries.announce_due();
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the workers; what is due and not done yet is done after the next start.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the workers' thread panicked");
        }
    }
}

fn goes_on(stopped: &Receiver<()>, at_once: bool) -> bool {
    let wait = if at_once { Duration::ZERO } else { STEP_EVERY };
    match stopped.recv_timeout(wait) {
        Err(RecvTimeoutError::Timeout) => true,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => false,
    }
}

/// A command of the server itself.
fn by_the_server(command: Command) -> Submission {
    Submission::bare(Request {
        actor: Actor::System,
        command,
        if_match: None,
    })
}
