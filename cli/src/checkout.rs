//! What the git checkout around the current folder says. Everything is optional: outside a checkout,
//! or without git, there is simply nothing to say.

use std::process::{Command, Stdio};

/// The commit that the checkout stands on.
#[derive(Debug, Default)]
pub(crate) struct Checkout {
    pub(crate) branch: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) message: Option<String>,
    /// `owner/name`, from the address of `origin`.
    pub(crate) project: Option<String>,
}

impl Checkout {
    pub(crate) fn here() -> Self {
        Self {
            branch: git(&["symbolic-ref", "--quiet", "--short", "HEAD"]),
            commit: git(&["rev-parse", "--verify", "--quiet", "HEAD"]),
            message: git(&["log", "-1", "--format=%B"]),
            project: git(&["config", "--get", "remote.origin.url"]).and_then(|url| project_of(&url)),
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim_end();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

/// Returns `owner/name` of a remote's address, in any of the forms that git takes.
fn project_of(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.split_once(':').map_or(url, |(_, path)| path),
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let (rest, name) = path.rsplit_once('/')?;
    let owner = rest.rsplit('/').next()?;
    (!owner.is_empty() && !name.is_empty()).then(|| format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::project_of;

    #[test]
    fn a_project_is_found_in_every_form_of_address() {
        for url in [
            "https://forge.example/acme/shop.git",
            "https://user@forge.example:8443/acme/shop",
            "ssh://git@forge.example:22/acme/shop.git",
            "git@forge.example:acme/shop.git",
            "https://forge.example/group/acme/shop/",
        ] {
            assert_eq!(project_of(url).as_deref(), Some("acme/shop"), "{url}");
        }
        assert_eq!(project_of("https://forge.example/shop"), None);
        assert_eq!(project_of("shop"), None);
    }
}
