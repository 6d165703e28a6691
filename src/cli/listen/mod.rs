//! `keyledger webhooks listen`: brings an organization's events to a receiver on the developer's
//! own machine, as webhooks would.
//!
//! Follows the stream of events of a server, signs each body and posts it where it is told to. A
//! break is waited out and the stream resumed where it stopped; an event whose receiver does not
//! take it is told of and passed over: this is for trying out, endpoints are for relying on. The
//! token is in no flag and in nothing that is said.

mod forward;
mod source;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use reqwest::Url;
use serde::Serialize;
use tokio::runtime;
use zeroize::Zeroizing;

use super::exit::Stop;
use super::files::read_secret;
use super::output::{print, say};
use super::signals::Signals;
use crate::clock::Entropy;
use crate::config;
use crate::domain::webhook_signature::SigningKey;
use forward::Receiver;
use source::{Ended, Source, Told};

/// The first pause after a break, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  KEYLEDGER_TOKEN=rfk_... keyledger webhooks listen --url https://keys.acme.example \\
    --forward http://127.0.0.1:3000/hooks --types 'api_key.*'
  keyledger webhooks listen --token-file token --secret-file secret --after 1204 \\
    --forward http://127.0.0.1:3000/hooks --json

The token is that of a credential with webhooks:write; types other than api_key.*,
service_account.* and job.* need ledger:read too. It stands in KEYLEDGER_TOKEN or in the file of
--token-file, never in a flag. Without --secret-file a signing secret is made for this run and
printed first. Ctrl-c ends it with 0, a token that is not accepted with 1.";

/// Work on webhooks
#[derive(Args, Debug)]
pub(super) struct Webhooks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Listen(Box<Listen>),
}

/// Forward events to a receiver on this machine as they happen, signed as webhooks are
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
struct Listen {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    #[arg(env = "KEYLEDGER_URL", hide_env_values = true)]
    url: Url,

    /// Where each event is posted
    #[arg(long, value_name = "URL")]
    #[arg(env = "KEYLEDGER_FORWARD", hide_env_values = true)]
    forward: Url,

    /// Types of events or whole families [default: all that the token may see]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    #[arg(env = "KEYLEDGER_TYPES", hide_env_values = true)]
    types: Vec<String>,

    /// Begin after this position instead of with what happens next
    #[arg(long, value_name = "POSITION")]
    #[arg(env = "KEYLEDGER_AFTER", hide_env_values = true)]
    after: Option<u64>,

    /// The file of the token, instead of the environment
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,

    /// The file of the secret to sign with, `whsec_...` [default: a new one, which is printed]
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_SECRET_FILE", hide_env_values = true)]
    secret_file: Option<PathBuf>,

    /// Certificates to trust beside the system's, PEM
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_CA", hide_env_values = true)]
    ca: Option<PathBuf>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Webhooks {
    pub(super) fn run(self) -> Result<(), Stop> {
        match self.command {
            Command::Listen(listen) => listen.run(),
        }
    }
}

/// What is printed of one event.
#[derive(Serialize)]
struct Line<'a> {
    position: u64,
    #[serde(rename = "type")]
    name: &'a str,
    id: String,
    /// What the receiver answered.
    status: Option<u16>,
    /// Why it has not taken the event; null if it has.
    failure: Option<&'static str>,
    duration_ms: u64,
}

/// What is printed first where a secret was made.
#[derive(Serialize)]
struct Made<'a> {
    secret: &'a str,
}

impl Listen {
    fn run(self) -> Result<(), Stop> {
        let token = self.token()?;
        let roots = self.roots()?;
        let (key, made) = self.key()?;
        let source = Source::new(&self.url, &token, &self.types, &roots)?;
        let receiver = Receiver::new(&self.forward, key, roots)?;
        if let Some(secret) = made {
            print(&self.first_line(&secret)?)?;
        }
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start")?;
        let mut listening = Listening {
            source,
            receiver,
            after: self.after,
            json: self.json,
        };
        runtime.block_on(async {
            let mut signals = Signals::listen().context("cannot wait for signals")?;
            tokio::select! {
                Err(stop) = listening.listen() => Err(stop),
                () = signals.next() => Ok(()),
            }
        })
    }

