//! A running server.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::Api;

/// How long a start may take on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// What stands before the URL in the line that says that the server is ready.
const READY: &str = "listening on ";

/// A server, which ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: String,
    log: Option<JoinHandle<String>>,
    output: Option<JoinHandle<String>>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its status.
    pub(crate) status: ExitStatus,
    /// All that it said.
    pub(crate) log: String,
    /// All that it handed out on stdout.
    pub(crate) output: String,
}

impl Server {
    /// Starts a server on a free port and waits until it is ready.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        match Self::try_start(data, more) {
            Ok(server) => server,
            Err(ended) => panic!("the server ended with {}:\n{}", ended.status, ended.log),
        }
    }

    /// The same at an address that a server had before.
    pub(crate) fn start_at(data: &Path, address: &str, more: &[&str]) -> Self {
        let mut args = vec!["serve", "--data-dir", data.to_str().unwrap()];
        args.extend(["--listen", address]);
        args.extend(more);
        Self::spawn(super::keyledger(args)).unwrap()
    }

    /// The same, for a start that may be refused.
    pub(crate) fn try_start(data: &Path, more: &[&str]) -> Result<Self, Ended> {
        Self::spawn(super::keyledger(serve_args(data, more)))
    }

    /// The same, with variables of the environment.
    pub(crate) fn start_with_variables(data: &Path, more: &[&str], set: &[(&str, &str)]) -> Self {
        let mut command = super::keyledger(serve_args(data, more));
        command.envs(set.iter().copied());
        match Self::spawn(command) {
            Ok(server) => server,
            Err(ended) => panic!("the server ended with {}:\n{}", ended.status, ended.log),
        }
    }

    /// The same, with writes beyond a limit on the size of files failing instead of killing.
    pub(crate) fn start_limitable(data: &Path, more: &[&str]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.env_clear().stdin(Stdio::null());
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", super::BINARY]);
        command.args(serve_args(data, more));
        Self::spawn(command).unwrap()
    }

    /// The same, started with a umask.
    pub(crate) fn start_under_umask(umask: &str, data: &Path, more: &[&str]) -> Self {
        let mut command = super::under_umask(umask);
        command.args(serve_args(data, more));
        Self::spawn(command).unwrap()
    }

    /// The same, with at most so many open files.
    pub(crate) fn start_with_files(data: &Path, more: &[&str], files: u32) -> Self {
        let mut command = Command::new("/bin/sh");
        command.env_clear().stdin(Stdio::null());
        let limited = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited, super::BINARY]);
        command.args(serve_args(data, more));
        Self::spawn(command).unwrap()
    }

    /// Makes every write of the server beyond so many bytes of a file fail from now on.
    pub(crate) fn limit_files(&self, bytes: u64) {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    /// The same by a command that was put together elsewhere.
    pub(crate) fn start_command(command: Command) -> Result<Self, Ended> {
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self, Ended> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (log, ready) = follow(child.stderr.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let output = thread::spawn(move || std::io::read_to_string(stdout).unwrap());
        match ready.recv_timeout(START) {
            Ok(address) => Ok(Self {
                child,
                address,
                log: Some(log),
                output: Some(output),
            }),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Ended {
                status: child.wait().unwrap(),
                log: log.join().unwrap(),
                output: output.join().unwrap(),
            }),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                let status = child.wait().unwrap();
                panic!("not ready in time, {status}:\n{}", log.join().unwrap());
            }
        }
    }

    /// Starts a server whose log is read no further than the line that it is ready.
    pub(crate) fn start_unread(data: &Path, more: &[&str]) -> (Self, ChildStderr) {
        let mut command = super::keyledger(serve_args(data, more));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let output = thread::spawn(move || std::io::read_to_string(stdout).unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let mut line = Vec::new();
        let address = loop {
            let mut byte = [0];
            stderr.read_exact(&mut byte).unwrap();
            line.extend(byte);
            if byte == *b"\n" {
                let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
                if let Some((_, address)) = text.trim_end().split_once("listening on http://") {
                    break address.to_owned();
                }
            }
        };
        let server = Self {
            child,
            address,
            log: None,
            output: Some(output),
        };
        (server, stderr)
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A client with a key.
    pub(crate) fn api(&self, key: &str) -> Api {
        Api::new(&self.address, key)
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Asks it to stop, and fails unless it has by then.
    pub(crate) fn stop_within(mut self, time: Duration) -> Ended {
        self.signal(Signal::TERM);
        let (ended, end) = mpsc::channel();
        thread::spawn(move || ended.send(self.end()));
        end.recv_timeout(time).expect("the server stops in time")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Kills it without a warning, as a crash does.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn end(&mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let read = |thread: Option<JoinHandle<String>>| thread.map(|read| read.join().unwrap());
        Ended {
            status,
            log: read(self.log.take()).unwrap_or_default(),
            output: read(self.output.take()).unwrap_or_default(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or it does now.
        drop(self.child.kill());
        drop(self.child.wait());
        let Some(log) = self.log.take() else { return };
        if thread::panicking() {
            println!("the server said:\n{}", log.join().unwrap_or_default());
        }
    }
}

fn serve_args<'a>(data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let data = data.to_str().unwrap();
    let mut args = vec!["serve", "--data-dir", data, "--listen", "127.0.0.1:0"];
    args.extend(more);
    args
}

/// Reads the log to its end; the address comes as soon as it is there.
fn follow(stderr: ChildStderr) -> (JoinHandle<String>, Receiver<String>) {
    let (ready, readiness) = mpsc::channel();
    let log = thread::spawn(move || {
        let mut ready = Some(ready);
        let mut log = String::new();
        for line in BufReader::new(stderr).lines() {
            let line = line.unwrap();
            if let Some((_, url)) = line.split_once(READY)
                && let Some((_, address)) = url.split_once("://")
                && let Some(ready) = ready.take()
            {
                let end = |c: char| c.is_whitespace() || c == '"';
                let address = address.split(end).next().unwrap();
                ready.send(address.to_owned()).unwrap();
            }
            log.push_str(&line);
            log.push('\n');
        }
        log
    });
    (log, readiness)
}
