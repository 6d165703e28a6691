//! Gateways as programs, with a block of the page as their configuration.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::{page, upstream};

/// Tries to connect to a gateway, at [`PAUSE`] each, before it counts as not starting.
const TRIES: usize = 1_500;
const PAUSE: Duration = Duration::from_millis(20);

/// A program that ends with this value.
pub(crate) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port that was free just now.
pub(crate) fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts a program and waits until it listens; what it says is in a file of the folder.
pub(crate) fn start(mut command: Command, folder: &Path, port: u16) -> Program {
    let log = folder.join(format!("said-{port}"));
    let file = std::fs::File::create(&log).unwrap();
    command.env("HOME", folder).env("XDG_DATA_HOME", folder);
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file);
    let mut program = Program(command.spawn().unwrap());
    for _ in 0..TRIES {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return program;
        }
        if program.0.try_wait().unwrap().is_some() {
            break;
        }
        thread::sleep(PAUSE);
    }
    let said = std::fs::read_to_string(&log).unwrap();
    panic!("{command:?} does not listen on {port}:\n{said}");
}

fn until(is_done: impl Fn() -> bool) {
    for _ in 0..TRIES {
        if is_done() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("it never came");
}

/// The first line of what is answered there.
fn status_line(at: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let head = upstream::head(&mut stream);
    head.lines().next().unwrap_or_default().to_owned()
}

#[allow(clippy::disallowed_methods, reason = "a test's own setting")]
pub(crate) fn setting(name: &str) -> String {
    let setting = std::env::var(name);
    setting.unwrap_or_else(|_| panic!("tests/run installs what {name} names"))
}

/// A gateway that asks `/v1/forward-auth`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gateway {
    Nginx,
    Caddy,
    Envoy,
    Traefik,
}

/// What a gateway stands between, and the token that it asks with.
pub(crate) struct Places<'a> {
    pub(crate) keyledger: &'a str,
    pub(crate) upstream: &'a str,
    pub(crate) token: &'a str,
}

impl Gateway {
    /// The block of the page, at free ports.
    fn block(self, here: &str, places: &Places<'_>) -> String {
        let port = |address: &str| {
            let (_, port) = address.rsplit_once(':').unwrap();
            format!("port_value: {port}")
        };
        let key = ("KEY_OF_THE_GATEWAY", places.token);
        let (keyledger, upstream) = (places.keyledger, places.upstream);
        let both = [("127.0.0.1:8080", keyledger), ("127.0.0.1:9000", upstream)];
        match self {
            Self::Nginx => {
                let own = [("127.0.0.1:8000", here), key];
                page::with(&page::block("nginx"), &[&both[..], &own].concat())
            }
            Self::Caddy => {
                let (_, port) = here.rsplit_once(':').unwrap();
                let port = format!(":{port} {{");
                let own = [(":8001 {", port.as_str()), key];
                page::with(&page::block("Caddy"), &[&both[..], &own].concat())
            }
            Self::Envoy => {
                let (own, keyledger, upstream) = (port(here), port(keyledger), port(upstream));
                let values = [
                    ("port_value: 8002", own.as_str()),
                    ("port_value: 8080", &keyledger),
                    ("port_value: 9000", &upstream),
                    key,
                ];
                page::with(&page::block("Envoy"), &values)
            }
            Self::Traefik => page::with(&page::block("Traefik"), &[&both[..], &[key]].concat()),
        }
    }

    /// The gateway as a program; `edit` changes its configuration. Gives the address for clients.
    pub(crate) fn start(
        self,
        folder: &Path,
        places: &Places<'_>,
        edit: impl Fn(String) -> String,
    ) -> (Program, String) {
        let port = port();
        let here = format!("127.0.0.1:{port}");
        let block = edit(self.block(&here, places));
        let file = folder.join(format!("{self:?}-{port}.yml"));
        let text = match self {
            Self::Nginx => nginx(folder, &block),
            Self::Caddy => format!("{{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}}\n{block}"),
            Self::Envoy | Self::Traefik => block,
        };
        std::fs::write(&file, text).unwrap();
        let program = start(self.command(&here, &file), folder, port);
        match self {
            Self::Nginx | Self::Caddy | Self::Envoy => {}
            // It listens before it has read what it answers.
            Self::Traefik => until(|| !status_line(&here).contains(" 404 ")),
        }
        (program, here)
    }

    fn command(self, here: &str, file: &Path) -> Command {
        let file = file.to_str().unwrap();
        let mut command = match self {
            Self::Nginx => Command::new("nginx"),
            Self::Caddy => Command::new("caddy"),
            Self::Envoy => Command::new(setting("KEYLEDGER_ENVOY")),
            Self::Traefik => Command::new(setting("KEYLEDGER_TRAEFIK")),
        };
        match self {
            Self::Nginx => command.args(["-c", file]),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", file]),
            Self::Envoy => command.args(["-c", file, "--use-dynamic-base-id"]).args([
                "--concurrency",
                "1",
                "--log-level",
                "warning",
            ]),
            Self::Traefik => command.args([
                format!("--entryPoints.web.address={here}"),
                format!("--providers.file.filename={file}"),
                "--global.checkNewVersion=false".to_owned(),
                "--global.sendAnonymousUsage=false".to_owned(),
            ]),
        };
        command
    }
}

/// What nginx needs around a block of `http { }`.
pub(crate) fn nginx(folder: &Path, block: &str) -> String {
    let place = folder.display();
    format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {place}/b; \
         proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; \
         uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n{block}}}\n"
    )
}