    /// The token, from its file or from the environment.
    fn token(&self) -> Result<Zeroizing<String>, Stop> {
        match &self.token_file {
            Some(file) => read_secret(file),
            None => config::token().ok_or_else(|| {
                let variable = config::TOKEN_VARIABLE;
                Stop::refused(format!(
                    "there is no token: set {variable} or give --token-file"
                ))
            }),
        }
    }

    fn roots(&self) -> Result<Vec<Vec<u8>>, Stop> {
        let read = |path: &PathBuf| {
            let text = std::fs::read(path);
            text.map_err(|why| Stop::refused(format!("cannot read {}: {why}", path.display())))
        };
        self.ca.iter().map(read).collect()
    }

    /// What bodies are signed with, and its text if it is new.
    fn key(&self) -> Result<(SigningKey, Option<Zeroizing<String>>), Stop> {
        let Some(file) = &self.secret_file else {
            let key = SigningKey::v1(&Zeroizing::new(Entropy::system().random_bytes()));
            let text = key.secret_text();
            return Ok((key, Some(text)));
        };
        let key = SigningKey::parse(&read_secret(file)?);
        let key = key.map_err(|why| Stop::refused(format!("{}: {why}", file.display())))?;
        Ok((key, None))
    }

    fn first_line(&self, secret: &str) -> anyhow::Result<Zeroizing<String>> {
        let text = if self.json {
            serde_json::to_string(&Made { secret })?
        } else {
            format!("Signing secret  {secret}\n")
        };
        Ok(Zeroizing::new(text))
    }
}

/// What listens, and how far it has come.
struct Listening {
    source: Source,
    receiver: Receiver,
    after: Option<u64>,
    json: bool,
}

impl Listening {
    /// Listens until it is refused, or until its lines are no longer taken.
    async fn listen(&mut self) -> Result<Infallible, Stop> {
        let mut dice = Entropy::system();
        let mut pause = PAUSE_MIN;
        loop {
            let began = self.after;
            let why = match self.follow().await {
                Ended::Stop(stop) => return Err(stop),
                Ended::Broken(why) => why,
            };
            if self.after != began {
                pause = PAUSE_MIN;
            }
            say(&format!("{why}; trying again"));
            // Many clients of one server do not come back all at once.
            let [part] = dice.random_bytes();
            tokio::time::sleep(pause / 2 + pause * u32::from(part) / 512).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// Follows one stream to its end.
    async fn follow(&mut self) -> Ended {
        let mut stream = match self.source.open(self.after).await {
            Ok(stream) => stream,
            Err(ended) => return ended,
        };
        match self.after {
            Some(after) => say(&format!("listening after position {after}")),
            None => say("listening from now on"),
        }
        loop {
            let told = match stream.next().await {
                Ok(told) => told,
                Err(ended) => return ended,
            };
            let position = match told {
                Told::Reached(position) => position,
                Told::Event(event) => {
                    let attempt = self.receiver.take(&event).await;
                    let line = Line {
                        position: event.position,
                        name: &event.name,
                        id: event.id.to_string(),
                        status: attempt.status,
                        failure: attempt.failure.map(|failure| failure.name()),
                        duration_ms: attempt.duration_ms,
                    };
                    if let Err(why) = self.tell(&line) {
                        return Ended::Stop(why.into());
                    }
                    event.position
                }
            };
            self.after = Some(position);
        }
    }

    fn tell(&self, line: &Line<'_>) -> anyhow::Result<()> {
        if self.json {
            let text = serde_json::to_string(line).map_err(|why| anyhow!(why))?;
            return print(&text);
        }
        let status = line.status.map(|status| status.to_string());
        let said = match (status.as_deref(), line.failure) {
            (Some(status), None) => status.to_owned(),
            (Some(status), Some(failure)) => format!("{status} ({failure})"),
            (None, failure) => failure.unwrap_or("-").to_owned(),
        };
        let (position, name, took) = (line.position, line.name, line.duration_ms);
        print(&format!("{position:>8}  {name:<32}  {said} in {took} ms"))
    }
}
