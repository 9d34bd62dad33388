//! Where a repository lies, as text that git can never take for an option, a helper or a password.
//!
//! Parsing is an allow-list: what is not named here is refused, with a reason of its own. The parsed
//! text is written anew from its parts, so that git and we mean the same host.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest URL that is read at all.
const BYTES_MAX: usize = 2048;

/// What an operator allows beyond https and ssh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `http://`: anyone on the way reads the code and the password.
    pub http: bool,
    /// `file://` and plain absolute paths: the host's own folders.
    pub file: bool,
}

/// What an operator names to allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllowedScheme {
    Http,
    File,
}

impl From<&[AllowedScheme]> for Allowed {
    fn from(named: &[AllowedScheme]) -> Self {
        Self { http: named.contains(&AllowedScheme::Http), file: named.contains(&AllowedScheme::File) }
    }
}

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    Https,
    Ssh,
    Http,
    File,
}

/// Why a text is not the URL of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("a repository URL is missing")]
    Empty,
    #[error("a repository URL has at most {BYTES_MAX} bytes")]
    Long,
    #[error("a repository URL must not hold {0:?}; write it percent-encoded")]
    Character(char),
    #[error("`{0}::` names a remote helper, which would run a program; use https:// or ssh://")]
    Helper(String),
    #[error("`{0}://` is not supported; use https:// or ssh://")]
    Scheme(String),
    #[error("http:// sends code and passwords readable by all; use https://, or have http allowed")]
    Http,
    #[error("a folder of the host is not a repository here; use https:// or ssh://, or have file allowed")]
    File,
    #[error("this is not a repository URL; write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH")]
    Shape,
    #[error("a URL must not hold a user or password; store them as a secret and name it in the project")]
    Credentials,
    #[error("`{0}` is not a user name of ssh")]
    User(String),
    #[error("`{0}` is not a host name or address")]
    Host(String),
    #[error("`{0}` is not a port")]
    Port(String),
    #[error("a repository URL has no `?` and no `#`")]
    Query,
    #[error("the path of a repository is missing")]
    NoPath,
    #[error("`{0}` may not be a part of a repository's path")]
    Path(String),
    #[error("a part of a URL must not begin with `-`: `{0}`")]
    Dash(String),
}

/// The checked URL of a repository; holds no password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryUrl {
    text: String,
    scheme: Scheme,
    host: Option<String>,
    port: Option<u16>,
    /// Where in `text` the path begins.
    path: usize,
}

impl RepositoryUrl {
    /// Reads `https://HOST/PATH`, `ssh://[USER@]HOST/PATH` or `USER@HOST:PATH`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::parse_with(text, Allowed::default())
    }

    /// Reads a URL of a scheme that the operator allowed.
    ///
    /// The form `USER@HOST:PATH` is written as `ssh://USER@HOST/PATH`, as every forge understands it;
    /// a path below the home folder of a plain ssh host is written `USER@HOST:~/PATH`.
    pub fn parse_with(text: &str, allowed: Allowed) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(UrlError::Long);
        }
        if text.starts_with('-') {
            return Err(UrlError::Dash(text.to_owned()));
        }
        if let Some(helper) = helper(text) {
            return Err(UrlError::Helper(helper.to_owned()));
        }
        if let Some(wrong) = text.chars().find(|letter| !letter.is_ascii_graphic() || *letter == '\\') {
            return Err(UrlError::Character(wrong));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme.to_ascii_lowercase().as_str() {
                "https" => network(Scheme::Https, rest),
                "ssh" => network(Scheme::Ssh, rest),
                "http" if allowed.http => network(Scheme::Http, rest),
                "http" => Err(UrlError::Http),
                "file" if allowed.file => file(rest),
                "file" => Err(UrlError::File),
                other => Err(UrlError::Scheme(other.to_owned())),
            };
        }
        match text.starts_with('/') {
            true if allowed.file => file(text),
            true => Err(UrlError::File),
            false => copied(text),
        }
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host in its one form: lower case, an address as an address. A file has none.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the port, where it is not the scheme's own.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the path, beginning with `/`.
    pub fn path(&self) -> &str {
        &self.text[self.path..]
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether both are served by the same server, so that a credential of one fits the other.
    pub fn same_server(&self, other: &Self) -> bool {
        self.scheme != Scheme::File
            && (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// Returns `scheme://host[:port]`, to which git binds a credential.
    pub(crate) fn server(&self) -> &str {
        &self.text[..self.path]
    }

    /// Reads the URL of a submodule: a URL of its own, or `./` and `../` beside this one.
    pub fn join(&self, text: &str, allowed: Allowed) -> Result<Self, UrlError> {
        if !text.starts_with("./") && !text.starts_with("../") {
            return Self::parse_with(text, allowed);
        }
        let mut folders: Vec<&str> = self.path().trim_start_matches('/').split('/').collect();
        let mut rest = text;
        loop {
            if let Some(inner) = rest.strip_prefix("./") {
                rest = inner;
            } else if let Some(inner) = rest.strip_prefix("../") {
                folders.pop().ok_or_else(|| UrlError::Path(text.to_owned()))?;
                rest = inner;
            } else {
                break;
            }
        }
        folders.push(rest);
        Self::parse_with(&format!("{}/{}", self.server(), folders.join("/")), allowed)
    }
}

/// Finds `NAME::`, by which git would start `git-remote-NAME`.
fn helper(text: &str) -> Option<&str> {
    let (name, _) = text.split_once("::")?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    plain.then_some(name)
}

/// Reads `USER@HOST:PATH`.
fn copied(text: &str) -> Result<RepositoryUrl, UrlError> {
    let (user, rest) = text.split_once('@').ok_or(UrlError::Shape)?;
    if user.contains(['/', ':']) {
        return Err(if user.contains(':') { UrlError::Credentials } else { UrlError::Shape });
    }
    let end = if rest.starts_with('[') { rest.find(']').ok_or(UrlError::Shape)? } else { 0 };
    let colon = end + rest[end..].find(':').ok_or(UrlError::Shape)?;
    let (host, path) = (&rest[..colon], &rest[colon + 1..]);
    if host.contains('/') {
        return Err(UrlError::Shape);
    }
    network(Scheme::Ssh, &format!("{user}@{host}/{}", path.trim_start_matches('/')))
}

/// Reads what follows `scheme://` where it names a server.
fn network(scheme: Scheme, rest: &str) -> Result<RepositoryUrl, UrlError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, place) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some((user, place)) => (Some(user), place),
    };
    if let Some(user) = user {
        check_user(scheme, user)?;
    }
    let end = match place.starts_with('[') {
        true => place.find(']').ok_or_else(|| UrlError::Host(place.to_owned()))?,
        false => 0,
    };
    let (host, port) = match place[end..].split_once(':') {
        None => (place, None),
        Some((_, port)) => (&place[..place.len() - port.len() - 1], Some(port)),
    };
    let host = check_host(host)?;
    let own = match scheme {
        Scheme::Https => 443,
        Scheme::Ssh => 22,
        Scheme::Http => 80,
        Scheme::File => 0,
    };
    let port = port.map(check_port).transpose()?.filter(|port| *port != own);
    let path = check_path(path)?;
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let number = port.map(|port| format!(":{port}")).unwrap_or_default();
    let server = format!("{}://{user}{host}{number}", scheme.name());
    let begin = server.len();
    Ok(RepositoryUrl { text: server + path, scheme, host: Some(host), port, path: begin })
}

