//! `keyledger serve`: opens the ledger and answers until it is told to stop.
//!
//! A stop is orderly: new work is refused, what is running may end, what is taken is written, all
//! within the time of [`stop`]. A ledger that has failed is not: nothing more may be believed of
//! it, so the process ends at once and the next start recovers.

mod addresses;
mod certificate;
mod new_ledger;
mod stop;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing_appender::non_blocking::ErrorCounter;

use super::environment::Variables;
use super::exit::{Exit, Stop};
use super::expiry::ExpiryArgs;
use super::first::FirstArgs;
use super::folder::{FolderArgs, SegmentArgs};
use super::logging::{Log, LogFormat, LogLevel};
use super::otlp::Otlp;
use super::signals::{Hangups, Signals};
use super::tree::TreeArgs;
use super::usage::UsageArgs;
use super::webhooks::WebhookArgs;
use crate::api;
use crate::api::{Listeners, RequestTracer};
use crate::config::{Network, PublicUrl, TlsFiles};
use crate::ledger::boot::{self, Folder};
use crate::ledger::{Health, Ledger};
use crate::private;
use crate::usage::UsageHistory;
use crate::web::http_settings::HttpSettings;
use crate::webhooks::Webhooks;
use crate::webhooks::address_guard::AddressGuard;
use crate::workers::Workers;
use certificate::{Certificate, Renewal};
use stop::{Background, Opening, Stopping};

const EXAMPLES: &str = "\
Examples:
  keyledger serve --data-dir /var/lib/keyledger
  keyledger serve --organization Acme --owner ada@acme.example
  keyledger serve --listen 0.0.0.0:8080 --behind-proxy --public-url https://keys.acme.example \\
    --trusted-proxies 10.0.0.0/8
  keyledger serve --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
  KEYLEDGER_BOOTSTRAP_KEY_FILE=/run/secrets/first-key keyledger serve --log-format json

On an empty folder it first does what `keyledger init` does, for the organization and the owner that
--organization and --owner-email name; on a terminal it asks for them. It prints the owner's sign-in
link and the first key, once; with --bootstrap-key-file the key is written there instead. Without
any of these and without a terminal it refuses. A ledger that is there is served as it is.

