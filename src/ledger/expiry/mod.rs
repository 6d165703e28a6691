//! Tells of expiries: `api_key.expiring` some days ahead, `api_key.expired` when it has come.
//!
//! Owns the thread that gives these commands, as any client gives commands; the ledger decides.
//! Nothing waits for it, a verification least of all: what cannot be told now is told later. What
//! is due follows from `domain/expiry.rs`, what is due soon stands in `views/calendar.rs`, and a
//! `Sweeper` brings the two together.
//!
//! **In order.** A notice that is given says that all before it have been, so none may overtake
//! another. One command at a time is under way, a batch of notices in their order; the next is put
//! together when it has been answered. One that is refused, for a full disk or a suspect clock, is
//! put together anew later, from its first notice on.
//!
//! **Nothing missed.** The calendar is gathered from the settled records, a piece at a time under
//! the state's lock, and follows every batch. What it cannot know is an event that is not settled
//! yet, which may set an expiry that comes sooner than the notices under way; so a command says
//! which event was the newest, and `decide` gives only what no later event can come before.
//!
//! **In bounds.** A burst of a million expiries is given in commands of `NOTICES_MAX`, between
//! which everybody else has their turn.

mod sweeper;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::Ledger;
use crate::domain::expiry::Leads;
use crate::views::calendar::ENTRIES_MAX;

pub(crate) use sweeper::Sweeper;
#[cfg(test)]
pub(crate) use sweeper::{COMMANDS_MAX, NOTICES_MAX};

/// How long after a notice was due it is given, at most, while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The thread; it ends when this is stopped or dropped.
#[derive(Debug)]
pub struct ExpiryNotices {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl ExpiryNotices {
    /// Starts telling of the expiries of `ledger`.
    pub fn start(ledger: Ledger, leads: Leads) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let thread = Builder::new().name("expiry-notices".to_owned());
        let thread = thread.spawn(move || {
            let mut sweeper = Sweeper::new(ledger, leads, ENTRIES_MAX);
            let mut more = true;
            while goes_on(&stopped, more) {
                more = sweeper.look();
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the telling; what has not been told yet is told after the next start.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread of expiry notices panicked");
        }
    }
}

fn goes_on(stopped: &Receiver<()>, at_once: bool) -> bool {
    let wait = if at_once { Duration::ZERO } else { LOOK_EVERY };
    match stopped.recv_timeout(wait) {
        Err(RecvTimeoutError::Timeout) => true,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => false,
    }
}
