//! Which files changed since the default branch: what `paths` conditions compare.

use super::Git;

/// Returns the paths that differ between a commit and a tree. Nothing at all is no comparison: whoever
/// stands on the branch itself asks for everything.
pub(super) fn between(git: &Git, base: &str, tree: &str) -> Option<Vec<String>> {
    let names = git.bytes(&["diff-tree", "-r", "-z", "--name-only", "--no-renames", base, tree])?;
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let paths: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    (!paths.is_empty()).then_some(paths)
}
