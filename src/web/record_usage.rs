//! Which credential a call was made with: told by whoever authenticates it, and recorded in the
//! usage history once the call has been answered.
//!
//! Owns the slot that a request carries for this, and what of a request may be stored: no query,
//! no token, wherever in a text it stands. Data flows from the extractor to the frame, and from
//! there to the usage stream, which never makes a call wait.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, Method, StatusCode, Uri, header};

use crate::domain::blot::without_secrets;
use crate::usage::{CredentialCall, VerificationCode};
use crate::views::index::{PresentedSecret, VerificationResult};
use crate::web::app::App;
use crate::web::context;
use crate::web::request_id::RequestId;

/// What stands for a token that somebody put where it does not belong.
const BLOT: &str = "[secret]";

/// What a call was made with.
#[derive(Debug)]
struct Used {
    found: PresentedSecret,
    outcome: VerificationCode,
    method: Method,
    uri: Uri,
    ip: Option<IpAddr>,
    user_agent: Option<HeaderValue>,
    /// What is answered is about another's credential: a 403 says nothing of this one.
    asks_for_another: bool,
}

/// Where an extractor says what it found, for the frame around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsedSlot(Arc<Slot>);

#[derive(Debug, Default)]
struct Slot {
    used: OnceLock<Used>,
    /// The scope that the call has needed, once it was granted.
    scope: OnceLock<&'static str>,
}

/// Says which credential a call is made with, and whether it was accepted.
pub(crate) fn tell(parts: &Parts, app: &App, secret: PresentedSecret, outcome: VerificationCode) {
    let address = context::address(parts, app);
    keep(parts, (secret, outcome), (address, false));
}

/// The same of the credential of a gateway, which asks about its client's: headers and addresses
/// that are forwarded are the client's, and so may the path be that it asks by.
pub(crate) fn tell_of_gateway(
    parts: &Parts,
    peer: Option<IpAddr>,
    secret: PresentedSecret,
    outcome: VerificationCode,
) {
    keep(parts, (secret, outcome), (peer, true));
}

fn keep(
    parts: &Parts,
    (found, outcome): (PresentedSecret, VerificationCode),
    (ip, asks_for_another): (Option<IpAddr>, bool),
) {
    let Some(UsedSlot(slot)) = parts.extensions.get::<UsedSlot>() else {
        return;
    };
    let used = Used {
        found,
        outcome,
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        ip,
        user_agent: parts.headers.get(header::USER_AGENT).cloned(),
        asks_for_another,
    };
    // A call has one caller; a second telling would be of the same.
    slot.used.get_or_init(|| used);
}

impl UsedSlot {
    /// Puts a slot into a request, where usage is recorded at all.
    pub(crate) fn insert(app: &App, extensions: &mut Extensions) -> Option<Self> {
        app.usage.as_ref()?;
        let slot = Self::default();
        extensions.insert(slot.clone());
        Some(slot)
    }

    /// The slot of a request; one that nobody reads where nothing is recorded.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Says which scope has opened the way.
    pub(crate) fn exercise(&self, scope: &'static str) {
        self.0.scope.get_or_init(|| scope);
    }

    /// Records the call, now that it has been answered.
    pub(crate) fn record(&self, app: &App, id: &RequestId, (status, took_us): (StatusCode, u64)) {
        let (Some(usage), Some(used)) = (&app.usage, self.0.used.get()) else {
            return;
        };
        let outcome = match (used.outcome, status) {
            (VerificationCode::Valid, StatusCode::FORBIDDEN) if !used.asks_for_another => {
                VerificationCode::InsufficientScope
            }
            (outcome, _) => outcome,
        };
        let scope = self.0.scope.get().map(std::slice::from_ref);
        let scope = scope.unwrap_or_default();
        let user_agent = used.user_agent.as_ref().map(context::recorded);
        usage.record_call(&CredentialCall {
            organization: used.found.organization,
            person: used.found.owner.person(),
            credential: used.found.credential,
            secret: Some(used.found.secret),
            at: app.ledger.now(),
            outcome,
            status: status.as_u16(),
            duration_us: u32::try_from(took_us).unwrap_or(u32::MAX),
            endpoint: &without_secrets(used.uri.path()),
            method: &without_secrets(used.method.as_str()),
            request_id: Some(id.as_str()),
            ip: used.ip,
            user_agent: user_agent.as_deref().map(without_secrets).as_deref(),
            reporter: None,
            scopes: if outcome == VerificationCode::Valid {
                scope
            } else {
                &[]
            },
        });
    }
}

/// The call that a verified secret was presented with, as a gateway tells it.
pub(crate) struct Presented<'a> {
    /// The secret itself, which must not be stored if it stands in one of the texts.
    pub(crate) token: &'a str,
    pub(crate) required_scopes: &'a [String],
    pub(crate) endpoint: &'a str,
    pub(crate) method: &'a str,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) took: Duration,
}

/// Counts a verification that is not recorded.
pub(crate) fn count(app: &App, verdict: &VerificationResult, presented: &Presented<'_>) {
    app.metrics.verified(verdict.code, presented.took);
}

/// Counts a verification, and records it in the history of the credential that it was of, if it
/// was of any.
pub(crate) fn record(app: &App, verdict: &VerificationResult, presented: &Presented<'_>) {
    count(app, verdict, presented);
    let (Some(usage), Some(key)) = (&app.usage, &verdict.key) else {
        return;
    };
    let found = key.presented_secret();
    let clean = |text| without(presented.token, without_secrets(text));
    let exercised = match verdict.code == VerificationCode::Valid {
        true => presented.required_scopes,
        false => &[],
    };
    let scopes: Vec<&str> = exercised.iter().map(String::as_str).collect();
    usage.record_call(&CredentialCall {
        organization: found.organization,
        person: found.owner.person(),
        credential: found.credential,
        secret: Some(found.secret),
        at: app.ledger.now(),
        outcome: verdict.code,
        status: verdict.code.http_status(),
        duration_us: u32::try_from(presented.took.as_micros()).unwrap_or(u32::MAX),
        endpoint: &clean(path_of(presented.endpoint)),
        method: &clean(presented.method),
        request_id: presented.request_id.map(clean).as_deref(),
        ip: presented.ip,
        user_agent: presented.user_agent.map(clean).as_deref(),
        reporter: None,
        scopes: &scopes,
    });
}

/// A text without a token of a foreign form, which cannot be told from other words.
fn without<'a>(token: &str, text: Cow<'a, str>) -> Cow<'a, str> {
    if token.len() <= text.len() && !token.is_empty() && text.contains(token) {
        return Cow::Owned(text.replace(token, BLOT));
    }
    text
}

/// A path without its query.
pub(crate) fn path_of(target: &str) -> &str {
    target.find(['?', '#']).map_or(target, |at| {
        let (path, _) = target.split_at(at);
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_no_query() {
        for (target, path) in [
            ("/a?b=c", "/a"),
            ("/a#b?c", "/a"),
            ("/a", "/a"),
            ("?a", ""),
            ("", ""),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
