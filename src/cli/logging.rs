//! The log of a server: lines on stderr, written by a thread of their own.
//!
//! Whatever reads them may stop reading: then up to [`WAITING_MAX`] lines wait, the rest is dropped
//! and counted, and neither requests nor the stop wait. Other crates are heard from warnings on,
//! whatever the level: what they say of a connection at finer levels may be what a client sent.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::panics;

/// Lines that wait for a reader at most, of some 300 bytes each.
const WAITING_MAX: usize = 8_192;
/// How long the last lines may take when the process ends.
pub(super) const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// The target of what is said at every level: that the server is ready.
const READY: &str = "keyledger::ready";

/// The form of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Human,
    /// One object a line.
    Json,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum LogLevel {
    /// What ends the server.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens.
    Info,
    /// What happens inside.
    Debug,
}

impl LogLevel {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// The log, running.
pub(super) struct Log {
    format: LogFormat,
    lines: NonBlocking,
    guard: WorkerGuard,
}

impl Log {
    /// Starts the log. Panics are lines of it from now on.
    pub(super) fn start(format: LogFormat, level: LogLevel) -> anyhow::Result<Self> {
        // A handle of its own: `io::stderr` is locked while a line is written.
        let stderr = io::stderr().as_fd().try_clone_to_owned();
        let counter = Arc::<OnceLock<ErrorCounter>>::default();
        let stderr = Stderr {
            file: File::from(stderr.context("cannot use stderr")?),
            dropped: Arc::clone(&counter),
            seen: 0,
            reported: 0,
        };
        let builder = NonBlockingBuilder::default().thread_name("log");
        let builder = builder.lossy(true).buffered_lines_limit(WAITING_MAX);
        let (lines, guard) = builder.finish(stderr);
        counter.get_or_init(|| lines.error_counter());
        let level = level.filter();
        let filter = Targets::new()
            .with_default(level.min(LevelFilter::WARN))
            .with_target("keyledger", level)
            .with_target(READY, level.max(LevelFilter::INFO));
        let layer = fmt::layer().with_writer(lines.clone());
        let layer = match format {
            LogFormat::Human => layer.with_ansi(io::stderr().is_terminal()).boxed(),
            LogFormat::Json => layer.json().boxed(),
        };
        let started = tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .try_init();
        started.context("cannot start the log")?;
        panics::log_panics();
        Ok(Self {
            format,
            lines,
            guard,
        })
    }

    /// Counts the lines that were dropped.
    pub(super) fn dropped_lines(&self) -> ErrorCounter {
        self.lines.error_counter()
    }

    /// Tells people, tests and process managers that the server is ready, at every level.
    pub(super) fn announce(&self, text: &str) {
        match self.format {
            LogFormat::Human => self.write(text),
            LogFormat::Json => tracing::info!(target: READY, "{text}"),
        }
    }

    /// Reports why the server failed.
    pub(super) fn complain(&self, why: &str) {
        match self.format {
            LogFormat::Human => self.write(&format!("keyledger: {why}")),
            LogFormat::Json => tracing::error!("{why}"),
        }
    }

    fn write(&self, text: &str) {
        let line = format!("{text}\n");
        // What cannot wait is dropped and counted.
        drop(self.lines.clone().write_all(line.as_bytes()));
    }

    /// Waits until the last lines are written, unless they are not read in time.
    pub(super) fn flush(self) {
        let (written, done) = mpsc::channel();
        let flushing = thread::Builder::new().name("log-flush".to_owned());
        let flushing = flushing.spawn(move || {
            drop(self.guard);
            // The caller may have given up.
            written.send(()).unwrap_or_default();
        });
        if flushing.is_ok() {
            // In time or not, the process ends.
            done.recv_timeout(FLUSH_WITHIN).unwrap_or_default();
        }
    }
}

/// Stderr, which reports how many lines were dropped when it is read again.
struct Stderr {
    file: File,
    dropped: Arc<OnceLock<ErrorCounter>>,
    /// How many were dropped when the last line was written.
    seen: usize,
    /// How many have been reported.
    reported: usize,
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let dropped = self.dropped.get().map_or(0, ErrorCounter::dropped_lines);
        // Once no more are dropped: the report must not be one of many.
        if dropped == self.seen && dropped != self.reported {
            let lines = dropped - self.reported;
            self.reported = dropped;
            tracing::warn!(lines, "log lines were dropped: stderr was not read in time");
        }
        self.seen = dropped;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
