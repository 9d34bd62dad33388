//! What a repository says about an event: its commit, its definition, the paths that changed.
//!
//! All of it is fetched into this controller's mirror. What fails is told apart by what it stops: the
//! whole repository, one branch, or this event for good.

use ocelot_forge::event::{CommitId as Told, Event, EventKind};
use ocelot_git::{Cause, Commit, CommitId, GitError, Mirror, Reference, Want};
use ocelot_spec::{Event as SpecEvent, FILE_BYTES_MAX};

use super::definition::{FILE, MISNAMED};
use crate::records::{ProjectName, ProjectRecord};
use crate::service::Service;
use crate::service::error::Error;

/// Changed paths that conditions are asked about; above, they all are true.
const PATHS_MAX: usize = 10_000;
/// The key by which a definition asks for what changed.
const PATHS: &[u8] = b"paths";
/// The longest message of a commit that a run keeps.
const MESSAGE_MAX: usize = 16 * 1024;
const AUTHOR_MAX: usize = 256;

/// Why something cannot be found out.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store, or the disk: nothing that the repository can do anything about.
    Ours(Error),
    /// Nothing of this repository can be had.
    Repository(String),
    /// This ref alone cannot be had.
    Branch(String),
    /// The commit is not there, and the name that the event gives leads nowhere.
    Gone(String),
}

/// The definition of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum File {
    Text(Vec<u8>),
    None,
    /// There is one that cannot be read as a file of its name.
    Wrong(String),
}

/// What is known of the commit of an event.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) commit: CommitId,
    pub(super) message: String,
    pub(super) author: String,
    pub(super) file: File,
    pub(super) changed: Option<Vec<String>>,
}

impl File {
    /// Whether what changed can matter: to compare it costs a look at the server.
    fn may_ask_for_paths(&self) -> bool {
        match self {
            Self::Text(text) => text.windows(PATHS.len()).any(|part| part == PATHS),
            Self::None | Self::Wrong(_) => false,
        }
    }
}

