//! The delivery of a plain git server: what a `post-receive` hook can write with a shell.
//!
//! The body is JSON, one delivery for each ref: `{"ref": "refs/heads/main", "before": "..", "after":
//! ".."}`, the three words that git gives the hook, with `by` for who pushed if it is known. The header
//! `X-Hub-Signature-256` is `sha256=` and the hex of the body's HMAC-SHA256 under the secret.

use ocelot_forge::event::{CommitId, EventKind, Push, Tag};
use serde::Deserialize;

const TEXT_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "ref")]
    reference: String,
    before: String,
    after: String,
    by: Option<String>,
}

/// What a push to a plain git server did.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) kind: EventKind,
    pub(super) by: String,
}

/// Reads a delivery; none if the ref is neither a branch nor a tag.
pub(super) fn parse(body: &[u8]) -> Result<Option<Told>, String> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not {{\"ref\", \"before\", \"after\"}} as JSON: {error}"))?;
    if body.reference.len() > TEXT_BYTES_MAX {
        return Err("the ref is too long".into());
    }
    let (before, after) = (commit(&body.before)?, commit(&body.after)?);
    let kind = match (body.reference.strip_prefix("refs/heads/"), body.reference.strip_prefix("refs/tags/")) {
        (Some(branch), _) => of_branch(branch.to_owned(), before, after),
        (None, Some(tag)) => of_tag(tag.to_owned(), before, after),
        (None, None) => return Ok(None),
    };
    let by = body.by.unwrap_or_default().chars().take(100).collect();
    Ok(Some(Told { kind, by }))
}

/// Git writes zeros where there is nothing.
fn commit(text: &str) -> Result<Option<CommitId>, String> {
    if text.bytes().all(|byte| byte == b'0') && matches!(text.len(), 40 | 64) {
        return Ok(None);
    }
    CommitId::new(text)
        .ok()
        .filter(CommitId::is_whole)
        .map(Some)
        .ok_or_else(|| "`before` and `after` are whole commit ids; zeros stand for none".into())
}

fn of_branch(branch: String, before: Option<CommitId>, after: Option<CommitId>) -> EventKind {
    match after {
        None => EventKind::BranchDeleted { branch, before },
        Some(after) => EventKind::Push(Push {
            branch,
            before,
            after,
            forced: None,
            commits: Vec::new(),
            commits_total: 0,
            head_message: None,
        }),
    }
}

fn of_tag(tag: String, before: Option<CommitId>, after: Option<CommitId>) -> EventKind {
    match after {
        None => EventKind::TagDeleted { tag, before },
        Some(object) => EventKind::Tag(Tag { tag, before, commit: object.clone(), object }),
    }
}
