//! A service that verifies what its callers present: `verify URL`, tokens a line on stdin, the
//! first of them the service's own.

#![allow(clippy::print_stdout, reason = "an example shows what it is told")]

use std::io::BufRead as _;

use keyledger::client::{Client, ClientOptions, VerificationRequest};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "http://localhost:8080".to_owned());
    let mut lines = std::io::stdin().lock().lines();
    let own = lines.next().transpose()?.unwrap_or_default();
    let client = Client::new(&url, &own, ClientOptions::default())?;
    for presented in lines {
        let verification = client.verify(&VerificationRequest::new(presented?)).await?;
        let id = verification.key.map(|key| key.id).unwrap_or_default();
        let from = if verification.from_cache {
            "the cache"
        } else {
            "the server"
        };
        println!("{} {id} (from {from})", verification.code);
    }
    Ok(())
}
