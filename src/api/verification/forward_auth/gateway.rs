//! Who the gateway is: a credential with `keys:verify`, or a peer in a trusted network.
//!
//! The peer is the socket's, never what a header says. A gateway's header that is there must be
//! good: there is no falling back on the peer, lest a wrong or expired credential widen anything.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};

use crate::api::verification::forward_auth::asked;
use crate::domain::access::{Action, Authority, may};
use crate::domain::ids::{OrganizationId, ProjectId};
use crate::views::index::VerificationCode;
use crate::web::app::App;
use crate::web::context::single;
use crate::web::problem::Problem;
use crate::web::record_usage;
use crate::web::record_usage::UsedSlot;

const GATEWAY: HeaderName = HeaderName::from_static("x-keyledger-gateway");
const ORGANIZATION: HeaderName = HeaderName::from_static("x-keyledger-require-organization");

/// A gateway, with the bounds of what it may accept.
pub(crate) struct Gateway {
    pub(crate) authority: Authority,
    pub(crate) organization: OrganizationId,
    /// The one project that it is for.
    pub(crate) project: Option<ProjectId>,
}

/// The other end of the connection.
fn peer(parts: &Parts) -> Option<IpAddr> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map(|info| info.0.ip().to_canonical())
}

/// Who asks, by the headers of the request that `parts` is of.
pub(crate) fn authenticate(
    app: &App,
    parts: &Parts,
    headers: &HeaderMap,
) -> Result<Gateway, Problem> {
    let peer = peer(parts);
    if let Some(token) = headers.get(&GATEWAY) {
        let token = token.to_str().map_err(|_not_text| unknown())?;
        return by_credential((app, parts, peer), headers, token.trim());
    }
    let trusted = &app.settings.trusted_gateways;
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    if !peer.is_some_and(is_trusted) {
        return Err(unknown());
    }
    let directory = &app.ledger.views().directory;
    let organization = match required(headers)? {
        Some(id) => directory.organization(id),
        None => directory.only_organization(),
    };
    let organization = organization.ok_or_else(|| {
        let detail = "X-Keyledger-Require-Organization must name an organization of this ledger";
        Problem::bad_request("header_invalid", detail)
    })?;
    Ok(Gateway {
        authority: Authority {
            organization: Some(organization.id),
            ..Authority::nothing()
        },
        organization: organization.id,
        project: None,
    })
}

fn by_credential(
    (app, parts, peer): (&App, &Parts, Option<IpAddr>),
    headers: &HeaderMap,
    token: &str,
) -> Result<Gateway, Problem> {
    let index = &app.ledger.views().index;
    let caller = index.authenticate(token, app.ledger.now());
    let caller = caller.map_err(|refused| {
        if let Some(secret) = refused.secret {
            record_usage::tell_of_gateway(parts, peer, secret, refused.code);
        }
        unknown()
    })?;
    let secret = caller.presented_secret();
    let authority = caller.authority;
    let own = authority.organization.ok_or_else(unknown)?;
    let catalogue = index.catalogue();
    let leave = may(authority.clone(), &catalogue, Action::Verify, Some(own));
    if leave.is_err() {
        record_usage::tell_of_gateway(parts, peer, secret, VerificationCode::InsufficientScope);
        let detail = "the credential of the gateway lacks the permission keys:verify";
        return Err(unknown().saying(detail));
    }
    record_usage::tell_of_gateway(parts, peer, secret, VerificationCode::Valid);
    UsedSlot::of(&parts.extensions).exercise(Action::Verify.needs());
    Ok(Gateway {
        // Another organization than its own is for the platform to name; to others it is empty.
        organization: required(headers)?.unwrap_or(own),
        project: authority.project,
        authority,
    })
}

fn required(headers: &HeaderMap) -> Result<Option<OrganizationId>, Problem> {
    single(headers, &ORGANIZATION)?
        .map(|text| asked::id(&ORGANIZATION, text))
        .transpose()
}

fn unknown() -> Problem {
    let detail = "the gateway is not known: send X-Keyledger-Gateway with a token that has \
        keys:verify, or start the server with --trusted-gateways";
    Problem::unauthenticated(false)
        .turned_into(StatusCode::UNAUTHORIZED, "gateway_not_accepted")
        .saying(detail)
}
