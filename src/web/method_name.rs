//! Names of HTTP methods for logs, metrics and spans: a closed set, since a method is any word that
//! a client sends, and may be a token.

use axum::http::Method;

/// The name of methods that are not known.
pub(crate) const OTHER_METHOD: &str = "_OTHER";

/// The methods that are known; whatever else a client sends is one.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER_METHOD,
    }
}
