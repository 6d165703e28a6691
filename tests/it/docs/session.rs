//! A shell in an empty folder, in which a page's commands are run one after the other.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::page::Command;
use super::shape::{Bindings, compare};
use crate::harness::BINARY;

/// The limit of every wait: far more than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after one another a polled command is run, and how often at most: for a minute.
const PAUSE: Duration = Duration::from_millis(50);
const POLLS_MAX: usize = 1_200;
/// The most lines of a command that goes on in which the page's have to be.
const LINES_MAX: usize = 200;
/// The line after what a command printed.
const DONE: &str = "--- done ---";
/// Commands that go on until they are stopped begin so.
const ENDLESS: [&str; 3] = ["keyledger serve", "curl -sN ", "keyledger webhooks listen"];

/// The session of a page; it ends with this value, and its server too.
pub(super) struct Session {
    folder: TempDir,
    shell: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    bindings: Bindings,
    server: Option<Job>,
    /// The port of the newest server.
    port: Option<String>,
    /// Bound and not listening: what is sent to the pages' receiver is refused.
    receiver: TcpSocket,
}

/// A command that goes on.
struct Job {
    pid: String,
    lines: Receiver<String>,
}

impl Session {
    /// Starts a shell, and a server if flags for one are given.
    pub(super) fn start(server: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binaries = std::path::Path::new(BINARY).parent().unwrap();
        let mut shell = Process::new("/bin/bash")
            .args(["--noprofile", "--norc"])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binaries.display()))
            .env("HOME", folder.path())
            .env("LC_ALL", "C")
            .env("KEYLEDGER_LISTEN", "127.0.0.1:0")
            .env("KEYLEDGER_LOG_LEVEL", "error")
            .current_dir(folder.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = follow(shell.stdout.take().unwrap());
        let mut session = Self {
            input: shell.stdin.take(),
            shell,
            folder,
            output,
            bindings: Bindings::default(),
            server: None,
            port: None,
            receiver: TcpSocket::new_v4().unwrap(),
        };
        session
            .receiver
            .bind("127.0.0.1:0".parse().unwrap())
            .unwrap();
        session.run("exec 2>&1");
        if let Some(flags) = server {
            session.start_server(flags);
        }
        session
    }

    /// Starts a server over a new ledger and sets what the pages use: `KEY`, `ORG`,
    /// `SIGN_IN_LINK` and `api`.
    fn start_server(&mut self, flags: &str) {
        let command =
            format!("keyledger serve --organization Acme --owner ada@acme.example {flags}");
        let job = self.spawn(&command);
        let lines = listening_lines(&job);
        self.keep_server(job, &lines);
        let word = |start: &str| {
            let mut words = lines.iter().flat_map(|line| line.split_whitespace());
            words
                .find(|word| word.starts_with(start))
                .unwrap()
                .to_owned()
        };
        let (key, organization, link) = (word("rfk_"), word("org_"), word("http://"));
        self.run(&format!("KEY={key} ORG={organization} SIGN_IN_LINK={link}"));
        self.run(
            "api() { curl -s -H \"Authorization: Bearer $KEY\" \
             -H \"Content-Type: application/json\" \"$@\"; }",
        );
    }

    /// Runs a command of the page and compares what it prints.
    pub(super) fn expect(&mut self, command: &Command) -> Result<(), String> {
        let receiver = self.receiver.local_addr().unwrap().to_string();
        let text = self.bindings.replace_in(&command.text);
        let mut text = text.replace("127.0.0.1:9000", &receiver);
        if let Some(port) = &self.port {
            let address = format!("127.0.0.1:{port}");
            for shown in ["localhost:8080", "127.0.0.1:8080"] {
                text = text.replace(shown, &address);
            }
        }
        let simple = text
            .split_whitespace()
            .find(|word| !word.contains('='))
            .unwrap_or_default();
        let from = text.find(simple).unwrap();
        if ENDLESS
            .iter()
            .any(|endless| text[from..].starts_with(endless))
        {
            return self.expect_endless(command, &text);
        }
        let polls = if command.polled { POLLS_MAX } else { 1 };
        let mut printed = Vec::new();
        for poll in 0..polls {
            if poll > 0 {
                thread::sleep(PAUSE);
            }
            printed = self.run(&text);
            if let Some(bindings) = compare(&command.expected, &printed, &self.bindings) {
                self.bindings = bindings;
                return Ok(());
            }
        }
        Err(difference(command, &printed))
    }

    /// The same for a command that goes on: it is stopped when it has printed what the page shows,
    /// but for a server, which stays.
    fn expect_endless(&mut self, command: &Command, text: &str) -> Result<(), String> {
        let job = self.spawn(text.trim_end_matches('&'));
        let mut printed = Vec::new();
        let bindings = loop {
            if let Some(bindings) = compare(&command.expected, &printed, &self.bindings) {
                break bindings;
            }
            match job.lines.recv_timeout(PATIENCE) {
                Ok(line) if printed.len() < LINES_MAX => printed.push(line),
                Ok(_) | Err(_) => {
                    self.stop(&job);
                    return Err(difference(command, &printed));
                }
            }
        };
        self.bindings = bindings;
        if text.starts_with("keyledger serve") {
            self.keep_server(job, &printed);
        } else {
            self.stop(&job);
        }
        Ok(())
    }

    /// Remembers a server that listens.
    fn keep_server(&mut self, job: Job, lines: &[String]) {
        assert!(self.server.is_none(), "a page has one server at a time");
        let port = lines.last().unwrap().rsplit(':').next().unwrap();
        self.port = Some(port.to_owned());
        self.server = Some(job);
    }

    /// Stops the server and waits for its end.
    pub(super) fn stop_server(&mut self) {
        let server = self.server.take().unwrap();
        self.stop(&server);
    }

    fn stop(&mut self, job: &Job) {
        self.run(&format!("kill {0}; wait {0}", job.pid));
    }

    /// Starts a command that goes on; what it prints comes through a pipe.
    fn spawn(&mut self, command: &str) -> Job {
        self.run("rm -f pipe; mkfifo pipe");
        let printed = self.run(&format!("{command} > pipe 2>&1 & printf '%s' $!"));
        let pipe = std::fs::File::open(self.folder.path().join("pipe")).unwrap();
        Job {
            pid: printed.last().unwrap().clone(),
            lines: follow(pipe),
        }
    }

    /// Runs a command to its end.
    fn run(&mut self, command: &str) -> Vec<String> {
        let input = self.input.as_mut().unwrap();
        // A command that reads its input must not read the next command.
        writeln!(
            input,
            "{{ {command}\n}} < /dev/null; printf '\\n%s\\n' '{DONE}'"
        )
        .unwrap();
        let mut printed = Vec::new();
        loop {
            let line = self.output.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                panic!("{error} while this ran: {command}\n{}", printed.join("\n"))
            });
            if line == DONE {
                break;
            }
            printed.push(line);
        }
        // The line break before the mark is ours, unless the command ended without one.
        if printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
        printed
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if thread::panicking() {
            // A command may still run: it and the server are in the shell's group.
            let group = Pid::from_child(&self.shell);
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
        // The shell waits for its server and ends with its input.
        if let (Some(server), Some(input)) = (self.server.take(), self.input.as_mut()) {
            drop(writeln!(input, "kill {0}; wait {0}", server.pid));
        }
        drop(self.input.take());
        drop(self.shell.wait());
    }
}

/// What a server prints until it listens.
fn listening_lines(job: &Job) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    while !lines
        .last()
        .is_some_and(|line| line.starts_with("listening on "))
    {
        let line = job.lines.recv_timeout(PATIENCE);
        lines.push(line.unwrap_or_else(|error| panic!("{error}: {}", lines.join("\n"))));
    }
    lines
}

/// Reads lines as they come.
fn follow(source: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines() {
            let Ok(line) = line else { return };
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What the page shows beside what was printed.
fn difference(command: &Command, printed: &[String]) -> String {
    format!(
        "{}: $ {}\n--- the page shows\n{}\n--- it printed\n{}",
        command.line,
        command.text,
        command.expected.join("\n"),
        printed.join("\n")
    )
}
