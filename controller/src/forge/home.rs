//! Where a project's repository is in the API of its forge, from what the project's record says.

use std::collections::BTreeMap;

use ocelot_forge::Forge;
use ocelot_forge::api::{ApiBase, NotARepository, NotAnAddress, Place, RepositoryPath};

use crate::records::ForgeLink;

/// The addresses of APIs that are not where their kind has them, by `host` or `host:port`.
pub type Apis = BTreeMap<String, String>;

/// A repository in the API of its forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    pub kind: Forge,
    api: ApiBase,
    repository: RepositoryPath,
}

/// Why a project's forge can not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoHome {
    #[error("the repository's address does not tell where its forge's API is")]
    Address(#[from] NotAnAddress),
    #[error("the repository's address does not tell its name at the forge")]
    Repository(#[from] NotARepository),
}

/// An address in parts.
struct Parts<'a> {
    scheme: &'a str,
    /// With the port, where that is the web server's.
    authority: &'a str,
    path: &'a str,
}

impl Home {
    /// Finds the home of the repository with this address.
    pub fn of(address: &str, link: &ForgeLink, apis: &Apis) -> Result<Self, NoHome> {
        let parts = parts(address).ok_or(NotAnAddress)?;
        let told = link.api.as_ref().or_else(|| apis.get(parts.authority));
        let path = parts.path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let (prefix, name) = match link.kind {
            Forge::GitLab => split_gitlab(path, told.map(String::as_str)),
            Forge::GitHub | Forge::Gitea | Forge::Bitbucket => split_two(path),
        };
        let repository = RepositoryPath::new(link.kind, name)?;
        let api = match told {
            Some(told) => ApiBase::told(told)?,
            None => {
                let root = format!("{}://{}{prefix}", parts.scheme, parts.authority);
                ApiBase::of_instance(link.kind, &root)?
            }
        };
        Ok(Self { kind: link.kind, api, repository })
    }

    pub fn place(&self) -> Place<'_> {
        Place { forge: self.kind, api: &self.api, repository: &self.repository }
    }

    /// The name of the repository at its forge.
    pub fn full_name(&self) -> String {
        self.repository.to_string()
    }

    /// What its calls share: a forge that is down is down for all of its repositories.
    pub fn host(&self) -> &str {
        let rest = self.api.as_str().split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }
}

fn parts(address: &str) -> Option<Parts<'_>> {
    if let Some((scheme, rest)) = address.split_once("://") {
        let (authority, path) = rest.split_once('/')?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        return match scheme {
            "https" | "http" => Some(Parts { scheme, authority: host, path }),
            // The port is that of ssh and says nothing of the web server.
            "ssh" => Some(Parts { scheme: "https", authority: without_port(host), path }),
            _other => None,
        };
    }
    let (login, path) = address.split_once(':')?;
    let host = login.rsplit_once('@').map_or(login, |(_, host)| host);
    Some(Parts { scheme: "https", authority: host, path })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Splits off the two parts that name a repository; before them is the path of the instance.
fn split_two(path: &str) -> (String, &str) {
    let mut slashes = path.rmatch_indices('/').map(|(at, _)| at).skip(1);
    match slashes.next() {
        Some(at) => (format!("/{}", &path[..at]), &path[at + 1..]),
        None => (String::new(), path),
    }
}

/// Groups nest, so only a told API tells a path of the instance from a group.
fn split_gitlab<'a>(path: &'a str, told: Option<&str>) -> (String, &'a str) {
    let told = told.and_then(|told| told.trim_end_matches('/').strip_suffix("/api/v4"));
    let prefix = told.and_then(|told| told.split_once("://")?.1.split_once('/')).map(|(_, path)| path);
    let rest = prefix.and_then(|prefix| path.strip_prefix(prefix)?.strip_prefix('/'));
    (String::new(), rest.unwrap_or(path))
}
