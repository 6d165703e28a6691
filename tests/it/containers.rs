//! What a container does to a service: empty variables, its signals, and a first start without a
//! person.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::CommandFactory;
use keyledger::cli::Cli;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Receiver, Server, code, init, keyledger, send, stderr, text};

const SEGMENTS: [&str; 2] = ["--segment-mib", "1"];
/// What a container's runtime is promised; it kills after 10 seconds.
const STOPS_WITHIN: Duration = Duration::from_secs(8);
/// The limit of every other wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The variables of all flags of a command.
fn variables_of(command: &str) -> Vec<String> {
    let cli = Cli::command();
    let command = cli.find_subcommand(command).unwrap();
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    names
        .map(|name| name.to_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_empty_variable_is_one_that_is_not_set() {
    let root = tempdir().unwrap();
    let run = |command: &str| {
        let mut run = keyledger([command]);
        run.current_dir(root.path());
        run.envs(variables_of(command).iter().map(|name| (name.as_str(), "")));
        run
    };
    let made = run("init").arg("--json").output().unwrap();
    let made = crate::harness::json(&made);
    let token = text(&made, "raw_key");
    // As by default: in `data`, with the organization and the owner of the defaults.
    let data = root.path().join("data");
    assert!(data.join("log").is_dir());
    let names = variables_of("serve");
    assert!(names.len() > 20, "{names:?}");
    let empty: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let server = Server::start_with_variables(&data, &[], &empty);
    assert_eq!(server.api(token).verdict(token).await, "valid");
    let me = server.api(token).get("/platform/organizations").await;
    assert_eq!(me.unwrap().expect(200)[0]["name"], "Default");
    assert_eq!(server.stop().status.code(), Some(0));
    // Nor is a client's empty token one.
    let mut listen = run("webhooks");
    listen.args(["listen", "--forward", "http://127.0.0.1:9"]);
    let listen = listen.env("KEYLEDGER_TOKEN", "").output().unwrap();
    assert!(
        stderr(&listen).contains("KEYLEDGER_TOKEN"),
        "{}",
        stderr(&listen)
    );
}

/// What a refused start says first, with these variables and flags.
fn refused(data: &str, set: &[(&str, &str)], flags: &[&str]) -> String {
    let mut command = keyledger(["serve", "--data-dir", data]);
    command.args(flags);
    command.envs(
        set.iter()
            .map(|(name, value)| (format!("KEYLEDGER_{name}"), value)),
    );
    let output = command.output().unwrap();
    assert_eq!(code(&output), 2, "{set:?}: {}", stderr(&output));
    stderr(&output)
        .lines()
        .take(2)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_message_names_the_variable_that_it_is_about() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &SEGMENTS);
    let data = data.to_str().unwrap();
    for (name, value) in [
        ("PUBLIC_URL", "nonsense"),
        ("BEHIND_PROXY", "maybe"),
        ("TRUSTED_PROXIES", "x"),
        ("LISTEN", "0.0.0.0:8080"),
        ("LISTEN", "localhost"),
        ("USAGE_DAYS", "0"),
        ("LOG_LEVEL", "loud"),
        ("OTLP_ENDPOINT", "unix:/x"),
        ("WEBHOOK_CA", "/nowhere.pem"),
        ("WEBHOOK_ALLOW_NET", "x"),
        ("MASTER_KEY_FILE", "/nowhere"),
    ] {
        let said = refused(data, &[(name, value)], &[]);
        let expected = format!("(set by KEYLEDGER_{name})");
        assert!(said.contains(&expected), "{name}: {said}");
    }
    let (nonsense, cert) = (("PUBLIC_URL", "nonsense"), ("TLS_CERT", "/nowhere"));
    let (proxy, key) = (("BEHIND_PROXY", "true"), ("TLS_KEY", "/nowhere"));
    for (set, expected) in [
        (
            vec![nonsense],
            "'--public-url <URL>' (set by KEYLEDGER_PUBLIC_URL)",
        ),
        (
            vec![proxy],
            "--behind-proxy (set by KEYLEDGER_BEHIND_PROXY) needs --trusted-proxies (or \
             KEYLEDGER_TRUSTED_PROXIES)",
        ),
        (
            vec![proxy],
            "and --public-url (or KEYLEDGER_PUBLIC_URL), what clients call the server",
        ),
        (vec![cert], "KEYLEDGER_TLS_KEY"),
        (
            vec![cert, key],
            "--tls-cert (set by KEYLEDGER_TLS_CERT): cannot read /nowhere",
        ),
        (vec![cert, key, proxy], "KEYLEDGER_BEHIND_PROXY"),
    ] {
        let said = refused(data, &set, &[]);
        assert!(said.contains(expected), "{set:?}: {said}");
    }
    // What a flag says counts, and the variable does not.
    for set in [
        vec![],
        vec![nonsense],
        vec![("PUBLIC_URL", "https://keys.example")],
    ] {
        let said = refused(data, &set, &["--public-url", "nonsense"]);
        assert!(
            said.contains("'--public-url <URL>': must be"),
            "{set:?}: {said}"
        );
    }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn begin(server: &Server, head: &str) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Reads until an answer has begun.
fn answered(stream: &mut TcpStream) {
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_stop_ends_in_time_whatever_clients_do() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &SEGMENTS);
    let (token, organization) = (text(&made, "raw_key"), text(&made, "organization_id"));
    let allow = [&SEGMENTS[..], &["--webhook-allow-net", "127.0.0.0/8"]].concat();
    let server = Server::start(&data, &allow);
    let api = server.api(token);
    // A delivery whose receiver does not answer.
    let mut receiver = Receiver::start().await;
    let platform = format!("/platform/organizations/{organization}");
    let endpoint = json!({"url": receiver.url("/hooks"), "event_types": ["api_key.*"]});
    let endpoints = format!("{platform}/webhook-endpoints");
    api.post(&endpoints, &endpoint).await.unwrap().expect(201);
    let body = json!({"name": "CI", "scopes": ["projects:read"]});
    let keys = format!("{platform}/api-keys");
    api.post(&keys, &body).await.unwrap().expect(201);
    let outstanding = receiver.next().await;

    let by = format!("host: x\r\nauthorization: Bearer {token}\r\n");
    let json = "content-type: application/json\r\n";
    let mut held = vec![
        connect(&server),
        begin(&server, "GET /livez HTTP/1.1\r\nhost:"),
        begin(
            &server,
            &format!("POST /v1/verify HTTP/1.1\r\n{by}{json}content-length: 99\r\n\r\n{{"),
        ),
        begin(
            &server,
            &format!("POST /v1/verify HTTP/1.1\r\n{by}{json}transfer-encoding: chunked\r\n\r\n"),
        ),
        begin(
            &server,
            &format!("GET /v1/events?after=99&wait=30 HTTP/1.1\r\n{by}\r\n"),
        ),
    ];
    for path in ["/v1/events/stream", "/v1/revocations/stream", "/livez"] {
        let mut stream = begin(&server, &format!("GET {path} HTTP/1.1\r\n{by}\r\n"));
        answered(&mut stream);
        held.push(stream);
    }
    // Many answers that are not read.
    let many = format!("GET /openapi.json HTTP/1.1\r\n{by}\r\n").repeat(20);
    held.push(begin(&server, &many));

    let ended = server.stop_within(STOPS_WITHIN);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(data.join("log/clean").exists(), "{}", ended.log);
    drop(held);
    // What was not delivered comes again.
    let id = outstanding.header("webhook-id").to_owned();
    drop(outstanding);
    let server = Server::start(&data, &allow);
    let again = receiver.next().await;
    assert_eq!(again.header("webhook-id"), id);
    again.answer(204);
    assert_eq!(server.stop_within(STOPS_WITHIN).status.code(), Some(0));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_requests_that_have_not_arrived() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &SEGMENTS);
    let server = Server::start(&data, &SEGMENTS);
    let unused = connect(&server);
    let half = begin(&server, "GET /livez HTTP/1.1\r\nhost:");
    let mut idle = begin(&server, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
    answered(&mut idle);
    // Requests are given 4 seconds.
    let ended = server.stop_within(Duration::from_secs(3));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(!ended.log.contains("cut off"), "{}", ended.log);
    drop((unused, half, idle));
}

#[tokio::test]
async fn a_hangup_ends_nothing() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let made = init(&data, &SEGMENTS);
    let token = text(&made, "raw_key");
    let server = Server::start(&data, &SEGMENTS);
    let api = server.api(token);
    for _ in 0..3 {
        server.signal(Signal::HUP);
        assert_eq!(api.verdict(token).await, "valid");
    }
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.log.contains("SIGHUP"), "{}", ended.log);
}

