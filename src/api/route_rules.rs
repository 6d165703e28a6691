//! The rules of each route for the frame: its load class, its time, and how its problems are
//! rendered.

use std::convert::identity;
use std::time::Duration;

use axum::http::{Method, Uri};

use crate::api::verification::forward_auth;
use crate::api::webhooks::pull;
use crate::web::load::Class;
use crate::web::route_rules::RouteRules;

/// How long a request may take before it is answered 408: the longest wait for a position is 1 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The same of a request that may wait as long for something to happen.
const LONG_POLL_TIMEOUT: Duration = Duration::from_secs(60);
const _: () = assert!(LONG_POLL_TIMEOUT.as_secs() >= 2 * pull::WAIT_S_MAX as u64);

/// The rules of a request, by its route's template.
pub(crate) fn of(method: &Method, route: &str, uri: &Uri) -> RouteRules {
    RouteRules {
        class: class(method, route, uri),
        timeout: match route {
            pull::PATH => LONG_POLL_TIMEOUT,
            _ => REQUEST_TIMEOUT,
        },
        turn_problem: match route {
            forward_auth::NGINX => forward_auth::as_nginx_reads,
            _ => identity,
        },
    }
}

fn class(method: &Method, route: &str, uri: &Uri) -> Class {
    match route {
        "/livez" | "/readyz" | "/metrics" | "/v1/revocations/stream" | "/v1/events/stream" => {
            return Class::Free;
        }
        "/v1/verify" | "/v1/verify/batch" | "/oauth2/introspect" => return Class::Verification,
        "/v1/revocations" | "/v1/revocations/snapshot" => return Class::Reading,
        // With a wait it has a place among those who wait.
        pull::PATH if pull::waits(uri) => return Class::Free,
        _ => {}
    }
    if route.starts_with("/v1/forward-auth") {
        return Class::Verification;
    }
    let reads = [
        "/events",
        "/usage",
        "/usage/summary",
        "/proof",
        "/consistency",
        "/ledger/state",
        "/ledger/diff",
        "/ledger/who-could",
        "/tile/{*tile}",
        "/deliveries",
        "/deliveries/{delivery_id}",
    ];
    let past = uri.query().is_some_and(|query| query.contains("as_of="));
    match *method {
        Method::GET if past || reads.iter().any(|tail| route.ends_with(tail)) => Class::Reading,
        Method::POST if route.ends_with("/replay") => Class::Reading,
        Method::DELETE => Class::Ending,
        Method::POST if route.ends_with("/revoke") || route.ends_with("/disable") => Class::Ending,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_class() {
        for (line, class) in [
            ("GET /livez", Class::Free),
            ("POST /v1/verify", Class::Verification),
            ("GET /v1/forward-auth/{*path}", Class::Verification),
            ("GET /v1/admin/api-tokens/{id}/usage", Class::Reading),
            (
                "GET /v1/admin/api-tokens/{id}/usage/summary",
                Class::Reading,
            ),
            ("GET /v1/events", Class::Reading),
            ("GET /v1/events?after=1&wait=30", Class::Free),
            ("GET /v1/events?%77ait=30", Class::Free),
            ("GET /v1/events?types=wait", Class::Reading),
            ("GET /v1/events/stream", Class::Free),
            ("GET /v1/admin/api-tokens?as_of=3", Class::Reading),
            ("GET /x/{endpoint_id}/deliveries", Class::Reading),
            (
                "GET /x/{endpoint_id}/deliveries/{delivery_id}",
                Class::Reading,
            ),
            ("POST /x/{endpoint_id}/replay", Class::Reading),
            ("POST /x/{endpoint_id}/ping", Class::Other),
            ("GET /v1/admin/api-tokens", Class::Other),
            ("POST /v1/admin/api-tokens", Class::Other),
            ("DELETE /v1/admin/api-tokens/{id}", Class::Ending),
            ("POST /v1/admin/api-tokens/{id}/disable", Class::Ending),
            ("POST /v1/admin/api-tokens/{id}/enable", Class::Other),
        ] {
            let (method, target) = line.split_once(' ').unwrap();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let (route, query) = target.split_once('?').unwrap_or((target, ""));
            let uri = format!("/x?{query}").parse().unwrap();
            assert_eq!(of(&method, route, &uri).class, class, "{line}");
        }
    }
}
