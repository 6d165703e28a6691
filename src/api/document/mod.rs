//! The OpenAPI document: its head, the table of codes, and what holds on many routes at once.
//!
//! Routes and bodies say what they are by themselves; here is added what is the same for all, so
//! that no route can forget it: what is answered (`answers`), what values are (`forms` by the
//! `vocabulary`), which headers are read. `openapi_3_0` writes the same document for generators
//! that do not know version 3.1.

mod answers;
mod form;
mod forms;
mod openapi_3_0;
mod vocabulary;
mod webhooks;

use std::collections::BTreeSet;

use axum::body::Bytes;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ObjectBuilder, OpenApi as Document, RefOr, Schema, Type};

use crate::api::document::webhooks::add_webhooks;
use crate::web::codes::all_codes;
use crate::web::problem::ProblemBody;
use crate::webhooks::schemas::require_nullable;

/// The document's head; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "keyledger",
        description = "An event-sourced ledger of machine credentials: issue, verify, rotate, \
            disable and revoke them; every action is an event of one durable log.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The server that this document comes from.")),
    security(("bearer" = []), ("basic" = []), ("session" = [])),
    components(schemas(ProblemBody)),
)]
pub(crate) struct Head;

/// The parts of the API in the order in which they are read.
const PARTS: [(&str, &str); 25] = [
    ("verification", "Whether a secret is accepted."),
    ("api keys", "Keys of an organization."),
    ("personal tokens", "A member's own tokens."),
    ("access tokens", "Tokens of a workspace that carry a role."),
    ("project tokens", "Tokens of one project with a preset."),
    (
        "admin tokens",
        "Tokens that administrators make and review.",
    ),
    (
        "workspace service accounts",
        "Service accounts by their scopes.",
    ),
    ("service account tokens", "Tokens of a service account."),
    (
        "credentials",
        "Credentials of every kind in an organization.",
    ),
    (
        "organizations",
        "Tenants, for the operator of the platform.",
    ),
    ("projects", "Projects of an organization."),
    ("members", "People of an organization."),
    (
        "service accounts",
        "Service accounts of an organization by their role.",
    ),
    ("sessions", "How a member signs in."),
    ("me", "A member in person."),
    ("forward auth", "Gateways ask whether a request may pass."),
    ("oauth", "Introspection and revocation as OAuth 2 has them."),
    (
        "revocations",
        "What verifiers that keep answers must forget.",
    ),
    ("usage", "Calls that gateways report."),
    ("webhook endpoints", "Where events are sent."),
    (
        "webhook deliveries",
        "What was sent, and what became of it.",
    ),
    ("events", "Events by pull."),
    ("ledger", "The log, its proofs and its past, for auditors."),
    ("service", "The service about itself."),
    ("webhooks", "What is sent to webhook endpoints."),
];

/// The document as it is served, in both versions.
#[derive(Default)]
pub(crate) struct Texts {
    pub(crate) newest: Bytes,
    pub(crate) openapi_3_0: Bytes,
}

impl Texts {
    pub(crate) fn of(document: &Document) -> Self {
        let older = openapi_3_0::of(serde_json::to_value(document).unwrap_or_default());
        Self {
            newest: document.to_pretty_json().unwrap_or_default().into(),
            openapi_3_0: format!("{older:#}").into(),
        }
    }
}

/// Adds to the routes' document what no route says by itself.
pub(crate) fn complete(document: &mut Document) {
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
    let problem = components.schemas.get_mut(PROBLEM);
    if let Some(RefOr::T(Schema::Object(problem))) = problem {
        let about = problem.description.take().unwrap_or_default();
        problem.description = Some(format!("{about}\n\n{}", table_of_codes()));
    }
    let parts = PARTS.map(|(name, about)| {
        let part = TagBuilder::new().name(name);
        part.description(Some(about)).build()
    });
    document.tags = Some(Vec::from(parts));
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
    let asked = schemas_asked_for(document);
    if let Some(components) = &mut document.components {
        let schemas = components.schemas.iter_mut();
        let answered = schemas.filter(|(name, _)| !asked.contains(*name));
        answered.for_each(|(_, schema)| require_nullable(schema));
    }
    for (_, operation) in operations(document) {
        never_null(operation);
    }
    forms::describe(document);
    answers::describe(document);
}

/// The name of the schema of problems.
const PROBLEM: &str = "ProblemBody";

/// All operations, with their paths.
fn operations(document: &mut Document) -> impl Iterator<Item = (&str, &mut Operation)> {
    let items = document.paths.paths.iter_mut();
    items.flat_map(|(path, item)| {
        let operations = [
            item.get.as_mut(),
            item.post.as_mut(),
            item.patch.as_mut(),
            item.put.as_mut(),
            item.delete.as_mut(),
        ];
        let operations = operations.into_iter().flatten();
        operations.map(move |operation| (path.as_str(), operation))
    })
}

/// A body that may be left out is not null when it is there.
fn never_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(either))) = &mut content.schema
            && let Some(RefOr::Ref(body)) = either.items.first()
        {
            content.schema = Some(RefOr::Ref(body.clone()));
        }
    }
}

/// The names of the schemas that clients send, and of all that are in them.
fn schemas_asked_for(document: &mut Document) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for (_, operation) in operations(document) {
        let Some(RefOr::T(body)) = &operation.request_body else {
            continue;
        };
        for content in body.content.values() {
            if let RefOr::T(content) = content
                && let Some(schema) = &content.schema
            {
                references(schema, &mut found);
            }
        }
    }
    let schemas = document.components.as_ref();
    let schemas = schemas.map(|components| &components.schemas);
    while let Some(name) = found.pop() {
        let schema = schemas.and_then(|schemas| schemas.get(&name));
        if let Some(schema) = schema.filter(|_| !names.contains(&name)) {
            references(schema, &mut found);
        }
        names.insert(name);
    }
    names
}

/// The names of the schemas that one refers to.
fn references(schema: &RefOr<Schema>, found: &mut Vec<String>) {
    match schema {
        RefOr::Ref(place) => {
            let name = place.ref_location.rsplit('/').next();
            found.extend(name.map(str::to_owned));
        }
        RefOr::T(Schema::Object(object)) => {
            object
                .properties
                .values()
                .for_each(|field| references(field, found));
        }
        RefOr::T(Schema::Array(array)) => {
            if let ArrayItems::RefOrSchema(items) = &array.items {
                references(items, found);
            }
        }
        RefOr::T(Schema::OneOf(one)) => one.items.iter().for_each(|item| references(item, found)),
        RefOr::T(Schema::AllOf(all)) => all.items.iter().for_each(|item| references(item, found)),
        RefOr::T(_) => {}
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
    for (status, code, when) in all_codes() {
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
        "openapi-3.0.json",
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
