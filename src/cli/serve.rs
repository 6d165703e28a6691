//! `keyledger serve`: opens the ledger and answers until it is told to stop.
//!
//! A stop is orderly: new work is refused, what is running may end, what is taken is written. A
//! ledger that has failed is not: nothing more may be believed of it, so the process ends at once
//! and the next start recovers.

use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::bootstrap::{self, First};
use super::exit::Stop;
use super::expiry::ExpiryArgs;
use super::files::{self, NewFile};
use super::folder::{FolderArgs, SegmentArgs};
use super::logging::{self, LogFormat, LogLevel};
use super::otlp::Otlp;
use super::output;
use super::signals::Signals;
use super::tree::TreeArgs;
use super::usage::UsageArgs;
use super::webhooks::WebhookArgs;
use crate::config::{Network, PublicUrl, TlsFiles};
use crate::http::{self, HttpSettings, Listeners, Tls};
use crate::ledger::boot::{self, Folder, Settings};
use crate::ledger::telling::CheckpointTelling;
use crate::ledger::{Health, Ledger};
use crate::usage::Usage;
use crate::usage::notes::Notes;

/// How long running requests may go on after a stop was asked for. Whoever starts servers usually
/// kills them 30 seconds after asking; this leaves time to flush.
const DRAIN: Duration = Duration::from_secs(20);

/// How long the ledger may take to write what it has taken: seconds of a slow disk.
const FLUSH: Duration = Duration::from_secs(8);

const EXAMPLES: &str = "\
Examples:
  keyledger serve --data-dir /var/lib/keyledger
  keyledger serve --listen 0.0.0.0:8080 --behind-proxy --public-url https://keys.acme.example \\
    --trusted-proxies 10.0.0.0/8
  keyledger serve --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
  KEYLEDGER_BOOTSTRAP_KEY_FILE=/run/secrets/first-key keyledger serve --log-format json

On an empty folder it first does what `keyledger init` does: on a terminal it prints the key, once;
otherwise it writes it to the file of --bootstrap-key-file or refuses.

SIGTERM or ctrl-c: it takes nothing new, finishes what it has, and exits with 0; a second one makes
it stop waiting. `listening on http://ADDR` on stderr says that it is ready.";

