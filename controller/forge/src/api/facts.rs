//! What a forge's API says of a pull request and of a repository: the second witness of the ids
//! that decide about trust, and where a project's default branch and addresses are learnt.

use serde::Deserialize;

use super::{Method, Place, Request};
use crate::Forge;
use crate::event::{CommitId, RepositoryId, RepositoryIdentity};
use crate::payload::RepositoryShape;
use crate::secret::ForgeToken;
use crate::text::{Cut, Href, Name, NumberId, UuidId, cut};

/// A pull request as the API tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequestFacts {
    pub number: u64,
    pub head_repository_id: Option<RepositoryId>,
    pub base_repository_id: Option<RepositoryId>,
    pub head_commit: Option<CommitId>,
    pub base_ref: Option<String>,
    pub open: bool,
}

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the forge's answer is no {what}: {why}")]
pub struct Unreadable {
    what: &'static str,
    why: String,
}

impl Unreadable {
    pub(crate) fn new(what: &'static str, why: &dyn std::fmt::Display) -> Self {
        Self { what, why: cut(&why.to_string(), 300).to_owned() }
    }
}

/// Asks for a pull request.
pub fn pull_request_request(place: &Place<'_>, number: u64, token: &ForgeToken) -> Request {
    let path = match place.forge {
        Forge::GitHub | Forge::Gitea => format!("/pulls/{number}"),
        Forge::GitLab => format!("/merge_requests/{number}"),
        Forge::Bitbucket => format!("/pullrequests/{number}"),
    };
    Request::new(Method::Get, place, &path, token)
}

/// Asks for a repository.
pub fn repository_request(place: &Place<'_>, token: &ForgeToken) -> Request {
    Request::new(Method::Get, place, "", token)
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    state: Option<Name<64>>,
    head: PullEnd,
    base: PullEnd,
    /// Forgejo: 0 for a branch of a repository, 1 for AGit.
    #[serde(default)]
    flow: NumberId,
}

#[derive(Deserialize)]
struct PullEnd {
    #[serde(rename = "ref")]
    reference: Option<Name<1024>>,
    label: Option<Cut<1024>>,
    sha: Option<Cut<64>>,
    repo: Option<IdOnly>,
}

impl Pull {
    /// Whether the head was pushed to Gitea for review: it then claims to be in the base repository.
    fn is_agit(&self) -> bool {
        let named = self.head.reference.as_ref().is_some_and(|reference| !reference.0.starts_with("refs/"));
        let unlabelled = self.head.label.as_ref().is_some_and(|label| label.0.is_empty());
        self.flow.0.is_some() || !named || unlabelled
    }
}

#[derive(Deserialize)]
struct IdOnly {
    #[serde(default)]
    id: NumberId,
}

#[derive(Deserialize)]
struct Merge {
    iid: u64,
    state: Option<Name<64>>,
    #[serde(default)]
    source_project_id: NumberId,
    #[serde(default)]
    target_project_id: NumberId,
    sha: Option<Cut<64>>,
    target_branch: Option<Name<1024>>,
}

#[derive(Deserialize)]
struct BitbucketPull {
    id: u64,
    state: Option<Name<64>>,
    source: BitbucketEnd,
    destination: BitbucketEnd,
}

#[derive(Deserialize)]
struct BitbucketEnd {
    repository: Option<UuidOnly>,
    branch: Option<Branch>,
    commit: Option<Hash>,
}

#[derive(Deserialize)]
struct UuidOnly {
    #[serde(default)]
    uuid: UuidId,
}

#[derive(Deserialize)]
struct Branch {
    name: Name<1024>,
}

#[derive(Deserialize)]
struct Hash {
    hash: Cut<64>,
}

fn number(id: NumberId) -> Option<RepositoryId> {
    crate::payload::number_id(id)
}

fn commit(text: Option<Cut<64>>) -> Option<CommitId> {
    CommitId::new(&text?.0).ok()
}

/// Reads the answer to [`pull_request_request`].
pub fn pull_request_facts(forge: Forge, body: &[u8]) -> Result<PullRequestFacts, Unreadable> {
    let read = match forge {
        Forge::GitHub => serde_json::from_slice(body).map(pull_facts),
        Forge::Gitea => serde_json::from_slice(body).map(gitea_facts),
        Forge::GitLab => serde_json::from_slice(body).map(merge_facts),
        Forge::Bitbucket => serde_json::from_slice(body).map(bitbucket_facts),
    };
    read.map_err(|error| Unreadable::new("pull request", &error))
}

