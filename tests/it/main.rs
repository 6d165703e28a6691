//! Tests of the real binary, as a process: over its command line, its signals and HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

mod audit;
mod audit_table;
mod catalogue;
mod cli;
mod containers;
mod crash;
mod damage;
mod docs;
mod erasure;
mod expiry;
mod feed;
mod harness;
mod help;
mod limits;
mod listen;
mod memory;
mod misplaced;
mod modes;
mod past;
mod proxied;
mod secrets;
mod seeds;
mod sessions;
mod signing;
mod tls;
mod trace;
mod unfinished;
mod unread_log;
mod usage;
mod webhooks;

/// A file that is not named above would be a test that never runs.
#[test]
fn no_test_file_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        if !matches!(module, "main" | "snapshots") {
            assert!(main.contains(&format!("\nmod {module};\n")), "{name}");
        }
    }
}
