//! The records of branches and tags, and what a run's end notes there.

use ocelot_domain::run::RunOutcome;
use ocelot_git::Reference;

use crate::records::{HeadRecord, ProjectName, RunRecord, Subject, SuccessRecord, TagsRecord, Trust};
use crate::service::Service;
use crate::service::error::Result;
use crate::store::codec::{decode, encode};
use crate::store::{Expected, Revision, Txn};

impl Service {
    /// Returns the write that notes a run's success at its branch, if it is the newest one's.
    pub(crate) async fn note_success(&self, run: &RunRecord, outcome: RunOutcome) -> Result<Txn> {
        let nothing = Ok(Txn::new());
        let (Subject::Project { name }, Some(source)) = (&run.subject, &run.source) else { return nothing };
        let is_of_branch = source.event.pull_request().is_none() && source.event.branch().is_some();
        if outcome != RunOutcome::Succeeded || !is_of_branch || source.trust != Trust::Own {
            return nothing;
        }
        let Ok(name) = name.parse::<ProjectName>() else { return nothing };
        let Some((head, revision)) = self.head(&name, &source.reference).await? else { return nothing };
        if head.success.as_ref().is_some_and(|success| success.number >= run.number) {
            return nothing;
        }
        let success = SuccessRecord { commit: source.commit.clone(), number: run.number };
        let next = HeadRecord { success: Some(success), ..head };
        let key = name.head_key(&source.reference).to_string();
        Ok(Txn::new().when(key.as_str(), Expected::At(revision)).put(key, encode(&next, None)))
    }

    /// Returns what removes a branch that was deleted; nothing if it has gone on since.
    pub(super) async fn without_head(
        &self,
        project: &ProjectName,
        reference: &Reference,
        before: Option<&str>,
    ) -> Result<Txn> {
        let Some((head, revision)) = self.head(project, reference.as_str()).await? else {
            return Ok(Txn::new());
        };
        if before.is_some_and(|before| before != head.commit) {
            return Ok(Txn::new());
        }
        let key = project.head_key(reference.as_str()).to_string();
        Ok(Txn::new().when(key.as_str(), Expected::At(revision)).delete(key))
    }

    pub(super) async fn head(
        &self,
        project: &ProjectName,
        reference: &str,
    ) -> Result<Option<(HeadRecord, Revision)>> {
        let Some(item) = self.read(&project.head_key(reference).to_string()).await? else { return Ok(None) };
        Ok(Some((decode(&item.value)?, item.mod_revision)))
    }

    pub(super) async fn tags(&self, project: &ProjectName) -> Result<(TagsRecord, Expected)> {
        match self.read(&project.tags_key().to_string()).await? {
            Some(item) => Ok((decode(&item.value)?, Expected::At(item.mod_revision))),
            None => Ok((TagsRecord::default(), Expected::Absent)),
        }
    }
}
