//! Where a secret may be: in the one answer that made it, and nowhere else.
//!
//! Every endpoint of the OpenAPI document is driven with good and with bad requests, secrets of
//! ours among what is wrong with them. Then every file of the data folder, every line of the log
//! and everything that was answered is searched for the secrets, and what is said in words for
//! their hashes too. Hashes of ours may stand in stored payloads: they cannot be guessed.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::tempdir;

use crate::harness::{Api, Server, init, json as printed, run, send, text};
use crate::misplaced::{filled, misplaced, wrong_bodies};

/// Hex digits of a token's random part, and of the checksum behind it.
const RANDOM_CHARS: usize = 64;
const CHECKSUM_CHARS: usize = 8;

/// What the member signs in with.
const PASSWORD: &str = "a horse, correct and stapled";

/// What signing secrets begin with.
const SIGNING: &str = "whsec_";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[tokio::test]
async fn a_secret_is_in_no_file_no_log_line_and_no_later_answer() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let segments = ["--segment-mib", "1"];
    let made = init(&data, &segments);
    let recovered = printed(&run([
        "recover",
        "--json",
        "--data-dir",
        data.to_str().unwrap(),
    ]));
    let mut seen = Seen::default();
    for printed in [&made, &recovered] {
        seen.secrets.push(text(printed, "raw_key").to_owned());
        seen.keep_link(&printed["sign_in_url"]);
    }
    for format in ["human", "json"] {
        let more = ["--log-level", "debug", "--log-format", format];
        let server = Server::start(&data, &[&segments[..], &more].concat());
        let api = server.api(text(&made, "raw_key"));
        let world = build(&api, &mut seen, format).await;
        let document = api.get("/openapi.json").await.unwrap().expect(200);
        sweep(&api, &document, &world, &mut seen).await;
        let ended = server.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        seen.say("log", &ended.log);
        seen.say("stdout", &ended.output);
    }
    assert!(seen.secrets.len() > 10 && seen.said.len() > 500);
    seen.check_words();
    seen.check_files(&data);
}

/// Everything that was handed out and everything that was said.
#[derive(Debug, Default)]
struct Seen {
    secrets: Vec<String>,
    said: BTreeMap<String, String>,
}

impl Seen {
    /// Sends a request and keeps what came back, the secret apart from the rest.
    async fn send(&mut self, what: &str, request: RequestBuilder) -> Value {
        let reply = send(request).await.unwrap();
        let mut body = reply.json();
        for link in ["/sign_in_url", "/owner/sign_in_url"] {
            if let Some(link) = body.pointer_mut(link).map(Value::take) {
                self.keep_link(&link);
            }
        }
        for field in ["raw_key", "secret"] {
            if let Some(secret) = body.get_mut(field).map(Value::take) {
                self.secrets.extend(secret.as_str().map(str::to_owned));
            }
        }
        if body.is_object() {
            self.say(what, &body.to_string());
        } else {
            self.say(what, &reply.text);
        }
        let mut headers = reply.headers;
        if let Some(cookie) = headers.remove(SET_COOKIE) {
            self.keep_cookie(cookie.to_str().unwrap());
        }
        self.say(&format!("{what} (headers)"), &format!("{headers:?}"));
        assert!(reply.status != 500, "{what}: {}", reply.text);
        body
    }

    /// Keeps the token of a link.
    fn keep_link(&mut self, url: &Value) {
        let token = url.as_str().and_then(|url| url.rsplit('/').next());
        self.secrets.extend(token.map(str::to_owned));
    }

    /// Keeps the token of a session, unless the cookie is taken away.
    fn keep_cookie(&mut self, cookie: &str) {
        let pair = cookie.split(';').next().unwrap();
        let (_, token) = pair.split_once('=').unwrap();
        if !token.is_empty() {
            self.secrets.push(token.to_owned());
        }
    }

    fn say(&mut self, what: &str, words: &str) {
        let said = self.said.entry(what.to_owned()).or_default();
        said.push_str(words);
        said.push('\n');
    }

