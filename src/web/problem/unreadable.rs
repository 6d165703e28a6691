//! Problems of what cannot be read: views that are being rebuilt, and the log itself.

use crate::ledger::history::HistoryError;
use crate::views::history::BrokenHistoryError;
use crate::web::problem::Problem;

impl From<HistoryError> for Problem {
    fn from(why: HistoryError) -> Self {
        match why {
            HistoryError::View(broken) => broken.into(),
            HistoryError::Interrupted(_) => Self::past_too_long(),
            HistoryError::NoRoom => Self::past_too_large(),
            why @ (HistoryError::Read(_)
            | HistoryError::Unreadable(_)
            | HistoryError::Misfit(_)
            | HistoryError::Written(_)
            | HistoryError::Sealed(_)) => Self::internal("the past could not be read", &why),
        }
    }
}

impl From<BrokenHistoryError> for Problem {
    /// What is wrong has been reported as a degraded part.
    fn from(_why: BrokenHistoryError) -> Self {
        Self::unavailable(
            "views_unavailable",
            "histories are being rebuilt from the log; retry in a few seconds",
        )
    }
}
