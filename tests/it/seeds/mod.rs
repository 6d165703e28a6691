//! The five kinds of token page that keyledger stands in for, by the sentences of their own
//! documents: each test bears the rule as its name, and asks the real server.

mod access_tokens;
mod admin_tokens;
mod personal_tokens;
mod platform_keys;
mod project_tokens;
mod service_accounts;

use reqwest::Method;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::harness::{Api, Reply, Server, init, send, text};

/// A company on a server of its own.
struct Company {
    /// A key that may do everything.
    admin: Api,
    organization: String,
    _server: Server,
    _folder: TempDir,
}

impl Company {
    fn open() -> Self {
        let folder = tempdir().unwrap();
        let segments = ["--segment-mib", "1"];
        let made = init(folder.path(), &segments);
        let server = Server::start(folder.path(), &segments);
        Self {
            admin: server.api(text(&made, "raw_key")),
            organization: text(&made, "organization_id").to_owned(),
            _server: server,
            _folder: folder,
        }
    }

    /// The platform surface of the organization.
    fn path(&self, rest: &str) -> String {
        format!("/platform/organizations/{}/{rest}", self.organization)
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.admin.post(path, &body).await.unwrap()
    }

    /// A new member with a role, signed in.
    async fn member(&self, role: &str) -> Person {
        let body = json!({"email": format!("{role}@acme.example"), "role": role});
        let member = self.post(&self.path("members"), body).await.expect(201);
        let link = text(&member, "sign_in_url").rsplit('/').next().unwrap();
        let session = self.admin.bare(Method::POST, "/v1/sessions");
        let session = session.json(&json!({"sign_in_token": link}));
        let reply = send(session).await.unwrap();
        reply.expect(201);
        let cookie = reply.headers[SET_COOKIE].to_str().unwrap();
        Person {
            id: text(&member, "id").to_owned(),
            api: self.admin.clone(),
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    /// A new project of the organization; its id.
    async fn project(&self, name: &str) -> String {
        let made = self
            .post(&self.path("projects"), json!({"name": name}))
            .await;
        text(&made.expect(201), "id").to_owned()
    }
}

/// A member in person.
struct Person {
    id: String,
    api: Api,
    cookie: String,
}

impl Person {
    async fn send(&self, method: Method, path: &str, body: Value) -> Reply {
        let request = self.api.bare(method, path).header(COOKIE, &self.cookie);
        send(request.json(&body)).await.unwrap()
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, json!({})).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, body).await
    }

    async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, body).await
    }

    async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, json!({})).await
    }
}

/// The id and the secret of an answer that makes a credential or renews it.
fn issued(reply: &Reply, status: u16) -> (String, String) {
    let body = reply.expect(status);
    let secret = text(&body, "raw_key").to_owned();
    (text(&body["key"], "id").to_owned(), secret)
}

/// The stable code of a refusal.
fn refusal(reply: &Reply, status: u16) -> String {
    text(&reply.expect(status), "code").to_owned()
}
