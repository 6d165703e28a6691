//! Addresses and networks as flags and variables give them: with the blanks and line ends that
//! files and lists leave around them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Where to listen.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.trim().parse().map_err(|_invalid| {
        "must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080; host names are \
         not accepted"
    })
}

/// A network; an address alone is the network of itself.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    let text = text.trim();
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_no_network| address())
        .map_err(|_invalid| "must be a network such as 10.0.0.0/8, or an address such as 10.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read_or_explained() {
        for (text, address) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            (" [::1]:0\n", Some("[::1]:0")),
            ("8080", None),
            ("localhost:8080", None),
            ("127.0.0.1", None),
        ] {
            let read = listen_address(text).ok().map(|read| read.to_string());
            assert_eq!(read.as_deref(), address, "{text:?}");
        }
        for (text, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            (" 172.16.0.0/12", Some("172.16.0.0/12")),
            ("10.0.0.1", Some("10.0.0.1/32")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/33", None),
            ("proxy.example", None),
            ("", None),
        ] {
            let read = network(text).ok().map(|read| read.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }
}
