//! `POST /v1/verify` and `/v1/verify/batch`: whether a secret is accepted, from RAM alone.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::access::{Action, Authority};
use crate::domain::ids::{OrganizationId, Owner, ProjectId};
use crate::domain::record::Metadata;
use crate::domain::time::Timestamp;
use crate::records::{MetadataPairs, OwnerRecord};
use crate::views::index::{
    ShownCredential, VerificationCode, VerificationQuery, VerificationResult,
};
use crate::web::body;
use crate::web::call::Call;
use crate::web::context::Context;
use crate::web::problem::{Problem, ProblemBody};
use crate::web::record_usage;
use crate::web::record_usage::Presented;

/// Most keys of one batch.
const BATCH_MAX: usize = 1_000;
/// Longest body of a batch: 1,000 keys with their longest tokens.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest body of a single verification.
const VERIFY_BYTES_MAX: usize = 64 * 1024;
/// Keys of a batch that are looked up in one go: others have the thread in between.
const AT_ONCE_MAX: usize = 128;
/// What the answer on one credential takes: seldom more.
const ANSWER_BYTES_USUAL: usize = 1_024;

/// What to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyRequest {
    /// The secret presented.
    key: String,
    /// Scopes that it must have.
    #[serde(default)]
    required_scopes: Vec<String>,
    /// The project that it is used on.
    project_id: Option<String>,
    /// Whether a credential bound to a project will do though none is named.
    #[serde(default)]
    any_project: bool,
    /// The organization that it must be of.
    organization_id: Option<String>,
    /// The call that it was presented with, for the usage history.
    request: Option<PresentedWith>,
}

/// The call that a secret was presented with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PresentedWith {
    /// A path of at most 2,048 bytes; a query is cut off.
    endpoint: Option<String>,
    /// At most 32 bytes.
    method: Option<String>,
    #[schema(value_type = Option<String>)]
    ip_address: Option<IpAddr>,
    user_agent: Option<String>,
    /// At most 128 bytes.
    request_id: Option<String>,
}

/// Longest texts of the call that a secret was presented with.
const ENDPOINT_BYTES_MAX: usize = 2_048;
const METHOD_BYTES_MAX: usize = 32;
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Whether a secret is accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerifyResponse<'a> {
    valid: bool,
    /// Why, or why not.
    code: &'static str,
    /// Everything up to here has been taken into account.
    position: u64,
    /// When a positive answer ends by itself.
    #[schema(value_type = Option<String>)]
    valid_until: Option<Timestamp>,
    key: Option<VerifiedKey<'a>>,
}

/// What is told of a credential.
#[derive(Serialize, ToSchema)]
struct VerifiedKey<'a> {
    #[schema(value_type = String)]
    id: crate::domain::ids::CredentialId,
    kind: &'static str,
    #[schema(value_type = String)]
    organization_id: OrganizationId,
    #[schema(value_type = Option<String>)]
    project_id: Option<ProjectId>,
    name: Option<&'a str>,
    scopes: Option<&'a [String]>,
    role: Option<&'a str>,
    #[schema(value_type = Option<OwnerRecord>)]
    owner: Option<Owner>,
    #[schema(value_type = String)]
    secret_id: crate::domain::ids::SecretId,
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<MetadataPairs>)]
    metadata: Option<&'a Metadata>,
}

/// Several keys at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// At most 1,000.
    keys: Vec<VerifyRequest>,
}

/// The answers, in the order of the keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResponse<'a> {
    position: u64,
    results: Vec<VerifyResponse<'a>>,
}

