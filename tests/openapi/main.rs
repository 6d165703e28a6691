//! The OpenAPI document as others read it: a validator by other makers, and clients that four
//! generators make of what the real server serves, each of which makes a key, verifies it, revokes
//! it, and reads a refusal. Needs a Python, Java, a folder of Node and a generator in Go, which
//! `tests/run` installs; this target is run by name alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what it prints is shown with that"
)]

#[path = "../it/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Server, init, send, text};
use reqwest::Method;
use tempfile::TempDir;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi");

/// Where something is that `tests/run` has installed.
#[allow(
    clippy::disallowed_methods,
    reason = "a test is told by the environment where programs of other languages are"
)]
fn installed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("tests/run says by {name} where it is"))
}

fn python() -> String {
    installed("KEYLEDGER_OPENAPI_PYTHON")
}

/// A server, and a folder with both versions of its document.
struct World {
    server: Server,
    organization: String,
    key: String,
    root: TempDir,
}

impl World {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let made = init(&data, &["--segment-mib", "1"]);
        let server = Server::start(&data, &["--segment-mib", "1"]);
        let world = Self {
            organization: text(&made, "organization_id").to_owned(),
            key: text(&made, "raw_key").to_owned(),
            server,
            root,
        };
        for name in ["openapi.json", "openapi-3.0.json"] {
            let api = world.server.api(&world.key);
            let document = send(api.bare(Method::GET, &format!("/{name}")))
                .await
                .unwrap();
            assert_eq!(document.status, 200);
            put(&world.root.path().join(name), &document.text);
        }
        world
    }

    fn folder(&self) -> &Path {
        self.root.path()
    }

    /// A program of this folder's generator, with what a client needs to know.
    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder());
        command.env("KEYLEDGER_URL", format!("http://{}", self.server.address()));
        command.env("KEYLEDGER_ORGANIZATION", &self.organization);
        command.env("KEYLEDGER_KEY", &self.key);
        command
    }

    /// A file of a client, copied to where its generated part is.
    fn copy(&self, name: &str, to: &str) -> PathBuf {
        let to = self.folder().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(FOLDER).join(name), &to).unwrap();
        to
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "files of a test, which need not survive it"
)]
fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// Runs a program, which must succeed, and gives what it printed.
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}\n{failed}");
    println!("{said}{failed}");
    said
}

/// Runs a client to its end.
fn done(command: &mut Command) {
    assert_eq!(
        run(command).lines().last(),
        Some("made, verified and revoked")
    );
}

#[tokio::test]
async fn a_validator_finds_nothing_wrong() {
    let world = World::new().await;
    for name in ["openapi.json", "openapi-3.0.json"] {
        let mut validator = Command::new(python());
        validator.args(["-m", "openapi_spec_validator", "--errors", "all", name]);
        run(validator.current_dir(world.folder()));
    }
}

#[tokio::test]
async fn openapi_python_client_makes_a_client() {
    let world = World::new().await;
    let mut generate = Command::new(python());
    generate.args(["-m", "openapi_python_client", "generate", "--meta", "none"]);
    generate.args([
        "--path",
        "openapi.json",
        "--output-path",
        "keyledger_client",
    ]);
    run(generate.current_dir(world.folder()));
    let client = world.copy("openapi_python_client.py", "client.py");
    done(world.client(&python()).arg(client));
}

#[tokio::test]
async fn openapi_generator_makes_a_client() {
    let world = World::new().await;
    let tools = PathBuf::from(python());
    let mut generate = Command::new(tools.with_file_name("openapi-generator-cli"));
    generate.args(["generate", "-g", "python"]);
    generate.args(["-i", "openapi.json", "-o", "."]);
    generate.arg("--additional-properties=packageName=keyledger_client");
    run(generate.current_dir(world.folder()));
    let client = world.copy("openapi_generator.py", "client.py");
    done(world.client(&python()).arg(client));
}

#[tokio::test]
async fn openapi_typescript_makes_a_client() {
    let world = World::new().await;
    let modules = installed("KEYLEDGER_OPENAPI_NODE_PATH");
    std::os::unix::fs::symlink(&modules, world.folder().join("node_modules")).unwrap();
    world.copy("client.ts", "client.ts");
    put(
        &world.folder().join("package.json"),
        r#"{"type": "module"}"#,
    );
    let tool = |name: &str| {
        let mut tool = Command::new(format!("{modules}/.bin/{name}"));
        tool.current_dir(world.folder());
        tool
    };
    run(tool("openapi-typescript").args(["openapi.json", "-o", "api.d.ts"]));
    run(tool("tsc").args([
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--skipLibCheck",
        "--outDir",
        "made",
        "client.ts",
    ]));
    done(world.client("node").arg("made/client.js"));
}

#[tokio::test]
async fn oapi_codegen_makes_a_client() {
    let world = World::new().await;
    for name in ["go.mod", "go.sum", "client.go"] {
        world.copy(&format!("go/{name}"), &format!("go/{name}"));
    }
    let folder = world.folder().join("go");
    fs::create_dir(folder.join("api")).unwrap();
    let mut generate = Command::new(installed("KEYLEDGER_OAPI_CODEGEN"));
    generate.args([
        "-generate",
        "types,client",
        "-package",
        "api",
        "-o",
        "go/api/api.go",
    ]);
    run(generate.arg("openapi-3.0.json").current_dir(world.folder()));
    let mut build = Command::new("go");
    build.args([
        "build",
        "-mod=readonly",
        "-buildvcs=false",
        "-o",
        "client",
        ".",
    ]);
    run(build.current_dir(&folder));
    done(&mut world.client(folder.join("client").to_str().unwrap()));
}
