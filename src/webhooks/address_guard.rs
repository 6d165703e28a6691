//! Where a delivery may go: which URLs an endpoint may have, which addresses a connection.
//!
//! Owns the networks that the operator allows and the addresses of our own listeners. A URL is
//! checked when an endpoint is made and again before every attempt; the addresses of a name are
//! judged by the resolver of the connecting client, so that a name server which answers a public
//! address first and a private one next gains nothing. Must never resolve a name itself, nor trust
//! how an address is spelled: what is judged is what the kernel will connect to.
//!
//! An address that holds another one (NAT64, 6to4, Teredo) is special in itself. An operator who
//! allows such a range, in a network that has nothing but IPv6, allows public addresses behind it
//! and no others: those must be allowed themselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use reqwest::Url;
use thiserror::Error;

use super::special_addresses::{embedded_addresses, special_range_name};
use crate::domain::ids::OrganizationId;

/// The longest URL of an endpoint, as it is sent.
pub const URL_BYTES_MAX: usize = 2_000;

/// A network inside that deliveries may go to: `[ORGANIZATION=]CIDR`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AllowedNetwork {
    /// Whose deliveries; `None`: everyone's.
    pub organization: Option<OrganizationId>,
    /// The network, without host bits.
    pub network: IpNet,
}

/// Why a text is no network that could be allowed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum InvalidAllowedNetwork {
    /// What stands before `=` is no organization's id.
    #[error("before = stands the id of an organization, org_..., or nothing")]
    Organization,
    /// It is no network.
    #[error("a network is written like 10.0.0.0/8 or fd00::/8")]
    Net,
    /// It has host bits: a slip, perhaps a wide one.
    #[error("the network of this address is written {0}")]
    HostBits(IpNet),
    /// An IPv4 network written as IPv6, which no address would be found in.
    #[error("a network of IPv4 addresses is written as such")]
    Mapped,
}

impl FromStr for AllowedNetwork {
    type Err = InvalidAllowedNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidAllowedNetwork> {
        let (organization, net) = match text.split_once('=') {
            Some((organization, net)) => {
                let organization = organization.parse();
                let organization =
                    organization.map_err(|_form| InvalidAllowedNetwork::Organization)?;
                (Some(organization), net)
            }
            None => (None, text),
        };
        let net: IpNet = match net.parse::<IpAddr>() {
            Ok(address) => address.into(),
            Err(_) => net.parse().map_err(|_form| InvalidAllowedNetwork::Net)?,
        };
        if net.trunc() != net {
            return Err(InvalidAllowedNetwork::HostBits(net.trunc()));
        }
        if net.addr().to_canonical() != net.addr() {
            return Err(InvalidAllowedNetwork::Mapped);
        }
        Ok(Self {
            organization,
            network: net,
        })
    }
}

/// How a delivery is sent.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum UrlScheme {
    /// `http`: into allowed networks alone.
    Http,
    /// `https`.
    Https,
}

/// Where an address that may be connected to is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressClass {
    /// On the internet.
    Public,
    /// Inside a network that the operator allows. What is answered from there is not kept.
    Allowed,
}

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RefusedAddress {
    /// It is in a special range, or leads to an address that is.
    #[error("{address} is {what}, where no delivery goes")]
    Special { address: IpAddr, what: &'static str },
    /// It is one of our own listeners.
    #[error("{0} is this service itself")]
    OwnListener(SocketAddr),
    /// Plain HTTP, and not inside.
    #[error("{0} is not in a network that is delivered to by plain HTTP, only by https")]
    PlainHttp(IpAddr),
}

/// Why an endpoint cannot have a URL, in one sentence.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UrlRefused {
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Not a URL, or without a host.
    #[error("it is not an https URL with a host, like https://example.com/hooks")]
    NotAUrl,
    /// Neither `https` nor, where the operator allows it, `http`.
    #[error("the URL begins with https://")]
    UrlScheme,
    /// A user name or a password.
    #[error("the URL has no user name and no password: deliveries are signed instead")]
    Userinfo,
    /// A fragment, which is never sent.
    #[error("the URL has no fragment: what follows # is never sent")]
    Fragment,
    /// A port of some other service.
    #[error("port {0} is not delivered to, only 80, 443 and 1024 to 65535")]
    Port(u16),
    /// Its host is an address that nothing is delivered to.
    #[error(transparent)]
    Address(#[from] RefusedAddress),
}

/// Decides where deliveries go: to public addresses by https, unless it is told otherwise.
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    nets: Vec<AllowedNetwork>,
    own: Vec<SocketAddr>,
}

impl AddressGuard {
    /// A guard that lets deliveries into `nets`, and never to the listeners bound at `own`. One
    /// bound to an unspecified address serves every address of this machine. An address that some
    /// router forwards here cannot be seen from here: add it to `own`.
    #[must_use]
    pub fn new(nets: Vec<AllowedNetwork>, own: Vec<SocketAddr>) -> Self {
        Self { nets, own }
    }

    /// Whether this organization's deliveries may be sent to `address`, by https.
    ///
    /// # Errors
    /// [`RefusedAddress`], with the reason.
    pub fn check_address(
        &self,
        organization: OrganizationId,
        address: SocketAddr,
    ) -> Result<AddressClass, RefusedAddress> {
        self.scope_for(organization)
            .check_address(UrlScheme::Https, address)
    }

