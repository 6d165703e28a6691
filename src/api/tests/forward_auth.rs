//! Forward-auth below the socket: who may ask, what is required, which credential counts, and what
//! Caddy, Traefik, Envoy and nginx send and read.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::api::tests::{Ask, Reply, World, ask};
use crate::domain::kind::Kind;
use crate::domain::record::Grant;
use crate::web::http_settings::HttpSettings;

const IDENTITY: [&str; 7] = [
    "x-keyledger-key-id",
    "x-keyledger-kind",
    "x-keyledger-organization-id",
    "x-keyledger-project-id",
    "x-keyledger-owner-id",
    "x-keyledger-scopes",
    "x-keyledger-role",
];
const ROOT: &str = "/v1/forward-auth";

fn world() -> World {
    let mut world = World::new();
    let settings = HttpSettings {
        trusted_gateways: vec!["127.0.0.0/8".parse().unwrap()],
        ..HttpSettings::default()
    };
    world.router = crate::api::router(world.ledger.clone(), settings);
    world
}

/// Tokens of Acme: of its service account, with a role, and of its project.
fn tokens(world: &World) -> [String; 3] {
    let acme = &world.acme;
    let grant = |scopes: &[&str], role: Option<&str>, preset: Option<&str>| Grant {
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        role: role.map(str::to_owned),
        preset: preset.map(str::to_owned),
    };
    let project = Some(acme.project.parse().unwrap());
    let of_account = (Kind::ServiceAccount, acme.account.as_str(), None);
    let access = (Kind::Access, acme.id.as_str(), None);
    let of_project = (Kind::Project, acme.id.as_str(), project);
    [
        (of_account, grant(&["cases:read"], None, None)),
        (access, grant(&[], Some("viewer"), None)),
        (of_project, grant(&[], None, Some("status"))),
    ]
    .map(|(which, grant)| world.issued(&acme.id, which, grant).1)
}

/// The same request from a peer on the gateway's own machine.
fn near(mut asked: Ask) -> Ask {
    let peer: SocketAddr = "127.0.0.1:5".parse().unwrap();
    asked.0.extensions_mut().insert(ConnectInfo(peer));
    asked
}

/// Status and, if it is a problem, its code; identity headers stand in acceptances alone.
fn outcome(reply: &Reply) -> (u16, String) {
    for name in IDENTITY {
        assert_eq!(reply.header(name).is_some(), reply.status == 200, "{name}");
    }
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    if reply.status == 200 {
        assert_eq!(reply.text, "");
        (200, String::new())
    } else {
        (reply.status, reply.refused(reply.status))
    }
}

fn check(world: &World, asked: Ask, status: u16, code: &str) {
    let line = format!("{:?}", asked.0);
    let reply = world.send(asked);
    assert_eq!(outcome(&reply), (status, code.to_owned()), "{line}");
}

