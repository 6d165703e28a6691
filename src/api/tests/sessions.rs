//! Members in person: signing in by link, cookies, what a session does and what ends it.

use serde_json::{Value, json};

use crate::api::tests::{Ask, Reply, World, ask, text};

const HOUR_MS: i64 = 60 * 60 * 1_000;
pub(super) const PASSWORD: &str = "correct horse battery";

impl World {
    /// A member of Acme with a role: its id.
    pub(super) fn member(&self, email: &str, role: &str) -> String {
        let path = format!("{}/members", self.acme.path);
        let body = json!({"email": email, "role": role});
        self.post(&self.acme.admin, &path, &body).created()
    }

    pub(super) fn sign_in(&self, body: &Value) -> Reply {
        self.send(ask("POST", "/v1/sessions").json(body))
    }

    pub(super) fn guess(&self, email: &str, password: &str) -> Reply {
        self.sign_in(&json!({"email": email, "password": password}))
    }

    pub(super) fn me(&self, cookie: &str) -> Reply {
        self.send(ask("GET", "/v1/me").in_session(cookie))
    }

    pub(super) fn put_password(&self, cookie: &str, body: &Value) -> Reply {
        self.send(ask("PUT", "/v1/me/password").in_session(cookie).json(body))
    }

    /// Gives the owner of Acme a password.
    pub(super) fn with_password(&self) {
        let session = self.session(&self.acme.owner);
        let body = json!({"password": PASSWORD});
        self.put_password(&session, &body).expect(200);
    }

    /// The names of a subject's events, oldest first.
    pub(super) fn history(&self, subject: &str) -> Vec<String> {
        let events = self.ledger.events_of(subject.parse().unwrap(), 0, 100);
        let events = events.unwrap().into_iter();
        events
            .map(|past| past.event.fact.name().to_owned())
            .collect()
    }
}

fn token_of(url: &Value) -> String {
    let url = text(url);
    assert!(url.starts_with("http://127.0.0.1:8080/sign-in/"), "{url}");
    url.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn a_link_signs_in_once() {
    let world = World::new();
    let token = world.link(&world.acme.owner);
    let body = json!({"sign_in_token": token});
    let reply = world.sign_in(&body);
    let made = reply.expect(201);
    let session = &made["session"];
    assert_eq!(made["member"]["id"], world.acme.owner.as_str());
    assert_eq!(
        (
            &session["signed_in_by"],
            &session["is_current"],
            &session["status"]
        ),
        (&json!("link"), &json!(true), &json!("active"))
    );
    assert!(
        reply
            .header("set-cookie")
            .unwrap()
            .contains("; HttpOnly; SameSite=Lax")
    );
    assert!(reply.header("ledger-position").is_some());
    let cookie = reply.cookie();
    let me = world.me(&cookie).expect(200);
    assert_eq!(me["session"]["id"], session["id"]);
    assert_eq!(me["organization"]["id"], world.acme.id.as_str());
    assert_eq!(me["has_password"], false);
    assert_eq!(world.sign_in(&body).refused(401), "sign_in_refused");
    for unknown in ["", "x", &"0".repeat(64), &token.to_uppercase()] {
        let reply = world.sign_in(&json!({"sign_in_token": unknown}));
        assert_eq!(reply.refused(401), "sign_in_refused", "{unknown}");
        assert!(reply.header("www-authenticate").is_some());
        assert_eq!(reply.header("set-cookie"), None);
    }
}

#[test]
fn a_newer_link_or_a_day_ends_a_link() {
    let world = World::new();
    let old = world.link(&world.acme.owner);
    let new = world.link(&world.acme.owner);
    let sign_in = |token: &str| world.sign_in(&json!({"sign_in_token": token}));
    assert_eq!(sign_in(&old).refused(401), "sign_in_refused");
    world.clock.advance_ms(24 * HOUR_MS);
    assert_eq!(sign_in(&new).refused(401), "sign_in_refused");
    sign_in(&world.link(&world.acme.owner)).expect(201);
}

#[test]
fn looking_at_a_link_uses_nothing_up() {
    let world = World::new();
    let token = world.link(&world.acme.owner);
    let path = format!("/sign-in/{token}");
    let before = world.next_position();
    for method in ["GET", "HEAD", "GET"] {
        let page = world.send(ask(method, &path));
        assert_eq!(page.status, 200);
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("set-cookie"), None);
        assert_eq!(page.text.contains("<button"), method == "GET");
        assert!(
            !page.text.contains(&token) && !page.text.contains("http"),
            "{}",
            page.text
        );
    }
    assert_eq!(world.next_position(), before);
    world.sign_in(&json!({"sign_in_token": token})).expect(201);
    assert_eq!(
        world.send(ask("GET", &path)).refused(401),
        "sign_in_refused"
    );
    let page = world.send(ask("GET", &path).with("accept", "text/html,*/*;q=0.8"));
    assert_eq!(page.status, 401);
    assert!(!page.text.contains("<button") && page.header("www-authenticate").is_some());
}

