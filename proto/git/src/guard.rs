//! Who decides which servers git may speak to.
//!
//! Git resolves names by itself, after whoever checked them. So a name is resolved once, by the guard,
//! and git is told the addresses that it found.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::error::GitError;
use crate::url::{RepositoryUrl, Scheme};

/// Resolves hosts, and refuses those that must not be reached.
#[async_trait]
pub trait Guard: fmt::Debug + Send + Sync {
    /// Returns the addresses that this server may be spoken to at.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, Refusal>;
}

/// Why a server is not spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For people.
    pub why: String,
    /// The same question may be answered otherwise later.
    pub may_pass: bool,
}

/// What git is told of the addresses that were checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    /// A setting of git over http.
    pub(crate) setting: Option<String>,
    /// Options of ssh.
    pub(crate) ssh: String,
}

/// Asks the guard about the server of a URL.
pub(crate) async fn pins(guard: &dyn Guard, url: &RepositoryUrl) -> Result<Pins, GitError> {
    let Some(host) = url.host() else { return Ok(Pins::default()) };
    let usual = match url.scheme() {
        Scheme::Https => 443,
        Scheme::Http => 80,
        Scheme::Ssh => 22,
        Scheme::File => return Ok(Pins::default()),
    };
    let port = url.port().unwrap_or(usual);
    let found = guard.addresses(host, port).await;
    let found = found.map_err(|refusal| GitError::Refused { url: url.clone(), refusal })?;
    // What is an address already leads nowhere else.
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(Pins::default());
    }
    Ok(pinned(url.scheme(), host, url.port(), usual, &found))
}

fn pinned(scheme: Scheme, host: &str, port: Option<u16>, usual: u16, found: &[IpAddr]) -> Pins {
    let known_as = port.map_or_else(|| host.to_owned(), |port| format!("[{host}]:{port}"));
    match (scheme, found) {
        (Scheme::Https | Scheme::Http, [_, ..]) => {
            let found: Vec<_> = found.iter().map(written).collect();
            let port = port.unwrap_or(usual);
            let setting = format!("http.curloptResolve={host}:{port}:{}", found.join(","));
            Pins { setting: Some(setting), ssh: String::new() }
        }
        (Scheme::Ssh, [first, ..]) => {
            let ssh = format!(" -o 'HostName={first}' -o 'HostKeyAlias={known_as}'");
            Pins { setting: None, ssh }
        }
        (Scheme::File, _) | (_, []) => Pins::default(),
    }
}

fn written(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => format!("[{six}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one host.
    #[derive(Debug)]
    struct One(Result<Vec<IpAddr>, Refusal>);

    #[async_trait]
    impl Guard for One {
        async fn addresses(&self, _host: &str, _port: u16) -> Result<Vec<IpAddr>, Refusal> {
            self.0.clone()
        }
    }

    async fn pins_of(url: &str, found: &[&str]) -> Pins {
        let found = found.iter().map(|address| address.parse().unwrap()).collect();
        pins(&One(Ok(found)), &RepositoryUrl::parse(url).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn git_is_told_the_addresses_that_were_checked() {
        let pins = pins_of("https://git.example.com/a/b", &["192.0.2.7", "2001:db8::7"]).await;
        let wanted = "http.curloptResolve=git.example.com:443:192.0.2.7,[2001:db8::7]";
        assert_eq!(pins.setting.as_deref(), Some(wanted));
        let pins = pins_of("ssh://git@git.example.com:2222/a/b", &["192.0.2.7"]).await;
        assert_eq!(pins.ssh, " -o 'HostName=192.0.2.7' -o 'HostKeyAlias=[git.example.com]:2222'");
        assert_eq!(pins_of("https://192.0.2.7/a/b", &["192.0.2.7"]).await, Pins::default());
    }

    #[tokio::test]
    async fn a_refusal_names_the_repository_and_why() {
        let refusal = Refusal { why: "it is private".into(), may_pass: false };
        let url = RepositoryUrl::parse("https://git.example.com/a/b").unwrap();
        let error = pins(&One(Err(refusal)), &url).await.unwrap_err();
        assert_eq!(error.to_string(), "https://git.example.com/a/b is not fetched: it is private");
        assert!(!error.may_pass());
    }
}
