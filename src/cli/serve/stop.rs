//! An orderly stop, and its time: a container's runtime kills it after 10 seconds.
//!
//! Owns the signals while the ledger is opened, and what ends after the last request. Whatever
//! clients do, requests and deliveries are cut off after [`REQUESTS_WITHIN`], and all is over
//! within [`STOP_WITHIN`]: what has not ended by then is left to the next start.

use std::thread::Builder;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cli::exit::Stop;
use crate::cli::otlp::Otlp;
use crate::cli::signals::{Hangups, Signals};
use crate::ledger::{Health, Ledger};
use crate::usage::UsageHistory;
use crate::workers::Workers;

/// From the signal to the end of what serves: of 8 seconds, one is left for the last lines of a log
/// that is not read ([`FLUSH_WITHIN`](crate::cli::logging::FLUSH_WITHIN)), and a tenth for the
/// process to go.
const STOP_WITHIN: Duration = Duration::from_millis(6_900);
/// How much of it running requests and deliveries may take: 4 seconds of requests, 3 of deliveries
/// and some for keeping what was delivered. The rest is the ledger's, to write what it has taken.
const REQUESTS_WITHIN: Duration = Duration::from_secs(5);

/// A stop that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    began: Instant,
}

impl Stopping {
    /// A stop that begins now.
    pub(super) fn begin() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Comes when requests and deliveries have had their time.
    pub(super) async fn requests_are_cut_off(self) {
        sleep_until(self.began + REQUESTS_WITHIN).await;
    }

    fn deadline(self) -> Instant {
        self.began + STOP_WITHIN
    }
}

/// The time before the server is ready, in which signals are heard already.
pub(super) struct Opening<'a> {
    runtime: &'a Runtime,
    signals: Signals,
    hangups: Hangups,
}

impl<'a> Opening<'a> {
    /// Begins to listen for signals.
    pub(super) fn begin(runtime: &'a Runtime) -> Result<Self, Stop> {
        let _inside = runtime.enter();
        Ok(Self {
            runtime,
            signals: Signals::listen().context("cannot wait for signals")?,
            hangups: Hangups::listen().context("cannot wait for signals")?,
        })
    }

    /// Does work that may be left undone at any point, on a thread of its own; `None` if a signal
    /// to stop comes first.
    pub(super) fn unless_stopped<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Stop> {
        let outcome = on_a_thread("opening", work)?;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.signals.next() => Ok(None),
                outcome = outcome => Ok(Some(outcome.context("opening the ledger panicked")?)),
            }
        })
    }

    /// The signals, for the time in which it serves.
    pub(super) fn into_signals(self) -> (Signals, Hangups) {
        (self.signals, self.hangups)
    }
}

/// What works beside the server.
pub(super) struct Background {
    pub(super) workers: Workers,
    pub(super) usage: Option<UsageHistory>,
    pub(super) otlp: Option<Otlp>,
}

impl Background {
    /// Ends all of it once the server has ended, and has the ledger write what it has taken. A
    /// ledger that has failed writes nothing more.
    pub(super) fn stop(
        self,
        runtime: &Runtime,
        ledger: Ledger,
        served: Result<Stopping, Stop>,
    ) -> Result<(), Stop> {
        let (stopping, failed) = match served {
            Ok(stopping) => (stopping, None),
            Err(why) => (Stopping::begin(), Some(why)),
        };
        let (health, is_good) = (ledger.health(), failed.is_none());
        let Self {
            workers,
            usage,
            otlp,
        } = self;
        let exported = otlp.map(|otlp| on_a_thread("otlp-stop", move || otlp.stop()));
        let written = on_a_thread("stop", move || {
            ledger.close();
            workers.stop();
            if let Some(usage) = usage {
                usage.write_and_stop();
            }
            if is_good {
                ledger.stop();
            }
        })?;
        let exported = exported.transpose()?;
        let written = runtime.block_on(async {
            let written = timeout_at(stopping.deadline(), written).await;
            if let Some(exported) = exported {
                // It says by itself what it could not export.
                drop(timeout_at(stopping.deadline(), exported).await);
            }
            written
        });
        if let Some(why) = failed {
            return Err(why);
        }
        match &*health.borrow() {
            Health::Failed(why) => return Err(Stop::poisoned(why)),
            Health::Good => {}
        }
        match written {
            Ok(ended) => Ok(ended.context("the ledger did not stop in order")?),
            Err(_elapsed) => Err(anyhow::anyhow!(
                "the ledger did not stop in time; the next start recovers"
            )
            .into()),
        }
    }
}

/// Work on a thread that the process does not wait for at its end.
fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Stop> {
    let (done, outcome) = oneshot::channel();
    let thread = Builder::new().name(name.to_owned());
    // The caller may have gone away.
    let thread = thread.spawn(move || drop(done.send(work())));
    thread.context("cannot start a thread")?;
    Ok(outcome)
}
