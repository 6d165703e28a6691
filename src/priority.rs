//! The priority of background threads: where verifications and commands need every core, those go
//! first.

use rustix::process::{getpriority_process, setpriority_process};

/// How much lower the priority is, in the system's steps: a core that is wanted by both goes to
/// the service for three parts of four.
const STEPS_BELOW: i32 = 5;
/// The lowest priority there is.
const LOWEST: i32 = 19;

/// Lowers the priority of the calling thread alone: on Linux each has its own. Elsewhere, and where
/// the system refuses, it stays as it is.
pub(crate) fn lower_thread_priority() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let lowered = getpriority_process(None)
        .and_then(|usual| setpriority_process(None, LOWEST.min(usual + STEPS_BELOW)));
    if let Err(why) = lowered {
        tracing::debug!(%why, "a background thread keeps the usual priority");
    }
}
