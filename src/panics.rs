//! Panics inside libraries that read damaged files: caught, and turned into a reason.
//!
//! Owns the panic hook. A panic that is caught here is part of handling damage and is reported by
//! its caller; it prints nothing. Every other panic is printed as usual, or logged by a server.
//! Must never be used around code of our own that could be left half done.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::thread;

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Has panics logged from now on: printing one waits for a reader of stderr. To be called once,
/// before [`caught`].
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|panicked| {
        let thread = thread::current().name().unwrap_or_default().to_owned();
        let why = panicked.to_string().replace('\n', " ");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!(thread, %backtrace, "{why}");
        } else {
            tracing::error!(thread, "{why}");
        }
    }));
}

/// Runs `work`; a panic in it is an error, with its message.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if !CAUGHT.get() {
                usual(panicked);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    outcome.map_err(|why| message(why.as_ref()))
}

fn message(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<&str>().copied();
    let text = text.or_else(|| why.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(
            caught(|| panic!("page {}", 3)),
            Err::<(), _>("page 3".to_owned())
        );
        assert_eq!(
            caught(|| panic!("a page")),
            Err::<(), _>("a page".to_owned())
        );
        assert!(!CAUGHT.get());
    }
}
