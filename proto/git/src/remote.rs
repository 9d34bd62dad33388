//! What a server holds, without a mirror: its branches, tags and default branch.
//!
//! The poller asks this often and of anyone, so the answer is bounded before it is read.

use crate::command::Git;
use crate::credentials::Credentials;
use crate::error::GitError;
use crate::reference::{CommitId, Reference};
use crate::url::RepositoryUrl;

/// A repository of more refs is not followed: each look would cost as much as all of its history.
const REFERENCES_MAX: usize = 200_000;
const BYTES_PER_REFERENCE: usize = 160;

/// What a server says that it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertised {
    /// The default branch: where `HEAD` points, if it points to a branch.
    pub head: Option<Reference>,
    /// Branches, tags (as the commit they stand for) and heads of pull requests, by name.
    pub references: Vec<(Reference, CommitId)>,
}

impl Advertised {
    pub fn find(&self, reference: &Reference) -> Option<&CommitId> {
        let index = self.references.binary_search_by(|(name, _)| name.cmp(reference)).ok()?;
        Some(&self.references[index].1)
    }
}

impl Git {
    /// Asks a server for its refs.
    pub async fn ls_remote(
        &self,
        url: &RepositoryUrl,
        credentials: &Credentials,
    ) -> Result<Advertised, GitError> {
        self.ls_remote_up_to(url, credentials, REFERENCES_MAX).await
    }

    /// Asks a server for its refs and refuses more than `most`.
    pub async fn ls_remote_up_to(
        &self,
        url: &RepositoryUrl,
        credentials: &Credentials,
        most: usize,
    ) -> Result<Advertised, GitError> {
        let known = self.setup().home.join("known_hosts");
        let call = self.call("ls-remote").remote(url, credentials, &known)?;
        let call = call.set(format!("remote.origin.url={url}"));
        let call = call.args(["--quiet", "--symref", "--end-of-options", "origin"]);
        let output = call.most(most.saturating_mul(BYTES_PER_REFERENCE)).ask().await?;
        let too_many = || GitError::References { url: url.clone(), limit: most };
        if output.cut || output.stdout.iter().filter(|byte| **byte == b'\n').count() > most {
            return Err(too_many());
        }
        Ok(read(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// Reads `ID\tNAME` lines; a name that we do not follow is left out.
fn read(text: &str) -> Advertised {
    let mut all = Advertised::default();
    for line in text.lines() {
        let Some((left, name)) = line.split_once('\t') else { continue };
        if let Some(target) = left.strip_prefix("ref: ") {
            if name == "HEAD" {
                all.head = Reference::parse(target).ok();
            }
            continue;
        }
        let Ok(commit) = CommitId::parse(left) else { continue };
        let (name, peeled) = name.strip_suffix("^{}").map_or((name, false), |name| (name, true));
        let Ok(reference) = Reference::parse(name) else { continue };
        match all.references.last_mut() {
            // An annotated tag is followed by the commit that it stands for.
            Some(last) if peeled && last.0 == reference => last.1 = commit,
            _ => all.references.push((reference, commit)),
        }
    }
    all.references.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_stands_for_its_commit_and_what_has_no_name_here_is_left_out() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let text = format!(
            "ref: refs/heads/main\tHEAD\n{one}\tHEAD\n{one}\trefs/heads/main\n{one}\trefs/tags/v1\n\
             {two}\trefs/tags/v1^{{}}\n{one}\trefs/notes/x\nnonsense\n{one}\trefs/pull/7/head\n"
        );
        let all = read(&text);
        assert_eq!(all.head, Some(Reference::branch("main").unwrap()));
        assert_eq!(all.references.len(), 3);
        assert_eq!(all.find(&Reference::tag("v1").unwrap()).unwrap().as_str(), two);
    }
}
