//! What an endpoint is not to get any more, since its filter or its address has changed.
//!
//! The queue holds positions and knows no types: the courier asks the log, and says here what does
//! not go out.

use super::DeliveryQueue;
use crate::domain::ids::EndpointId;

impl DeliveryQueue {
    /// The endpoint asks for less than before: all that waits is looked at now, so that what it
    /// does not ask for leaves the line. What it still asks for is tried early, at no cost.
    pub fn recheck_outstanding(&mut self, endpoint: EndpointId, now_ms: i64) {
        if let Some(line) = self.lines.get_mut(&endpoint) {
            line.retry_waiting_early(now_ms, 0);
            self.reschedule(endpoint, now_ms);
        }
    }

    /// The endpoint has another address, which gets nothing of a replay that was asked for the old
    /// one: only what the endpoint gets by itself. Says what is not going to be delivered any more.
    pub fn skip_after_url_change(&mut self, endpoint: EndpointId, now_ms: i64) -> Vec<u64> {
        let Some(line) = self.lines.get_mut(&endpoint) else {
            return Vec::new();
        };
        let skipped = line.skip_before(line.progress.first_position);
        self.touched.insert(endpoint);
        self.reschedule(endpoint, now_ms);
        skipped
    }

    /// What was to begin is not asked for any more: it leaves the line, and says nothing of whether
    /// the endpoint takes anything.
    pub fn discard_attempt(&mut self, (endpoint, position): (EndpointId, u64), now_ms: i64) {
        if let Some(failing) = self.in_flight.remove(&(endpoint, position)) {
            self.failing_in_flight -= usize::from(failing);
        }
        if let Some(line) = self.lines.get_mut(&endpoint) {
            line.discard_attempt(position, now_ms);
            self.touched.insert(endpoint);
            self.reschedule(endpoint, now_ms);
        }
    }
}