    /// The newest secret.
    fn last(&self) -> &str {
        self.secrets.last().unwrap()
    }

    fn check_words(&self) {
        let mut found = Vec::new();
        for (what, words) in &self.said {
            if words.contains(PASSWORD) {
                found.push(format!("a password in {what}"));
            }
        }
        for secret in &self.secrets {
            let hash = hex::encode(Sha256::digest(secret.as_bytes()));
            for (what, words) in &self.said {
                if words.contains(random_part(secret)) {
                    found.push(format!("a secret in {what}"));
                }
                // Stored events are what the tree commits to: they hold hashes of tokens.
                if words.contains(&hash) && !what.starts_with("get /v1/ledger/events, ") {
                    found.push(format!("a hash in {what}"));
                }
            }
        }
        found.sort();
        found.dedup();
        assert!(found.is_empty(), "{found:#?}");
    }

    fn check_files(&self, folder: &Path) {
        let mut needles = BTreeMap::new();
        for secret in &self.secrets {
            let digits = random_part(secret);
            let bytes = if secret.starts_with(SIGNING) {
                STANDARD.decode(digits).unwrap()
            } else {
                hex::decode(digits).unwrap()
            };
            for needle in [digits.as_bytes().to_vec(), bytes] {
                needles.insert(<[u8; 8]>::try_from(&needle[..8]).unwrap(), needle);
            }
        }
        let password = PASSWORD.as_bytes();
        needles.insert(password[..8].try_into().unwrap(), password.to_vec());
        let files = search(folder, &needles);
        assert!(files > 10, "only {files} files");
    }
}

/// The part of a token that nobody can guess.
fn random_part(secret: &str) -> &str {
    if let Some(base64) = secret.strip_prefix(SIGNING) {
        return base64;
    }
    // Links and sessions have nothing but their random part.
    if secret.len() == RANDOM_CHARS {
        return secret;
    }
    let end = secret.len() - CHECKSUM_CHARS;
    &secret[end - RANDOM_CHARS..end]
}

/// Reads every file below a folder; the needles by their first eight bytes.
fn search(folder: &Path, needles: &BTreeMap<[u8; 8], Vec<u8>>) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += search(&path, needles);
            continue;
        }
        files += 1;
        let bytes = std::fs::read(&path).unwrap();
        for (at, window) in bytes.windows(8).enumerate() {
            if window[0] == 0 {
                continue;
            }
            let needle = needles.get(window);
            let found = needle.is_some_and(|needle| bytes[at..].starts_with(needle));
            assert!(!found, "a secret in {} at {at}", path.display());
        }
    }
    files
}

/// What the paths of the document can name.
#[derive(Debug)]
struct World {
    ids: BTreeMap<&'static str, String>,
    revoked: String,
    narrow: String,
    /// What signs the deliveries to an endpoint.
    signing: String,
}

