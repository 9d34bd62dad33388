//! Addresses of repositories, in any of the forms that git takes.

/// What an address means, whichever way it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Lower case; empty for a folder of this machine.
    host: String,
    /// Without slashes at its ends, and without `.git`.
    path: String,
}

/// Hosts whose kind everybody knows, and the first part of names that tell it.
const HOSTS: [(&str, &str); 5] = [
    ("github.com", "github"),
    ("gitlab.com", "gitlab"),
    ("bitbucket.org", "bitbucket"),
    ("codeberg.org", "gitea"),
    ("gitea.com", "gitea"),
];
const FIRST_PARTS: [(&str, &str); 4] =
    [("github", "github"), ("gitlab", "gitlab"), ("gitea", "gitea"), ("forgejo", "gitea")];

impl Remote {
    pub(crate) fn read(url: &str) -> Option<Self> {
        let (host, path) = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?,
            None if url.starts_with(['/', '.', '~']) => ("", url),
            // A colon behind the first slash belongs to the path of a folder.
            None => match url.split_once(':') {
                Some((host, path)) if !host.contains('/') => (host, path),
                Some(_) | None => ("", url),
            },
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
        (!path.is_empty()).then(|| Self { host: host.to_ascii_lowercase(), path: path.to_owned() })
    }

    /// Returns `owner/name`: the last two parts of the path.
    pub(crate) fn project(&self) -> Option<String> {
        let (rest, name) = self.path.rsplit_once('/')?;
        let owner = rest.rsplit('/').next()?;
        (!owner.is_empty() && !name.is_empty()).then(|| format!("{owner}/{name}"))
    }

    /// Tells whether both lead to one repository, by whichever protocol.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.host == other.host && self.path.eq_ignore_ascii_case(&other.path)
    }

    /// Returns the kind of forge, where the host's name says it.
    pub(crate) fn forge(&self) -> Option<&'static str> {
        let known = HOSTS.iter().find(|(host, _)| *host == self.host);
        let first = self.host.split('.').next().unwrap_or_default();
        let known = known.or_else(|| FIRST_PARTS.iter().find(|(part, _)| *part == first));
        known.map(|(_, forge)| *forge)
    }
}

/// Returns an address without the user and password in it; of ssh the user stays, it is no secret.
pub(crate) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match (scheme, authority.rsplit_once('@')) {
        (_, None) => url.to_owned(),
        ("ssh", Some((login, host))) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        (_, Some((_, host))) => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str) -> Remote {
        Remote::read(url).unwrap()
    }

    #[test]
    fn a_project_is_found_in_every_form_of_address() {
        for url in [
            "https://forge.example/acme/shop.git",
            "https://user@forge.example:8443/acme/shop",
            "ssh://git@forge.example:22/acme/shop.git",
            "git@forge.example:acme/shop.git",
            "https://forge.example/group/acme/shop/",
            "/srv/git/acme/shop.git",
        ] {
            assert_eq!(remote(url).project().as_deref(), Some("acme/shop"), "{url}");
        }
        assert_eq!(remote("https://forge.example/shop").project(), None);
        assert_eq!(remote("shop").project(), None);
    }

    #[test]
    fn one_repository_is_known_by_any_of_its_addresses() {
        let one = remote("git@Forge.example:acme/shop.git");
        for same in ["https://forge.example/acme/shop", "ssh://git@forge.example:2222/Acme/Shop.git"] {
            assert!(one.is(&remote(same)), "{same}");
        }
        for other in ["https://forge.example/other/shop", "https://elsewhere.example/acme/shop"] {
            assert!(!one.is(&remote(other)), "{other}");
        }
    }

    #[test]
    fn the_kind_of_forge_is_told_by_the_host() {
        let forges = [
            ("git@github.com:acme/shop.git", Some("github")),
            ("https://gitlab.acme.example/a/b", Some("gitlab")),
            ("https://codeberg.org/a/b", Some("gitea")),
            ("https://bitbucket.org/a/b", Some("bitbucket")),
            ("https://code.acme.example/a/b", None),
        ];
        for (url, forge) in forges {
            assert_eq!(remote(url).forge(), forge, "{url}");
        }
    }

    #[test]
    fn a_password_in_an_address_stays_here() {
        let shown = [
            "https://ada:secret@forge.example/acme/shop",
            "https://token@forge.example:8443/acme/shop",
            "ssh://git:secret@forge.example/acme/shop",
            "git@forge.example:acme/shop",
        ]
        .map(without_credentials);
        assert_eq!(
            shown,
            [
                "https://forge.example/acme/shop",
                "https://forge.example:8443/acme/shop",
                "ssh://git@forge.example/acme/shop",
                "git@forge.example:acme/shop",
            ]
        );
    }
}
