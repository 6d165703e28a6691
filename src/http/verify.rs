//! `POST /v1/verify` and `/v1/verify/batch`: whether a secret is accepted, from RAM alone.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body;
use super::call::Call;
use super::context::Context;
use super::problem::{Problem, ProblemBody};
use crate::domain::access::{Action, Authority};
use crate::domain::ids::{OrganizationId, Owner, ProjectId};
use crate::domain::record::Metadata;
use crate::domain::time::Timestamp;
use crate::views::index::{Ask, Code, Shown, Verdict};

/// Most keys of one batch.
const BATCH_MAX: usize = 1_000;
/// Longest body of a batch: 1,000 keys with their longest tokens.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest body of a single verification.
const VERIFY_BYTES_MAX: usize = 64 * 1024;
/// What the answer on one credential takes: seldom more.
const ANSWER_BYTES_USUAL: usize = 1_024;

/// What to verify.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
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
    /// The call that it was presented with; kept once there is a usage history.
    #[expect(dead_code, reason = "checked for its form; recorded once usage is")]
    request: Option<PresentedWith>,
}

/// The call that a secret was presented with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "checked for its form; recorded once usage is")]
struct PresentedWith {
    endpoint: Option<String>,
    method: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
}

/// Whether a secret is accepted.
#[derive(Serialize, ToSchema)]
pub(super) struct VerifyResponse<'a> {
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
    #[schema(value_type = Option<Object>)]
    owner: Option<Owner>,
    #[schema(value_type = String)]
    secret_id: crate::domain::ids::SecretId,
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    metadata: Option<&'a Metadata>,
}

/// Several keys at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// At most 1,000.
    keys: Vec<VerifyRequest>,
}

/// The answers, in the order of the keys.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchResponse<'a> {
    position: u64,
    results: Vec<VerifyResponse<'a>>,
}

/// Verifies one key.
#[utoipa::path(post, path = "/v1/verify", tag = "verification", request_body = VerifyRequest,
    responses((status = 200, body = VerifyResponse), (status = "4XX", body = ProblemBody)))]
pub(super) async fn verify(call: Call, request: Request) -> Result<Response, Problem> {
    let access = call.may_at_home(Action::Verify)?;
    let asked: VerifyRequest = read(request, &call.context, VERIFY_BYTES_MAX).await?;
    call.wait().await?;
    let ask = ask(access.authority(), &asked).map_err(|field| no_id(field.into()))?;
    let verdict = call.views().index.verify(&ask, call.now());
    answer(&shown(&verdict))
}

/// Verifies up to 1,000 keys.
#[utoipa::path(post, path = "/v1/verify/batch", tag = "verification", request_body = BatchRequest,
    responses((status = 200, body = BatchResponse), (status = "4XX", body = ProblemBody)))]
pub(super) async fn batch(call: Call, request: Request) -> Result<Response, Problem> {
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
        ask(access.authority(), key).map_err(|field| no_id(format!("keys[{index}].{field}")))
    });
    let asks = asks.collect::<Result<Vec<_>, _>>()?;
    let verdicts = call.views().index.verify_all(&asks, call.now());
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

fn no_id(field: String) -> Problem {
    Problem::invalid_field("field_invalid", field, "is not an id of this form")
}

/// What is asked, or the field that should be an id and is none.
fn ask<'a>(authority: &'a Authority, asked: &'a VerifyRequest) -> Result<Ask<'a>, &'static str> {
    let project = asked.project_id.as_deref().map(str::parse).transpose();
    let organization = asked.organization_id.as_deref().map(str::parse).transpose();
    Ok(Ask {
        authority,
        key: &asked.key,
        required_scopes: &asked.required_scopes,
        project: project.map_err(|_no_id| "project_id")?,
        any_project: asked.any_project,
        organization: organization.map_err(|_no_id| "organization_id")?,
    })
}

fn shown(verdict: &Verdict) -> VerifyResponse<'_> {
    VerifyResponse {
        valid: verdict.code == Code::Valid,
        code: verdict.code.name(),
        position: verdict.position,
        valid_until: verdict.valid_until,
        key: verdict.key.as_ref().map(shown_key),
    }
}

fn shown_key(key: &Shown) -> VerifiedKey<'_> {
    static NO_METADATA: Metadata = Metadata::new();
    match key {
        Shown::Ended {
            id,
            kind,
            organization,
            secret,
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
        Shown::Whole {
            credential, secret, ..
        } => VerifiedKey {
            id: credential.id(),
            kind: credential.kind().name(),
            organization_id: credential.organization(),
            project_id: credential.project(),
            name: Some(credential.name()),
            scopes: Some(key.scopes()),
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