impl From<GitError> for Trouble {
    fn from(error: GitError) -> Self {
        let text = error.to_string();
        match error {
            GitError::NoCommit { .. } => Self::Gone(text),
            error if error.cause() == Some(Cause::NoReference) => Self::Branch(text),
            _ => Self::Repository(text),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        if error.is_retryable() { Self::Ours(error) } else { Self::Repository(error.to_string()) }
    }
}

/// Returns the ref under which the commit of an event can be fetched; none where there is none.
pub(super) fn reference_of(event: &Event) -> Option<Result<Reference, String>> {
    let parsed = match &event.kind {
        EventKind::Push(push) => Reference::branch(&push.branch),
        EventKind::BranchDeleted { branch, .. } => Reference::branch(branch),
        EventKind::Tag(tag) => Reference::tag(&tag.tag),
        EventKind::TagDeleted { tag, .. } => Reference::tag(tag),
        EventKind::PullRequest(pull) => {
            match event.forge.and_then(|forge| forge.pull_request_ref(pull.number)) {
                Some(reference) => Reference::parse(&reference),
                // Its branch is in the repository itself, or nowhere that we may fetch from.
                None if event.is_trusted() => Reference::branch(&pull.head_ref),
                None => return None,
            }
        }
    };
    Some(parsed.map_err(|error| error.to_string()))
}

/// Returns the event as definitions speak of it; none for what never makes a run.
pub(super) fn spec_event(kind: &EventKind) -> Option<SpecEvent> {
    match kind {
        EventKind::Push(push) => Some(SpecEvent::Push { branch: push.branch.clone() }),
        EventKind::Tag(tag) => Some(SpecEvent::Tag { tag: tag.tag.clone() }),
        EventKind::PullRequest(pull) => Some(SpecEvent::PullRequest {
            number: pull.number,
            source: pull.head_ref.clone(),
            target: pull.base_ref.clone(),
        }),
        EventKind::BranchDeleted { .. } | EventKind::TagDeleted { .. } => None,
    }
}

/// Returns the commit that an event is about.
pub(super) fn told_commit(kind: &EventKind) -> Option<&Told> {
    match kind {
        EventKind::Push(push) => Some(&push.after),
        EventKind::Tag(tag) => Some(&tag.commit),
        EventKind::PullRequest(pull) => Some(&pull.head_commit),
        EventKind::BranchDeleted { before, .. } | EventKind::TagDeleted { before, .. } => before.as_ref(),
    }
}

impl Service {
    /// Opens the mirror of a project.
    pub(super) async fn mirror_of(&self, project: &ProjectRecord) -> Result<Mirror, Trouble> {
        let mirrors = self.mirrors()?;
        let url = mirrors.address(&project.url).map_err(|error| Trouble::Repository(error.to_string()))?;
        let credentials = self.opens(project).await?.map(|opens| opens.to_git()).unwrap_or_default();
        Ok(mirrors.open(&url, credentials).await?)
    }
}

/// Brings the commit of an event into the mirror; returns what is said of it.
pub(super) async fn obtain(mirror: &Mirror, told: &Told, reference: &Reference) -> Result<Commit, Trouble> {
    let commit = if told.is_whole() {
        let commit = CommitId::parse(told.as_str()).map_err(|error| Trouble::Gone(error.to_string()))?;
        mirror.obtain(&commit, Some(reference)).await?;
        commit
    } else {
        mirror.fetch(&[Want::Reference(reference.clone())]).await?;
        let tip = mirror.resolve(reference).await?;
        let tip = tip.filter(|tip| tip.as_str().starts_with(told.as_str()));
        tip.ok_or_else(|| Trouble::Gone(format!("{reference} has moved on from {told}")))?
    };
    // What was told may be an annotated tag: the commit is what it stands for.
    Ok(mirror.commit(&commit).await?)
}

/// Reads what a run of this commit needs.
pub(super) async fn facts(
    mirror: &Mirror,
    said: Commit,
    changed: impl Future<Output = Result<Option<Vec<String>>, Trouble>>,
) -> Result<Facts, Trouble> {
    // One after the other: both may fetch into the mirror.
    let file = read_definition(mirror, &said.id).await?;
    let changed = if file.may_ask_for_paths() { changed.await? } else { None };
    let message = said.message[..said.message.floor_char_boundary(MESSAGE_MAX)].to_owned();
    let author = said.author_name[..said.author_name.floor_char_boundary(AUTHOR_MAX)].to_owned();
    Ok(Facts { commit: said.id, message, author, file, changed })
}

async fn read_definition(mirror: &Mirror, commit: &CommitId) -> Result<File, Trouble> {
    match mirror.read_file(commit, FILE, FILE_BYTES_MAX).await {
        Ok(Some(text)) => return Ok(File::Text(text)),
        Ok(None) => {}
        Err(error @ (GitError::NotAFile { .. } | GitError::Large { .. })) => {
            return Ok(File::Wrong(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    match mirror.read_file(commit, MISNAMED, 0).await {
        Ok(None) => Ok(File::None),
        Ok(Some(_)) | Err(GitError::NotAFile { .. } | GitError::Large { .. }) => {
            Ok(File::Wrong(format!("{MISNAMED} is not looked at: rename it to {FILE}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the paths that an event changed; none where nothing can be compared.
pub(super) async fn changed(
    mirror: &Mirror,
    kind: &EventKind,
    commit: &CommitId,
    default_branch: &str,
) -> Result<Option<Vec<String>>, Trouble> {
    let base = match kind {
        EventKind::Push(push) => match (&push.before, push.forced) {
            (Some(_), Some(true)) => None,
            (Some(before), Some(false) | None) => former_head(mirror, before, commit).await?,
            (None, _) if push.branch == default_branch => None,
            (None, _) => merge_base(mirror, default_branch, commit).await?,
        },
        EventKind::PullRequest(pull) => merge_base(mirror, &pull.base_ref, commit).await?,
        EventKind::Tag(_) | EventKind::BranchDeleted { .. } | EventKind::TagDeleted { .. } => None,
    };
    let Some(base) = base else { return Ok(None) };
    Ok(mirror.changed_paths(&base, commit, PATHS_MAX).await?)
}

/// Returns the former head if the branch went on from it, and was not forced elsewhere.
async fn former_head(mirror: &Mirror, before: &Told, commit: &CommitId) -> Result<Option<CommitId>, Trouble> {
    let Ok(before) = CommitId::parse(before.as_str()) else { return Ok(None) };
    if !mirror.contains(&before).await? || !mirror.is_ancestor(&before, commit).await? {
        return Ok(None);
    }
    Ok(Some(before))
}

async fn merge_base(mirror: &Mirror, branch: &str, commit: &CommitId) -> Result<Option<CommitId>, Trouble> {
    let Ok(reference) = Reference::branch(branch) else { return Ok(None) };
    match mirror.fetch(&[Want::Reference(reference.clone())]).await {
        Ok(()) => {}
        // There is no such branch, so there is nothing to compare with.
        Err(error) if error.cause() == Some(Cause::NoReference) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let Some(target) = mirror.resolve(&reference).await? else { return Ok(None) };
    Ok(mirror.merge_base(&target, commit).await?)
}

/// Tells whether `commit` is in the past of what the head says.
pub(super) async fn is_past(mirror: &Mirror, head: Option<&str>, commit: &CommitId) -> Result<bool, Trouble> {
    let Some(head) = head.and_then(|head| CommitId::parse(head).ok()) else { return Ok(false) };
    if head == *commit || !mirror.contains(&head).await? {
        return Ok(false);
    }
    Ok(mirror.is_ancestor(commit, &head).await?)
}

/// Says in a message which project it is about.
pub(super) fn told_of(project: &ProjectName, trouble: &Trouble) -> String {
    let (Trouble::Repository(text) | Trouble::Branch(text) | Trouble::Gone(text)) = trouble else {
        return format!("{project} could not be looked at");
    };
    text.clone()
}
