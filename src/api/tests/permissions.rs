//! Who may do what: one table over every route and every sort of caller.

use std::collections::BTreeSet;

use crate::api::tests::deliveries::inside;
use crate::api::tests::routes::{documented, filled};
use crate::api::tests::{World, ask};
use crate::domain::command::{AddMember, Command, CreateServiceAccount};
use crate::domain::kind::Kind;
use crate::ledger::Record;

const ROLES: [&str; 6] = [
    "viewer",
    "team_member",
    "engineer",
    "workspace_manager",
    "administrator",
    "owner",
];
const SINGLES: [&str; 6] = [
    "keys:read",
    "keys:verify",
    "member:manage",
    "admin:*",
    "platform:*",
    "cases:read",
];

// `+` allowed, `1` 401, `-` 403, `4` 404. The columns: nobody, garbage, another tenant's
// administrator; then organization keys, service accounts' tokens and personal tokens with the
// worth of each role in the order of ROLES; then sessions of members with each role; then keys
// with one of SINGLES.
const OPEN: &str = "+++ ++++++ ++++++ ++++++ ++++++ ++++++";
const READ: &str = "114 ++++++ ++++++ ++++++ ++++++ +-+++-";
const WRITE: &str = "114 ----++ ----++ ----++ ----++ --+++-";
const VERIFY: &str = "11+ ----++ ----++ ----++ ----++ -+-++-";
const PULL: &str = "11+ ----++ ----++ ----++ ----++ ---++-";
/// An event of another tenant is none.
const RECEIPT: &str = "114 ----++ ----++ ----++ ----++ ---++-";
const LEDGER: &str = "11+ ----++ ----++ ----++ ----++ ---++-";
const REPORT: &str = "11+ ----++ ----++ ----++ ----++ ---++-";
/// Whoever holds a token, and whoever may be somebody else's: that is asked once the token is read.
const HOLDERS: &str = "+1+ ++++++ ++++++ ++++++ ++++++ ++++++";
/// What the caller presents is its client's: without a gateway's own credential nobody asks.
const NO_GATEWAY: &str = "111 111111 111111 111111 111111 111111";
const PLATFORM: &str = "11- ------ ------ ------ ------ ----+-";
const IN_PERSON: &str = "11- ------ ------ ------ ++++++ ------";
/// A session that is not there is asked for.
const NO_SESSION: &str = "11- ------ ------ ------ 444444 ------";
/// A link that is none.
const NO_LINK: &str = "111 111111 111111 111111 111111 111111";
const KNOWN: &str = "11+ ++++++ ++++++ ++++++ ++++++ ++++++";
/// A member's own tokens; each of the members here asks for the token of yet another one.
const OWN: &str = "11- ------ ------ ++++++ ++++++ ------";
const ANOTHERS: &str = "11- ------ ------ 444444 444444 ------";
const ACCOUNTS: &str = "11+ ----++ ----++ ----++ ----++ ---++-";
const ACCOUNT: &str = "114 ----++ ----++ ----++ ----++ ---++-";
const TOKENS: &str = "114 ----++ ----++ ----++ ----++ ---++-";
const ACCESS_READ: &str = "114 ++++++ ++++++ ++++++ ++++++ ---++-";
const ACCESS_EDIT: &str = "114 ---+++ ---+++ ---+++ ---+++ ---++-";
const ACCESS_MANAGE: &str = "114 ----++ ----++ ----++ ----++ ---++-";
const ADMINS: &str = "11+ ----++ ----++ ----++ ----++ ---++-";
const ADMIN: &str = "114 ----++ ----++ ----++ ----++ ---++-";
const WEBHOOKS: &str = "114 ----++ ----++ ----++ ----++ ---++-";
/// One that is not there is asked for.
const DELIVERY: &str = "114 ----44 ----44 ----44 ----44 ---44-";
const PROJECT_READ: &str = "114 ++++++ ++++++ ++++++ ++++++ ---++-";
const PROJECT_WRITE: &str = "114 -+++++ -+++++ -+++++ -+++++ ---++-";