#[test]
fn an_acceptance_names_who_it_is_in_every_header() {
    let world = world();
    let acme = &world.acme;
    let [of_account, access, of_project] = &tokens(&world);
    let told = |token: &str, project: Option<&str>| {
        let mut asked = ask("GET", ROOT)
            .with("x-keyledger-gateway", &acme.admin)
            .by(token);
        if let Some(project) = project {
            asked = asked.with("x-keyledger-require-project", project);
        }
        let reply = world.send(asked);
        assert_eq!(outcome(&reply), (200, String::new()));
        IDENTITY[1..]
            .iter()
            .map(|name| reply.header(name).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let row = told(of_account, None);
    assert_eq!(
        row,
        [
            "service_account",
            &acme.id,
            "",
            &acme.account,
            "cases:read",
            ""
        ]
    );
    let row = told(of_project, Some(&acme.project));
    assert_eq!(
        row,
        [
            "project",
            &acme.id,
            &acme.project,
            &acme.id,
            "projects:status",
            ""
        ]
    );
    let row = told(access, None);
    assert_eq!((row[0].as_str(), row[5].as_str()), ("access", "viewer"));
    assert!(
        row[4].split(' ').any(|scope| scope == "cases:read"),
        "{row:?}"
    );
}

#[test]
fn a_gateway_is_a_credential_that_verifies_or_a_peer_nearby() {
    let world = world();
    let acme = &world.acme;
    let token = world.holder(&["cases:read"]);
    let gateway = world.holder(&["keys:verify"]);
    let far = || ask("GET", ROOT).by(&token);
    let by = |gateway: &str| far().with("x-keyledger-gateway", gateway);
    let named = |asked: Ask, id: &str| asked.with("x-keyledger-require-organization", id);
    let unknown = "gateway_not_accepted";
    check(&world, far(), 401, unknown);
    check(&world, named(far(), &acme.id), 401, unknown);
    check(&world, by(&gateway), 200, "");
    check(&world, by(&world.platform), 403, "wrong_organization");
    check(&world, named(by(&world.platform), &acme.id), 200, "");
    check(
        &world,
        by(&world.globex.admin),
        401,
        "credential_not_accepted",
    );
    check(
        &world,
        named(by(&world.globex.admin), &acme.id),
        401,
        "credential_not_accepted",
    );
    check(&world, by(&token), 401, unknown);
    check(&world, by("nonsense"), 401, unknown);
    check(&world, by(""), 401, unknown);
    check(
        &world,
        by(&gateway).with("x-keyledger-gateway", &gateway),
        400,
        "header_twice",
    );
    // A header of the client's does not make it a peer nearby.
    check(
        &world,
        far().with("x-forwarded-for", "127.0.0.1"),
        401,
        unknown,
    );
    check(&world, named(near(far()), &acme.id), 200, "");
    check(
        &world,
        named(near(far()), &world.globex.id),
        401,
        "credential_not_accepted",
    );
    check(&world, near(far()), 400, "header_invalid");
    check(&world, named(near(far()), "org_1"), 400, "header_invalid");
    let nowhere = "org_01KQ01SD60AADFP7C33DS9A67N";
    check(&world, named(near(far()), nowhere), 400, "header_invalid");
    // A credential that is there must be good: the peer does not help.
    check(&world, named(near(by("nonsense")), &acme.id), 401, unknown);
}

#[test]
fn requirements_are_met_or_refused_and_never_left_out() {
    let world = world();
    let acme = &world.acme;
    let token = world.holder(&["cases:read"]);
    let by = |token: &str| {
        ask("GET", ROOT)
            .with("x-keyledger-gateway", &acme.admin)
            .by(token)
    };
    let scopes = |value: &str| by(&token).with("x-keyledger-require-scopes", value);
    let project = |token: &str, id: &str| by(token).with("x-keyledger-require-project", id);
    check(&world, scopes("cases:read"), 200, "");
    check(
        &world,
        scopes("cases:read, cases:write"),
        403,
        "insufficient_scope",
    );
    check(&world, scopes("unheard:of"), 403, "insufficient_scope");
    let asked = scopes("cases:read cases:write");
    let challenge = world
        .send(asked)
        .header("www-authenticate")
        .unwrap()
        .to_owned();
    let expect = "error=\"insufficient_scope\", scope=\"cases:read cases:write\"";
    assert!(challenge.ends_with(expect), "{challenge}");
    for wrong in ["", " , ", "a\"b", &"a ".repeat(101)] {
        check(&world, scopes(wrong), 400, "header_invalid");
    }
    let twice = scopes("cases:read").with("x-keyledger-require-scopes", "cases:read");
    check(&world, twice, 400, "header_twice");
    let typo = by(&token).with("x-keyledger-require-scope", "cases:write");
    check(&world, typo, 400, "header_invalid");
    let [_, _, of_project] = &tokens(&world);
    check(&world, project(of_project, &acme.project), 200, "");
    check(&world, project(&token, &acme.project), 200, "");
    check(&world, by(of_project), 403, "wrong_project");
    check(
        &world,
        project(&token, &world.globex.project),
        403,
        "wrong_project",
    );
    check(&world, project(&token, "prj"), 400, "header_invalid");
    // A gateway of one project accepts what fits that project.
    let grant = Grant {
        scopes: vec!["keys:verify".to_owned()],
        ..Grant::default()
    };
    let bound = Some(acme.project.parse().unwrap());
    let (_, gateway) = world.issued(&acme.id, (Kind::Organization, &acme.id, bound), grant);
    let by = |token: &str| {
        ask("GET", ROOT)
            .with("x-keyledger-gateway", &gateway)
            .by(token)
    };
    check(&world, by(of_project), 200, "");
    let other = by(of_project).with("x-keyledger-require-project", &world.globex.project);
    check(&world, other, 400, "header_invalid");
}

#[test]
fn one_credential_counts_and_the_query_only_where_the_gateway_says_so() {
    let world = world();
    let token = world.holder(&["cases:read"]);
    let other = world.holder(&["cases:read"]);
    let at = |path: &str| ask("GET", path).with("x-keyledger-gateway", &world.acme.admin);
    let uri = format!("/badge?token={token}&x=1");
    let missing = "credential_missing";
    check(&world, at(ROOT), 401, missing);
    check(
        &world,
        at(ROOT).with("authorization", "Basic eDp5"),
        401,
        "credential_not_accepted",
    );
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("ada:{password}")));
    let as_password = at(ROOT).with("authorization", &basic(&token));
    check(&world, as_password, 200, "");
    // A password beside a credential may be the upstream's, unless it is one of our tokens.
    let with_key = |password: &str| {
        let asked = at(ROOT).with("authorization", &basic(password));
        asked.with("x-api-key", &token)
    };
    check(&world, with_key("hunter2"), 200, "");
    check(&world, with_key(&token), 200, "");
    check(&world, with_key(&other), 400, "credentials_twice");
    check(&world, at(ROOT).with("x-api-key", &token), 200, "");
    check(
        &world,
        at(ROOT).with("x-api-key", &token).by(&token),
        200,
        "",
    );
    check(
        &world,
        at(ROOT).with("x-api-key", &token).by(&other),
        400,
        "credentials_twice",
    );
    check(&world, at(ROOT).by(&token).by(&token), 400, "header_twice");
    let badge = |asked: Ask| asked.with("x-keyledger-query-parameter", "token");
    // The query of the question itself is the client's, who adds to it through Caddy.
    let own = format!("{ROOT}?token={token}&required_scopes=x");
    check(&world, at(&own), 401, missing);
    check(&world, badge(at(&own)), 401, missing);
    for (path, header) in [
        (ROOT, "x-forwarded-uri"),
        ("/v1/forward-auth/nginx", "x-original-uri"),
    ] {
        check(&world, at(path).with(header, &uri), 401, missing);
        check(&world, badge(at(path).with(header, &uri)), 200, "");
        let two = format!("/?token={token}&token={token}");
        check(&world, badge(at(path).with(header, &two)), 200, "");
    }
    // Each form reads its own header alone.
    check(
        &world,
        badge(at(ROOT).with("x-original-uri", &uri)),
        401,
        missing,
    );
    check(
        &world,
        badge(at(ROOT).with("x-forwarded-uri", &uri).by(&other)),
        400,
        "credentials_twice",
    );
    check(&world, badge(at(&format!("{ROOT}{uri}"))), 200, "");
    check(&world, at(&format!("{ROOT}{uri}")), 401, missing);
    check(
        &world,
        at(ROOT).by(&token).with("x-keyledger-query-parameter", ""),
        400,
        "header_invalid",
    );
}