/// Serve the ledger over HTTP
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    folder: FolderArgs,

    #[command(flatten)]
    segments: SegmentArgs,

    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    #[arg(env = "KEYLEDGER_LISTEN", hide_env_values = true)]
    listen: SocketAddr,

    /// What clients call this server [default: the address it listens on]
    #[arg(long, value_name = "URL")]
    #[arg(env = "KEYLEDGER_PUBLIC_URL", hide_env_values = true)]
    public_url: Option<PublicUrl>,

    /// Networks of the proxies that may say which client a request comes from
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    #[arg(env = "KEYLEDGER_TRUSTED_PROXIES", hide_env_values = true)]
    trusted_proxies: Vec<IpNet>,

    /// Where to answer metrics and probes apart, to whoever can reach it, without TLS
    #[arg(long, value_name = "ADDR")]
    #[arg(env = "KEYLEDGER_METRICS_LISTEN", hide_env_values = true)]
    metrics_listen: Option<SocketAddr>,

    /// Networks of the gateways that may ask for forward-auth without a credential of their own:
    /// this machine's unless set, and none behind a proxy, whose requests are those of others
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.0/8,::1/128")]
    #[arg(default_value_if("behind_proxy", "true", None))]
    #[arg(env = "KEYLEDGER_TRUSTED_GATEWAYS", hide_env_values = true)]
    trusted_gateways: Vec<IpNet>,

    /// A certificate, PEM, with those that vouch for it: TLS without a proxy
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        conflicts_with = "behind_proxy"
    )]
    #[arg(env = "KEYLEDGER_TLS_CERT", hide_env_values = true)]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    #[arg(env = "KEYLEDGER_TLS_KEY", hide_env_values = true)]
    tls_key: Option<PathBuf>,

    /// A proxy in front speaks TLS; needed to listen on anything but a loopback address
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_BEHIND_PROXY", hide_env_values = true)]
    behind_proxy: bool,

    /// The clock is right, although it says that the last event is more than 400 days old
    #[arg(long, value_parser = BoolishValueParser::new())]
    #[arg(env = "KEYLEDGER_ACCEPT_CLOCK", hide_env_values = true)]
    accept_clock: bool,

    /// Where the first key of a new ledger is written, outside the data folder; there must be none
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_BOOTSTRAP_KEY_FILE", hide_env_values = true)]
    bootstrap_key_file: Option<PathBuf>,

    #[command(flatten)]
    usage: UsageArgs,

    #[command(flatten)]
    expiry: ExpiryArgs,

    #[command(flatten)]
    webhooks: WebhookArgs,

    #[command(flatten)]
    tree: TreeArgs,

    /// Where spans of requests are exported, by OTLP over HTTP; without it they are not
    #[arg(long, value_name = "URL")]
    #[arg(env = "KEYLEDGER_OTLP_ENDPOINT", hide_env_values = true)]
    otlp_endpoint: Option<reqwest::Url>,

    /// The form of log lines on stderr
    #[arg(long, value_enum, value_name = "FORM", default_value = "human")]
    #[arg(env = "KEYLEDGER_LOG_FORMAT", hide_env_values = true)]
    log_format: LogFormat,

    /// How much the log says
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    #[arg(env = "KEYLEDGER_LOG_LEVEL", hide_env_values = true)]
    log_level: LogLevel,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Stop> {
        let network = Network {
            listen: self.listen,
            public_url: self.public_url.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            trusted_gateways: self.trusted_gateways.clone(),
            behind_proxy: self.behind_proxy,
            tls: match (&self.tls_cert, &self.tls_key) {
                (Some(cert), Some(key)) => Some(TlsFiles {
                    cert: cert.clone(),
                    key: key.clone(),
                }),
                (_, _) => None,
            },
        };
        network.check().map_err(Stop::refused)?;
        let otlp = self.otlp_endpoint.as_ref().map(Otlp::start).transpose()?;
        let tracer = otlp.as_ref().map(Otlp::tracer);
        let log = (self.log_format, self.log_level);
        logging::start(log, tracer).context("cannot start the log")?;
        raise_open_files();
        // A certificate that cannot be read is refused before anything is made or opened.
        let tls = network.tls.as_ref().map(tls).transpose()?;
        let roots = self.webhooks.roots()?;
        let (ledger, listener) = self.open(&network)?;
        let runtime = runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let usage = self.usage.open(&ledger, &self.folder.folder())?;
        let notes = usage
            .clone()
            .map(|usage| Notes::start(ledger.clone(), usage));
        let notes = notes.transpose().context("cannot start the usage notes")?;
        let expiry = self.expiry.start(&ledger)?;
        let telling = CheckpointTelling::start(ledger.clone());
        let telling = telling.context("cannot start the telling of checkpoints")?;
        let serving = Serving {
            ledger: &ledger,
            network: &network,
            usage: usage.clone(),
            webhooks: (&self.webhooks, self.folder.folder(), roots),
            tree: self.tree.clone(),
        };
        let metrics = self.metrics_listen.map(bind).transpose()?;
        let bound = Bound {
            main: listener,
            tls,
            metrics,
        };
        let outcome = runtime.block_on(serve(serving, bound, self.log_format));
        expiry.stop();
        telling.stop();
        if let (Some(notes), Some(usage)) = (notes, usage) {
            notes.stop();
            usage.stop();
        }
        let outcome = match outcome {
            Ok(()) => flush(&runtime, &ledger),
            Err(stop) => Err(stop),
        };
        if let Some(otlp) = otlp {
            otlp.stop();
        }
        // What still runs is cut off: it was given its time, or must not go on.
        runtime.shutdown_background();
        outcome
    }

    /// Opens the ledger, or makes it. The links of a new one lead to where it is going to listen,
    /// so that is bound before.
    fn open(&self, network: &Network) -> Result<(Ledger, StdListener), Stop> {
        let mut settings = self.folder.settings(self.segments)?;
        settings.accept_clock = self.accept_clock;
        let folder = &settings.folder;
        let vacant = folder.is_vacant();
        if vacant.with_context(|| format!("cannot read {}", folder.path().display()))? {
            let listener = bind(network.listen)?;
            let bound = listener.local_addr().context("cannot tell the address")?;
            let ledger = self.create(settings, &network.public_url(bound))?;
            Ok((ledger, listener))
        } else {
            let ledger = boot::open(settings)?;
            match bind(network.listen) {
                Ok(listener) => Ok((ledger, listener)),
                Err(why) => {
                    ledger.stop();
                    Err(why)
                }
            }
        }
    }

    /// Makes the ledger, provided that there is somebody or something to take its key.
    fn create(&self, settings: Settings, public_url: &PublicUrl) -> Result<Ledger, Stop> {
        let Some(path) = &self.bootstrap_key_file else {
            if !io::stdout().is_terminal() {
                let folder = settings.folder.path().display();
                return Err(Stop::refused(format!(
                    "there is no ledger in {folder} and nobody to show its first key to: run \
                     `keyledger init`, or name a file for it with --bootstrap-key-file"
                )));
            }
            let (ledger, issued) = bootstrap::create(settings, First::default(), public_url)?;
            return match output::print(&issued.text()) {
                Ok(()) => Ok(ledger),
                Err(why) => Err(lost(&ledger, why)),
            };
        };
        if files::is_inside(path, settings.folder.path())? {
            return Err(Stop::refused(format!(
                "{} lies in the data folder, which never holds a key in the clear",
                path.display()
            )));
        }
        let mut file = NewFile::create(path)?;
        let (ledger, issued) = bootstrap::create(settings, First::default(), public_url)?;
        let written = writeln!(file, "{}", issued.token.reveal());
        match written
            .map_err(anyhow::Error::from)
            .and_then(|()| file.finish())
        {
            Ok(()) => Ok(ledger),
            Err(why) => Err(lost(&ledger, why)),
        }
    }
}

