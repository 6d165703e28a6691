//! What surrounds every route, in one layer: the request's id, its log line, the timeout, and the
//! rendering of problems.
//!
//! One layer and not several, since each costs every request allocations of its own. The log line
//! has the route's template: never a raw path, query or body. Handlers know nothing of all this;
//! they find the id in the request's extensions.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use crate::web::app::App;
use crate::web::connections::Malformed;
use crate::web::context;
use crate::web::method_name::method_name;
use crate::web::problem::Problem;
use crate::web::record_usage::UsedSlot;
use crate::web::request_id::{REQUEST_ID, RequestId};
use crate::web::route_rules::{RouteRules, RulesOf};
use crate::web::spans::RequestSpan;
use crate::web::trace::TraceParent;

/// Puts routes into the frame.
#[derive(Clone)]
pub(crate) struct Frame(pub(crate) App, pub(crate) RulesOf);

impl<S> Layer<S> for Frame {
    type Service = Framed<S>;

    fn layer(&self, inner: S) -> Framed<S> {
        Framed {
            app: self.0.clone(),
            rules_of: self.1,
            inner,
        }
    }
}

/// A route in its frame.
#[derive(Clone)]
pub(crate) struct Framed<S> {
    app: App,
    rules_of: RulesOf,
    inner: S,
}

impl<S> Service<Request> for Framed<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let malformed = request.extensions_mut().remove::<Malformed>();
        let id = RequestId::of(&request, || self.app.new_request_id());
        request.extensions_mut().insert(id.clone());
        let used = UsedSlot::insert(&self.app, request.extensions_mut());
        let trace = TraceParent::of(request.headers());
        let spans = self.app.spans.as_ref();
        let about = About {
            id,
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            began_us: self.app.ledger.monotonic_us(),
            trace,
            exported: spans.map(|spans| spans.begin(&request, trace)),
            address: context::address_of(&request, &self.app),
            used,
            app: self.app.clone(),
        };
        self.app.metrics.began();
        let route = about.route.as_ref().map_or("-", MatchedPath::as_str);
        let rules = (self.rules_of)(&about.method, route, request.uri());
        let class = rules.class;
        let large_body = self.app.budget.large_body(route, about.address);
        if let Some(large_body) = &large_body {
            request.extensions_mut().insert(large_body.clone());
        }
        let admitted = match malformed {
            Some(Malformed(problem)) => Err(problem),
            None => self.app.load.admit(class).inspect_err(|_overloaded| {
                self.app.metrics.refused(class.name());
            }),
        };
        match admitted {
            Ok(place) => {
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let answered = about.frame(answer, rules).await;
                    drop((place, large_body));
                    answered
                })
            }
            Err(problem) => {
                let refused = async move { Ok(problem.into_response()) };
                Box::pin(about.frame(refused, rules))
            }
        }
    }
}

/// What is told of a request in the log.
struct About {
    id: RequestId,
    method: Method,
    route: Option<MatchedPath>,
    began_us: u64,
    /// The trace that it belongs to, as the client says.
    trace: Option<TraceParent>,
    /// Its span, if spans are exported.
    exported: Option<RequestSpan>,
    /// The client's address.
    address: Option<IpAddr>,
    /// Where the handler says which credential was used, if that is recorded.
    used: Option<UsedSlot>,
    app: App,
}

impl Drop for About {
    fn drop(&mut self) {
        self.app.metrics.ended();
    }
}

impl About {
    async fn frame(
        mut self,
        inside: impl Future<Output = Result<Response, Infallible>>,
        rules: RouteRules,
    ) -> Result<Response, Infallible> {
        let id = self.id.as_str();
        let route = self.route.as_ref().map_or("-", MatchedPath::as_str);
        let span = self.span(id, route);
        let answered = tokio::time::timeout(rules.timeout, caught(inside));
        let mut response = match answered.instrument(span.clone()).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(_panic)) => Problem::defect().into_response(),
            Err(_elapsed) => Problem::timeout().into_response(),
        };
        let budget = &self.app.budget;
        response = budget
            .count_answer(response, &self.method, self.address)
            .await;
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            // The router adds `Allow` outside of this layer.
            response = (rules.turn_problem)(problem).render(id);
        }
        // A method is any word: one that is not known may be a token.
        let method = method_name(&self.method);
        let status = response.status().as_u16();
        span.record("http.response.status_code", status);
        let _in_the_span = span.enter();
        tracing::debug!(method, route, status, request_id = id, "request");
        if let Some(exported) = self.exported.take() {
            exported.end(response.status());
        }
        self.tell(response.status());
        response.headers_mut().insert(REQUEST_ID, self.id.0.clone());
        Ok(response)
    }
}

impl About {
    /// What log lines say of the request.
    fn span(&self, id: &str, route: &str) -> Span {
        let trace_id = self.trace.map(|trace| display(trace.trace_id()));
        tracing::info_span!(
            "request",
            request_id = id,
            trace_id,
            route,
            http.request.method = method_name(&self.method),
            http.response.status_code = Empty,
        )
    }

    /// Tells the metrics and the usage history how it was answered.
    fn tell(&self, status: StatusCode) {
        let took_us = self.app.ledger.monotonic_us().saturating_sub(self.began_us);
        let about = (&self.method, self.route.as_ref());
        self.app.metrics.answered(about, status, took_us);
        if let Some(used) = &self.used {
            used.record(&self.app, &self.id, (status, took_us));
        }
    }
}

/// A handler that panics is a 500, and the process lives.
async fn caught<F: Future>(inside: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut inside = pin!(inside);
    poll_fn(|context| {
        // After a panic it is dropped, and not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| inside.as_mut().poll(context)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                tracing::error!("a handler panicked");
                Poll::Ready(Err(panic))
            }
        }
    })
    .await
}
