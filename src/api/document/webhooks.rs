//! The part of the OpenAPI document that says what is sent: each type of webhook with its schema
//! and an example.

use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ContentBuilder, HttpMethod, ObjectBuilder, OpenApi as Document, PathItem, PathsBuilder, Ref,
    Required, ResponseBuilder, Type,
};

use crate::webhooks::examples::ExampleEvent;
use crate::webhooks::schemas::body_schema;

/// Headers of a delivery: whether each is always there, and what it says.
const HEADERS: [(&str, bool, &str); 5] = [
    (
        "webhook-id",
        true,
        "The event's id, the same in every attempt: handle each once.",
    ),
    (
        "webhook-timestamp",
        true,
        "When this attempt was made, in seconds since 1970: refuse what is older than 5 minutes.",
    ),
    (
        "webhook-signature",
        true,
        "Signatures of `<webhook-id>.<webhook-timestamp>.<body>` with spaces between: `v1,` and \
            HMAC-SHA256 in base64, or `v1a,` and Ed25519. During a rotation there are two; one \
            that verifies is enough.",
    ),
    (
        "webhook-test",
        false,
        "`true` in a test, where nothing has happened.",
    ),
    (
        "webhook-redelivery",
        false,
        "`true` where somebody asked for a delivery once more.",
    ),
];

/// Adds all types of webhooks, and the records that they show.
pub(crate) fn add_webhooks(document: &mut Document) {
    let components = document.components.get_or_insert_default();
    for (name, always, about) in HEADERS {
        let parameter = header(name, always, about);
        components
            .parameters
            .insert(name.to_owned(), parameter.into());
    }
    let mut webhooks = PathsBuilder::new();
    for example in ExampleEvent::all().chain([ExampleEvent::ping()]) {
        let name = example.event_type();
        let Some(schema) = body_schema(name) else {
            continue;
        };
        components.schemas.extend(schema.records);
        let body = ContentBuilder::new()
            .schema(Some(schema.body))
            .example(serde_json::from_str(example.json_text()).ok())
            .build();
        let body = RequestBodyBuilder::new()
            .required(Some(Required::True))
            .content("application/json", body)
            .build();
        let mut post = OperationBuilder::new()
            .tag("webhooks")
            .summary(Some(name))
            .operation_id(Some(format!("webhooks_{}", name.replace('.', "_"))))
            .request_body(Some(body))
            .securities(Some([SecurityRequirement::default()]))
            .response("2XX", ResponseBuilder::new().description("Taken."))
            .response(
                "410",
                ResponseBuilder::new().description("Never again: disables the endpoint."),
            )
            .response(
                "default",
                ResponseBuilder::new().description("Not taken: tried again later."),
            );
        for (name, ..) in HEADERS {
            let place = format!("#/components/parameters/{name}");
            post = post.parameter_ref(Ref::new(place));
        }
        webhooks = webhooks.path(name, PathItem::new(HttpMethod::Post, post));
    }
    document.webhooks = Some(webhooks.build());
}

fn header(name: &str, always: bool, about: &str) -> Parameter {
    let required = if always {
        Required::True
    } else {
        Required::False
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(about))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}