#[test]
fn every_method_and_path_is_answered() {
    let world = world();
    let token = world.holder(&["cases:read"]);
    for method in ["GET", "POST", "DELETE", "OPTIONS", "PROPFIND"] {
        for path in [
            "",
            "/",
            "/a/b?c=d",
            "/%ff%00/..//x",
            "/nginx",
            "/nginx/",
            "/nginx/%fe",
            "/envoy",
            "/envoy/",
            "/envoy//x/%fe?c=d",
            "/envoys",
        ] {
            let asked = ask(method, &format!("{ROOT}{path}")).by(&token);
            let asked = asked.with("x-keyledger-gateway", &world.acme.admin);
            check(&world, asked.body("nobody reads this"), 200, "");
        }
    }
}

#[test]
fn nginx_hears_401_and_403_alone() {
    let world = world();
    let token = world.holder(&["cases:read"]);
    let asked = || {
        let asked = ask("GET", "/v1/forward-auth/nginx").with("x-original-uri", "/cases");
        asked.with("x-keyledger-gateway", &world.acme.admin)
    };
    let reply = world.send(asked().by(&token).with("x-api-key", "another"));
    assert_eq!(outcome(&reply), (403, "no_verdict".to_owned()));
    assert_eq!(reply.header("x-keyledger-reason"), Some("bad_request"));
    check(&world, asked(), 401, "credential_missing");
    let lacking = asked()
        .by(&token)
        .with("x-keyledger-require-scopes", "cases:write");
    let reply = world.send(lacking);
    assert_eq!(outcome(&reply), (403, "insufficient_scope".to_owned()));
    assert_eq!(reply.header("x-keyledger-reason"), None);
}

