//! From a receiver's name to the addresses that may be connected to.
//!
//! Owns the look-up, and judges every address at the moment before it is connected to: there is no
//! second look-up between the judgment and the connection that could answer otherwise. Must never
//! hand on an address that the guard refuses.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

use super::address_guard::{AddressGuard, RefusedAddress, UrlScheme};
use crate::domain::ids::OrganizationId;

/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Who knows the addresses of names.
#[derive(Clone, Debug)]
pub enum NameLookup {
    /// The system's resolver, with its hosts file.
    System,
    /// Answers that were given beforehand, for tests.
    Fixed(Arc<FixedDnsAnswers>),
}

/// Names with their answers: the first is given once, then the next; the last one stays.
#[derive(Debug)]
pub struct FixedDnsAnswers(Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>);

impl FixedDnsAnswers {
    /// Names, each with the addresses of its first answer, of its second and so on.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (String, Vec<Vec<IpAddr>>)>) -> Self {
        let names = names
            .into_iter()
            .map(|(name, answers)| (name, answers.into()));
        Self(Mutex::new(names.collect()))
    }

    fn answer(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        match answers.len() {
            0 | 1 => Ok(answers.front().cloned().unwrap_or_default()),
            _more => Ok(answers.pop_front().unwrap_or_default()),
        }
    }
}

impl NameLookup {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::System => {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            }
            Self::Fixed(names) => names.answer(name),
        }
    }
}

/// Why there is no address to connect to.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// The look-up failed.
    #[error("the name cannot be looked up")]
    NameLookup(#[source] io::Error),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// None of its addresses may be connected to; why the first may not.
    #[error(transparent)]
    RefusedAddress(#[from] RefusedAddress),
}

/// The resolver of one client. It is told a name and no port, so that a client serves one scheme
/// and either one port of ours or all that are not ours.
#[derive(Clone, Debug)]
pub(super) enum GuardedResolver {
    /// Hands on what the guard lets pass.
    Guarded {
        guard: Arc<AddressGuard>,
        lookup: NameLookup,
        for_client: ClientKind,
    },
    /// Finds the operator's own proxy, wherever it is.
    ToProxy(NameLookup),
}

/// What all requests of one client have in common: connections are kept and used again, so that
/// one must not be open to those who could not have opened it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct ClientKind {
    /// The organization, when it has networks of its own.
    pub(super) organization: Option<OrganizationId>,
    pub(super) scheme: UrlScheme,
    /// The port, when we listen at it ourselves.
    pub(super) own_port: Option<u16>,
}

impl GuardedResolver {
    pub(super) async fn resolve_checked(self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let lookup = match &self {
            Self::Guarded { lookup, .. } | Self::ToProxy(lookup) => lookup,
        };
        let found = lookup
            .addresses(name)
            .await
            .map_err(ResolveError::NameLookup)?;
        // A port of zero is replaced by the URL's.
        let port = self.own_port().unwrap_or(0);
        let mut refused = None;
        let mut passed = Vec::new();
        for ip in found.into_iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(ip, port);
            match self.check_address(address) {
                Ok(()) => passed.push(address),
                Err(reason) => refused = refused.or(Some(reason)),
            }
        }
        match refused {
            Some(reason) if passed.is_empty() => Err(reason.into()),
            None if passed.is_empty() => Err(ResolveError::NoAddress),
            Some(_) | None => Ok(passed),
        }
    }

    fn own_port(&self) -> Option<u16> {
        match self {
            Self::Guarded { for_client, .. } => for_client.own_port,
            Self::ToProxy(_) => None,
        }
    }

    fn check_address(&self, address: SocketAddr) -> Result<(), RefusedAddress> {
        match self {
            Self::Guarded {
                guard, for_client, ..
            } => {
                let scope = guard.named_scope(for_client.organization);
                scope.check_address(for_client.scheme, address).map(drop)
            }
            Self::ToProxy(_) => Ok(()),
        }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.resolve_checked(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