/// What stands before the paths of one organization, and of its other surfaces.
const O: &str = "/platform/organizations/{organization_id}";
const WE: &str = "/platform/organizations/{organization_id}/webhook-endpoints";
const DE: &str =
    "/platform/organizations/{organization_id}/webhook-endpoints/{endpoint_id}/deliveries";
const MINE: &str = "/v1/api-tokens";
const SA: &str = "/v1/service-accounts";
const W: &str = "/v1/workspaces/{workspace_id}";
const A: &str = "/v1/admin/api-tokens";
const P: &str = "/v1/projects/{project_id}/api-tokens";

const TABLE: [(&str, &str, &str, &str); 143] = [
    ("GET", "", "/livez", OPEN),
    ("GET", "", "/readyz", OPEN),
    ("GET", "", "/metrics", PLATFORM),
    ("GET", "", "/openapi.json", OPEN),
    ("GET", "", "/openapi-3.0.json", OPEN),
    ("GET", "", "/docs", OPEN),
    ("POST", "", "/v1/verify", VERIFY),
    ("POST", "", "/v1/verify/batch", VERIFY),
    ("POST", "", "/v1/usage", REPORT),
    ("GET", "", "/v1/revocations", VERIFY),
    ("GET", "", "/v1/revocations/stream", VERIFY),
    ("GET", "", "/v1/revocations/snapshot", VERIFY),
    ("GET", "", "/v1/events", PULL),
    ("GET", "", "/v1/events/stream", PULL),
    ("GET", "", "/v1/events/{event_id}/proof", RECEIPT),
    ("GET", "", "/ledger/checkpoint", OPEN),
    ("GET", "", "/ledger/vkey", OPEN),
    ("GET", "", "/ledger/tile/{tile}", OPEN),
    ("GET", "", "/v1/ledger/consistency", LEDGER),
    ("GET", "", "/v1/ledger/events", LEDGER),
    ("POST", "", "/v1/ledger/checkpoints", LEDGER),
    ("GET", "", "/v1/ledger/state", LEDGER),
    ("GET", "", "/v1/ledger/diff", LEDGER),
    ("GET", "", "/v1/ledger/who-could", LEDGER),
    ("POST", "", "/oauth2/introspect", VERIFY),
    ("POST", "", "/oauth2/revoke", HOLDERS),
    ("GET", "", "/.well-known/oauth-authorization-server", OPEN),
    ("GET", "", "/v1/forward-auth", NO_GATEWAY),
    ("GET", "", "/v1/forward-auth/nginx", NO_GATEWAY),
    ("GET", "", "/v1/forward-auth/envoy", NO_GATEWAY),
    ("POST", "", "/v1/sessions", OPEN),
    ("GET", "", "/sign-in/{token}", NO_LINK),
    ("GET", "", "/v1/me", KNOWN),
    ("GET", "", "/v1/me/sessions", IN_PERSON),
    ("DELETE", "", "/v1/me/sessions", IN_PERSON),
    ("DELETE", "", "/v1/me/sessions/{session_id}", NO_SESSION),
    ("PUT", "", "/v1/me/password", IN_PERSON),
    ("POST", "", "/platform/organizations", PLATFORM),
    ("GET", "", "/platform/organizations", PLATFORM),
    ("GET", O, "", READ),
    ("PATCH", O, "", WRITE),
    ("GET", O, "/projects", READ),
    ("POST", O, "/projects", WRITE),
    ("GET", O, "/projects/{project_id}", READ),
    ("PATCH", O, "/projects/{project_id}", WRITE),
    ("GET", O, "/members", READ),
    ("POST", O, "/members", WRITE),
    ("GET", O, "/members/{member_id}", READ),
    ("PATCH", O, "/members/{member_id}", WRITE),
    ("DELETE", O, "/members/{member_id}", WRITE),
    ("POST", O, "/members/{member_id}/sign-in-link", WRITE),
    ("POST", O, "/members/{member_id}/erase", WRITE),
    ("GET", O, "/service-accounts", READ),
    ("POST", O, "/service-accounts", WRITE),
    ("GET", O, "/service-accounts/{sa_id}", READ),
    ("PATCH", O, "/service-accounts/{sa_id}", WRITE),
    ("DELETE", O, "/service-accounts/{sa_id}", WRITE),
    ("GET", O, "/api-keys", READ),
    ("POST", O, "/api-keys", WRITE),
    ("GET", O, "/api-keys/{key_id}", READ),
    ("PATCH", O, "/api-keys/{key_id}", WRITE),
    ("GET", O, "/api-keys/{key_id}/usage", READ),
    ("GET", O, "/api-keys/{key_id}/usage/summary", READ),
    ("GET", O, "/api-keys/{key_id}/events", READ),
    ("POST", O, "/api-keys/{key_id}/revoke", WRITE),
    ("POST", O, "/api-keys/{key_id}/rotate", WRITE),
    ("POST", O, "/api-keys/{key_id}/disable", WRITE),
    ("POST", O, "/api-keys/{key_id}/enable", WRITE),
    ("GET", O, "/credentials", WRITE),
    ("GET", O, "/credentials/{key_id}", WRITE),
    ("GET", O, "/credentials/{key_id}/usage", WRITE),
    ("GET", O, "/credentials/{key_id}/usage/summary", WRITE),
    ("POST", O, "/credentials/{key_id}/revoke", WRITE),
    ("GET", WE, "", WEBHOOKS),
    ("POST", WE, "", WEBHOOKS),
    ("GET", WE, "/{endpoint_id}", WEBHOOKS),
    ("PATCH", WE, "/{endpoint_id}", WEBHOOKS),
    ("DELETE", WE, "/{endpoint_id}", WEBHOOKS),
    ("POST", WE, "/{endpoint_id}/rotate-secret", WEBHOOKS),
    ("POST", WE, "/{endpoint_id}/enable", WEBHOOKS),
    ("POST", WE, "/{endpoint_id}/disable", WEBHOOKS),
    ("GET", WE, "/{endpoint_id}/events", WEBHOOKS),
    ("POST", WE, "/{endpoint_id}/ping", WEBHOOKS),
    ("POST", WE, "/{endpoint_id}/example", WEBHOOKS),
    ("GET", WE, "/{endpoint_id}/status", WEBHOOKS),
    ("POST", WE, "/{endpoint_id}/replay", WEBHOOKS),
    ("GET", WE, "/{endpoint_id}/deliveries", WEBHOOKS),
    ("GET", DE, "/{delivery_id}", DELIVERY),
    ("POST", DE, "/{delivery_id}/redeliver", WEBHOOKS),
    ("GET", MINE, "", OWN),
    ("POST", MINE, "", OWN),
    ("GET", MINE, "/scopes", KNOWN),
    ("GET", MINE, "/{id}", ANOTHERS),
    ("DELETE", MINE, "/{id}", ANOTHERS),
    ("POST", MINE, "/{id}/roll", ANOTHERS),
    ("GET", MINE, "/{id}/events", ANOTHERS),
    ("GET", MINE, "/{id}/usage", ANOTHERS),
    ("GET", MINE, "/{id}/usage/summary", ANOTHERS),
    ("GET", SA, "", ACCOUNTS),
    ("POST", SA, "", ACCOUNTS),
    ("GET", SA, "/{id}", ACCOUNT),
    ("PATCH", SA, "/{id}", ACCOUNT),
    ("DELETE", SA, "/{id}", ACCOUNT),
    ("GET", SA, "/{id}/tokens", TOKENS),
    ("POST", SA, "/{id}/tokens", TOKENS),
    ("GET", SA, "/{id}/tokens/{tok_id}", TOKENS),
    ("DELETE", SA, "/{id}/tokens/{tok_id}", TOKENS),
    ("POST", SA, "/{id}/tokens/{tok_id}/rotate", TOKENS),
    ("GET", SA, "/{id}/tokens/{tok_id}/events", TOKENS),
    ("GET", SA, "/{id}/tokens/{tok_id}/usage", TOKENS),
    ("GET", SA, "/{id}/tokens/{tok_id}/usage/summary", TOKENS),
    ("GET", W, "/roles", ACCESS_READ),
    ("GET", W, "/access-tokens", ACCESS_READ),
    ("POST", W, "/access-tokens", ACCESS_EDIT),
    ("GET", W, "/access-tokens/{id}", ACCESS_READ),
    ("PATCH", W, "/access-tokens/{id}", ACCESS_EDIT),
    ("DELETE", W, "/access-tokens/{id}", ACCESS_MANAGE),
    ("POST", W, "/access-tokens/{id}/rotate", ACCESS_EDIT),
    ("POST", W, "/access-tokens/{id}/disable", ACCESS_MANAGE),
    ("POST", W, "/access-tokens/{id}/enable", ACCESS_MANAGE),
    ("GET", W, "/access-tokens/{id}/events", ACCESS_READ),
    ("GET", W, "/access-tokens/{id}/usage", ACCESS_READ),
    ("GET", W, "/access-tokens/{id}/usage/summary", ACCESS_READ),
    ("GET", A, "", ADMINS),
    ("POST", A, "", ADMINS),
    ("GET", A, "/review", ADMINS),
    ("GET", A, "/{id}", ADMIN),
    ("PATCH", A, "/{id}", ADMIN),
    ("DELETE", A, "/{id}", ADMIN),
    ("POST", A, "/{id}/replace", ADMIN),
    ("POST", A, "/{id}/disable", ADMIN),
    ("POST", A, "/{id}/enable", ADMIN),
    ("GET", A, "/{id}/events", ADMIN),
    ("GET", A, "/{id}/usage", ADMIN),
    ("GET", A, "/{id}/usage/summary", ADMIN),
    ("GET", P, "", PROJECT_READ),
    ("POST", P, "", PROJECT_WRITE),
    ("GET", P, "/{id}", PROJECT_READ),
    ("DELETE", P, "/{id}", PROJECT_WRITE),
    ("POST", P, "/{id}/replace", PROJECT_WRITE),
    ("GET", P, "/{id}/events", PROJECT_READ),
    ("GET", P, "/{id}/usage", PROJECT_READ),
    ("GET", P, "/{id}/usage/summary", PROJECT_READ),
];