/// Records of every type, and secrets in every state.
async fn build(api: &Api, seen: &mut Seen, name: &str) -> World {
    let post = |path: &str| api.request(Method::POST, path);
    let body = json!({"name": name, "owner_email": "owner@example.com"});
    let path = "/platform/organizations";
    let organization = seen.send("new organization", post(path).json(&body)).await;
    let organization = text(&organization["organization"], "id").to_owned();
    let base = format!("{path}/{organization}");
    let mut ids = BTreeMap::new();
    for (id, surface, body) in [
        ("project_id", "projects", json!({"name": "Project"})),
        (
            "member_id",
            "members",
            json!({"email": "viewer@example.com", "role": "viewer"}),
        ),
        (
            "sa_id",
            "service-accounts",
            json!({"name": "Robot", "role": "engineer"}),
        ),
    ] {
        let made = seen
            .send(surface, post(&format!("{base}/{surface}")).json(&body))
            .await;
        ids.insert(id, text(&made, "id").to_owned());
    }
    let keys = format!("{base}/api-keys");
    let mut made = Vec::new();
    for name in ["narrow", "revoked", "target"] {
        let body = json!({"name": name, "scopes": ["projects:read"], "metadata": {"a": "b"}});
        let key = seen.send("new key", post(&keys).json(&body)).await;
        made.push((text(&key["key"], "id").to_owned(), seen.last().to_owned()));
    }
    let [narrow, revoked, target] = made.try_into().unwrap();
    seen.send("rotate", post(&format!("{keys}/{}/rotate", target.0)))
        .await;
    let grace = json!({"grace_period_seconds": 60});
    seen.send(
        "rotate",
        post(&format!("{keys}/{}/rotate", target.0)).json(&grace),
    )
    .await;
    let reason = json!({"reason": "leaked"});
    seen.send(
        "revoke",
        post(&format!("{keys}/{}/revoke", revoked.0)).json(&reason),
    )
    .await;
    let endpoint = endpoint(seen, api, &format!("{base}/webhook-endpoints")).await;
    let signing = seen.last().to_owned();
    ids.insert("endpoint_id", endpoint);
    let personal = in_person(api, seen, &format!("{base}/members/{}", ids["member_id"])).await;
    ids.insert("personal", personal);
    at_home(api, seen, name, &mut ids).await;
    ids.insert("session_id", "ses_01H2XA9CKEB7WZG8RMN2KPQV7D".to_owned());
    ids.insert("delivery_id", "dlv_01H2XA9CKEB7WZG8RMN2KPQV7D".to_owned());
    ids.insert("event_id", "evt_01H2XA9CKEB7WZG8RMN2KPQV7D".to_owned());
    ids.insert("tile", "0/000.p/1".to_owned());
    ids.insert("token", "0".repeat(RANDOM_CHARS));
    ids.insert("organization_id", organization);
    ids.insert("key_id", target.0);
    seen.secrets.push(target.1);
    World {
        ids,
        revoked: revoked.1,
        narrow: narrow.1,
        signing,
    }
}

/// A webhook endpoint with three secrets, one of them the receiver's own. Its id.
async fn endpoint(seen: &mut Seen, api: &Api, path: &str) -> String {
    let post = |path: &str| api.request(Method::POST, path);
    let body = json!({"url": "https://hooks.example/", "event_types": ["*"]});
    let made = seen.send("new endpoint", post(path).json(&body)).await;
    let id = text(&made["endpoint"], "id").to_owned();
    let rotate = format!("{path}/{id}/rotate-secret");
    seen.send("rotate secret", post(&rotate)).await;
    let given = format!(
        "{SIGNING}{}",
        STANDARD.encode(*b"a receiver's own secret, 32 byte")
    );
    let own = json!({"secret": given});
    seen.send("rotate secret", post(&rotate).json(&own)).await;
    assert_eq!(seen.last(), given);
    id
}

/// A token of each kind in the caller's own organization.
async fn at_home(api: &Api, seen: &mut Seen, name: &str, ids: &mut BTreeMap<&'static str, String>) {
    let organizations = api.get("/platform/organizations").await.unwrap();
    let organizations = organizations.expect(200);
    let oldest = organizations.as_array().unwrap().last().unwrap();
    let home = text(oldest, "id").to_owned();
    let scopes = ["projects:read"];
    let mut make = async |what: &'static str, path: &str, body: Value| {
        let made = seen
            .send(what, api.request(Method::POST, path).json(&body))
            .await;
        let record = made.get("key").unwrap_or(&made);
        ids.insert(what, text(record, "id").to_owned());
        text(record, "id").to_owned()
    };
    let account = json!({"name": name, "scopes": scopes});
    let account = make("account", "/v1/service-accounts", account).await;
    let tokens = format!("/v1/service-accounts/{account}/tokens");
    make("tok_id", &tokens, json!({"name": name})).await;
    let projects = format!("/platform/organizations/{home}/projects");
    let project = make("home_project", &projects, json!({"name": name})).await;
    let tokens = format!("/v1/projects/{project}/api-tokens");
    make(
        "of_project",
        &tokens,
        json!({"label": name, "scope": "status"}),
    )
    .await;
    let tokens = format!("/v1/workspaces/{home}/access-tokens");
    make("access", &tokens, json!({"label": name, "role": "viewer"})).await;
    let admin = json!({"name": name, "scopes": scopes});
    make("admin", "/v1/admin/api-tokens", admin).await;
    ids.insert("workspace_id", home);
}

