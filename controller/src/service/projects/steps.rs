//! How a branch goes on: what a push means for what is known of it, and what a look finds.
//!
//! Pure. A branch's record tells a poll and a webhook apart from news: two events that bring it to the
//! same commit make one run, whichever came first and however many steps the other saw.

use std::collections::{BTreeMap, BTreeSet};

use ocelot_core::id::RunId;
use ocelot_forge::event::{CommitId, EventKind, Push, Tag};
use ocelot_git::{Advertised, Kind};

use crate::records::{Digest, HeadRecord};

/// Branches of a project that are looked at; beyond, only webhooks tell of them.
pub(super) const BRANCHES_MAX: usize = 5_000;
/// Tags of a project that are looked at.
pub(super) const TAGS_MAX: usize = 10_000;

/// What a push means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The branch goes on to the commit.
    Forward,
    /// The branch has gone further already: the commit is built, the branch stays.
    Late,
    /// Another event has brought it here.
    Known(RunId),
}

/// What is known about where a branch is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) head: Option<&'a HeadRecord>,
    /// Where the server had the branch when it was asked last.
    pub(super) tip: Option<&'a str>,
    /// Whether the head's commit has the pushed one in its past.
    pub(super) is_past: bool,
}

/// Decides what a push means for a branch.
pub(super) fn step(own: RunId, before: Option<&str>, after: &str, sight: Sight<'_>) -> Step {
    let Some(head) = sight.head else { return Step::Forward };
    if head.commit == after {
        return match head.event {
            Some(event) if event != own => Step::Known(event),
            Some(_) | None => Step::Forward,
        };
    }
    if before == Some(head.commit.as_str()) {
        return Step::Forward;
    }
    if sight.is_past || sight.tip == Some(head.commit.as_str()) { Step::Late } else { Step::Forward }
}

/// What was known before a look.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Commits by full ref name.
    pub(super) heads: BTreeMap<String, String>,
    pub(super) tags: BTreeSet<u64>,
    /// Whether a look has succeeded before.
    pub(super) is_known: bool,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) events: Vec<EventKind>,
    /// Branches that are noted and not built, by full ref name.
    pub(super) noted: Vec<(String, String)>,
    /// All tags that are there.
    pub(super) tags: BTreeSet<u64>,
    /// What is not looked at because there is too much of it.
    pub(super) trouble: Option<String>,
}

/// Compares what a server has with what is known. The first look at a repository notes everything and
/// builds the default branch alone.
pub(super) fn compare(advertised: &Advertised, known: &Known, default_branch: &str) -> Found {
    let mut found = Found::default();
    let default = format!("refs/heads/{default_branch}");
    let mut there = BTreeSet::new();
    let (mut branches, mut tags) = (0_usize, 0_usize);
    for (reference, commit) in &advertised.references {
        let Ok(after) = CommitId::new(commit.as_str()) else { continue };
        match reference.kind() {
            Kind::Branch(branch) => {
                branches += 1;
                there.insert(reference.as_str());
                if branches <= BRANCHES_MAX || reference.as_str() == default {
                    compare_branch((reference.as_str(), branch), after, known, &default, &mut found);
                }
            }
            Kind::Tag(tag) => {
                tags += 1;
                if tags <= TAGS_MAX {
                    let number = tag_number(tag, commit.as_str());
                    found.tags.insert(number);
                    if known.is_known && !known.tags.contains(&number) {
                        let (object, tag) = (after.clone(), tag.to_owned());
                        found.events.push(EventKind::Tag(Tag { tag, before: None, object, commit: after }));
                    }
                }
            }
            Kind::PullRequest(_) | Kind::Change(_) => {}
        }
    }
    for (reference, commit) in &known.heads {
        if let Some(branch) = reference.strip_prefix("refs/heads/")
            && !there.contains(reference.as_str())
        {
            let before = CommitId::new(commit).ok();
            found.events.push(EventKind::BranchDeleted { branch: branch.to_owned(), before });
        }
    }
    found.trouble = too_many(branches, tags);
    found
}

fn compare_branch(
    (reference, branch): (&str, &str),
    after: CommitId,
    known: &Known,
    default: &str,
    found: &mut Found,
) {
    let before = known.heads.get(reference);
    if before.is_some_and(|before| before == after.as_str()) {
        return;
    }
    if before.is_none() && !known.is_known && reference != default {
        found.noted.push((reference.to_owned(), after.as_str().to_owned()));
        return;
    }
    found.events.push(EventKind::Push(Push {
        branch: branch.to_owned(),
        before: before.and_then(|before| CommitId::new(before).ok()),
        after,
        forced: None,
        commits: Vec::new(),
        commits_total: 0,
        head_message: None,
    }));
}

fn too_many(branches: usize, tags: usize) -> Option<String> {
    let told = |count: usize, most: usize, what: &str| {
        (count > most).then(|| format!("of {count} {what} only the first {most} are looked at"))
    };
    told(branches, BRANCHES_MAX, "branches").or_else(|| told(tags, TAGS_MAX, "tags"))
}

/// Returns the number that stands for a tag at a commit.
pub(super) fn tag_number(tag: &str, commit: &str) -> u64 {
    let digest = Digest::of(format!("{tag}\0{commit}").as_bytes());
    let first = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
    // JSON readers elsewhere lose what is above 53 bits.
    u64::from_be_bytes(*first) >> 11
}
