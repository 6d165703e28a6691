//! What the settings of a server mean, and which of them do not go together.
//!
//! Flags and environment variables are read by clap alone and arrive here as values, but for the
//! token of a client, which is no flag. Nothing here opens a file or a socket: a setting is right
//! or it is refused with the reason.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use axum::http::Uri;
use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::domain::sign_in::OpaqueToken;

/// Where a client's token may stand.
pub const TOKEN_VARIABLE: &str = "KEYLEDGER_TOKEN";

/// The token of a client, from its environment: everybody on a machine sees flags. An empty one is
/// none.
#[must_use]
pub fn token() -> Option<Zeroizing<String>> {
    let token = variable(TOKEN_VARIABLE).map(Zeroizing::new);
    token.filter(|token| !token.is_empty())
}

/// What a variable of the environment holds, for what clap does not do: it reads those of flags.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "the one reader of the environment beside clap"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variables of the environment whose names begin so and that are not empty, with what they
/// hold; those that are no text are left out.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "the one reader of the environment beside clap"
)]
pub fn variables_with_prefix(prefix: &str) -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let all = std::env::vars_os().filter_map(text);
    let mut found: Vec<_> = all
        .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
        .collect();
    found.sort();
    found
}

/// How a server is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Network {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What its clients call it, where that is not the address it listens on.
    pub public_url: Option<PublicUrl>,
    /// Who may say which client a request comes from. Empty: nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// Whose peers may ask for forward-auth without a credential of their own.
    pub trusted_gateways: Vec<IpNet>,
    /// The operator says that something in front of it speaks TLS.
    pub behind_proxy: bool,
    /// What it speaks TLS with itself.
    pub tls: Option<TlsFiles>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// The certificate and those that vouch for it, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Settings that do not go together.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WrongNetwork {
    /// Secrets would cross a network in the clear.
    #[error(
        "{0} can be reached from other machines and this server does not speak TLS: give it \
         --tls-cert and --tls-key, or put a proxy that does in front of it and say --behind-proxy, \
         or listen on a loopback address"
    )]
    Exposed(SocketAddr),
    /// All clients would be one, and wait for each other's wrong passwords.
    #[error("--behind-proxy needs --trusted-proxies: who may say which client a request is from")]
    NoTrustedProxy,
    /// Links would lead nowhere, and cookies would go without TLS.
    #[error("--behind-proxy needs --public-url: what clients call the server")]
    NoPublicUrl,
    /// Both.
    #[error(
        "--behind-proxy needs --trusted-proxies, who may say which client a request is from, and \
         --public-url, what clients call the server"
    )]
    NoTrustedProxyAndNoPublicUrl,
}

impl Network {
    /// Refuses to carry secrets over a network without TLS, and a proxy that it knows nothing of.
    ///
    /// # Errors
    /// [`WrongNetwork`], unless the address is a loopback one or a proxy is vouched for, with its
    /// own address and the one that clients use.
    pub fn check(&self) -> Result<(), WrongNetwork> {
        if !self.behind_proxy {
            let is_private = self.listen.ip().to_canonical().is_loopback() || self.tls.is_some();
            let exposed = WrongNetwork::Exposed(self.listen);
            return is_private.then_some(()).ok_or(exposed);
        }
        match (self.trusted_proxies.is_empty(), &self.public_url) {
            (true, None) => Err(WrongNetwork::NoTrustedProxyAndNoPublicUrl),
            (true, Some(_)) => Err(WrongNetwork::NoTrustedProxy),
            (false, None) => Err(WrongNetwork::NoPublicUrl),
            (false, Some(_)) => Ok(()),
        }
    }

    /// The public URL, which is the address that was bound unless it was set.
    #[must_use]
    pub fn public_url(&self, bound: SocketAddr) -> PublicUrl {
        self.public_url
            .clone()
            .unwrap_or_else(|| PublicUrl::of(bound, self.tls.is_some()))
    }
}

/// The path below which the tree of the ledger is published: `/ledger`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LedgerPrefix(String);

/// A path that the tree cannot be published below.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WrongPrefix {
    /// It does not have the form.
    #[error("a prefix is one like /ledger: a slash before each part, of letters, digits and -._~")]
    Form,
    /// Something else is there.
    #[error("the server has something else below /{0}")]
    Taken(&'static str),
}

impl LedgerPrefix {
    /// What the server answers below by itself.
    const TAKEN: [&'static str; 11] = [
        "v1",
        "platform",
        "oauth2",
        "sign-in",
        ".well-known",
        "metrics",
        "livez",
        "readyz",
        "openapi.json",
        "openapi-3.0.json",
        "docs",
    ];

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LedgerPrefix {
    fn default() -> Self {
        Self("/ledger".to_owned())
    }
}

impl fmt::Display for LedgerPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LedgerPrefix {
    type Err = WrongPrefix;

