//! Apache with `mod_auth_openidc`, which introspects over TLS.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::generate_simple_self_signed;
use reqwest::{Certificate, Client};
use serde_json::json;

use crate::harness::{Server, send};
use crate::page;
use crate::programs::{Program, port, start};
use crate::upstream::{self, WEBSOCKET_KEY, header, told};
use crate::world::{Key, World, through};

const PATIENCE: Duration = Duration::from_secs(20);
/// Where Debian keeps Apache's modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// What Debian's configuration does before a block is read.
fn around(folder: &Path, block: &str, here: &str) -> String {
    let place = folder.display();
    let mut text = format!(
        "ServerRoot {place}\nServerName any.example\nListen {here}\nPidFile {place}/pid\n\
         ErrorLog {place}/error.log\nUser www-data\nGroup www-data\nMutex posixsem\n"
    );
    for module in [
        "mpm_event",
        "authn_core",
        "authz_core",
        "authz_user",
        "auth_openidc",
        "headers",
        "proxy",
        "proxy_http",
        "proxy_wstunnel",
    ] {
        let line = format!("LoadModule {module}_module {MODULES}/mod_{module}.so\n");
        text.push_str(&line);
    }
    text + block
}

fn apache(folder: &Path, values: &[(&str, &str)], here: &str) -> Program {
    let (_, port) = here.rsplit_once(':').unwrap();
    let block = page::with(&page::block("Apache"), values);
    let file = folder.join(format!("apache-{port}.conf"));
    fs::write(&file, around(folder, &block, here)).unwrap();
    let mut command = Command::new("/usr/sbin/apache2");
    command.args(["-D", "FOREGROUND", "-f", file.to_str().unwrap()]);
    start(command, folder, port.parse().unwrap())
}

#[tokio::test]
async fn apache_stands_guard() {
    let world = World::new();
    let at_once = json!({"introspection_max_age_seconds": "0"});
    let gateway = world.key_with("keys:verify", &at_once).await;
    let key = world.key("cases:read").await;
    let lacking = world.key("cases:write").await;
    let stranger = world.stranger().await;
    let revocation = world.revocation(&key);
    let World {
        server,
        folder,
        organization,
        root,
        ..
    } = world;
    server.stop();
    // Its processes are not root's.
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, private) = (outside.path().join("ca.pem"), folder.path().join("key.pem"));
    fs::write(&cert, own.cert.pem()).unwrap();
    fs::write(&private, own.signing_key.serialize_pem()).unwrap();
    let (cert, private) = (cert.to_str().unwrap(), private.to_str().unwrap());
    let args = [
        "--segment-mib",
        "1",
        "--tls-cert",
        cert,
        "--tls-key",
        private,
    ];
    let server = Server::start(&folder.path().join("data"), &args);

    let here = format!("127.0.0.1:{}", port());
    let upstream = upstream::echo();
    let values = [
        ("127.0.0.1:8443", server.address()),
        ("127.0.0.1:9000", &upstream),
        ("127.0.0.1:8003", &here),
        ("/etc/keyledger/ca.pem", cert),
        ("ID_OF_THE_GATEWAY", &gateway.id),
        ("KEY_OF_THE_GATEWAY", &gateway.token),
    ];
    let _program = apache(outside.path(), &values, &here);
    lets_through(&here, &key, &organization).await;
    keeps_out(&here, &lacking, &stranger).await;
    passes_websockets(&here, &key);
    let said = fs::read_to_string(outside.path().join("error.log")).unwrap();
    let warns = |line: &&str| line.contains("[auth_openidc:warn]");
    // At each start it names its successor, and then what a client has tried.
    let known = |line: &&str| {
        line.contains("is deprecated and superseded") || line.contains("scrubbed suspicious")
    };
    let mut others = said.lines().filter(|line| warns(line) && !known(line));
    assert_eq!(others.next(), None);

    let trusted = Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().add_root_certificate(trusted).no_proxy();
    let client = client.build().unwrap();
    let url = format!("https://{}{revocation}", server.address());
    let revoked = client.post(url).bearer_auth(&root).json(&json!({}));
    send(revoked).await.unwrap().expect(200);
    let bearer = key.bearer();
    let reply = through(&here, "/cases", &[("authorization", &bearer)]).await;
    assert_eq!(reply.status, 401, "{}", reply.text);
    server.stop();
    let reply = through(&here, "/cases", &[("authorization", &bearer)]).await;
    assert_eq!(reply.status, 401, "{}", reply.text);
}

async fn lets_through(here: &str, key: &Key, organization: &str) {
    let bearer = key.bearer();
    let ours = [
        ("x-keyledger-key-id", Some(key.id.as_str())),
        ("x-keyledger-kind", Some("organization")),
        ("x-keyledger-organization-id", Some(organization)),
        ("x-keyledger-project-id", None),
        ("x-keyledger-owner-id", Some(organization)),
        ("x-keyledger-scopes", Some("cases:read")),
        ("x-keyledger-role", None),
    ];
    let names = ours.map(|(name, _)| name);
    let all = names.join(", ");
    for connection in ["keep-alive", all.as_str()] {
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("connection", connection),
            ("oidc_claim_sub", "spoofed"),
        ];
        headers.extend(names.map(|name| (name, "spoofed")));
        let passed = through(here, "/cases?q=1", &headers).await;
        assert_eq!(passed.status, 200, "{}", passed.text);
        assert!(
            passed.text.starts_with("POST /cases?q=1 "),
            "{}",
            passed.text
        );
        assert!(!passed.text.contains("spoofed"), "{}", passed.text);
        for (name, value) in ours {
            assert_eq!(told(&passed, name), value, "{connection} {name}");
        }
    }
}

async fn keeps_out(here: &str, lacking: &Key, stranger: &Key) {
    let (lacks, strange) = (lacking.bearer(), stranger.bearer());
    for (headers, expected) in [
        (vec![], 401),
        (vec![("authorization", "Bearer wrong")], 401),
        (vec![("authorization", strange.as_str())], 401),
        (vec![("authorization", lacks.as_str())], 403),
    ] {
        let reply = through(here, "/cases", &headers).await;
        assert_eq!(reply.status, expected, "{headers:?} {}", reply.text);
    }
}

fn passes_websockets(here: &str, key: &Key) {
    let mut stream = TcpStream::connect(here).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /socket HTTP/1.1\r\nHost: any.example\r\nConnection: Upgrade, x-keyledger-key-id\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\n\
         Authorization: {}\r\n\r\n",
        key.bearer()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let answer = upstream::head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let seen = upstream::head(&mut stream);
    let id = header(&seen, "x-keyledger-key-id");
    assert_eq!(id, Some(key.id.as_str()), "{seen}");
}
