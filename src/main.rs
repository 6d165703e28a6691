//! Parse, call, exit code.

use std::process::ExitCode;

use clap::Parser;
use keyledger::cli::Cli;
use mimalloc::MiMalloc;

/// What a command makes on one thread is freed on another, and the records lie in huge pages: on
/// both the system's allocator loses time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
