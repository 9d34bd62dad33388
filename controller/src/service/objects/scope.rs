//! Which caches a run sees and which it writes, decided: pure.
//!
//! What somebody from outside wrote is never read by the project's own runs: the class of trust is a
//! part of the scope's name, and a scope is read only where its class is trusted at least as much as
//! the reader.

use ocelot_spec::Event;

use crate::records::{Digest, RunRecord, SourceRecord, Subject, Trust};

/// Longer names are shortened where they are a part of a key.
const PART_BYTES_MAX: usize = 128;
/// What is left of one for people to read; its digest follows.
const PART_BYTES_LEFT: usize = 60;

/// The scopes of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scopes {
    /// Whose budget it is.
    pub(super) owner: String,
    /// None: it writes nowhere.
    pub(super) write: Option<String>,
    /// The nearest first.
    pub(super) read: Vec<String>,
}

/// Returns the scopes of a run. The default branch is none while it is not known.
pub(super) fn scopes(run: &RunRecord, default_branch: Option<&str>) -> Scopes {
    let source = match (&run.subject, &run.source) {
        (Subject::Project { .. }, Some(source)) => source,
        (Subject::Job { .. } | Subject::Project { .. }, _) => {
            // It works on no commit: there is nothing to tell one state of it from another.
            let kind = match &run.subject {
                Subject::Job { .. } => "job",
                Subject::Project { .. } => "project",
            };
            let owner = format!("{kind} {}", run.subject.name());
            return Scopes { write: Some(owner.clone()), read: vec![owner.clone()], owner };
        }
    };
    let owner = format!("project {}", run.subject.name());
    let own = |place: String| format!("{owner} own {place}");
    let write = match (source.trust, place(source)) {
        (Trust::Own, Some(place)) => Some(own(place)),
        (Trust::Own, None) => None,
        (Trust::Fork, Some(place)) => Some(format!("{owner} fork {place}")),
        (Trust::Fork, None) => None,
    };
    let mut read: Vec<String> = write.iter().cloned().collect();
    for branch in [source.event.branch(), default_branch].into_iter().flatten() {
        let scope = own(format!("branch {branch}"));
        if !read.contains(&scope) {
            read.push(scope);
        }
    }
    Scopes { owner, write, read }
}

/// Returns the place of a run inside its class; none if it has none of its own.
///
/// A stranger's run has one only by the number of its pull request: a branch's name is the stranger's
/// to choose.
fn place(source: &SourceRecord) -> Option<String> {
    match (&source.event, source.trust) {
        (Event::PullRequest { number, .. }, Trust::Own | Trust::Fork) => Some(format!("pr {number}")),
        (
            Event::Push { .. }
            | Event::Tag { .. }
            | Event::Schedule { .. }
            | Event::Manual { .. }
            | Event::Upstream { .. },
            Trust::Fork,
        ) => None,
        (event, Trust::Own) => match (event.tag(), event.branch()) {
            (Some(tag), _) => Some(format!("tag {tag}")),
            (None, Some(branch)) => Some(format!("branch {branch}")),
            (None, None) => None,
        },
    }
}

/// Returns a name as a part of a key: itself, or its beginning and its digest.
pub(super) fn part(name: &str) -> String {
    if name.len() <= PART_BYTES_MAX {
        return name.to_owned();
    }
    format!("{}~{}", &name[..name.floor_char_boundary(PART_BYTES_LEFT)], Digest::of(name.as_bytes()))
}

/// Tells whether a key is that of some state of the cache whose keys begin so.
pub(super) fn is_state_of(key: &str, prefix: &str) -> bool {
    let digest = key.strip_prefix(prefix);
    digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Tells whether a key can be one of a cache that is planned with this key.
pub(super) fn fits(key: &str, planned: &str) -> bool {
    key == planned || is_state_of(key, &prefix(planned))
}

/// Returns what all keys of a planned cache begin with.
pub(super) fn prefix(planned: &str) -> String {
    if planned.is_empty() { String::new() } else { format!("{planned}-") }
}
