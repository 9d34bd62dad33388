//! Submodules, by choice: each is a repository of its own, checked out by the same code.
//!
//! `git submodule` is not used: what it reads from a hostile repository (names as folders, settings,
//! helpers) has been the way in more than once. We read `.gitmodules` as text, check every path and URL,
//! and send a credential to the server it is for only.

use std::collections::BTreeMap;
use std::path::Path;

use crate::command::Git;
use crate::credentials::Credentials;
use crate::error::GitError;
use crate::mirror::{Contents, Mirror};
use crate::reference::CommitId;
use crate::url::RepositoryUrl;
use crate::version::Floor;

use super::{CheckoutPlan, Submodules};

const NESTED_MAX: usize = 5;
const COUNT_MAX: usize = 200;
const LIST_MAX: usize = 64 * 1024 * 1024;

/// One submodule of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: String,
    path: String,
    url: String,
    commit: CommitId,
}

/// A work tree whose submodules are still missing.
struct Open {
    mirror: Mirror,
    plan: CheckoutPlan,
    /// From the workspace, ending with `/`; empty for the workspace itself.
    prefix: String,
    nested: usize,
}

/// Fills all submodules of a workspace, the outer ones first, and returns their paths.
pub(super) async fn fill(
    mirror: &Mirror,
    plan: &CheckoutPlan,
    workspace: &Path,
    places: &Submodules<'_>,
) -> Result<Vec<String>, GitError> {
    let git = mirror.git();
    if git.floor() == Floor::Below && !git.setup().submodules_below_floor {
        return Err(GitError::SubmodulesRefused { version: git.version() });
    }
    let first = Open { mirror: mirror.clone(), plan: plan.clone(), prefix: String::new(), nested: 0 };
    let (mut open, mut filled) = (vec![first], Vec::new());
    while let Some(outer) = open.pop() {
        let tree = workspace.join(&outer.prefix);
        for found in list(git, &tree, &outer.plan.commit).await? {
            let path = format!("{}{}", outer.prefix, found.path);
            let wrong = |why: String| GitError::Submodule { path: path.clone(), why };
            if outer.nested >= NESTED_MAX {
                return Err(wrong(format!("submodules are nested more than {NESTED_MAX} deep")));
            }
            if filled.len() >= COUNT_MAX {
                return Err(wrong(format!("there are more than {COUNT_MAX} submodules")));
            }
            let inner = one(&outer, &found, &path, workspace, places).await?;
            filled.push(path.clone());
            open.push(Open { mirror: inner.0, plan: inner.1, prefix: path + "/", nested: outer.nested + 1 });
        }
    }
    Ok(filled)
}

/// Fills one submodule.
async fn one(
    outer: &Open,
    found: &Found,
    path: &str,
    workspace: &Path,
    places: &Submodules<'_>,
) -> Result<(Mirror, CheckoutPlan), GitError> {
    let git = outer.mirror.git();
    let wrong = |why: &str| GitError::Submodule { path: path.to_owned(), why: why.to_owned() };
    check_path(&found.path).map_err(wrong)?;
    check_place(workspace, path).map_err(wrong)?;
    let url = outer.mirror.url().join(&found.url, git.setup().allowed);
    let url = url.map_err(|source| GitError::SubmoduleUrl { path: path.to_owned(), source })?;
    let credentials = match url.same_server(outer.mirror.url()) {
        true => outer.mirror.credentials().clone(),
        false => Credentials::None,
    };
    let mirror = Mirror::open(git, (places.mirror)(&url), &url, credentials, Contents::Everything).await?;
    let plan = CheckoutPlan { commit: found.commit.clone(), reference: None, ..outer.plan.clone() };
    let said = |error: GitError| GitError::Submodule { path: path.to_owned(), why: error.to_string() };
    Box::pin(mirror.fill(&plan, &workspace.join(path))).await.map_err(said)?;
    activate(git, &workspace.join(&outer.prefix), &found.name, &url).await?;
    Ok((mirror, plan))
}

/// Lets a user's `git submodule status` know of it, with the URL that we checked.
async fn activate(git: &Git, tree: &Path, name: &str, url: &RepositoryUrl) -> Result<(), GitError> {
    let call = git.call("config").tree(tree).args(["--local", "--end-of-options"]);
    call.args([&format!("submodule.{name}.url"), url.as_str()]).run().await.map(drop)
}

