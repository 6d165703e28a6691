//! The header `Ledger-Position`.

use axum::http::HeaderName;

/// Position of a write's last event.
pub(crate) const LEDGER_POSITION: HeaderName = HeaderName::from_static("ledger-position");
