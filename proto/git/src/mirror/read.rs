//! What a commit holds, read from a mirror without a work tree.
//!
//! All of it is written by strangers: sizes and counts are bounded before git is asked, no symlink is
//! followed, and texts are made UTF-8 here.

use crate::command::Output;
use crate::error::GitError;
use crate::reference::{CommitId, Reference};

use super::{Contents, Mirror};

const MESSAGE_MAX: usize = 64 * 1024;
const COMMIT_MAX: usize = 256 * 1024;
const PATH_MAX: usize = 4096;
/// Objects of one beginning that are looked at.
const FITS_MAX: usize = 64;
const FORMAT: &str = "--format=%H%x00%P%x00%an%x00%ae%x00%ct%x00%B%x00%x01";

/// What is said of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub id: CommitId,
    pub parents: Vec<CommitId>,
    pub author_name: String,
    pub author_email: String,
    /// Seconds since 1970 by the clock of whoever committed.
    pub committed_at: i64,
    /// At most 64 KiB of it.
    pub message: String,
}

impl Mirror {
    /// Tells whether a commit is here; asks no server.
    pub async fn contains(&self, commit: &CommitId) -> Result<bool, GitError> {
        Ok(self.verify(&format!("{commit}^{{commit}}")).await?.is_some())
    }

    /// Returns the commit that a ref stands for, as of the last fetch.
    pub async fn resolve(&self, reference: &Reference) -> Result<Option<CommitId>, GitError> {
        self.verify(&format!("{reference}^{{commit}}")).await
    }

    async fn verify(&self, name: &str) -> Result<Option<CommitId>, GitError> {
        let _life = self.reading().await?;
        let call = self.local_call("rev-parse").args(["--verify", "--quiet", "--end-of-options", name]);
        let output = call.ask().await?;
        if output.no { Ok(None) } else { id_of(&output).map(Some) }
    }

    /// Returns the commits here whose ids begin with these hexadecimal digits, a few at most.
    pub async fn commits_beginning(&self, digits: &str) -> Result<Vec<CommitId>, GitError> {
        let plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !plain || !(4..=64).contains(&digits.len()) {
            return Ok(Vec::new());
        }
        let objects = {
            let _life = self.reading().await?;
            let call = self.local_call("rev-parse").arg(format!("--disambiguate={digits}"));
            call.run().await?.text()
        };
        let mut commits = Vec::new();
        for object in objects.lines().take(FITS_MAX) {
            let Ok(id) = CommitId::parse(object) else { continue };
            // A tag's object stands for another commit, and is none itself.
            if self.verify(&format!("{id}^{{commit}}")).await?.as_ref() == Some(&id) {
                commits.push(id);
            }
        }
        Ok(commits)
    }

    /// Returns what is said of a commit.
    pub async fn commit(&self, commit: &CommitId) -> Result<Commit, GitError> {
        let _life = self.reading().await?;
        let call = self.local_call("log").args(["-1", "--no-show-signature", "--encoding=UTF-8", FORMAT]);
        let call = call.args(["--end-of-options", commit.as_str(), "--"]).most(COMMIT_MAX);
        let text = String::from_utf8_lossy(&call.ask().await?.stdout).into_owned();
        read_commit(&text).ok_or(GitError::Answer { verb: "log", what: text.chars().take(200).collect() })
    }

    /// Returns the commits that `to` has and `from` has not, the newest first, at most `most`.
    pub async fn commits_between(
        &self,
        from: &CommitId,
        to: &CommitId,
        most: usize,
    ) -> Result<Vec<Commit>, GitError> {
        let _life = self.reading().await?;
        let call = self.local_call("log").args(["--no-show-signature", "--encoding=UTF-8", FORMAT]);
        let call = call.arg(format!("--max-count={most}")).arg("--end-of-options");
        let call = call.args([to.as_str(), &format!("^{from}"), "--"]);
        let output = call.most(COMMIT_MAX.saturating_mul(16)).ask().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The last one may have been cut off; all others end with the mark.
        Ok(text.split_inclusive('\u{1}').filter_map(|part| read_commit(part.trim_start())).collect())
    }