/// Returns the submodules of a commit that `.gitmodules` knows; others are empty folders, as in git.
async fn list(git: &Git, tree: &Path, commit: &CommitId) -> Result<Vec<Found>, GitError> {
    let call = git.call("ls-tree").tree(tree).args(["-r", "-z", "--full-tree", "--end-of-options"]);
    let listed = call.arg(commit.as_str()).most(LIST_MAX).run().await?.stdout;
    let links: BTreeMap<String, CommitId> = listed.split(|byte| *byte == 0).filter_map(link).collect();
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let file = format!("--blob={commit}:.gitmodules");
    let call = git.call("config").tree(tree).args(["--no-includes", "-z", &file, "--list"]);
    let settings = match call.ask().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        // No such file, or none that git can read: then nothing says where a submodule lies.
        Err(GitError::Failed { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(matched(&settings, &links))
}

/// Reads `MODE TYPE ID\tPATH` of a submodule.
fn link(entry: &[u8]) -> Option<(String, CommitId)> {
    let entry = String::from_utf8_lossy(entry);
    let (left, path) = entry.strip_prefix("160000 commit ")?.split_once('\t')?;
    Some((path.to_owned(), CommitId::parse(left.trim()).ok()?))
}

/// Joins `submodule.NAME.path` and `.url` with the commits of the tree.
fn matched(settings: &str, links: &BTreeMap<String, CommitId>) -> Vec<Found> {
    let mut sections: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for setting in settings.split('\0') {
        let Some((key, value)) = setting.split_once('\n') else { continue };
        let Some((name, key)) = key.strip_prefix("submodule.").and_then(|key| key.rsplit_once('.')) else {
            continue;
        };
        let section = sections.entry(name).or_default();
        match key {
            "path" => section.0 = Some(value),
            "url" => section.1 = Some(value),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, section) in sections {
        let (Some(path), Some(url)) = section else { continue };
        let Some(commit) = links.get(path) else { continue };
        let (name, path, url) = (name.to_owned(), path.to_owned(), url.to_owned());
        found.push(Found { name, path, url, commit: commit.clone() });
    }
    found
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.chars().any(char::is_control) {
        return Err("its path holds a control character, by which git has run foreign hooks");
    }
    for part in path.split('/') {
        let lower = part.to_ascii_lowercase();
        if matches!(part, "" | "." | "..") {
            return Err("its path leads out of the repository");
        }
        if part.starts_with('-') {
            return Err("its path has a part that begins with `-`");
        }
        if lower == ".git" || lower.starts_with("git~") || lower.starts_with(".git:") {
            return Err("its path is git's own folder");
        }
    }
    Ok(())
}

/// Checks that git left a real, empty folder there and no symlink on the way.
fn check_place(workspace: &Path, path: &str) -> Result<(), &'static str> {
    let mut place = workspace.to_owned();
    for part in path.split('/') {
        place.push(part);
        match std::fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err("its path leads over a symlink or a file"),
            Err(_) => return Err("its folder is not in the checkout"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_git_was_ever_fooled_by_is_refused() {
        for wrong in [
            "sub\r",
            "a/../b",
            "../x",
            "",
            "/x",
            "a//b",
            "-u",
            "a/-b",
            ".git/hooks",
            "a/.GIT",
            "a/.Git/b",
            "git~1",
            "GIT~2/x",
            "a\nb",
            "a\tb",
            ".",
            "a/.",
            "x\u{1b}[2J",
            ".git::$INDEX_ALLOCATION",
        ] {
            assert!(check_path(wrong).is_err(), "{wrong:?}");
        }
        for right in ["a", "third_party/b", "a b", "a;touch x", "$(id)", ".github", "git"] {
            assert_eq!(check_path(right), Ok(()), "{right}");
        }
    }

    #[test]
    fn only_a_submodule_with_path_and_url_and_commit_is_one() {
        let commit = CommitId::parse(&"a".repeat(40)).unwrap();
        let links = BTreeMap::from([("a".to_owned(), commit.clone()), ("b".to_owned(), commit.clone())]);
        let settings = "submodule.x.y.path\na\0submodule.x.y.url\n../a.git\0submodule.b.path\nb\0\
                        submodule.c.path\nc\0submodule.c.url\nu\0submodule.x.y.update\n!touch x\0core.bare\nx\0";
        let found = matched(settings, &links);
        assert_eq!(
            found,
            [Found { name: "x.y".to_owned(), path: "a".to_owned(), url: "../a.git".to_owned(), commit }]
        );
    }
}