/// Nobody has the first key: the ledger is there, and `recover` makes another.
fn lost(ledger: &Ledger, why: anyhow::Error) -> Stop {
    ledger.stop();
    why.context("the ledger is made and its key is lost; run `keyledger recover`")
        .into()
}

/// Every connection is an open file, and what a process may open by default is little.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(http::OPEN_FILES_MAX).unwrap_or(u64::MAX);
    let wanted = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(why) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%why, "the limit on open files cannot be raised");
        }
    }
}

fn tls(files: &TlsFiles) -> Result<Tls, Stop> {
    let read = |path: &PathBuf| {
        let text = std::fs::read(path);
        text.map_err(|why| Stop::refused(format!("cannot read {}: {why}", path.display())))
    };
    let (cert, key) = (read(&files.cert)?, Zeroizing::new(read(&files.key)?));
    Tls::from_pem(&cert, &key).map_err(|why| {
        let (cert, key) = (files.cert.display(), files.key.display());
        Stop::refused(format!(
            "{cert} and {key} are no certificate and key: {why}"
        ))
    })
}

fn bind(listen: SocketAddr) -> Result<StdListener, Stop> {
    let listener = StdListener::bind(listen);
    let listener = listener.with_context(|| format!("cannot listen on {listen}"))?;
    let set = listener.set_nonblocking(true);
    set.context("cannot wait for connections")?;
    Ok(listener)
}

/// What is served, and to whom.
struct Serving<'a> {
    ledger: &'a Ledger,
    network: &'a Network,
    usage: Option<Usage>,
    /// How webhooks are delivered, where what has been delivered is kept, and whom they trust.
    webhooks: (&'a WebhookArgs, Folder, Vec<Vec<u8>>),
    tree: TreeArgs,
}

/// Where it is served.
struct Bound {
    main: StdListener,
    tls: Option<Tls>,
    metrics: Option<StdListener>,
}