#[test]
fn links_are_shown_to_members_in_person_and_to_the_platform_alone() {
    let world = World::new();
    let members = format!("{}/members", world.acme.path);
    let owner = world.session(&world.acme.owner);
    let administrator = world.member("dora@acme.example", "administrator");
    let administrator = world.session(&administrator);
    let (_, personal) = world.issue(
        crate::domain::kind::Kind::Personal,
        &world.acme.owner,
        &["*"],
    );
    let in_session = |cookie: &str, path: &str, body: &Value| {
        world.send(ask("POST", path).in_session(cookie).json(body))
    };
    let viewer = |n: u8| json!({"email": format!("v{n}@acme.example"), "role": "viewer"});

    let made = in_session(&administrator, &members, &viewer(1)).expect(201);
    world
        .sign_in(&json!({"sign_in_token": token_of(&made["sign_in_url"])}))
        .expect(201);
    let made = world
        .post(&world.platform, &members, &viewer(2))
        .expect(201);
    assert_eq!(made["version"], 2);
    let link = format!("{members}/{}/sign-in-link", text(&made["id"]));
    for by in [&world.acme.admin, &personal] {
        let quiet = world.post(by, &link, &json!({})).expect(200);
        assert_eq!(
            (&quiet["sign_in_url"], &quiet["version"]),
            (&Value::Null, &json!(2))
        );
    }
    // The link that was there is still good.
    world
        .sign_in(&json!({"sign_in_token": token_of(&made["sign_in_url"])}))
        .expect(201);
    let quiet = world
        .post(&world.acme.admin, &members, &viewer(3))
        .expect(201);
    assert_eq!(quiet["sign_in_url"], Value::Null);

    let of_owner = format!("{members}/{}/sign-in-link", world.acme.owner);
    let refused = in_session(&administrator, &of_owner, &json!({}));
    assert_eq!(refused.refused(403), "beyond_your_authority");
    let reply = world.send(
        ask("POST", &of_owner)
            .in_session(&owner)
            .with("idempotency-key", "k")
            .json(&json!({})),
    );
    token_of(&reply.expect(200)["sign_in_url"]);
    let again = ask("POST", &of_owner).in_session(&owner);
    let again = world.send(again.with("idempotency-key", "k").json(&json!({})));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(200)["sign_in_url"], Value::Null);
    // Nothing but the making of a link shows it.
    let shown = world.get(&world.platform, &format!("{members}/{}", world.acme.owner));
    assert_eq!(shown.expect(200)["sign_in_url"], Value::Null);
}

#[test]
fn a_session_and_a_credential_at_once_are_refused() {
    let world = World::new();
    let cookie = world.session(&world.acme.owner);
    let both = ask("GET", &world.acme.path).in_session(&cookie);
    let both = world.send(both.by(&world.acme.admin));
    assert_eq!(both.refused(400), "credentials_twice");
    let (one, other) = (world.session(&world.acme.owner), cookie);
    let twice = world.send(ask("GET", "/v1/me").with("cookie", &format!("{one}; {other}")));
    assert_eq!(twice.refused(400), "header_twice");
    let foreign = world.send(ask("GET", "/v1/me").with("cookie", "keyledger=nonsense"));
    assert_eq!(foreign.refused(401), "credential_not_accepted");
    assert!(
        foreign
            .header("set-cookie")
            .unwrap()
            .starts_with("keyledger=; ")
    );
}

#[test]
fn what_another_site_may_have_sent_changes_nothing() {
    let world = World::new();
    let cookie = world.session(&world.acme.owner);
    let path = format!("{}/projects", world.acme.path);
    let project = json!({"name": "p"}).to_string();
    let token = world.link(&world.acme.owner);
    let link = json!({"sign_in_token": token}).to_string();
    let before = world.next_position();
    let json = ("content-type", "application/json");
    let text = ("content-type", "text/plain");
    let ours = ("origin", "http://127.0.0.1:8080");
    let foreign = ("origin", "https://evil.example");
    let cases: [(&[(&str, &str)], u16); 9] = [
        (&[("sec-fetch-site", "cross-site"), json], 403),
        (&[("sec-fetch-site", "same-site"), json], 403),
        (&[("sec-fetch-site", "none"), json], 403),
        (&[foreign, json], 403),
        (&[("origin", "null"), json], 403),
        (&[("sec-fetch-site", "same-origin"), foreign, json], 403),
        (&[("host", "evil.example"), foreign, json], 403),
        (&[text], 415),
        (&[], 415),
    ];
    let send = |mut request: Ask, headers: &[(&str, &str)]| {
        for (name, value) in headers {
            request = request.with(name, value);
        }
        world.send(request)
    };
    for (headers, status) in cases {
        let create = ask("POST", &path)
            .with("cookie", &cookie)
            .body(project.clone());
        let sign_in = ask("POST", "/v1/sessions").body(link.clone());
        let sign_out = ask("DELETE", "/v1/me/sessions").with("cookie", &cookie);
        for request in [create, sign_in, sign_out] {
            let reply = send(request, headers);
            assert_eq!(reply.status, status, "{headers:?} {reply:?}");
            reply.refused(status);
        }
    }
    assert_eq!(world.next_position(), before);
    // Reading is no change, and what our own pages send is taken.
    send(ask("GET", "/v1/me").with("cookie", &cookie), &[foreign]).expect(200);
    let create = || {
        ask("POST", &path)
            .with("cookie", &cookie)
            .body(project.clone())
    };
    for headers in [
        &[json][..],
        &[ours, json],
        &[("sec-fetch-site", "same-origin"), json],
    ] {
        send(create(), headers).expect(201);
    }
    send(ask("POST", "/v1/sessions").body(link), &[ours, json]).expect(201);
    send(
        ask("DELETE", "/v1/me/sessions").with("cookie", &cookie),
        &[json],
    )
    .expect(200);
}

