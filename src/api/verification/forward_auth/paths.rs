//! The paths of forward-auth.

/// Where gateways ask.
pub(super) const ROOT: &str = "/v1/forward-auth";
/// Where nginx asks.
pub(crate) const NGINX: &str = "/v1/forward-auth/nginx";
/// Where Envoy asks; its client's path follows.
pub(super) const ENVOY: &str = "/v1/forward-auth/envoy";