SIGTERM or ctrl-c: it takes nothing new, finishes what it has, and exits with 0 within 8 seconds; a
second one makes it stop waiting. SIGHUP: it reads the certificate again; a renewed one is taken up
within seconds without it. `listening on http://ADDR` on stderr says that it is ready.";

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
    #[arg(value_parser = addresses::listen_address)]
    #[arg(env = "KEYLEDGER_LISTEN", hide_env_values = true)]
    listen: SocketAddr,

    /// What clients call this server [default: the address it listens on]
    #[arg(long, value_name = "URL")]
    #[arg(env = "KEYLEDGER_PUBLIC_URL", hide_env_values = true)]
    public_url: Option<PublicUrl>,

    /// Networks of the proxies that may say which client a request comes from
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    #[arg(value_parser = addresses::network)]
    #[arg(env = "KEYLEDGER_TRUSTED_PROXIES", hide_env_values = true)]
    trusted_proxies: Vec<IpNet>,

    /// Where to answer metrics and probes apart, to whoever can reach it, without TLS
    #[arg(long, value_name = "ADDR")]
    #[arg(value_parser = addresses::listen_address)]
    #[arg(env = "KEYLEDGER_METRICS_LISTEN", hide_env_values = true)]
    metrics_listen: Option<SocketAddr>,

    /// Networks of the gateways that may ask for forward-auth without a credential of their own:
    /// this machine's unless set, and none behind a proxy, whose requests are those of others
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.0/8,::1/128")]
    #[arg(default_value_if("behind_proxy", "true", None))]
    #[arg(value_parser = addresses::network)]
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
    first: FirstArgs,

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
    pub(super) fn run(self, variables: &Variables, unknown: Option<&str>) -> ExitCode {
        let log = match Log::start(self.log_format, self.log_level) {
            Ok(log) => log,
            Err(why) => {
                super::complain(&why, variables);
                return Exit::Failed.into();
            }
        };
        if let Some(unknown) = unknown {
            tracing::warn!("{unknown}");
        }
        let exit = match self.serve(&log) {
            Ok(()) => {
                tracing::info!("stopped");
                ExitCode::SUCCESS
            }
            Err(Stop { exit, why }) => {
                log.complain(&variables.named_in(&format!("{why:#}")));
                exit.into()
            }
        };
        log.flush();
        exit
    }

    fn serve(self, log: &Log) -> Result<(), Stop> {
        let network = self.network();
        network.check().map_err(Stop::refused)?;
        let runtime = runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        // Before anything takes long: a container's first process is stopped only by signals that
        // it handles.
        let mut opening = Opening::begin(&runtime)?;
        let otlp = self.otlp_endpoint.as_ref().map(Otlp::start).transpose()?;
        raise_open_files();
        // A certificate that cannot be read is refused before anything is made or opened.
        let certificate = network.tls.as_ref().map(Certificate::read).transpose()?;
        let roots = self.webhooks.roots()?;
        let Some((ledger, ports)) = self.open(&network, &mut opening)? else {
            tracing::info!("stopping before it was ready");
            return Ok(());
        };
        let (args, of, folder) = (self.usage, ledger.clone(), self.folder.folder());
        let Some(usage) = opening.unless_stopped(move || args.open(&of, &folder))? else {
            ledger.stop();
            return Ok(());
        };
        let usage = usage?;
        let workers = Workers::start(ledger.clone(), self.expiry.leads(), usage.clone());
        let workers = workers.context("cannot start the workers' thread")?;
        let serving = Serving {
            ledger: &ledger,
            network: &network,
            usage: usage.clone(),
            webhooks: (&self.webhooks, self.folder.folder(), roots),
            tree: self.tree.clone(),
            tracer: otlp.as_ref().map(Otlp::tracer),
            dropped_lines: log.dropped_lines(),
        };
        let bound = Bound {
            main: ports.main,
            certificate,
            metrics: ports.metrics,
        };
        let background = Background {
            workers,
            usage,
            otlp,
        };
        let waiting = opening.into_signals();
        let served = runtime.block_on(serve(serving, bound, (waiting, log)));
        let outcome = background.stop(&runtime, ledger, served);
        // What still runs is cut off: it was given its time, or must not go on.
        runtime.shutdown_background();
        outcome
    }

    fn network(&self) -> Network {
        Network {
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
        }
    }

    /// Opens the ledger, or makes it; `None` if a signal to stop comes first. The links of a new
    /// one lead to where it is going to listen, so that is bound before. A port that is in use
    /// neither makes a ledger nor makes a stopped one look as if it had crashed.
    fn open(
        &self,
        network: &Network,
        opening: &mut Opening<'_>,
    ) -> Result<Option<(Ledger, Ports)>, Stop> {
        let mut settings = self.folder.settings(self.segments)?;
        settings.accept_clock = self.accept_clock;
        let folder = &settings.folder;
        let vacant = folder
            .is_vacant()
            .map(|vacant| vacant || folder.is_unfinished());
        let vacant = vacant.map_err(|why| private::explained(folder.path(), why));
        if vacant.with_context(|| format!("cannot read {}", folder.path().display()))? {
            let ports = self.bind(network)?;
            let bound = ports.main.local_addr().context("cannot tell the address")?;
            let ledger = self.make(settings, &network.public_url(bound), opening)?;
            return Ok(ledger.map(|ledger| (ledger, ports)));
        }
        let Some(opened) = opening.unless_stopped(move || boot::open(settings))? else {
            return Ok(None);
        };
        let ledger = opened?;
        match self.bind(network) {
            Ok(ports) => Ok(Some((ledger, ports))),
            Err(why) => {
                ledger.stop();
                Err(why)
            }
        }
    }

    fn bind(&self, network: &Network) -> Result<Ports, Stop> {
        Ok(Ports {
            main: bind(network.listen)?,
            metrics: self.metrics_listen.map(bind).transpose()?,
        })
    }
}

/// Where the service listens, before anything is answered there.
struct Ports {
    main: StdListener,
    metrics: Option<StdListener>,
}