fn file(rest: &str) -> Result<RepositoryUrl, UrlError> {
    if !rest.starts_with('/') {
        return Err(UrlError::Host(rest.split('/').next().unwrap_or_default().to_owned()));
    }
    let path = check_path(rest)?;
    let server = "file://".to_owned();
    let begin = server.len();
    Ok(RepositoryUrl { text: server + path, scheme: Scheme::File, host: None, port: None, path: begin })
}

fn check_user(scheme: Scheme, user: &str) -> Result<(), UrlError> {
    if scheme != Scheme::Ssh || user.contains(':') {
        return Err(UrlError::Credentials);
    }
    if user.starts_with('-') {
        return Err(UrlError::Dash(user.to_owned()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    match !user.is_empty() && user.bytes().all(plain) {
        true => Ok(()),
        false => Err(UrlError::User(user.to_owned())),
    }
}

/// Returns the host's one form: `0x7f.1` and `2130706433` are 127.0.0.1 to whoever checks it.
fn check_host(host: &str) -> Result<String, UrlError> {
    let wrong = || UrlError::Host(host.to_owned());
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').ok_or_else(wrong)?;
        let address = Ipv6Addr::from_str(address).map_err(|_| wrong())?;
        return Ok(format!("[{address}]"));
    }
    if host.starts_with('-') {
        return Err(UrlError::Dash(host.to_owned()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let named = labels.clone().all(|label| !label.is_empty() && !label.starts_with('-') && label.len() < 64);
    if host.len() > 253 || !named || !host.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(::url::Host::parse(host).map_err(|_| wrong())?.to_string())
}

fn check_port(port: &str) -> Result<u16, UrlError> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|number| *number > 0);
    number.filter(|_| digits).ok_or_else(|| UrlError::Port(port.to_owned()))
}

fn check_path(path: &str) -> Result<&str, UrlError> {
    if path.contains(['?', '#']) {
        return Err(UrlError::Query);
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Err(UrlError::NoPath);
    }
    for part in path.split('/').skip(1) {
        let plain = unescaped(part).ok_or_else(|| UrlError::Path(part.to_owned()))?;
        if plain.starts_with(b"-") {
            return Err(UrlError::Dash(part.to_owned()));
        }
        let control = plain.iter().any(|byte| byte.is_ascii_control() || *byte == b'/');
        if control || matches!(plain.as_slice(), b"" | b"." | b"..") {
            return Err(UrlError::Path(part.to_owned()));
        }
    }
    Ok(path)
}

/// Returns the bytes that a percent-encoded part stands for.
fn unescaped(part: &str) -> Option<Vec<u8>> {
    let mut bytes = part.bytes();
    let mut plain = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        plain.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(plain)
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::Http => "http",
            Self::File => "file",
        }
    }

    /// Tells whether the operator allows this scheme.
    pub fn is_allowed(self, allowed: Allowed) -> bool {
        match self {
            Self::Https | Self::Ssh => true,
            Self::Http => allowed.http,
            Self::File => allowed.file,
        }
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What was stored is read again whatever the operator allows today: [`crate::Git`] asks at each use.
impl TryFrom<String> for RepositoryUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        Self::parse_with(&text, Allowed { http: true, file: true })
    }
}

impl From<RepositoryUrl> for String {
    fn from(url: RepositoryUrl) -> Self {
        url.text
    }
}

#[cfg(test)]
mod tests;
