//! Starts the real binary and speaks to it.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test target uses its part of this"
)]

mod api;
mod dice;
mod receiver;
mod server;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub(crate) use api::{Api, Reply, send};
pub(crate) use dice::{Dice, seed};
pub(crate) use receiver::{Delivery, Receiver};
pub(crate) use server::{Ended, Server};

/// Where the binary is.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_keyledger");

/// The binary, with nothing in its environment that could change what a test means.
pub(crate) fn keyledger<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().stdin(Stdio::null()).args(args);
    command
}

/// Runs a command to its end.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    keyledger(args).output().unwrap()
}

/// A command that is started with a umask.
fn under_umask(umask: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.env_clear().stdin(Stdio::null());
    let limited = format!("umask {umask}; exec \"$0\" \"$@\"");
    command.args(["-c", &limited, BINARY]);
    command
}

/// Runs a command to its end, started with a umask.
pub(crate) fn run_under_umask(umask: &str, args: &[String]) -> Output {
    under_umask(umask).args(args).output().unwrap()
}

/// The code that a command ended with.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

/// What a command said.
pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The one JSON object that a command printed.
pub(crate) fn json(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Makes a ledger in `data` and gives what `init --json` printed.
pub(crate) fn init(data: &Path, more: &[&str]) -> Value {
    let mut args = vec!["init", "--json", "--data-dir", data.to_str().unwrap()];
    args.extend(more);
    json(&run(args))
}

/// A text of an object.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    let found = value[field].as_str();
    found.unwrap_or_else(|| panic!("no text {field} in {value}"))
}