/// Verifies one key.
#[utoipa::path(post, path = "/v1/verify", tag = "verification", request_body = VerifyRequest,
    responses((status = 200, body = VerifyResponse), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn verify(call: Call, request: Request) -> Result<Response, Problem> {
    let access = call.may_at_home(Action::Verify)?;
    let asked: VerifyRequest = read(request, &call.context, VERIFY_BYTES_MAX).await?;
    call.wait().await?;
    let ask = ask(access.authority(), &asked).map_err(|wrong| wrong.of(""))?;
    let began = call.app.ledger.clock().monotonic_duration();
    let verdict = call.views().index.verify(&ask, call.now());
    let took = call.app.ledger.clock().elapsed_since(began);
    record_usage::record(&call.app, &verdict, &asked.presented(took));
    answer(&shown(&verdict))
}

/// Verifies up to 1,000 keys.
#[utoipa::path(post, path = "/v1/verify/batch", tag = "verification", request_body = BatchRequest,
    responses((status = 200, body = BatchResponse), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn batch(call: Call, request: Request) -> Result<Response, Problem> {
    let access = call.may_at_home(Action::Verify)?;
    let asked: BatchRequest = read(request, &call.context, BATCH_BYTES_MAX).await?;
    if asked.keys.len() > BATCH_MAX {
        let message = format!("must have at most {BATCH_MAX} keys");
        return Err(Problem::invalid_field("field_too_long", "keys", message));
    }
    call.wait().await?;
    // The position of the whole is that before its first look-up.
    let position = call.views().position().unwrap_or(0);
    let asks = asked.keys.iter().enumerate().map(|(index, key)| {
        ask(access.authority(), key).map_err(|wrong| wrong.of(&format!("keys[{index}].")))
    });
    let asks = asks.collect::<Result<Vec<_>, _>>()?;
    let mut verdicts = Vec::with_capacity(asks.len());
    for (keys, asks) in asked.keys.chunks(AT_ONCE_MAX).zip(asks.chunks(AT_ONCE_MAX)) {
        tokio::task::yield_now().await;
        let began = call.app.ledger.clock().monotonic_duration();
        let found = call.views().index.verify_many(asks, call.now());
        // Their look-ups overlap: each takes its share.
        let took = call.app.ledger.clock().elapsed_since(began);
        let took = took / u32::try_from(found.len().max(1)).unwrap_or(1);
        for (asked, verdict) in keys.iter().zip(&found) {
            record_usage::record(&call.app, verdict, &asked.presented(took));
        }
        verdicts.extend(found);
    }
    answer(&BatchResponse {
        position,
        results: verdicts.iter().map(shown).collect(),
    })
}

/// The fast way for what is right; the slow one names the field that is wrong.
async fn read<T: serde::de::DeserializeOwned>(
    request: Request,
    context: &Context,
    max: usize,
) -> Result<T, Problem> {
    let bytes = body::unparsed(request, context, max).await?;
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(value),
        Err(_) => body::parse(&bytes),
    }
}

/// A field that is not what it should be.
enum Wrong {
    NoId(&'static str),
    TooLong(&'static str, usize),
}

impl Wrong {
    /// The refusal, with what the name of the field begins with.
    fn of(&self, item: &str) -> Problem {
        match self {
            Self::NoId(field) => {
                let message = match *field {
                    "project_id" => "must be an id of the form prj_ and 26 characters",
                    _ => "must be an id of the form org_ and 26 characters",
                };
                Problem::invalid_field("field_invalid", format!("{item}{field}"), message)
            }
            Self::TooLong(field, max) => {
                let message = format!("must have at most {max} bytes");
                Problem::invalid_field("field_too_long", format!("{item}request.{field}"), message)
            }
        }
    }
}

impl PresentedWith {
    fn check(&self) -> Result<(), Wrong> {
        let texts = [
            ("endpoint", &self.endpoint, ENDPOINT_BYTES_MAX),
            ("method", &self.method, METHOD_BYTES_MAX),
            ("request_id", &self.request_id, REQUEST_ID_BYTES_MAX),
        ];
        let too_long = |(_, text, max): &(&str, &Option<String>, usize)| {
            text.as_ref().is_some_and(|text| text.len() > *max)
        };
        match texts.iter().find(|text| too_long(text)) {
            Some((field, _, max)) => Err(Wrong::TooLong(field, *max)),
            None => Ok(()),
        }
    }
}

impl VerifyRequest {
    /// What the usage history tells of the verification.
    fn presented(&self, took: Duration) -> Presented<'_> {
        let with = self.request.as_ref();
        Presented {
            token: &self.key,
            required_scopes: &self.required_scopes,
            endpoint: with
                .and_then(|with| with.endpoint.as_deref())
                .unwrap_or_default(),
            method: with
                .and_then(|with| with.method.as_deref())
                .unwrap_or_default(),
            ip: with.and_then(|with| with.ip_address),
            user_agent: with.and_then(|with| with.user_agent.as_deref()),
            request_id: with.and_then(|with| with.request_id.as_deref()),
            took,
        }
    }
}

/// What is asked, or the field that is wrong.
fn ask<'a>(
    authority: &'a Authority,
    asked: &'a VerifyRequest,
) -> Result<VerificationQuery<'a>, Wrong> {
    if let Some(with) = &asked.request {
        with.check()?;
    }
    let project = asked.project_id.as_deref().map(str::parse).transpose();
    let organization = asked.organization_id.as_deref().map(str::parse).transpose();
    Ok(VerificationQuery {
        authority,
        key: &asked.key,
        required_scopes: &asked.required_scopes,
        project: project.map_err(|_no_id| Wrong::NoId("project_id"))?,
        any_project: asked.any_project,
        organization: organization.map_err(|_no_id| Wrong::NoId("organization_id"))?,
    })
}

fn shown(verdict: &VerificationResult) -> VerifyResponse<'_> {
    VerifyResponse {
        valid: verdict.code == VerificationCode::Valid,
        code: verdict.code.wire_name(),
        position: verdict.position,
        valid_until: verdict.valid_until,
        key: verdict.key.as_ref().map(shown_key),
    }
}

fn shown_key(key: &ShownCredential) -> VerifiedKey<'_> {
    static NO_METADATA: Metadata = Metadata::new();
    match key {
        ShownCredential::Ended {
            id,
            kind,
            organization,
            secret,
            owner: _,
        } => VerifiedKey {
            id: *id,
            kind: kind.name(),
            organization_id: *organization,
            project_id: None,
            name: None,
            scopes: None,
            role: None,
            owner: None,
            secret_id: *secret,
            expires_at: None,
            metadata: None,
        },
        ShownCredential::Full {
            credential, secret, ..
        } => VerifiedKey {
            id: credential.id(),
            kind: credential.kind().name(),
            organization_id: credential.organization(),
            project_id: credential.project(),
            name: Some(credential.name()),
            scopes: Some(key.granted_scopes()),
            role: credential.grant().role.as_deref(),
            owner: Some(credential.owner()),
            secret_id: *secret,
            expires_at: credential.expires_at(),
            metadata: Some(credential.metadata().unwrap_or(&NO_METADATA)),
        },
    }
}

fn answer<T: Serialize>(body: &T) -> Result<Response, Problem> {
    let mut text = Vec::with_capacity(ANSWER_BYTES_USUAL);
    serde_json::to_writer(&mut text, body)
        .map_err(|why| Problem::internal("an answer could not be written", &why))?;
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