fn pull_facts(pull: Pull) -> PullRequestFacts {
    PullRequestFacts {
        number: pull.number,
        head_repository_id: pull.head.repo.and_then(|repository| number(repository.id)),
        base_repository_id: pull.base.repo.and_then(|repository| number(repository.id)),
        head_commit: commit(pull.head.sha),
        base_ref: pull.base.reference.map(|reference| reference.0),
        open: pull.state.is_some_and(|state| state.0 == "open"),
    }
}

fn gitea_facts(pull: Pull) -> PullRequestFacts {
    let agit = pull.is_agit();
    let facts = pull_facts(pull);
    PullRequestFacts { head_repository_id: facts.head_repository_id.filter(|_| !agit), ..facts }
}

fn merge_facts(merge: Merge) -> PullRequestFacts {
    PullRequestFacts {
        number: merge.iid,
        head_repository_id: number(merge.source_project_id),
        base_repository_id: number(merge.target_project_id),
        head_commit: commit(merge.sha),
        base_ref: merge.target_branch.map(|branch| branch.0),
        open: merge.state.is_some_and(|state| state.0 == "opened"),
    }
}

fn bitbucket_facts(pull: BitbucketPull) -> PullRequestFacts {
    let id = |end: &BitbucketEnd| {
        let repository = end.repository.as_ref()?;
        repository.uuid.0.clone().map(RepositoryId::from_text)
    };
    PullRequestFacts {
        number: pull.id,
        head_repository_id: id(&pull.source),
        base_repository_id: id(&pull.destination),
        head_commit: commit(pull.source.commit.map(|commit| commit.hash)),
        base_ref: pull.destination.branch.map(|branch| branch.name.0),
        open: pull.state.is_some_and(|state| state.0 == "OPEN"),
    }
}

#[derive(Deserialize)]
struct Project {
    #[serde(default)]
    id: NumberId,
    path_with_namespace: Name<1024>,
    http_url_to_repo: Option<Cut<2048>>,
    ssh_url_to_repo: Option<Cut<2048>>,
    default_branch: Option<Name<1024>>,
    web_url: Option<Cut<2048>>,
    visibility: Option<Name<64>>,
}

#[derive(Deserialize)]
struct BitbucketRepository {
    #[serde(default)]
    uuid: UuidId,
    full_name: Name<512>,
    is_private: Option<bool>,
    mainbranch: Option<Branch>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Href>,
    clone: Option<Vec<CloneLink>>,
}

#[derive(Deserialize)]
struct CloneLink {
    name: Name<64>,
    href: Cut<2048>,
}

/// Reads the answer to [`repository_request`].
pub fn repository_identity(forge: Forge, body: &[u8]) -> Result<RepositoryIdentity, Unreadable> {
    let read = match forge {
        Forge::GitHub | Forge::Gitea => serde_json::from_slice(body).map(RepositoryShape::identity),
        Forge::GitLab => serde_json::from_slice(body).map(project),
        Forge::Bitbucket => serde_json::from_slice(body).map(bitbucket_repository),
    };
    let read = read.map_err(|error| Unreadable::new("repository", &error))?;
    read.ok_or_else(|| Unreadable::new("repository", &"it has no id"))
}

fn project(project: Project) -> Option<RepositoryIdentity> {
    Some(RepositoryIdentity {
        id: number(project.id)?,
        full_name: project.path_with_namespace.0,
        clone_url_https: project.http_url_to_repo.map(|url| url.0),
        clone_url_ssh: project.ssh_url_to_repo.map(|url| url.0),
        default_branch: project.default_branch.map(|branch| branch.0),
        web_url: project.web_url.map(|url| url.0),
        private: project.visibility.is_none_or(|visibility| visibility.0 != "public"),
    })
}

fn bitbucket_repository(shape: BitbucketRepository) -> Option<RepositoryIdentity> {
    let Links { html, clone } = shape.links.unwrap_or(Links { html: None, clone: None });
    let clone = clone.unwrap_or_default();
    let href = |name: &str| clone.iter().find(|link| link.name.0 == name).map(|link| link.href.0.clone());
    Some(RepositoryIdentity {
        id: RepositoryId::from_text(shape.uuid.0?),
        full_name: shape.full_name.0,
        clone_url_https: href("https").map(|url| without_user(&url)),
        clone_url_ssh: href("ssh"),
        default_branch: shape.mainbranch.map(|branch| branch.name.0),
        web_url: html.map(|link| link.href.0),
        private: shape.is_private.unwrap_or(true),
    })
}

/// Bitbucket puts the name of the asking user into the address.
fn without_user(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (user, rest))) if !user.contains('/') => format!("{scheme}://{rest}"),
        Some(_) | None => url.to_owned(),
    }
}
