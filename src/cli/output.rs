//! Where words go: data to stdout, talk to stderr.

use std::io::{self, Write};

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