/// A member signs in by a link, sets a password, signs in by it, makes a personal token, and signs
/// out again. The token's id.
async fn in_person(api: &Api, seen: &mut Seen, member: &str) -> String {
    let link = api.request(Method::POST, &format!("{member}/sign-in-link"));
    let member = seen.send("link", link).await;
    let sessions = || api.bare(Method::POST, "/v1/sessions");
    let by_link = json!({"sign_in_token": seen.last()});
    seen.send("sign in", sessions().json(&by_link)).await;
    let cookie = |seen: &Seen| format!("keyledger={}", seen.last());
    let set = api.bare(Method::PUT, "/v1/me/password");
    let set = set.header(COOKIE, cookie(seen));
    let password = json!({"password": PASSWORD});
    seen.send("password", set.json(&password)).await;
    let by_password = json!({
        "email": member["email"], "password": PASSWORD,
        "organization_id": member["organization_id"],
    });
    let started = seen.send("sign in", sessions().json(&by_password)).await;
    assert!(started["session"].is_object(), "{started}");
    let cookie = cookie(seen);
    let token = api.bare(Method::POST, "/v1/api-tokens");
    let token = token.header(COOKIE, &cookie);
    let body = json!({"name": "mine", "scopes": ["*"]});
    let token = seen.send("personal token", token.json(&body)).await;
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::GET, "/v1/me/sessions"),
        (Method::DELETE, "/v1/me/sessions"),
    ] {
        let request = api.bare(method, path).header(COOKIE, &cookie);
        seen.send(path, request.json(&json!({}))).await;
    }
    text(&token["key"], "id").to_owned()
}

/// Drives every endpoint: by everybody, with every body, and with a secret in every wrong place.
async fn sweep(api: &Api, document: &Value, world: &World, seen: &mut Seen) {
    let secret = seen.last().to_owned();
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|method| item[**method].is_object()) {
            let what = format!("{method} {template}");
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = filled(template, &world.ids);
            if template.contains("/webhook-endpoints") {
                for body in wrong_bodies(&world.signing) {
                    let request = api.request(method.clone(), &path).body(body.clone());
                    let request = request.header(CONTENT_TYPE, "application/json");
                    let shape = body.replace(&world.signing, "SECRET");
                    seen.send(&format!("{what}, body {shape}"), request).await;
                }
            }
            for caller in [
                api.bare(method.clone(), &path),
                api.with_key(&world.revoked).request(method.clone(), &path),
                api.with_key(&world.narrow).request(method.clone(), &path),
                api.bare(method.clone(), &path)
                    .header(AUTHORIZATION, format!("Basic {secret}")),
                api.request(method.clone(), &path)
                    .header(AUTHORIZATION, &secret),
            ] {
                seen.send(&format!("{what}, callers"), caller).await;
            }
            for (wrong, request) in misplaced(api, &method, template, &path, &secret) {
                seen.send(&format!("{what}, {wrong}"), request).await;
            }
            for body in wrong_bodies(&secret) {
                let request = api.request(method.clone(), &path).body(body.clone());
                let request = request.header(CONTENT_TYPE, "application/json");
                let shape = body.replace(&secret, "SECRET");
                seen.send(&format!("{what}, body {shape}"), request).await;
            }
        }
    }
    for key in [&secret, &world.revoked, &world.narrow, &"x".to_owned()] {
        let body = json!({"key": key, "required_scopes": ["projects:write"]});
        seen.send(
            "verify",
            api.request(Method::POST, "/v1/verify").json(&body),
        )
        .await;
        let body = json!({"keys": [{"key": key}, {"key": key, "project_id": key}]});
        seen.send(
            "batch",
            api.request(Method::POST, "/v1/verify/batch").json(&body),
        )
        .await;
    }
}
