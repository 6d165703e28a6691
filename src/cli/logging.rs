//! What the server says while it runs: log lines on stderr.
//!
//! Other crates are heard from warnings on, whatever the level: what they say of a connection at
//! finer levels may be what a client sent.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

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

/// Starts the log.
pub(super) fn start(format: LogFormat, level: LogLevel) -> Result<(), TryInitError> {
    let level = level.filter();
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("keyledger", level);
    let lines = fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
}
