//! The real gateways and a real client of OAuth 2 in front of the real server. Needs nginx, Caddy,
//! Apache, Envoy, Traefik and a Python with the packages of `requirements.txt`, which `tests/run`
//! installs; this target is run by name alone. What is run are the blocks of `docs/gateways.md`,
//! with other addresses and keys.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

#[path = "../it/harness/mod.rs"]
mod harness;

mod apache;
mod forward_auth;
mod oauth_clients;
mod page;
mod programs;
mod proxy;
mod upstream;
mod world;
