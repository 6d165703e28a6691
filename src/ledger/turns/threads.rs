//! The threads of reads of the past.
//!
//! Owns a pool apart from the service's own, so that such reads take no place from passwords or
//! files, and a lower priority: where verifications and commands need every core, they go first.

use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::priority::lower_thread_priority;

/// Work of all organizations that has begun and is not done, each on a thread: with a page of 1 MiB
/// each, and its JSON beside it, 128 MiB.
pub(super) const BEGUN_MAX: usize = 64;

/// The pool; made with the first read.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads(Arc<OnceLock<Option<Pool>>>);

#[derive(Debug)]
struct Pool(Option<Runtime>);

impl Pool {
    /// `None` where the system gives none: the service's own threads do the work then.
    fn new() -> Option<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name("past-reader")
            .max_blocking_threads(BEGUN_MAX)
            .on_thread_start(lower_thread_priority)
            .build();
        match runtime {
            Ok(runtime) => Some(Self(Some(runtime))),
            Err(why) => {
                tracing::warn!(%why, "no threads of their own for historical reads");
                None
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The last handle may be dropped on an async thread, which must not wait for these.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Threads {
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let pool = self.0.get_or_init(Pool::new).as_ref();
        match pool.and_then(|pool| pool.0.as_ref()) {
            Some(runtime) => runtime.spawn_blocking(work),
            None => Handle::current().spawn_blocking(work),
        }
    }
}
