//! Webhooks: endpoints, their deliveries and replays, and events for receivers that pull them.

pub(crate) mod deliveries;
pub(crate) mod delivery_record;
pub(crate) mod endpoints;
pub(crate) mod pull;
pub(crate) mod pull_stream;
pub(crate) mod replay;