/// What a first start handed out: how often it shows a key and a link, and the link's token.
fn handed_out(output: &str) -> (usize, usize, Option<String>) {
    let link = output.lines().find_map(|line| line.split_once("/sign-in/"));
    let link = link.map(|(_, token)| token.trim().to_owned());
    (
        output.matches("rfk_").count(),
        output.matches("/sign-in/").count(),
        link,
    )
}

#[tokio::test]
async fn the_first_start_makes_the_organization_and_the_owner_that_are_named() {
    for (named, set, expected) in [
        (
            vec!["--organization", "Acme", "--owner", "ada@acme.example"],
            vec![],
            ("Acme", "ada@acme.example"),
        ),
        (
            vec!["--owner-email", "ada@acme.example"],
            vec![],
            ("Default", "ada@acme.example"),
        ),
        (
            vec![],
            vec![
                ("KEYLEDGER_ORGANIZATION", "Acme"),
                ("KEYLEDGER_OWNER_EMAIL", "ada@acme.example"),
            ],
            ("Acme", "ada@acme.example"),
        ),
    ] {
        for to_file in [false, true] {
            let root = tempdir().unwrap();
            let (data, key_file) = (root.path().join("data"), root.path().join("key"));
            let mut more = [&SEGMENTS[..], &named].concat();
            if to_file {
                more.extend(["--bootstrap-key-file", key_file.to_str().unwrap()]);
            }
            let server = Server::start_with_variables(&data, &more, &set);
            let address = server.address().to_owned();
            let bare = server.api("");
            let first = server.stop();
            let (keys, links, link) = handed_out(&first.output);
            assert_eq!(
                (keys, links),
                (usize::from(!to_file), 1),
                "{}",
                first.output
            );
            assert!(first.output.contains(&format!("http://{address}/sign-in/")));
            drop(bare);
            // Later starts hand out nothing, and what they are given makes no difference.
            let again = Server::start_with_variables(&data, &more, &set);
            let key = match to_file {
                true => fs::read_to_string(&key_file).unwrap().trim().to_owned(),
                false => {
                    let line = first.output.lines().find(|line| line.starts_with("rfk_"));
                    line.unwrap().to_owned()
                }
            };
            let api = again.api(&key);
            let session = api.bare(Method::POST, "/v1/sessions");
            let session = session.json(&json!({"sign_in_token": link.unwrap()}));
            send(session).await.unwrap().expect(201);
            let organizations = api
                .get("/platform/organizations")
                .await
                .unwrap()
                .expect(200);
            let organization = &organizations[0];
            let members = format!(
                "/platform/organizations/{}/members",
                text(organization, "id")
            );
            let members = api.get(&members).await.unwrap().expect(200);
            let found = (text(organization, "name"), text(&members[0], "email"));
            assert_eq!(found, expected);
            let ended = again.stop();
            assert_eq!(ended.output, "", "{}", ended.log);
        }
    }
}

