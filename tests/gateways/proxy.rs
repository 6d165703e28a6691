//! nginx in front of keyledger itself, over connections that both keep.

use std::sync::Arc;

use reqwest::{Client, Method};
use tokio::task::JoinSet;

use crate::page;
use crate::programs::{Program, nginx, port, start};
use crate::world::World;

/// Clients at once, and how often each sends all the requests.
const CLIENTS: usize = 8;
const ROUNDS: usize = 4;
/// Lengths of bodies: nothing, little, as much as is read of a refused one and more, and a lot.
const LENGTHS: [usize; 6] = [0, 10, 60_000, 70_000, 900_000, 6_000_000];

/// nginx with the block of the page; `edit` changes it.
fn proxy(world: &World, edit: impl Fn(String) -> String) -> (Program, String) {
    let port = port();
    let here = format!("127.0.0.1:{port}");
    let values = [
        ("127.0.0.1:8080", world.server.address()),
        ("127.0.0.1:8004", &here),
    ];
    let block = page::with(&page::block("A proxy in front of keyledger"), &values);
    let folder = world.folder.path();
    let file = folder.join(format!("proxy-{port}.conf"));
    std::fs::write(&file, nginx(folder, &edit(block))).unwrap();
    let mut command = std::process::Command::new("nginx");
    command.args(["-c", file.to_str().unwrap()]);
    (start(command, folder, port), here)
}

/// Requests of one client that are refused before their bodies are read, each followed by one that
/// is not: whatever became of the connection, no client gets a 502.
async fn refusals(at: String, key: Arc<String>, reader: Arc<String>) {
    // Those that are kept are the proxy's: a client's own may close under its next request.
    let client = Client::builder().no_proxy().pool_max_idle_per_host(0);
    let client = client.build().unwrap();
    let (none, root, reader) = (None, Some(key.as_str()), Some(reader.as_str()));
    for _ in 0..ROUNDS {
        for length in LENGTHS {
            let is_long = length > 64 * 1_024;
            let verify = if is_long { 413 } else { 415 };
            for (path, by, expected) in [
                ("/v1/verify", none, 401),
                ("/v1/verify", reader, 403),
                ("/v1/verify", root, verify),
                ("/nowhere", root, 404),
                ("/livez", root, 405),
                ("/v1/usage", none, 401),
            ] {
                let url = format!("http://{at}{path}");
                let mut request = client.request(Method::POST, url).body(vec![b'a'; length]);
                if let Some(token) = by {
                    request = request.bearer_auth(token);
                }
                let status = request.send().await.unwrap().status();
                assert_eq!(status, expected, "{path} {length}");
                let after = client.get(format!("http://{at}/livez")).send().await;
                assert_eq!(after.unwrap().status(), 200, "after {path} {length}");
            }
        }
    }
}

async fn never_answers_502(edit: impl Fn(String) -> String) {
    let world = World::new();
    let reader = Arc::new(world.key("cases:read").await.token);
    let root = Arc::new(world.root.clone());
    let (_program, at) = proxy(&world, edit);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(refusals(at.clone(), Arc::clone(&root), Arc::clone(&reader)));
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_before_the_body_is_read_is_passed_on() {
    never_answers_502(|text| text).await;
}

/// The same where nginx passes a body on while it arrives.
#[tokio::test]
async fn a_refusal_is_passed_on_while_the_body_arrives() {
    never_answers_502(|text| {
        let from = "proxy_buffering off;";
        assert!(text.contains(from), "{text}");
        text.replace(from, "proxy_buffering off; proxy_request_buffering off;")
    })
    .await;
}
