//! The address of a controller, and how it is known to be the right one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a controller listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    /// A name or an address; a v6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// How the controller's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// By the authorities of this machine.
    System,
    /// By those in this file.
    Authorities(PathBuf),
    /// It is this very one: SHA-256 of the certificate.
    Fingerprint([u8; 32]),
}

/// The port where a controller listens unless it is told otherwise.
const PORT: u16 = 7070;

impl Url {
    fn is_loopback(host: &str) -> bool {
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `host:port`, as a request names it.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Url {
    type Err = String;

    /// Takes `https://host:port`, `host:port` or `host`; plain text goes to loopback only.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https" | "grpcs", rest)) => (Some(Scheme::Https), rest),
            Some((other, _)) => return Err(format!("{other}:// is not spoken here, only https://")),
            None => (None, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', ' ']) {
            return Err("an address is https://HOST:PORT and nothing more".to_owned());
        }
        let (host, port) = split(rest).ok_or("the port is not a number from 1 to 65535")?;
        if host.is_empty() {
            return Err("there is no host in it".to_owned());
        }
        let loopback = Self::is_loopback(host);
        let scheme = scheme.unwrap_or(if loopback { Scheme::Http } else { Scheme::Https });
        if scheme == Scheme::Http && !loopback {
            return Err(
                "plain http:// stays on this machine; controllers elsewhere speak https://".to_owned()
            );
        }
        Ok(Self { scheme, host: host.to_owned(), port })
    }
}

fn split(text: &str) -> Option<(&str, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { Some(PORT) } else { rest.strip_prefix(':')?.parse().ok() };
        return Some((host, port.filter(|port| *port > 0)?));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => {
            Some((host, port.parse().ok().filter(|port| *port > 0)?))
        }
        Some(_) | None => Some((text, PORT)),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Trust {
    /// Reads a fingerprint as a controller prints it, and as other tools do.
    pub(crate) fn fingerprint(text: &str) -> Option<[u8; 32]> {
        let text = text.trim();
        let hex = text.strip_prefix("sha256:").or(text.strip_prefix("SHA256:")).unwrap_or(text);
        let hex: Vec<u8> = hex.bytes().filter(|byte| *byte != b':').collect();
        if hex.len() != 64 || !hex.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(bytes)
    }

    pub(crate) fn show_fingerprint(bytes: &[u8; 32]) -> String {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_every_form_that_people_type() {
        let cases = [
            ("127.0.0.1:7070", "http://127.0.0.1:7070"),
            ("localhost", "http://localhost:7070"),
            ("https://localhost:1", "https://localhost:1"),
            ("ci.example.com", "https://ci.example.com:7070"),
            ("https://ci.example.com:443/", "https://ci.example.com:443"),
            ("[::1]:80", "http://[::1]:80"),
            ("::1", "http://[::1]:7070"),
        ];
        for (text, url) in cases {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), url);
        }
        for wrong in
            ["http://ci.example.com", "ftp://x", "", "https://u@h", "h:0", "h:99999", "https://h/path"]
        {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_it_is_shown() {
        let bytes = std::array::from_fn(|place| place as u8);
        assert_eq!(Trust::fingerprint(&Trust::show_fingerprint(&bytes)), Some(bytes));
        let colons: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(Trust::fingerprint(&colons.join(":")), Some(bytes));
        assert_eq!(Trust::fingerprint("sha256:00"), None);
    }
}