/// Runs `serve` with a terminal on which a person types; what the terminal shows. Ctrl-c ends it
/// once it shows `until`.
fn at_a_terminal(data: &Path, typed: &str, until: &str) -> String {
    let serve = format!(
        "trap : INT; {} serve --data-dir {} --listen 127.0.0.1:0 --segment-mib 1; echo ended $?",
        env!("CARGO_BIN_EXE_keyledger"),
        data.display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--command", &serve, "/dev/null"]);
    script
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh");
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let (mut keyboard, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    keyboard.write_all(typed.as_bytes()).unwrap();
    let (mut shown, mut piece) = (String::new(), [0; 4_096]);
    let mut is_ended = false;
    loop {
        let read = screen.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        if shown.contains(until) && !is_ended {
            is_ended = true;
            keyboard.write_all(b"\x03").unwrap();
        }
    }
    script.wait().unwrap();
    assert!(shown.contains("ended 0"), "{shown}");
    shown
}

#[test]
fn on_a_terminal_the_first_start_asks_and_later_ones_do_not() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    let shown = at_a_terminal(&data, "Acme\nada@acme.example\n", "listening on");
    assert!(
        shown.contains("Name of the first organization [Default]: "),
        "{shown}"
    );
    assert!(
        shown.contains("E-mail address of its owner [owner@localhost]: "),
        "{shown}"
    );
    let (keys, links, _) = handed_out(&shown);
    assert_eq!((keys, links), (1, 1), "{shown}");
    let shown = at_a_terminal(&data, "", "listening on");
    assert!(!shown.contains("organization [Default]"), "{shown}");
    assert_eq!(handed_out(&shown), (0, 0, None), "{shown}");
    // Ctrl-c is an answer too.
    let other = root.path().join("other");
    at_a_terminal(&other, "", "organization [Default]");
    assert!(!other.exists());
}

#[tokio::test]
async fn a_json_log_says_at_every_level_that_it_listens_and_why_it_does_not() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &SEGMENTS);
    let json = ["--log-format", "json", "--log-level", "error"];
    let server = Server::start(&data, &json);
    let taken = Server::try_start(&data, &json).unwrap_err();
    assert_eq!(server.stop().log.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(taken.log.trim_end()).unwrap();
    assert_eq!(line["level"], "ERROR", "{line}");
    let why = line["fields"]["message"].as_str().unwrap();
    assert!(why.contains("another process"), "{why}");
}