/// Answers until a signal, the server's own end, or a failure of the ledger.
async fn serve(serving: Serving<'_>, bound_to: Bound, format: LogFormat) -> Result<(), Stop> {
    let Serving {
        ledger,
        network,
        usage,
        webhooks: (webhooks, folder, roots),
        tree,
    } = serving;
    let mut signals = Signals::listen().context("cannot wait for signals")?;
    let waiting = |listener| TcpListener::from_std(listener).context("cannot wait for connections");
    let metrics = bound_to.metrics.map(waiting).transpose()?;
    let listener = waiting(bound_to.main)?;
    if let Some(metrics) = &metrics {
        let address = metrics.local_addr().context("cannot tell the address")?;
        tracing::info!(%address, "metrics and probes are answered apart");
    }
    let bound = listener.local_addr().context("cannot tell the address")?;
    let apart = metrics.as_ref().map(TcpListener::local_addr).transpose();
    let apart = apart.context("cannot tell the address")?;
    let guard = webhooks.guard([Some(bound), apart].into_iter().flatten().collect());
    let webhooks = webhooks.start((ledger, &folder), guard.clone(), roots)?;
    let (stop, mut stopping) = watch::channel(false);
    let settings = HttpSettings {
        trusted: network.trusted_proxies.clone(),
        trusted_gateways: network.trusted_gateways.clone(),
        public_url: network.public_url(bound),
        usage,
        behind_proxy: network.behind_proxy,
        webhook_guard: guard,
        webhooks: Some(webhooks.clone()),
        ledger_prefix: tree.ledger_prefix,
        ledger_closed: !tree.ledger_public,
    };
    let asked = async move {
        // A sender that is gone asks for the end too.
        drop(stopping.wait_for(|stop| *stop).await);
    };
    let listeners = Listeners {
        main: listener,
        tls: bound_to.tls,
        metrics,
    };
    let server = http::serve(listeners, ledger.clone(), settings, asked);
    tokio::pin!(server);
    announce(&PublicUrl::of(bound, network.tls.is_some()), format);
    let url = network.public_url(bound);
    tracing::info!(%url, "clients know this server by its public URL");

    tokio::select! {
        ended = &mut server => return ended.context("the server has ended").map_err(Stop::from),
        why = failure(ledger) => return Err(Stop::poisoned(&why)),
        () = signals.next() => tracing::info!("stopping"),
    }
    stop.send_replace(true);
    let ended = async {
        // Deliveries end while requests do.
        let (served, ()) = tokio::join!(&mut server, webhooks.stop());
        served
    };
    tokio::select! {
        ended = ended => ended.context("the server has ended").map_err(Stop::from),
        why = failure(ledger) => Err(Stop::poisoned(&why)),
        () = signals.next() => {
            tracing::warn!("stopping without waiting for running requests");
            Ok(())
        }
        () = tokio::time::sleep(DRAIN) => {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests still run and are cut off");
            Ok(())
        }
    }
}

/// Tells people, tests and process managers that it is ready.
fn announce(address: &PublicUrl, format: LogFormat) {
    match format {
        LogFormat::Human => output::say(&format!("listening on {address}")),
        LogFormat::Json => tracing::info!("listening on {address}"),
    }
}

/// Comes when the ledger has failed.
async fn failure(ledger: &Ledger) -> String {
    let mut health = ledger.health();
    loop {
        match &*health.borrow_and_update() {
            Health::Failed(why) => return why.clone(),
            Health::Good => {}
        }
        if health.changed().await.is_err() {
            return "its writer has gone".to_owned();
        }
    }
}

/// Writes what the ledger has taken.
fn flush(runtime: &Runtime, ledger: &Ledger) -> Result<(), Stop> {
    let stopping = ledger.clone();
    let stopped = runtime.spawn_blocking(move || stopping.stop());
    let outcome = runtime.block_on(async { tokio::time::timeout(FLUSH, stopped).await });
    match &*ledger.health().borrow() {
        Health::Failed(why) => return Err(Stop::poisoned(why)),
        Health::Good => {}
    }
    match outcome {
        Ok(joined) => joined
            .context("the ledger did not stop in order")
            .map_err(Stop::from),
        Err(_elapsed) => Err(anyhow::anyhow!(
            "the ledger did not stop within {} seconds; the next start recovers",
            FLUSH.as_secs()
        )
        .into()),
    }
}
