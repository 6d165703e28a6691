//! Parse, call, exit code.

use std::process::ExitCode;

use clap::Parser;
use keyledger::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
