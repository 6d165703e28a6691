//! A server with two tenants, and a client that stands before a gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Api, Reply, Server, init, send, text};

/// Where clients come from: not from the gateway's own address.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
/// The gateway's address, which may say who its client is.
const BEHIND: [&str; 4] = ["--segment-mib", "1", "--trusted-proxies", "127.0.0.1/32"];
const PAUSE: Duration = Duration::from_millis(20);
const TRIES: usize = 1_000;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) api: Api,
    pub(crate) organization: String,
    /// The first key, which may do all.
    pub(crate) root: String,
    pub(crate) folder: TempDir,
}

/// A credential's id and token.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Key {
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let made = init(&data, &BEHIND[..2]);
        let server = Server::start(&data, &BEHIND);
        let root = text(&made, "raw_key").to_owned();
        Self {
            api: server.api(&root),
            server,
            organization: text(&made, "organization_id").to_owned(),
            root,
            folder,
        }
    }

    fn keys(&self) -> String {
        format!("/platform/organizations/{}/api-keys", self.organization)
    }

    pub(crate) async fn key(&self, scope: &str) -> Key {
        self.key_with(scope, &json!({})).await
    }

    pub(crate) async fn key_with(&self, scope: &str, metadata: &Value) -> Key {
        let body = json!({"name": "k", "scopes": [scope], "metadata": metadata});
        let made = self.api.post(&self.keys(), &body).await;
        let made = made.unwrap().expect(201);
        Key {
            id: text(&made["key"], "id").to_owned(),
            token: text(&made, "raw_key").to_owned(),
        }
    }

    pub(crate) fn revocation(&self, key: &Key) -> String {
        format!("{}/{}/revoke", self.keys(), key.id)
    }

    pub(crate) async fn revoke(&self, key: &Key) {
        let reply = self.api.post(&self.revocation(key), &json!({})).await;
        reply.unwrap().expect(200);
    }

    /// The key of another tenant.
    pub(crate) async fn stranger(&self) -> Key {
        let body = json!({"name": "Globex", "owner_email": "bob@globex.example"});
        let made = self.api.post("/platform/organizations", &body).await;
        let made = made.unwrap().expect(201);
        Key {
            id: String::new(),
            token: text(&made, "raw_key").to_owned(),
        }
    }

    /// The newest call of a key, once it is the one on `endpoint`.
    pub(crate) async fn call(&self, key: &Key, endpoint: &str) -> Value {
        let path = format!("{}/{}/usage?limit=1", self.keys(), key.id);
        for _ in 0..TRIES {
            let calls = self.api.get(&path).await.unwrap().expect(200);
            if calls[0]["endpoint"] == endpoint {
                return calls[0].clone();
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("no call on {endpoint} was recorded");
    }
}

/// Sends a request with a short body from the client's own address.
pub(crate) async fn through(at: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let client = Client::builder().no_proxy().local_address(CLIENT);
    let client = client.timeout(Duration::from_secs(30)).build().unwrap();
    let url = format!("http://{at}{path}");
    let mut request = client.request(Method::POST, url).body("x=1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await.unwrap()
}