/// Every connection is an open file, and what a process may open by default is little.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(api::OPEN_FILES_MAX).unwrap_or(u64::MAX);
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
    usage: Option<UsageHistory>,
    /// How webhooks are delivered, where what has been delivered is kept, and whom they trust.
    webhooks: (&'a WebhookArgs, Folder, Vec<Vec<u8>>),
    tree: TreeArgs,
    /// What makes a span of each request, if they are exported.
    tracer: Option<RequestTracer>,
    /// Counts lines of the log that were dropped.
    dropped_lines: ErrorCounter,
}

/// Where it is served.
struct Bound {
    main: StdListener,
    certificate: Option<Certificate>,
    metrics: Option<StdListener>,
}

/// Answers until a signal, the server's own end, or a failure of the ledger.
async fn serve(
    serving: Serving<'_>,
    bound_to: Bound,
    ((mut signals, hangups), log): ((Signals, Hangups), &Log),
) -> Result<Stopping, Stop> {
    let Serving {
        ledger,
        network,
        usage,
        webhooks: (webhooks, folder, roots),
        tree,
        tracer,
        dropped_lines,
    } = serving;
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
    let started = deliver(
        (webhooks, folder, roots),
        ledger,
        guard.clone(),
        &mut signals,
    );
    let Some(webhooks) = started.await? else {
        return Ok(Stopping::begin());
    };
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
        tracer,
        dropped_lines: Some(dropped_lines),
    };
    let asked = async move {
        // A sender that is gone asks for the end too.
        drop(stopping.wait_for(|stop| *stop).await);
    };
    let listeners = Listeners {
        main: listener,
        tls: bound_to.certificate.as_ref().map(Certificate::tls),
        metrics,
    };
    let server = api::serve(listeners, ledger.clone(), settings, asked);
    tokio::pin!(server);
    let renewal = bound_to.certificate;
    let renewal = renewal.map(|read| Renewal::new(read, ledger.degraded().clone()));
    let renewing = tokio::spawn(certificate::follow(hangups, renewal));
    let address = PublicUrl::of(bound, network.tls.is_some());
    log.announce(&format!("listening on {address}"));
    let url = network.public_url(bound);
    tracing::info!(%url, "clients know this server by its public URL");
    let beside = (ledger, &webhooks);
    let stopped = until_stopped(server, beside, stop, &mut signals).await;
    renewing.abort();
    stopped
}

/// Waits for a signal, and then for requests and deliveries to end.
async fn until_stopped(
    mut server: Pin<&mut impl Future<Output = io::Result<()>>>,
    (ledger, webhooks): (&Ledger, &Webhooks),
    stop: watch::Sender<bool>,
    signals: &mut Signals,
) -> Result<Stopping, Stop> {
    let stopping = tokio::select! {
        ended = &mut server => {
            ended.context("the server has ended")?;
            return Ok(Stopping::begin());
        }
        why = failure(ledger) => return Err(Stop::poisoned(&why)),
        () = signals.next() => Stopping::begin(),
    };
    tracing::info!("stopping");
    stop.send_replace(true);
    let ended = async {
        // Deliveries end while requests do.
        let (served, ()) = tokio::join!(&mut server, webhooks.stop());
        served
    };
    tokio::select! {
        ended = ended => ended.context("the server has ended")?,
        why = failure(ledger) => return Err(Stop::poisoned(&why)),
        () = signals.next() => tracing::warn!("stopping without waiting for running requests"),
        () = stopping.requests_are_cut_off() => {
            tracing::warn!("requests or deliveries still run and are cut off");
        }
    }
    Ok(stopping)
}

/// Starts to deliver webhooks; `None` if a signal to stop comes first, since a store that was not
/// closed is repaired before.
async fn deliver(
    (args, folder, roots): (&WebhookArgs, Folder, Vec<Vec<u8>>),
    ledger: &Ledger,
    guard: AddressGuard,
    signals: &mut Signals,
) -> Result<Option<Webhooks>, Stop> {
    let (args, ledger) = (args.clone(), ledger.clone());
    let starting = spawn_blocking(move || args.start((&ledger, &folder), guard, roots));
    tokio::select! {
        started = starting => Ok(Some(started.context("starting the webhooks panicked")??)),
        () = signals.next() => Ok(None),
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
