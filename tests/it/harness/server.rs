//! A running server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Api;

/// How long a start may take on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// What stands before the address in the line that says that the server is ready.
const READY: &str = "listening on http://";

/// A server, which ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: String,
    log: Option<JoinHandle<String>>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its status.
    pub(crate) status: ExitStatus,
    /// All that it said.
    pub(crate) log: String,
}

impl Server {
    /// Starts a server on a free port and waits until it is ready.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        match Self::try_start(data, more) {
            Ok(server) => server,
            Err(ended) => panic!("the server ended with {}:\n{}", ended.status, ended.log),
        }
    }

    /// The same, for a start that may be refused.
    pub(crate) fn try_start(data: &Path, more: &[&str]) -> Result<Self, Ended> {
        let data = data.to_str().unwrap();
        let mut args = vec!["serve", "--data-dir", data, "--listen", "127.0.0.1:0"];
        args.extend(more);
        let mut command = super::keyledger(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (log, ready) = follow(child.stderr.take().unwrap());
        match ready.recv_timeout(START) {
            Ok(address) => Ok(Self {
                child,
                address,
                log: Some(log),
            }),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Ended {
                status: child.wait().unwrap(),
                log: log.join().unwrap(),
            }),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                let status = child.wait().unwrap();
                panic!("not ready in time, {status}:\n{}", log.join().unwrap());
            }
        }
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

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it without a warning, as a crash does.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn end(&mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let log = self.log.take().map(|log| log.join().unwrap());
        Ended {
            status,
            log: log.unwrap_or_default(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.log.is_some() {
            // It has ended already, or it does now.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Reads the log to its end; the address comes as soon as it is there.
fn follow(stderr: ChildStderr) -> (JoinHandle<String>, Receiver<String>) {
    let (ready, readiness) = mpsc::channel();
    let log = thread::spawn(move || {
        let mut ready = Some(ready);
        let mut log = String::new();
        for line in BufReader::new(stderr).lines() {
            let line = line.unwrap();
            if let Some((_, address)) = line.split_once(READY)
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