#[tokio::test]
async fn a_log_names_unknown_variables_and_few_files_once_and_ends_with_the_stop() {
    let root = tempdir().unwrap();
    let data = root.path().join("data");
    init(&data, &SEGMENTS);
    let set = [
        ("KEYLEDGER_LISTN", "127.0.0.1:1"),
        ("KEYLEDGER_SERVICE_HOST", "10.0.0.1"),
        ("KEYLEDGER_PORT", "tcp://10.0.0.1:80"),
    ];
    let more = ["--metrics-listen", "127.0.0.1:0"];
    let server = Server::start_with_variables(&data, &more, &set);
    let log = server.stop().log;
    let named = "unknown environment variable ignored: KEYLEDGER_LISTN (did you mean \
                 KEYLEDGER_LISTEN?)";
    assert_eq!(log.matches("unknown environment").count(), 1, "{log}");
    assert!(log.contains(named), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.ends_with("stopped"), "{log}");

    let few = Server::start_with_files(&data, &more, 1_024);
    let log = few.stop().log;
    let warned = log.matches("leaves room for only this many connections");
    assert_eq!(warned.count(), 1, "{log}");

    // Other commands say it on stderr, also where they refuse.
    let mut recover = keyledger(["recover", "--data-dir", "/nowhere"]);
    let output = recover.env("KEYLEDGER_DATA_DRI", "x").output().unwrap();
    let said = stderr(&output);
    assert!(
        said.contains("(did you mean KEYLEDGER_DATA_DIR?)"),
        "{said}"
    );
    let mut wrong = keyledger(["keys", "export"]);
    let output = wrong.env("KEYLEDGER_OUTT", "x").output().unwrap();
    let said = stderr(&output);
    assert!(said.contains("(did you mean KEYLEDGER_OUT?)"), "{said}");
}
