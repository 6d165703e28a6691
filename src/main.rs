//! The allocator and the command line.

use std::process::ExitCode;

use keyledger::cli::Cli;
use mimalloc::MiMalloc;

/// What a command makes on one thread is freed on another, where the system's allocator takes more
/// of the processors' time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    Cli::run()
}