/// How somebody is refused who may not.
const REFUSALS: [&str; 2] = ["forbidden", "session_required"];

#[test]
fn the_table_names_every_route() {
    let table = TABLE.iter();
    let table =
        table.map(|(method, base, path, _)| ((*method).to_owned(), format!("{base}{path}")));
    let table: BTreeSet<_> = table.collect();
    let documented: BTreeSet<_> = documented().into_iter().collect();
    assert_eq!(table, documented);
    assert_eq!(table.len(), TABLE.len(), "no route stands twice");
}

/// What a caller presents.
enum Shown {
    Nothing,
    Token(String),
    Cookie(String),
}

/// Whoever calls, with a name for messages; in the order of the columns.
fn callers(world: &World) -> Vec<(String, Shown)> {
    let garbage = "rfk_01KQ01SD60AADFP7C33DS9A67N_nonsense".to_owned();
    let mut callers = vec![
        ("nobody".to_owned(), Shown::Nothing),
        ("garbage".to_owned(), Shown::Token(garbage)),
        (
            "a stranger".to_owned(),
            Shown::Token(world.globex.admin.clone()),
        ),
    ];
    let mut sessions = Vec::new();
    let catalogue = world.ledger.views().index.catalogue();
    let scopes = |role: &str| catalogue.role(role).unwrap().scopes.clone();
    for kind in [Kind::Organization, Kind::ServiceAccount, Kind::Personal] {
        for role in ROLES {
            let scopes = scopes(role);
            let mut scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let owner = match kind {
                Kind::ServiceAccount => account(world, role),
                Kind::Personal => {
                    scopes = vec!["*"];
                    let member = member(world, role);
                    let cookie = Shown::Cookie(world.session(&member));
                    sessions.push((format!("session {role}"), cookie));
                    member
                }
                Kind::Organization | Kind::Access | Kind::Admin | Kind::Project => {
                    world.acme.id.clone()
                }
            };
            let (_, token) = world.issue(kind, &owner, &scopes);
            callers.push((format!("{} {role}", kind.name()), Shown::Token(token)));
        }
    }
    callers.append(&mut sessions);
    for scope in SINGLES {
        callers.push((scope.to_owned(), Shown::Token(world.holder(&[scope]))));
    }
    callers
}