    fn from_str(text: &str) -> Result<Self, WrongPrefix> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let parts = text.strip_prefix('/').ok_or(WrongPrefix::Form)?;
        for part in parts.split('/') {
            let dots = matches!(part, "." | "..");
            if part.is_empty() || dots || !part.bytes().all(plain) {
                return Err(WrongPrefix::Form);
            }
        }
        let first = parts.split('/').next();
        match Self::TAKEN.iter().find(|taken| first == Some(**taken)) {
            Some(taken) => Err(WrongPrefix::Taken(taken)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// The scheme and authority under which clients know the server, without a slash at the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The text: `https://keys.example.com`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether clients come by TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl PublicUrl {
    /// The URL of an address that is listened on, with or without TLS.
    #[must_use]
    pub fn of(listen: SocketAddr, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        Self(format!("{scheme}://{listen}"))
    }

    /// Whether a browser names this URL as the origin of a request. It leaves the scheme's own
    /// port away.
    #[must_use]
    pub fn is_origin(&self, origin: &str) -> bool {
        let bare = |text: &str| {
            let text = text.to_ascii_lowercase();
            let port = if text.starts_with("https://") {
                ":443"
            } else {
                ":80"
            };
            text.strip_suffix(port).map(str::to_owned).unwrap_or(text)
        };
        bare(origin) == bare(&self.0)
    }

    /// The address of a sign-in link: a secret as its token is.
    #[must_use]
    pub fn sign_in_url(&self, token: &OpaqueToken) -> String {
        format!("{}/sign-in/{}", self.0, token.reveal())
    }
}

impl Default for PublicUrl {
    /// Where a server listens unless it is told otherwise.
    fn default() -> Self {
        Self("http://127.0.0.1:8080".to_owned())
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not a URL that links can begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be http:// or https://, a host and perhaps a port, and nothing behind them")]
pub struct InvalidPublicUrl;

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let bare =
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#', '@']));
        // The host and the port are for the parser to judge.
        match text.parse::<Uri>() {
            Ok(uri) if bare && uri.host().is_some_and(|host| !host.is_empty()) => Ok(Self(text)),
            Ok(_) | Err(_) => Err(InvalidPublicUrl),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_published_below_a_path_that_is_free() {
        for free in ["/ledger", "/a/b.c", "/transparency/log-1"] {
            assert_eq!(free.parse(), Ok(LedgerPrefix(free.to_owned())));
        }
        let wrong = |text: &str| text.parse::<LedgerPrefix>().unwrap_err();
        for text in [
            "", "/", "ledger", "/ledger/", "//a", "/a b", "/{x}", "/a/../b", "/%41",
        ] {
            assert_eq!(wrong(text), WrongPrefix::Form, "{text}");
        }
        assert_eq!(wrong("/v1"), WrongPrefix::Taken("v1"));
        assert_eq!(wrong("/docs/ledger"), WrongPrefix::Taken("docs"));
    }

    #[test]
    fn secrets_cross_no_network_in_the_clear() {
        for (listen, behind_proxy, fine) in [
            ("127.0.0.1:8080", false, true),
            ("127.9.9.9:0", false, true),
            ("[::1]:8080", false, true),
            ("[::ffff:127.0.0.1]:80", false, true),
            ("0.0.0.0:8080", false, false),
            ("[::]:8080", false, false),
            ("192.0.2.7:8080", false, false),
            ("0.0.0.0:8080", true, true),
        ] {
            let network = Network {
                listen: listen.parse().unwrap(),
                public_url: Some("https://keys.example".parse().unwrap()),
                trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
                trusted_gateways: Vec::new(),
                behind_proxy,
                tls: None,
            };
            assert_eq!(network.check().is_ok(), fine, "{listen}");
        }
    }

    #[test]
    fn behind_a_proxy_it_must_be_told_of_the_proxy_and_the_url() {
        let whole = Network {
            listen: "0.0.0.0:8080".parse().unwrap(),
            public_url: Some("https://keys.example".parse().unwrap()),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            trusted_gateways: Vec::new(),
            behind_proxy: true,
            tls: None,
        };
        assert_eq!(whole.check(), Ok(()));
        let mut wrong = whole.clone();
        wrong.trusted_proxies.clear();
        assert_eq!(wrong.check(), Err(WrongNetwork::NoTrustedProxy));
        wrong.public_url = None;
        let both = WrongNetwork::NoTrustedProxyAndNoPublicUrl;
        assert_eq!(wrong.check(), Err(both));
        let mut wrong = whole;
        wrong.public_url = None;
        assert_eq!(wrong.check(), Err(WrongNetwork::NoPublicUrl));
    }

    #[test]
    fn a_public_url_is_a_scheme_and_an_authority() {
        for (text, expect) in [
            ("https://Keys.Example.com", Some("https://keys.example.com")),
            (
                "https://keys.example.com/",
                Some("https://keys.example.com"),
            ),
            ("http://localhost:8080", Some("http://localhost:8080")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("", None),
            ("keys.example.com", None),
            ("ftp://keys.example.com", None),
            ("https://", None),
            ("https:///", None),
            ("https://user@keys.example.com", None),
            ("https://keys.example.com/path", None),
            ("https://keys.example.com?q", None),
            ("https://keys.example.com#f", None),
            ("https://keys example.com", None),
        ] {
            let url = text.parse::<PublicUrl>().ok();
            assert_eq!(url.as_ref().map(PublicUrl::as_str), expect, "{text:?}");
        }
        for (url, origin, same) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://A.example:443", true),
            ("https://a.example:443", "https://a.example", true),
            ("http://a.example:80", "http://a.example", true),
            ("http://a.example", "https://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "https://a.example.evil.example", false),
            ("https://a.example", "null", false),
        ] {
            let url: PublicUrl = url.parse().unwrap();
            assert_eq!(url.is_origin(origin), same, "{url} {origin}");
        }
        assert!("https://a".parse::<PublicUrl>().unwrap().is_https());
        assert!(!"http://a".parse::<PublicUrl>().unwrap().is_https());
    }
}
