//! How the service faces the network.

use tracing_appender::non_blocking::ErrorCounter;

use crate::config::{LedgerPrefix, PublicUrl};
use crate::usage::UsageHistory;
use crate::web::spans::RequestTracer;
use crate::webhooks::Webhooks;
use crate::webhooks::address_guard::AddressGuard;

/// How the service faces the network.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// Proxies that may say who the client is.
    pub trusted: Vec<ipnet::IpNet>,
    /// Gateways that may ask for forward-auth without a credential of their own, by their peer.
    pub trusted_gateways: Vec<ipnet::IpNet>,
    /// What clients call this server: where links lead and sessions are used from.
    pub public_url: PublicUrl,
    /// Where the use of credentials is recorded; `None`: nowhere.
    pub usage: Option<UsageHistory>,
    /// Something in front forwards the requests of others.
    pub behind_proxy: bool,
    /// Where webhooks may be delivered to.
    pub webhook_guard: AddressGuard,
    /// What delivers them; `None`: nothing does.
    pub webhooks: Option<Webhooks>,
    /// Below which path the tree is published: `/ledger` unless it is set.
    pub ledger_prefix: LedgerPrefix,
    /// Only who may read the ledger sees the tree.
    pub ledger_closed: bool,
    /// What makes a span of each request, if they are exported.
    pub tracer: Option<RequestTracer>,
    /// Counts lines of the log that were dropped; `None`: there is no log that drops any.
    pub dropped_lines: Option<ErrorCounter>,
}