fn account(world: &World, role: &str) -> String {
    let made = world.operator(Command::CreateServiceAccount(CreateServiceAccount {
        organization: world.acme.id.parse().unwrap(),
        name: role.to_owned(),
        description: None,
        role: Some(role.to_owned()),
        scopes: None,
    }));
    match made.records.first() {
        Some(Record::ServiceAccount(account)) => account.id.to_string(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn member(world: &World, role: &str) -> String {
    let made = world.operator(Command::AddMember(AddMember {
        organization: world.acme.id.parse().unwrap(),
        email: format!("{role}@acme.example"),
        name: None,
        role: role.to_owned(),
    }));
    match made.records.first() {
        Some(Record::Member(member)) => member.id.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_route_admits_whom_it_should() {
    let world = World::delivering(inside());
    let callers = callers(&world);
    let position = world.next_position();
    let mut wrong = Vec::new();
    for (method, base, path, row) in TABLE {
        let template = format!("{base}{path}");
        let path = filled(&template, &world.acme, &world.acme);
        let columns: Vec<char> = row.chars().filter(|column| *column != ' ').collect();
        assert_eq!(columns.len(), callers.len());
        for ((name, shown), expected) in callers.iter().zip(columns) {
            // Whoever is let in fails later: the permission is asked before the body is read.
            let request = ask(method, &path).with("if-match", "\"999\"");
            let request = match shown {
                Shown::Token(token) => request.by(token),
                Shown::Cookie(cookie) => request.in_session(cookie),
                Shown::Nothing => request,
            };
            let request = match method {
                "POST" | "PATCH" | "PUT" => request.with("content-type", "text/plain").body("x"),
                _ => request,
            };
            let reply = world.send(request);
            let outcome = match reply.status {
                401 => '1',
                403 if REFUSALS.contains(&reply.refused(403).as_str()) => '-',
                // An owner stands in the path: the permission was there, dominance was not.
                403 if reply.refused(403) == "beyond_your_authority" => '+',
                404 => '4',
                200 | 400 | 412 | 415 => '+',
                _ => '?',
            };
            if outcome != expected {
                wrong.push(format!(
                    "{method} {template} by {name}: {outcome}, not {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for appended in position..world.next_position() {
        // Who read across records is noted, and nothing else was appended.
        let event = world.ledger.event(appended).unwrap().event;
        assert_eq!(event.fact.name(), "ledger.read");
    }
}

#[test]
fn a_role_that_is_lost_is_lost_at_once() {
    let world = World::new();
    let member = member(&world, "administrator");
    let (_, token) = world.issue(Kind::Personal, &member, &["*"]);
    let path = format!("{}/credentials", world.acme.path);
    world.get(&token, &path).expect(200);
    let role = serde_json::json!({"role": "viewer"});
    let one = format!("{}/members/{member}", world.acme.path);
    world.patch(&world.acme.admin, &one, &role).expect(200);
    assert_eq!(world.get(&token, &path).refused(403), "forbidden");
}