    /// Returns the bytes of a file of a commit; `None` where there is no such file.
    pub async fn read_file(
        &self,
        commit: &CommitId,
        path: &str,
        most: usize,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if path.len() > PATH_MAX || path.contains('\0') || !path.split('/').all(plain) {
            return Err(GitError::Path { path: path.to_owned() });
        }
        let _life = self.reading().await?;
        let call =
            self.local_call("ls-tree").args(["-z", "--full-tree", "--end-of-options", commit.as_str()]);
        let listed = call.args(["--", path]).run().await?.stdout;
        let listed = String::from_utf8_lossy(&listed);
        let Some(entry) = listed.split('\0').next().filter(|entry| !entry.is_empty()) else {
            return Ok(None);
        };
        let blob = blob_of(entry, path)?;
        let call = match self.contents {
            Contents::Everything => self.local_call("cat-file"),
            Contents::WithoutFiles => self.remote_call("cat-file")?,
        };
        let output = call.args(["blob", blob.as_str()]).most(most).ask().await?;
        match output.cut {
            true => Err(GitError::Large { path: path.to_owned(), limit: most }),
            false => Ok(Some(output.stdout)),
        }
    }

    /// Returns the paths that differ, both names of one that was renamed; `None` above `most` of them,
    /// or where a side is not here.
    pub async fn changed_paths(
        &self,
        from: &CommitId,
        to: &CommitId,
        most: usize,
    ) -> Result<Option<Vec<String>>, GitError> {
        if !self.contains(from).await? || !self.contains(to).await? {
            return Ok(None);
        }
        let _life = self.reading().await?;
        let call = self.local_call("diff-tree").args(["-r", "-z", "--name-only", "--no-renames"]);
        let call =
            call.args(["--no-ext-diff", "--no-textconv", "--end-of-options", from.as_str(), to.as_str()]);
        let output = call.arg("--").most(most.saturating_mul(256).max(PATH_MAX)).ask().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let paths: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
        Ok((!output.cut && paths.len() <= most).then_some(paths))
    }

    /// Returns the newest commit that both have in their past.
    pub async fn merge_base(&self, one: &CommitId, other: &CommitId) -> Result<Option<CommitId>, GitError> {
        let _life = self.reading().await?;
        let call = self.local_call("merge-base").args(["--end-of-options", one.as_str(), other.as_str()]);
        let output = call.ask().await?;
        if output.no { Ok(None) } else { id_of(&output).map(Some) }
    }

    /// Tells whether `old` is in the past of `new`, or the same.
    pub async fn is_ancestor(&self, old: &CommitId, new: &CommitId) -> Result<bool, GitError> {
        let _life = self.reading().await?;
        let call = self.local_call("merge-base").args(["--is-ancestor", "--end-of-options"]);
        Ok(!call.args([old.as_str(), new.as_str()]).ask().await?.no)
    }
}

pub(crate) fn id_of(output: &Output) -> Result<CommitId, GitError> {
    let text = output.text();
    let first = text.lines().next().unwrap_or_default();
    CommitId::parse(first).map_err(|error| GitError::Answer { verb: "rev-parse", what: error.to_string() })
}

/// Reads `MODE TYPE ID\tPATH`.
fn blob_of(entry: &str, path: &str) -> Result<CommitId, GitError> {
    let answer = || GitError::Answer { verb: "ls-tree", what: entry.to_owned() };
    let (left, _) = entry.split_once('\t').ok_or_else(answer)?;
    let mut parts = left.split(' ');
    let kind = match parts.next().ok_or_else(answer)? {
        "100644" | "100755" | "100664" => {
            let id = parts.nth(1).ok_or_else(answer)?;
            return CommitId::parse(id).map_err(|_| answer());
        }
        "120000" => "a symlink",
        "160000" => "a submodule",
        "040000" => "a folder",
        _ => "of a kind of its own",
    };
    Err(GitError::NotAFile { path: path.to_owned(), kind })
}

fn read_commit(text: &str) -> Option<Commit> {
    let mut parts = text.splitn(6, '\0');
    let id = CommitId::parse(parts.next()?).ok()?;
    let parents = parts.next()?.split_whitespace().map(|parent| CommitId::parse(parent).ok());
    let parents = parents.collect::<Option<Vec<_>>>()?;
    let (author_name, author_email) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let committed_at = parts.next()?.trim().parse().ok()?;
    let message = parts.next()?.split('\0').next().unwrap_or_default().trim_end();
    let end = message.floor_char_boundary(MESSAGE_MAX);
    Some(Commit { id, parents, author_name, author_email, committed_at, message: message[..end].to_owned() })
}
