//! How many connections there may be, and how many files are kept for all else.

/// Connections at once: an idle one takes some 20 KB, so 200 MB.
pub(crate) const CONNECTIONS_MAX: usize = 10_000;
/// Those of one address, unless it is a proxy's; a quarter of all where there are few.
pub(crate) const CONNECTIONS_EACH_MAX: usize = CONNECTIONS_MAX / 10;
/// Files for all else than connections: the log, its views, the usage history, listeners.
pub(crate) const FILES_RESERVED: usize = 512;
