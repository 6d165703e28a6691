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

use super::address::{Guard, Refused, Scheme};
use crate::domain::ids::OrganizationId;

/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Who knows the addresses of names.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The system's resolver, with its hosts file.
    System,
    /// Answers that were given beforehand, for tests.
    Fixed(Arc<FixedNames>),
}

/// Names with their answers: the first is given once, then the next; the last one stays.
#[derive(Debug)]
pub struct FixedNames(Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>);

impl FixedNames {
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

impl Lookup {
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
pub enum Unresolved {
    /// The look-up failed.
    #[error("the name cannot be looked up")]
    Lookup(#[source] io::Error),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// None of its addresses may be connected to; why the first may not.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// The resolver of one client. It is told a name and no port, so that a client serves one scheme
/// and either one port of ours or all that are not ours.
#[derive(Clone, Debug)]
pub(super) enum Resolver {
    /// Hands on what the guard lets pass.
    Guarded {
        guard: Arc<Guard>,
        lookup: Lookup,
        for_client: Kind,
    },
    /// Finds the operator's own proxy, wherever it is.
    ToProxy(Lookup),
}

/// What all requests of one client have in common: connections are kept and used again, so that
/// one must not be open to those who could not have opened it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Kind {
    /// The organization, when it has networks of its own.
    pub(super) organization: Option<OrganizationId>,
    pub(super) scheme: Scheme,
    /// The port, when we listen at it ourselves.
    pub(super) own_port: Option<u16>,
}

impl Resolver {
    pub(super) async fn addresses(self, name: &str) -> Result<Vec<SocketAddr>, Unresolved> {
        let lookup = match &self {
            Self::Guarded { lookup, .. } | Self::ToProxy(lookup) => lookup,
        };
        let found = lookup.addresses(name).await.map_err(Unresolved::Lookup)?;
        // A port of zero is replaced by the URL's.
        let port = self.own_port().unwrap_or(0);
        let mut refused = None;
        let mut passed = Vec::new();
        for ip in found.into_iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(ip, port);
            match self.verdict(address) {
                Ok(()) => passed.push(address),
                Err(reason) => refused = refused.or(Some(reason)),
            }
        }
        match refused {
            Some(reason) if passed.is_empty() => Err(reason.into()),
            None if passed.is_empty() => Err(Unresolved::NoAddress),
            Some(_) | None => Ok(passed),
        }
    }

    fn own_port(&self) -> Option<u16> {
        match self {
            Self::Guarded { for_client, .. } => for_client.own_port,
            Self::ToProxy(_) => None,
        }
    }

    fn verdict(&self, address: SocketAddr) -> Result<(), Refused> {
        match self {
            Self::Guarded {
                guard, for_client, ..
            } => {
                let scope = guard.scope_of(for_client.organization);
                scope.verdict(for_client.scheme, address).map(drop)
            }
            Self::ToProxy(_) => Ok(()),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
