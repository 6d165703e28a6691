//! The OpenAPI document: its head, the table of codes, and what holds on many routes at once.

use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, OpenApi as Document, RefOr, Type};

use super::codes::CODES;
use super::outgoing::add_webhooks;
use super::problem::ProblemBody;

/// The document's head; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "keyledger",
        description = "An event-sourced ledger of machine credentials: issue, verify, rotate, \
            disable and revoke them; every action is an event of one durable log.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    security(("bearer" = []), ("basic" = []), ("session" = [])),
    components(schemas(ProblemBody)),
)]
pub(super) struct Head;

/// Adds to the routes' document what no route says by itself.
pub(super) fn complete(document: &mut Document) {
    add_webhooks(document);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic).build();
    components.add_security_scheme("basic", SecurityScheme::Http(basic));
    let session = ApiKeyValue::with_description(
        "keyledger",
        "A member's session; `__Host-keyledger` where the public URL is https.",
    );
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(session));
    components.add_security_scheme("session", session);
    let about = document.info.description.take().unwrap_or_default();
    document.info.description = Some(format!("{about}\n\n{}", table_of_codes()));
    name_rests(document);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [
            (Method::Read, item.get.as_mut()),
            (Method::Post, item.post.as_mut()),
            (Method::Change, item.patch.as_mut()),
            (Method::Change, item.put.as_mut()),
            (Method::Change, item.delete.as_mut()),
        ] {
            if let Some(operation) = operation {
                name(operation);
                let headers = headers(method, path).into_iter().map(header).map(RefOr::T);
                operation.parameters.get_or_insert_default().extend(headers);
            }
        }
    }
}

/// A parameter that takes the rest of a path is written `{*name}` by the router and `{name}` here.
fn name_rests(document: &mut Document) {
    let paths = std::mem::take(&mut document.paths.paths);
    let named = paths.into_iter();
    document.paths.paths = named
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
}

/// The codes of problems as a table in Markdown.
fn table_of_codes() -> String {
    let mut table =
        "Problems have a stable `code`:\n\n| status | code | when |\n|---|---|---|".to_owned();
    for (status, code, when) in CODES {
        table.push_str(&format!("\n| {status} | `{code}` | {when} |"));
    }
    table
}

/// Makes the handler's name unique: what is done, and on what.
fn name(operation: &mut Operation) {
    let tag = operation.tags.as_ref().and_then(|tags| tags.first());
    let tag = tag.map(|tag| tag.replace(' ', "_")).unwrap_or_default();
    let done = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(format!("{tag}_{done}"));
}

#[derive(Clone, Copy)]
enum Method {
    Read,
    Post,
    Change,
}

const REQUEST_ID: (&str, &str) = (
    "X-Request-Id",
    "1 to 128 of `A-Za-z0-9._-`; comes back, and is stored with the events.",
);
const MIN_POSITION: (&str, &str) = (
    "Ledger-Min-Position",
    "A position from `Ledger-Position` that the answer must have taken into account.",
);
const IF_MATCH: (&str, &str) = (
    "If-Match",
    "The `ETag` of the record that is changed; another version is refused with 412.",
);
const IDEMPOTENCY_KEY: (&str, &str) = (
    "Idempotency-Key",
    "1 to 255 characters; a repeated command gets the first one's answer, without the secret.",
);

/// The headers that a route reads beside `Authorization`.
fn headers(method: Method, path: &str) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![REQUEST_ID];
    let makes = [
        "organizations",
        "projects",
        "members",
        "service-accounts",
        "api-keys",
        "api-tokens",
        "access-tokens",
        "tokens",
        "webhook-endpoints",
    ];
    let tries = ["ping", "example", "redeliver", "replay", "checkpoints"];
    let last = path.rsplit('/').next().unwrap_or_default();
    let open = [
        "livez",
        "readyz",
        "openapi.json",
        "docs",
        "oauth-authorization-server",
    ];
    let open = open.contains(&last)
        || path.starts_with("/v1/forward-auth")
        || path.starts_with("/ledger/");
    match method {
        Method::Read if open => {}
        Method::Read => headers.push(MIN_POSITION),
        Method::Post if path == "/v1/sessions" || path == "/oauth2/revoke" => {}
        Method::Post if path == "/oauth2/introspect" => headers.push(MIN_POSITION),
        Method::Post if path.starts_with("/v1/verify") => headers.push(MIN_POSITION),
        // What is tried, delivered once more or told of is none of the caller's own commands.
        Method::Post if tries.contains(&last) => {}
        Method::Post if makes.contains(&last) => headers.push(IDEMPOTENCY_KEY),
        Method::Post => headers.extend([IDEMPOTENCY_KEY, IF_MATCH]),
        Method::Change => headers.push(IF_MATCH),
    }
    headers
}

fn header((name, about): (&str, &str)) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(about))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}
