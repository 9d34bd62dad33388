//! What a forge's API says of one commit: the whole id where a delivery abbreviates it (Bitbucket),
//! and the message where a delivery lacks it (every pull request, a new branch at GitLab).

use serde::Deserialize;

use super::{Method, Place, Request, Unreadable};
use crate::Forge;
use crate::event::{Commit, CommitId};
use crate::secret::ForgeToken;
use crate::text::Cut;

/// Asks for a commit of a repository; the head of a pull request is in the head's repository.
pub fn commit_request(place: &Place<'_>, commit: &CommitId, token: &ForgeToken) -> Request {
    let path = match place.forge {
        Forge::GitHub => format!("/commits/{commit}"),
        Forge::GitLab => format!("/repository/commits/{commit}"),
        Forge::Gitea => format!("/git/commits/{commit}"),
        Forge::Bitbucket => format!("/commit/{commit}"),
    };
    Request::new(Method::Get, place, &path, token)
}

#[derive(Deserialize)]
struct Outer {
    sha: Cut<64>,
    commit: Inner,
}

#[derive(Deserialize)]
struct Inner {
    message: Option<Cut<8192>>,
    author: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<Cut<256>>,
}

#[derive(Deserialize)]
struct GitLabCommit {
    id: Cut<64>,
    message: Option<Cut<8192>>,
    author_name: Option<Cut<256>>,
}

#[derive(Deserialize)]
struct BitbucketCommit {
    hash: Cut<64>,
    message: Option<Cut<8192>>,
    author: Option<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    raw: Option<Cut<256>>,
}

/// The id, the message and the author, as a forge has them.
type Parts = (Cut<64>, Option<Cut<8192>>, Option<Cut<256>>);

/// Reads the answer to [`commit_request`]; it must be of the commit that was asked for.
pub fn commit_of(forge: Forge, body: &[u8], asked: &CommitId) -> Result<Commit, Unreadable> {
    let read: Result<Parts, _> = match forge {
        Forge::GitHub | Forge::Gitea => serde_json::from_slice(body).map(|it: Outer| {
            let author = it.commit.author.and_then(|author| author.name);
            (it.sha, it.commit.message, author)
        }),
        Forge::GitLab => {
            serde_json::from_slice(body).map(|it: GitLabCommit| (it.id, it.message, it.author_name))
        }
        Forge::Bitbucket => serde_json::from_slice(body)
            .map(|it: BitbucketCommit| (it.hash, it.message, it.author.and_then(|author| author.raw))),
    };
    let (id, message, author) = read.map_err(|error| Unreadable::new("commit", &error))?;
    let id = CommitId::new(&id.0).map_err(|error| Unreadable::new("commit", &error))?;
    match id.is_whole() && id.agrees_with(asked) {
        true => {
            Ok(Commit { id, message: message.unwrap_or_default().0, author: author.unwrap_or_default().0 })
        }
        false => Err(Unreadable::new("commit", &"it is another than was asked for")),
    }
}