    /// Reads an endpoint's URL. A host that is a name is judged at each attempt, when its
    /// addresses are known; one that is an address, however it is spelled, here and then again.
    ///
    /// # Errors
    /// [`UrlRefused`], with the reason.
    pub fn check_url(&self, organization: OrganizationId, text: &str) -> Result<Url, UrlRefused> {
        // White space and control characters would be taken out silently.
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(UrlRefused::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_form| UrlRefused::NotAUrl)?;
        if text.len().max(url.as_str().len()) > URL_BYTES_MAX {
            return Err(UrlRefused::TooLong);
        }
        let scheme = url_scheme(&url).ok_or(UrlRefused::UrlScheme)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefused::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(UrlRefused::Fragment);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !matches!(port, 80 | 443 | 1_024..) {
            return Err(UrlRefused::Port(port));
        }
        let scope = self.scope_for(organization);
        match literal_ip(&url) {
            Some(address) => {
                scope.check_address(scheme, SocketAddr::new(address, port))?;
            }
            None if url.host_str().is_none_or(str::is_empty) => return Err(UrlRefused::NotAUrl),
            None if scheme == UrlScheme::Http && scope.allowed_networks().next().is_none() => {
                return Err(UrlRefused::UrlScheme);
            }
            None => {}
        }
        Ok(url)
    }

    /// What is judged alike for an organization: with networks of its own, or as for everyone.
    pub(super) fn scope_for(&self, organization: OrganizationId) -> GuardScope<'_> {
        let own = self
            .nets
            .iter()
            .any(|net| net.organization == Some(organization));
        self.named_scope(own.then_some(organization))
    }

    /// The same for those that have networks of their own, by name, and for everyone else.
    pub(super) fn named_scope(&self, organization: Option<OrganizationId>) -> GuardScope<'_> {
        GuardScope {
            guard: self,
            organization,
        }
    }

    /// Everyone who has networks of their own, and everyone else.
    pub(super) fn scope_organizations(&self) -> impl Iterator<Item = Option<OrganizationId>> {
        let named = self.nets.iter().map(|net| net.organization);
        named.chain([None])
    }

    /// The ports that we listen at.
    pub(super) fn own_listener_ports(&self) -> impl Iterator<Item = u16> {
        self.own.iter().map(SocketAddr::port)
    }
}

/// A guard from where one organization stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct GuardScope<'a> {
    guard: &'a AddressGuard,
    /// Whose networks count beside everyone's.
    pub(super) organization: Option<OrganizationId>,
}

impl GuardScope<'_> {
    /// The networks that are open to it.
    pub(super) fn allowed_networks(&self) -> impl Iterator<Item = &IpNet> {
        let open = |net: &&AllowedNetwork| {
            net.organization.is_none() || net.organization == self.organization
        };
        self.guard.nets.iter().filter(open).map(|net| &net.network)
    }

    /// Whether `address` may be connected to by `scheme`.
    pub(super) fn check_address(
        &self,
        scheme: UrlScheme,
        address: SocketAddr,
    ) -> Result<AddressClass, RefusedAddress> {
        let ip = address.ip().to_canonical();
        if self.is_own_listener(ip, address.port()) {
            return Err(RefusedAddress::OwnListener(address));
        }
        match (self.classify_ip(ip)?, scheme) {
            (AddressClass::Public, UrlScheme::Http) => Err(RefusedAddress::PlainHttp(ip)),
            (reach, UrlScheme::Http | UrlScheme::Https) => Ok(reach),
        }
    }

    /// Where `ip` is, our own listeners apart.
    pub(super) fn classify_ip(&self, ip: IpAddr) -> Result<AddressClass, RefusedAddress> {
        let allowed = |ip: IpAddr| self.allowed_networks().any(|net| net.contains(&ip));
        if !allowed(ip) {
            return special_range_name(ip).map_or(Ok(AddressClass::Public), |what| {
                Err(RefusedAddress::Special { address: ip, what })
            });
        }
        for address in embedded_addresses(ip) {
            if let (Some(what), false) = (special_range_name(address), allowed(address)) {
                return Err(RefusedAddress::Special { address, what });
            }
        }
        Ok(AddressClass::Allowed)
    }

    fn is_own_listener(&self, ip: IpAddr, port: u16) -> bool {
        let mut at_port = self
            .guard
            .own
            .iter()
            .filter(|own| own.port() == port)
            .peekable();
        if at_port.peek().is_none() {
            return false;
        }
        let machine = machine_addresses();
        at_port.any(|own| {
            let mut candidates = embedded_addresses(ip).chain([ip]);
            candidates
                .any(|ip| is_listener_address(own.ip().to_canonical(), ip, machine.as_deref()))
        })
    }
}

/// Whether a listener bound to `bound` is what answers at `ip`, at its port. A machine whose
/// addresses cannot be listed is taken to have every address.
pub(super) fn is_listener_address(
    bound: IpAddr,
    ip: IpAddr,
    machine: Result<&[IpAddr], &io::Error>,
) -> bool {
    // Connecting to an unspecified address is connecting to this machine. Loopback addresses are
    // taken for one another, of either family: a name like `localhost` has several.
    let is_loopback = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    if bound.is_unspecified() {
        is_loopback(ip) || machine.is_ok_and(|all| all.contains(&ip)) || machine.is_err()
    } else {
        bound == ip || (is_loopback(bound) && is_loopback(ip))
    }
}

fn machine_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let addresses = interfaces
        .iter()
        .map(|interface| interface.ip().to_canonical());
    Ok(addresses.collect())
}

/// What a URL is sent by; `None` for anything but HTTP.
pub(super) fn url_scheme(url: &Url) -> Option<UrlScheme> {
    match url.scheme() {
        "http" => Some(UrlScheme::Http),
        "https" => Some(UrlScheme::Https),
        _other => None,
    }
}

/// The address that the host of an HTTP URL is. Whatever way an IPv4 address was spelled in, the
/// URL has it in decimal parts by now.
pub(super) fn literal_ip(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}
