//! Which addresses may be called. Pure: texts and addresses in, a decision out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

const URL_BYTES_MAX: usize = 4096;
/// Where etcd and docker listen: no forge does, and what is said there can do anything.
const PORTS_DENIED: [u16; 4] = [2375, 2376, 2379, 2380];

/// What an operator allows besides public addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    Network {
        base: IpAddr,
        bits: u8,
    },
    /// Whatever this name means.
    Host(String),
}

/// A text that allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network such as 10.1.0.0/16, no address and no host's name")]
pub struct NoAllow(String);

/// The decision about each address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Vec<Allow>);

/// Why an address is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this is no address of a web server")]
    NotAnAddress,
    #[error("an address must not hold a user or a password")]
    Credentials,
    #[error("nothing is said in the open: use https, or allow the host with --allow-egress")]
    PlainText,
    #[error("port {0} is never called")]
    Port(u16),
    #[error("{host} leads to {address}, which is not public: allow it with --allow-egress")]
    NotPublic { host: String, address: IpAddr },
}

/// A checked address, whose host may have to be resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_encrypted: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// As it stands in the header `Host`.
    pub(super) authority: String,
    pub(super) path: String,
}

impl FromStr for Allow {
    type Err = NoAllow;

    fn from_str(text: &str) -> Result<Self, NoAllow> {
        let wrong = || NoAllow(text.chars().take(200).collect());
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text, None),
        };
        if let Ok(base) = base.trim_matches(['[', ']']).parse::<IpAddr>() {
            let most = if base.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
            return if bits <= most { Ok(Self::Network { base, bits }) } else { Err(wrong()) };
        }
        match (Host::parse(text), bits) {
            (Ok(Host::Domain(name)), None) => Ok(Self::Host(plain(&name))),
            (Ok(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_)) | Err(_), _) => Err(wrong()),
        }
    }
}

/// A name with and without the dot of the root means the same.
fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Rules {
    pub fn new(allowed: Vec<Allow>) -> Self {
        Self(allowed)
    }

    /// Reads an address and decides what can be decided before its host is resolved.
    pub(super) fn target(&self, text: &str) -> Result<Target, Denied> {
        if text.len() > URL_BYTES_MAX {
            return Err(Denied::NotAnAddress);
        }
        let url = Url::parse(text).map_err(|_| Denied::NotAnAddress)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Denied::Credentials);
        }
        let is_encrypted = match url.scheme() {
            "https" => true,
            "http" => false,
            _other => return Err(Denied::NotAnAddress),
        };
        let host = url.host().ok_or(Denied::NotAnAddress)?.to_owned();
        let port = url.port_or_known_default().ok_or(Denied::NotAnAddress)?;
        if PORTS_DENIED.contains(&port) || port == 0 {
            return Err(Denied::Port(port));
        }
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Target { is_encrypted, host, port, authority, path })
    }

    /// Reads the host and port of a server that is no web server's address.
    pub(super) fn server(host: &str, port: u16) -> Result<Target, Denied> {
        let host = Host::parse(host).map_err(|_| Denied::NotAnAddress)?;
        if PORTS_DENIED.contains(&port) || port == 0 {
            return Err(Denied::Port(port));
        }
        let authority = format!("{host}:{port}");
        Ok(Target { is_encrypted: true, host, port, authority, path: String::new() })
    }

    /// Decides about every address that a target's host leads to.
    pub(super) fn check(&self, target: &Target, addresses: &[IpAddr]) -> Result<(), Denied> {
        let is_named = self.names(&target.host);
        let denied = addresses.iter().find(|address| {
            let is_allowed = is_named || self.holds(**address);
            !is_allowed && !is_public(**address)
        });
        if let Some(address) = denied {
            return Err(Denied::NotPublic { host: target.host.to_string(), address: *address });
        }
        let is_allowed = is_named || addresses.iter().all(|address| self.holds(*address));
        if target.is_encrypted || is_allowed { Ok(()) } else { Err(Denied::PlainText) }
    }

    fn names(&self, host: &Host<String>) -> bool {
        let Host::Domain(name) = host else { return false };
        let name = plain(name);
        self.0.iter().any(|allow| matches!(allow, Allow::Host(allowed) if *allowed == name))
    }

    fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|allow| match allow {
            Allow::Network { base, bits } => is_within(address, *base, *bits),
            Allow::Host(_) => false,
        })
    }
}

fn is_within(address: IpAddr, base: IpAddr, bits: u8) -> bool {
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// What is not the internet: this machine, private and shared networks, link-local (where clouds
/// have their metadata), documentation, benchmarks, multicast and what is reserved.
const NOT_PUBLIC_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Of what is global unicast: tunnels that carry any IPv4 address inside, and documentation.
const NOT_PUBLIC_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The prefix under which a network of IPv6 alone reaches IPv4.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Tells whether an address is one of the internet's.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            !NOT_PUBLIC_V4.iter().any(|(base, bits)| is_within(four.into(), (*base).into(), *bits))
        }
        IpAddr::V6(six) => {
            let within = |(base, bits): &(Ipv6Addr, u8)| is_within(six.into(), (*base).into(), *bits);
            if within(&NAT64) {
                let [.., high, low] = six.segments();
                return is_public(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into());
            }
            within(&GLOBAL_V6) && !NOT_PUBLIC_V6.iter().any(within)
        }
    }
}
