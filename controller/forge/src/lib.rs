//! What is known of GitHub, GitLab, Gitea / Forgejo and Bitbucket Cloud: values in, values out.
//!
//! A delivery goes through [`signature::verify`], then [`payload::parse`], and leaves as an
//! [`event::Event`], the same whatever told of it. What is said back leaves as an [`api::Request`]
//! or a [`notice::Message`], and its answer is read by [`api::classify`].
//! Nothing in this crate reads a clock, does I/O or is asynchronous; its `Cargo.toml` keeps it so.
//! Every text of a payload stays a text: it never becomes part of a decision about trust, and never
//! of a URL's path without being encoded.

pub mod api;
pub mod event;
pub mod notice;
pub mod payload;
pub mod secret;
pub mod signature;
mod text;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The headers of a request or an answer, by name; names are asked for in lower case.
pub type Headers<'h> = dyn Fn(&str) -> Option<&'h [u8]> + 'h;

/// A kind of forge that the project speaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forge {
    GitHub,
    GitLab,
    /// Forgejo speaks the same.
    Gitea,
    /// Bitbucket Cloud; the Data Center edition speaks otherwise.
    Bitbucket,
}

impl Forge {
    pub const ALL: [Self; 4] = [Self::GitHub, Self::GitLab, Self::Gitea, Self::Bitbucket];

    /// The word for URLs, files and keys.
    pub const fn word(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Bitbucket => "bitbucket",
        }
    }

    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Gitea => "Gitea",
            Self::Bitbucket => "Bitbucket",
        }
    }

    /// The ref under which the base repository keeps the head of a pull request, forks included.
    /// Bitbucket keeps none: there the head repository itself is fetched.
    pub fn pull_request_ref(self, number: u64) -> Option<String> {
        match self {
            Self::GitHub | Self::Gitea => Some(format!("refs/pull/{number}/head")),
            Self::GitLab => Some(format!("refs/merge-requests/{number}/head")),
            Self::Bitbucket => None,
        }
    }
}

impl fmt::Display for Forge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that names no forge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no forge: github, gitlab, gitea (or forgejo), bitbucket")]
pub struct UnknownForge(String);

impl FromStr for Forge {
    type Err = UnknownForge;

    fn from_str(word: &str) -> Result<Self, UnknownForge> {
        match word {
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            "gitea" | "forgejo" => Ok(Self::Gitea),
            "bitbucket" => Ok(Self::Bitbucket),
            other => Err(UnknownForge(text::cut(other, 64).to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forge_is_found_again_by_its_word_and_forgejo_is_gitea() {
        for forge in Forge::ALL {
            assert_eq!(forge.word().parse(), Ok(forge));
            assert_eq!(serde_json::to_value(forge).unwrap(), forge.word());
        }
        assert_eq!("forgejo".parse(), Ok(Forge::Gitea));
        assert!("GitHub".parse::<Forge>().is_err());
    }
}
