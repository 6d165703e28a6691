//! Where words go: data to stdout, talk to stderr.

use std::io::{self, BufWriter, StdoutLock, Write};

use anyhow::Context;

/// Says something to whoever watches. Nobody has to.
pub(super) fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    if writeln!(stderr, "{text}").is_err() {
        // There is no better place to complain about a closed stderr.
    }
}

/// Hands out data. That nobody takes it is an error: it may have been the only copy.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// A number and what is counted, `plural` unless it is one.
pub(super) fn counted(number: u64, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{number} {noun}")
}

/// Hands out data line by line, as many as there are.
pub(super) struct Lines(BufWriter<StdoutLock<'static>>);

impl Lines {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// One more line.
    pub(super) fn print(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.0, "{text}").context("cannot write to stdout")
    }

    /// All of them are out.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.0.flush().context("cannot write to stdout")
    }
}
