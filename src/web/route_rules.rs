//! What the frame has to know of a route before its handler runs.

use std::time::Duration;

use axum::http::{Method, Uri};

use crate::web::load::Class;
use crate::web::problem::Problem;

/// The rules of a request.
pub(crate) struct RouteRules {
    /// What it costs, and how much it matters.
    pub(crate) class: Class,
    /// How long it may take before it is answered 408.
    pub(crate) timeout: Duration,
    /// Turns a problem into what the clients of the route can read.
    pub(crate) turn_problem: fn(Problem) -> Problem,
}

/// Finds the rules by method, template of the route, and URI.
pub(crate) type RulesOf = fn(&Method, &str, &Uri) -> RouteRules;