#[test]
fn sessions_are_listed_and_ended_one_by_one() {
    let world = World::new();
    let (first, second) = (
        world.session(&world.acme.owner),
        world.session(&world.acme.owner),
    );
    let list = |cookie: &str| world.send(ask("GET", "/v1/me/sessions").in_session(cookie));
    let end = |cookie: &str, path: &str| world.send(ask("DELETE", path).in_session(cookie));
    let sessions = list(&first).expect(200);
    let current: Vec<_> = sessions.as_array().unwrap().iter().collect();
    assert_eq!(current.len(), 2);
    assert_eq!(
        (&current[0]["is_current"], &current[1]["is_current"]),
        (&json!(false), &json!(true))
    );
    let path = format!("/v1/me/sessions/{}", text(&current[0]["id"]));
    let carl = world.member("carl@acme.example", "viewer");
    let carl = world.session(&carl);
    assert_eq!(end(&carl, &path).refused(404), "not_found");
    let ended = end(&first, &path).expect(200);
    assert_eq!(
        (&ended["status"], &ended["ended"]["reason"]),
        (&json!("ended"), &json!("signed_out"))
    );
    world.me(&second).refused(401);
    // Repeated: the same answer, no new event.
    let before = world.next_position();
    assert_eq!(end(&first, &path).expect(200), ended);
    assert_eq!(end(&carl, &path).refused(404), "not_found");
    assert_eq!(world.next_position(), before);
    let out = end(&first, "/v1/me/sessions");
    assert_eq!(out.expect(200)["is_current"], true);
    assert!(
        out.header("set-cookie")
            .unwrap()
            .starts_with("keyledger=; Path=/; Max-Age=0")
    );
    world.me(&first).refused(401);
    world.me(&carl).expect(200);
}

#[test]
fn a_session_ends_with_role_membership_time_and_idleness() {
    let world = World::new();
    let member = world.member("carl@acme.example", "viewer");
    let path = format!("{}/members/{member}", world.acme.path);
    let cookie = world.session(&member);
    let role = json!({"role": "engineer"});
    world.patch(&world.acme.admin, &path, &role).expect(200);
    world.me(&cookie).refused(401);
    // The same role again is no change.
    let cookie = world.session(&member);
    world.patch(&world.acme.admin, &path, &role).expect(200);
    world.me(&cookie).expect(200);
    world
        .send(ask("DELETE", &path).by(&world.acme.admin))
        .expect(200);
    world.me(&cookie).refused(401);

    let (used, idle) = (
        world.session(&world.acme.owner),
        world.session(&world.acme.owner),
    );
    for _ in 0..23 {
        world.clock.advance_ms(HOUR_MS / 2);
        world.me(&used).expect(200);
    }
    world.me(&idle).refused(401);
    world.clock.advance_ms(HOUR_MS / 2);
    world.me(&used).refused(401);
}

#[test]
fn a_session_does_what_its_members_role_allows() {
    let world = World::new();
    let cookie = world.session(&world.acme.owner);
    let path = format!("{}/api-keys", world.acme.path);
    let key = json!({"name": "k", "scopes": ["cases:read"]});
    let made = world.send(ask("POST", &path).in_session(&cookie).json(&key));
    let made = made.expect(201)["key"].clone();
    assert_eq!(made["created_by"], world.acme.owner.as_str());
    assert_eq!(made["issued_via"], Value::Null);
    let events =
        world.send(ask("GET", &format!("{path}/{}/events", text(&made["id"]))).in_session(&cookie));
    let actor = events.expect(200)[0]["actor"].clone();
    assert_eq!(
        (&actor["type"], &actor["id"]),
        (&json!("user"), &json!(world.acme.owner))
    );
    assert!(text(&actor["via"]).starts_with("ses_"));
    // Another tenant is not there.
    let elsewhere = world.send(ask("GET", &world.globex.path).in_session(&cookie));
    assert_eq!(elsewhere.refused(404), "not_found");
    let verify = ask("POST", "/v1/verify").in_session(&cookie);
    let verify = world.send(verify.json(&json!({"key": "x"})));
    assert_eq!(verify.expect(200)["code"], "malformed");
}
