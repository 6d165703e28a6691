//! Sessions of a server that is killed: what has ended stays dead, what goes on goes on.

use reqwest::Method;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::{Api, Reply, Server, init, json as printed, run, send, text};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];

/// What a browser does: it keeps a cookie.
struct Browser<'a> {
    api: &'a Api,
    cookie: String,
}

async fn sign_in(api: &Api, body: &Value) -> Reply {
    let request = api.bare(Method::POST, "/v1/sessions").json(body);
    send(request).await.unwrap()
}

/// The last segment of a link.
fn token_of(printed: &Value) -> &str {
    text(printed, "sign_in_url").rsplit('/').next().unwrap()
}

impl Browser<'_> {
    async fn by_link<'a>(api: &'a Api, token: &str) -> Browser<'a> {
        let reply = sign_in(api, &json!({"sign_in_token": token})).await;
        reply.expect(201);
        let set = reply.headers[SET_COOKIE].to_str().unwrap();
        let cookie = set.split(';').next().unwrap().to_owned();
        Browser { api, cookie }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Reply {
        let request = self.api.bare(method, path).header(COOKIE, &self.cookie);
        send(request.json(body)).await.unwrap()
    }

    async fn me(&self) -> u16 {
        self.send(Method::GET, "/v1/me", &json!({})).await.status
    }

    /// The same browser, and another server at the same place.
    fn at<'b>(&self, api: &'b Api) -> Browser<'b> {
        Browser {
            api,
            cookie: self.cookie.clone(),
        }
    }
}

#[tokio::test]
async fn what_has_ended_stays_dead_through_a_kill_and_what_has_not_goes_on() {
    let root = tempdir().unwrap();
    let made = init(root.path(), &SEGMENTS);
    let key = text(&made, "raw_key").to_owned();
    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(&key);
    let first = Browser::by_link(&api, token_of(&made)).await;
    let base = format!("/platform/organizations/{}", text(&made, "organization_id"));
    let link = format!("{base}/members/{}/sign-in-link", text(&made, "owner_id"));
    let again = api.post(&link, &json!({})).await.unwrap().expect(200);
    let second = Browser::by_link(&api, token_of(&again)).await;
    let unused = api.post(&link, &json!({})).await.unwrap().expect(200);
    assert_eq!((first.me().await, second.me().await), (200, 200));
    let out = second
        .send(Method::DELETE, "/v1/me/sessions", &json!({}))
        .await;
    out.expect(200);
    drop(server.kill());

    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(&key);
    let (first, second) = (first.at(&api), second.at(&api));
    assert_eq!((first.me().await, second.me().await), (200, 401));
    for used in [&made, &again] {
        let reply = sign_in(&api, &json!({"sign_in_token": token_of(used)})).await;
        assert_eq!(reply.status, 401, "{}", reply.text);
    }
    let third = Browser::by_link(&api, token_of(&unused)).await;
    let password = json!({"password": "correct horse battery"});
    let set = third.send(Method::PUT, "/v1/me/password", &password).await;
    set.expect(200);
    drop(server.kill());

    // A password that changed has ended them all.
    let server = Server::start(root.path(), &SEGMENTS);
    let api = server.api(&key);
    assert_eq!(
        (first.at(&api).me().await, third.at(&api).me().await),
        (401, 401)
    );
    let body = json!({"email": "owner@localhost", "password": "correct horse battery"});
    sign_in(&api, &body).await.expect(201);
    drop(server.kill());
}

#[tokio::test]
async fn recover_gives_the_owner_a_link_that_works() {
    let root = tempdir().unwrap();
    init(root.path(), &SEGMENTS);
    let data = root.path().to_str().unwrap();
    let url = ["--public-url", "https://keys.example"];
    let args = [
        &["recover", "--json", "--data-dir", data][..],
        &SEGMENTS,
        &url,
    ]
    .concat();
    let recovered = printed(&run(args));
    assert!(text(&recovered, "sign_in_url").starts_with("https://keys.example/sign-in/"));
    let server = Server::start(
        root.path(),
        &[
            &SEGMENTS[..],
            &url,
            &["--behind-proxy", "--trusted-proxies", "127.0.0.1/32"],
        ]
        .concat(),
    );
    let api = server.api(text(&recovered, "raw_key"));
    let token = token_of(&recovered);
    let page = send(api.bare(Method::GET, &format!("/sign-in/{token}")))
        .await
        .unwrap();
    assert_eq!(page.status, 200);
    let foreign = api.bare(Method::POST, "/v1/sessions");
    let foreign = foreign.header("origin", format!("http://{}", server.address()));
    let body = json!({"sign_in_token": token});
    let refused = send(foreign.json(&body)).await.unwrap();
    assert_eq!(text(&refused.expect(403), "code"), "cross_site_request");
    let reply = sign_in(&api, &body).await;
    reply.expect(201);
    let cookie = reply.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-keyledger=") && cookie.ends_with("; Secure"));
    assert_eq!(server.stop().status.code(), Some(0));
}