#[test]
fn what_traefik_and_envoy_send_is_understood() {
    let world = world();
    let token = world.holder(&["cases:read"]);
    let traefik = ask("GET", ROOT)
        .by(&token)
        .with("x-forwarded-method", "POST")
        .with("x-forwarded-proto", "https")
        .with("x-forwarded-host", "api.acme.example")
        .with("x-forwarded-uri", "/cases?id=1")
        .with("x-forwarded-for", "198.51.100.7")
        .with("x-keyledger-gateway", &world.acme.admin)
        .with("x-keyledger-require-scopes", "cases:read");
    check(&world, traefik, 200, "");
    let envoy = ask("POST", "/v1/forward-auth/envoy/cases?id=1")
        .with("host", "api.acme.example")
        .with("content-length", "0")
        .by(&token)
        .with("x-keyledger-gateway", &world.acme.admin)
        .with("x-keyledger-require-scopes", "cases:write");
    check(&world, envoy, 403, "insufficient_scope");
}

/// Envoy puts its client's path behind ours, and what the client calls its paths changes nothing.
#[test]
fn a_clients_path_is_never_taken_for_a_gateways_own() {
    let world = world();
    let token = world.holder(&["cases:read"]);
    let envoy = "/v1/forward-auth/envoy";
    for prefix in [ROOT, envoy] {
        for path in [
            "/cases",
            "/nginx",
            "/nginx/status",
            "/envoy",
            "/envoy/x",
            "/",
        ] {
            let asked = |query: &str| {
                let asked = ask("GET", &format!("{prefix}{path}{query}"));
                asked.with("x-keyledger-gateway", &world.acme.admin)
            };
            let badge = |query: &str| asked(query).with("x-keyledger-query-parameter", "token");
            check(&world, badge(&format!("?token={token}")), 200, "");
            check(&world, badge("?token=x"), 401, "credential_not_accepted");
            // What nginx alone is told by 403.
            if (prefix, path) != (ROOT, "/nginx") {
                let bad = asked("").by(&token).with("x-keyledger-require-scopes", "");
                check(&world, bad, 400, "header_invalid");
            }
        }
    }
    // nginx sets this header, and Envoy does not pass on its client's.
    let nginx = ask("GET", "/v1/forward-auth/nginx?token=x")
        .with("x-keyledger-gateway", &world.acme.admin)
        .with("x-keyledger-query-parameter", "token")
        .with("x-original-uri", &format!("/badge?token={token}"));
    check(&world, nginx, 200, "");
}

#[test]
fn a_parameter_is_found_beside_bytes_that_no_uri_has() {
    let world = world();
    let token = world.holder(&["cases:read"]);
    for (path, header) in [
        (ROOT, "x-forwarded-uri"),
        ("/v1/forward-auth/nginx", "x-original-uri"),
    ] {
        let uri = [b"/caf\xe9?a=\xff&token=", token.as_bytes()].concat();
        let asked = ask("GET", path)
            .with("x-keyledger-gateway", &world.acme.admin)
            .with("x-keyledger-query-parameter", "token")
            .with_bytes(header, &uri);
        check(&world, asked, 200, "");
    }
}

#[test]
fn what_ended_is_let_through_no_more() {
    let world = world();
    let (id, token) = world.key(&json!({"name": "CI", "scopes": ["cases:read"]}));
    let asked = |token: &str| {
        ask("GET", ROOT)
            .with("x-keyledger-gateway", &world.acme.admin)
            .by(token)
    };
    let path = format!("{}/api-keys/{id}", world.acme.path);
    let post = |deed: &str| world.post(&world.acme.admin, &format!("{path}/{deed}"), &json!({}));
    check(&world, asked(&token), 200, "");
    post("disable").expect(200);
    check(&world, asked(&token), 401, "credential_not_accepted");
    post("enable").expect(200);
    post("rotate").expect(200);
    check(&world, asked(&token), 401, "credential_not_accepted");
    post("revoke").expect(200);
    check(&world, asked(&token), 401, "credential_not_accepted");
}
