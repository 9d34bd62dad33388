//! Names of commits and refs, checked: git never sees one that it could take for something else.
//!
//! A name may hold `$`, quotes and `;`, which git allows. It is an argument of its own and never part
//! of a shell's text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of a ref; file systems end a part at 255 bytes.
const BYTES_MAX: usize = 512;

/// Why a text names no commit or ref.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{0:?} is not a commit: 40 or 64 hexadecimal digits in lower case")]
    Commit(String),
    #[error("{0:?} is not a full ref name; write refs/heads/NAME or refs/tags/NAME")]
    Namespace(String),
    #[error("{0:?} is not a name that git allows for a branch or tag")]
    Reference(String),
    #[error("{0:?} has a part that begins with `-`")]
    Dash(String),
    #[error("a ref name has at most {BYTES_MAX} bytes")]
    Long,
}

/// The full id of a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match digits && (text.len() == 40 || text.len() == 64) {
            true => Ok(Self(text.to_owned())),
            false => Err(NameError::Commit(text.chars().take(80).collect())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether the id stands for *nothing*, as the side of a push that makes or deletes a branch.
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'0')
    }
}

/// How a forge names the head of a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullStyle {
    /// GitHub, Gitea, Forgejo: `refs/pull/N/head`.
    Pull,
    /// GitLab: `refs/merge-requests/N/head`.
    MergeRequest,
    /// Bitbucket Data Center: `refs/pull-requests/N/from`.
    PullRequest,
}

/// What a ref is to its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    Branch(&'a str),
    Tag(&'a str),
    PullRequest(u64),
    /// `refs/changes/..` of Gerrit.
    Change(&'a str),
}

/// The checked full name of a ref.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(String);

impl Reference {
    /// Reads `refs/heads/..`, `refs/tags/..`, the head of a pull request or `refs/changes/..`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > BYTES_MAX {
            return Err(NameError::Long);
        }
        if kind(text).is_none() {
            return Err(NameError::Namespace(text.to_owned()));
        }
        if text.split('/').any(|part| part.starts_with('-')) {
            return Err(NameError::Dash(text.to_owned()));
        }
        match is_well_formed(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(NameError::Reference(text.to_owned())),
        }
    }

    pub fn branch(name: &str) -> Result<Self, NameError> {
        Self::parse(&format!("refs/heads/{name}"))
    }

    pub fn tag(name: &str) -> Result<Self, NameError> {
        Self::parse(&format!("refs/tags/{name}"))
    }

    pub fn pull_request(style: PullStyle, number: u64) -> Self {
        Self(match style {
            PullStyle::Pull => format!("refs/pull/{number}/head"),
            PullStyle::MergeRequest => format!("refs/merge-requests/{number}/head"),
            PullStyle::PullRequest => format!("refs/pull-requests/{number}/from"),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn kind(&self) -> Kind<'_> {
        kind(&self.0).expect("a ref of an unknown kind is never made")
    }
}

fn kind(text: &str) -> Option<Kind<'_>> {
    let (space, name) = text.strip_prefix("refs/")?.split_once('/')?;
    let number = |ending: &str| {
        let digits = name.strip_suffix(ending)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    match space {
        "heads" => Some(Kind::Branch(name)),
        "tags" => Some(Kind::Tag(name)),
        "pull" => number("/head").or_else(|| number("/merge")).map(Kind::PullRequest),
        "merge-requests" => number("/head").or_else(|| number("/merge")).map(Kind::PullRequest),
        "pull-requests" => number("/from").or_else(|| number("/merge")).map(Kind::PullRequest),
        "changes" => Some(Kind::Change(name)),
        _ => None,
    }
}

/// The rules of `git check-ref-format`.
fn is_well_formed(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let letter = |letter: char| !letter.is_control() && !" ~^:?*[\\".contains(letter);
    text.split('/').all(part)
        && text.chars().all(letter)
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && !text.ends_with("/@")
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

as_text!(CommitId);
as_text!(Reference);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_named_in_full_and_in_lower_case() {
        assert!(CommitId::parse(&"a1".repeat(20)).is_ok());
        assert!(CommitId::parse(&"a1".repeat(32)).is_ok());
        assert!(CommitId::parse(&"0".repeat(40)).unwrap().is_zero());
        for wrong in ["", "HEAD", "a1b2c3d", &"A1".repeat(20), &"g1".repeat(20), "--upload-pack=x"] {
            assert!(CommitId::parse(wrong).is_err(), "{wrong}");
        }
        assert!(CommitId::parse(&format!("{}\n", "a1".repeat(20))).is_err());
    }

    #[test]
    fn hostile_names_of_refs_are_refused() {
        let wrong = [
            "",
            "main",
            "HEAD",
            "refs/heads",
            "refs/heads/",
            "refs/heads//a",
            "refs/heads/a/",
            "refs/notes/x",
            "refs/heads/-x",
            "refs/heads/--upload-pack=touch x",
            "refs/heads/a/-b",
            "-refs/heads/a",
            "refs/heads/.a",
            "refs/heads/a/.git",
            "refs/heads/a.lock",
            "refs/heads/a.lock/b",
            "refs/heads/a..b",
            "refs/heads/../../config",
            "refs/heads/a b",
            "refs/heads/a\tb",
            "refs/heads/a\nb",
            "refs/heads/a\rb",
            "refs/heads/a\0b",
            "refs/heads/a\u{7f}",
            "refs/heads/a~1",
            "refs/heads/a^",
            "refs/heads/a:b",
            "refs/heads/a?",
            "refs/heads/*",
            "refs/heads/[a]",
            "refs/heads/a\\b",
            "refs/heads/a.",
            "refs/heads/@{u}",
            "refs/heads/@",
            "refs/pull/x/head",
            "refs/pull/1/head/x",
            "refs/pull/+1/head",
            "refs/remotes/origin/a",
            "+refs/heads/a",
            "refs/tags/v1^{}",
            "refs/../heads/a",
            "refs/stash",
        ];
        for text in wrong {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Reference::parse(&format!("refs/heads/{}", "a".repeat(600))), Err(NameError::Long));
    }

    #[test]
    fn what_git_allows_is_a_name_however_odd() {
        for name in
            ["main", "feature/a-b", "a;touch x", "$(id)", "`id`", "é", "a'b\"c", "v1.2", "a@b", "${IFS}"]
        {
            let name = name.replace(' ', "_");
            let reference = Reference::branch(&name).unwrap();
            assert_eq!(reference.kind(), Kind::Branch(&name));
            let json = serde_json::to_string(&reference).unwrap();
            assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
        }
        assert_eq!(Reference::tag("v1").unwrap().kind(), Kind::Tag("v1"));
        for style in [PullStyle::Pull, PullStyle::MergeRequest, PullStyle::PullRequest] {
            let reference = Reference::pull_request(style, 7);
            assert_eq!(Reference::parse(reference.as_str()).unwrap().kind(), Kind::PullRequest(7));
        }
    }
}
