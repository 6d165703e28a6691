//! Webhooks on the command line: where deliveries may go, and how long attempts are kept.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Handle;
use url::Url;

use super::exit::Stop;
use crate::clock::Entropy;
use crate::domain::time::DAY_MS;
use crate::ledger::Ledger;
use crate::ledger::boot::Folder;
use crate::webhooks::address_guard::{AddressGuard, AllowedNetwork};
use crate::webhooks::http_sender::{self, ATTEMPT_TIMEOUT_MS};
use crate::webhooks::resolver::NameLookup;
use crate::webhooks::{WebhookSettings, Webhooks};

/// How webhooks are delivered.
#[derive(Args, Clone, Debug)]
pub(super) struct WebhookArgs {
    /// Networks inside that webhooks may be delivered to, of one organization or of all; http is
    /// allowed there, and answers from there are not kept
    #[arg(long, value_name = "[ORGANIZATION=]CIDR", value_delimiter = ',')]
    #[arg(env = "KEYLEDGER_WEBHOOK_ALLOW_NET", hide_env_values = true)]
    webhook_allow_net: Vec<AllowedNetwork>,

    /// An HTTP proxy that all webhooks are delivered through
    #[arg(long, value_name = "URL")]
    #[arg(env = "KEYLEDGER_WEBHOOK_PROXY", hide_env_values = true)]
    webhook_proxy: Option<Url>,

    /// Certificates to trust beside the system's when delivering webhooks, PEM
    #[arg(long, value_name = "FILE")]
    #[arg(env = "KEYLEDGER_WEBHOOK_CA", hide_env_values = true)]
    webhook_ca: Option<PathBuf>,

    /// Days for which attempts to deliver webhooks are kept
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
    #[arg(env = "KEYLEDGER_WEBHOOK_DAYS", hide_env_values = true)]
    webhook_days: u32,
}

impl WebhookArgs {
    /// Where deliveries may go; never to what we listen on ourselves.
    pub(super) fn guard(&self, own: Vec<SocketAddr>) -> AddressGuard {
        AddressGuard::new(self.webhook_allow_net.clone(), own)
    }

    /// Reads what has to be read before anything is opened.
    pub(super) fn roots(&self) -> Result<Vec<Vec<u8>>, Stop> {
        let read = |path: &PathBuf| {
            let text = std::fs::read(path);
            text.map_err(|why| Stop::refused(format!("cannot read {}: {why}", path.display())))
        };
        self.webhook_ca.iter().map(read).collect()
    }

    /// Starts delivering.
    pub(super) fn start(
        &self,
        (ledger, folder): (&Ledger, &Folder),
        guard: AddressGuard,
        roots_pem: Vec<Vec<u8>>,
    ) -> Result<Webhooks, Stop> {
        let settings = WebhookSettings {
            sender: http_sender::SenderSettings {
                guard,
                proxy: self.webhook_proxy.clone(),
                lookup: NameLookup::System,
                roots_pem,
                timeout_ms: ATTEMPT_TIMEOUT_MS,
                clock: ledger.clock().clone(),
            },
            attempt_retention_ms: i64::from(self.webhook_days) * DAY_MS,
            entropy: Entropy::system(),
        };
        let folder = folder.webhooks();
        let webhooks = Webhooks::start(ledger.clone(), &folder, settings, &Handle::current());
        Ok(webhooks.context("cannot deliver webhooks")?)
    }
}
