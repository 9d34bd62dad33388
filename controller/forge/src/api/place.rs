//! Where a repository is in a forge's API: the address of the API, and the repository's path in it.
//!
//! `owner/name` at GitHub, Gitea and Bitbucket. At GitLab groups nest: the last part is the name,
//! all before it is the owner (`group/sub/name` is `name` of `group/sub`), and the API takes the
//! whole path as one encoded part.

use std::fmt;

use crate::Forge;

const ADDRESS_BYTES_MAX: usize = 2048;
const PATH_BYTES_MAX: usize = 1024;
/// GitLab lets groups nest 20 deep.
const PARTS_MAX: usize = 21;

/// The address of a forge's API, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiBase(String);

/// A text that is no address of a forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a forge's address is http(s)://host[:port][/path], without a user, query or fragment")]
pub struct NotAnAddress;

/// A text that names no repository of that forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a repository is named owner/name (at GitLab: group/../name)")]
pub struct NotARepository;

impl ApiBase {
    /// The API of the instance that people see at this address: `https://github.com`,
    /// `https://git.example.org/gitlab`.
    pub fn of_instance(forge: Forge, address: &str) -> Result<Self, NotAnAddress> {
        let root = root(address.trim_end_matches('/'))?;
        let host = root.split_once("://").map_or("", |(_, rest)| rest);
        Ok(Self(match forge {
            Forge::GitHub if matches!(host, "github.com" | "www.github.com") => {
                "https://api.github.com".into()
            }
            Forge::GitHub => format!("{root}/api/v3"),
            Forge::GitLab => format!("{root}/api/v4"),
            Forge::Gitea => format!("{root}/api/v1"),
            Forge::Bitbucket => "https://api.bitbucket.org/2.0".into(),
        }))
    }

    /// The API of the instance that this repository's web or clone address (https) lies on.
    pub fn of_repository(forge: Forge, address: &str, path: &RepositoryPath) -> Result<Self, NotAnAddress> {
        let address = address.trim_end_matches('/');
        let address = address.strip_suffix(".git").unwrap_or(address);
        let tail = format!("/{path}");
        let at = address.len().checked_sub(tail.len()).ok_or(NotAnAddress)?;
        match address.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(&tail)) {
            true => Self::of_instance(forge, &address[..at]),
            false => Err(NotAnAddress),
        }
    }

    /// An address that was told, as of an API behind a proxy.
    pub fn told(address: &str) -> Result<Self, NotAnAddress> {
        root(address.trim_end_matches('/')).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The address with its scheme and host in lower case, if it is one and nothing more.
fn root(address: &str) -> Result<String, NotAnAddress> {
    let (scheme, rest) = address.split_once("://").ok_or(NotAnAddress)?;
    let scheme = scheme.to_ascii_lowercase();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let right = matches!(scheme.as_str(), "http" | "https")
        && address.len() <= ADDRESS_BYTES_MAX
        && is_host(host)
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte))
        && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    match right {
        true => Ok(format!("{scheme}://{}{path}", host.to_ascii_lowercase())),
        false => Err(NotAnAddress),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let six = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let named = match six {
        Some(six) => six.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') && !six.is_empty(),
        None => {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                && !name.is_empty()
        }
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The name of a repository at a forge, in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPath(Vec<String>);

impl RepositoryPath {
    pub fn new(forge: Forge, full_name: &str) -> Result<Self, NotARepository> {
        let parts: Vec<String> = full_name.split('/').map(str::to_owned).collect();
        let depth = match forge {
            Forge::GitLab => 2..=PARTS_MAX,
            Forge::GitHub | Forge::Gitea | Forge::Bitbucket => 2..=2,
        };
        // Control characters and dots alone survive encoding in some servers' routers.
        let right = |part: &String| {
            !matches!(part.as_str(), "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == '\\')
        };
        match full_name.len() <= PATH_BYTES_MAX && depth.contains(&parts.len()) && parts.iter().all(right) {
            true => Ok(Self(parts)),
            false => Err(NotARepository),
        }
    }

    pub fn name(&self) -> &str {
        self.0.last().expect("a path has two parts at least")
    }

    /// All groups above the name.
    pub fn owner(&self) -> String {
        self.0[..self.0.len() - 1].join("/")
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// A repository in the API of its forge.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub forge: Forge,
    pub api: &'a ApiBase,
    pub repository: &'a RepositoryPath,
}

impl Place<'_> {
    /// The address of the repository in the API.
    pub(crate) fn repository_url(&self) -> String {
        let api = &self.api.0;
        let encoded = |between: &str| {
            let parts: Vec<String> = self.repository.0.iter().map(|part| encode(part)).collect();
            parts.join(between)
        };
        match self.forge {
            Forge::GitHub | Forge::Gitea => format!("{api}/repos/{}", encoded("/")),
            Forge::GitLab => format!("{api}/projects/{}", encoded("%2F")),
            Forge::Bitbucket => format!("{api}/repositories/{}", encoded("/")),
        }
    }
}

/// Encodes everything that is not unreserved in a URL.
pub(crate) fn encode(part: &str) -> String {
    let mut encoded = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
