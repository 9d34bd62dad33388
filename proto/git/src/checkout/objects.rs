//! The objects of a workspace, written out of the mirror as one pack.
//!
//! The mirror's git packs what the commit reaches right into the workspace: nothing is deltified or
//! hashed again, as a fetch would, and nothing is shared with the mirror, as a local clone would. Only
//! a history of some depth goes through a fetch, because git alone knows where to cut it.

use std::ffi::OsString;
use std::path::Path;

use crate::error::GitError;
use crate::mirror::Mirror;
use crate::reference::Reference;

use super::{CheckoutPlan, Head};

/// Tags of a repository that are looked at: `git describe` has enough of these.
const TAG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Copies what the commit reaches and names it; a tag that moved since stays at the commit that is built.
pub(super) async fn copy(
    mirror: &Mirror,
    plan: &CheckoutPlan,
    head: &Head,
    workspace: &Path,
) -> Result<(), GitError> {
    let commit = plan.commit.as_str();
    let mut names = vec![match head {
        Head::Branch(name) => (commit.to_owned(), format!("refs/remotes/origin/{name}")),
        Head::Local(name) => (commit.to_owned(), format!("refs/heads/{name}")),
        Head::Tag(tag) => (tag_object(mirror, plan, tag).await?, tag.to_string()),
        Head::Detached => (commit.to_owned(), String::new()),
    }];
    match plan.depth.map(std::num::NonZeroU32::get) {
        None => {
            for (object, name) in tags(mirror, plan).await? {
                if names[0].1 != name {
                    names.push((object, name));
                }
            }
            pack(mirror, &names, None, workspace).await?;
        }
        Some(1) => {
            pack(mirror, &names, Some(commit), workspace).await?;
            write(&workspace.join(".git/shallow"), &format!("{commit}\n")).await?;
        }
        Some(depth) => fetch(mirror, &names[0].0, depth, workspace).await?,
    }
    let named = names.iter().filter(|(_, name)| !name.is_empty());
    let lines: String = named.map(|(object, name)| format!("{object} {name}\n")).collect();
    write(&workspace.join(".git/packed-refs"), &lines).await
}

/// Writes one pack with what the named objects reach; a shallow commit has no parents.
async fn pack(
    mirror: &Mirror,
    names: &[(String, String)],
    shallow: Option<&str>,
    workspace: &Path,
) -> Result<(), GitError> {
    let mut input = shallow.map(|commit| format!("--shallow {commit}\n")).unwrap_or_default();
    input.extend(names.iter().map(|(object, _)| format!("{object}\n")));
    let _life = mirror.reading().await?;
    let call = mirror.local_call("pack-objects").set("core.fsync=none").args(["--revs", "--quiet"]);
    let call = call.args(["--window=0", "--delta-base-offset", "--end-of-options"]);
    call.arg(workspace.join(".git/objects/pack/pack")).input(input).run().await.map(drop)
}

async fn fetch(mirror: &Mirror, object: &str, depth: u32, workspace: &Path) -> Result<(), GitError> {
    let _life = mirror.reading().await?;
    let call = mirror.git().call("fetch").tree(workspace).local().set("fetch.fsckObjects=false");
    let call = call.set("transfer.fsckObjects=false").set("fetch.unpackLimit=1").set("core.fsync=none");
    let call = call.args(["--quiet", "--no-write-fetch-head", "--no-auto-maintenance", "--no-tags"]);
    let mut source = OsString::from("file://");
    source.push(mirror.repository());
    let call = call.arg(format!("--depth={depth}")).arg("--end-of-options").arg(source);
    call.arg(object).run().await.map(drop)
}

/// Returns the tag's own object while it stands for the commit, else the commit.
async fn tag_object(mirror: &Mirror, plan: &CheckoutPlan, tag: &Reference) -> Result<String, GitError> {
    if mirror.resolve(tag).await?.as_ref() != Some(&plan.commit) {
        return Ok(plan.commit.to_string());
    }
    let _life = mirror.reading().await?;
    let call = mirror.local_call("rev-parse").args(["--verify", "--quiet", "--end-of-options", tag.as_str()]);
    Ok(call.run().await?.text().lines().last().unwrap_or_default().to_owned())
}

/// Returns the tags in the past of the commit, as object and name.
async fn tags(mirror: &Mirror, plan: &CheckoutPlan) -> Result<Vec<(String, String)>, GitError> {
    let _life = mirror.reading().await?;
    let call = mirror.local_call("for-each-ref").arg(format!("--merged={}", plan.commit));
    let call = call.args(["--format=%(objectname) %(refname)", "--end-of-options", "refs/tags"]);
    let output = call.most(TAG_BYTES_MAX).ask().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let pair = |line: &str| {
        let (object, name) = line.split_once(' ')?;
        // The last line may have been cut off.
        (Reference::parse(name).is_ok() && !output.cut).then(|| (object.to_owned(), name.to_owned()))
    };
    Ok(text.lines().filter_map(pair).collect())
}

async fn write(path: &Path, text: &str) -> Result<(), GitError> {
    tokio::fs::write(path, text).await.map_err(GitError::io("write", path))
}
