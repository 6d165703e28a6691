//! A client library of another language.

use std::process::Command;

use crate::programs::setting;
use crate::world::World;

#[tokio::test]
async fn a_client_library_of_another_language_introspects_and_revokes() {
    let world = World::new();
    let client = world.key("admin:*").await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(world.key("cases:read").await.token);
    }
    let url = format!("http://{}", world.server.address());
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/gateways/oauth_clients.py"
    );
    let mut command = Command::new(setting("KEYLEDGER_OAUTH_PYTHON"));
    command
        .args([script, &url, &client.id, &client.token])
        .args(&tokens);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
