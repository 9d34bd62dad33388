//! A look at a repository: what webhooks did not tell becomes the same events as they tell.
//!
//! Two controllers may look at once: the events' ids and the branches' records keep one run of each
//! commit. A branch that fails holds up no other, and stays as it was known, so the next look finds it.

use ocelot_forge::Forge;
use ocelot_forge::event::{Actor, Event, EventKind, RepositoryId, RepositoryIdentity};

use super::decide::cut;
use super::events::{Received, Told};
use super::facts::{self, Trouble};
use super::steps::{self, Found, Known};
use crate::records::{
    EventDecision, EventRecord, HeadRecord, LookRecord, ProjectName, ProjectRecord, TagsRecord, TriggerKind,
};
use crate::service::Service;
use crate::service::error::{Error, Result};
use crate::service::jobs::settled;
use crate::store::codec::{decode, encode};
use crate::store::update::Edit;
use crate::store::{Expected, Txn};

/// Who is said to have done what only a look has found.
const POLLER: &str = "poller";
/// Branches that one transaction notes.
const BATCH: usize = 50;

impl Service {
    /// Looks at a project's repository; returns what is new.
    pub async fn look_at(&self, name: &ProjectName) -> Result<Vec<EventRecord>> {
        let project = self.project(name).await?;
        if !project.enabled {
            let why = format!("{name} is disabled; enable it with `ocelot project enable {name}`");
            return Err(Error::Conflict { why });
        }
        let (looked, trouble) = match self.compare_with(&project).await {
            Ok(found) => {
                let trouble = found.trouble.clone();
                let (events, failed) = self.take_found(&project, found).await?;
                (Ok(events), failed.or(trouble))
            }
            Err(Trouble::Ours(error)) => return Err(error),
            Err(trouble) => {
                let why = cut(&facts::told_of(name, &trouble));
                (Err(Error::Conflict { why: why.clone() }), Some(why))
            }
        };
        self.note_look(name, trouble, looked.is_ok()).await?;
        looked
    }

    /// Returns the last look at a project as the view has it.
    pub(crate) fn last_look(&self, name: &ProjectName) -> Option<LookRecord> {
        self.view.get(&name.look_key().to_string())?.known()?.look().cloned()
    }

    async fn compare_with(&self, project: &ProjectRecord) -> std::result::Result<Found, Trouble> {
        let mirrors = self.mirrors()?;
        let url = mirrors.address(&project.url).map_err(|error| Trouble::Repository(error.to_string()))?;
        let credentials = self.opens(project).await?.map(|opens| opens.to_git()).unwrap_or_default();
        // What is known is read first: what happens meanwhile is told again, and found to be known.
        let known = self.known_of(&project.name).await?;
        let advertised = mirrors.ask(&url, &credentials).await?;
        if advertised.references.is_empty() && !known.heads.is_empty() {
            let why = "the repository shows no branch, so nothing is concluded from that";
            return Err(Trouble::Repository(why.into()));
        }
        Ok(steps::compare(&advertised, &known, &project.default_branch))
    }

    async fn known_of(&self, name: &ProjectName) -> Result<Known> {
        let mut known = Known::default();
        for item in self.list(&name.heads_folder()).await? {
            let head: HeadRecord = decode(&item.value)?;
            known.heads.insert(head.reference, head.commit);
        }
        known.tags = self.tags(name).await?.0.seen;
        let look = self.read(&name.look_key().to_string()).await?;
        let look = look.map(|item| decode::<LookRecord>(&item.value)).transpose()?;
        known.is_known = look.is_some_and(|look| look.is_known);
        Ok(known)
    }

    /// Makes events of what was found; returns them, and what failed.
    async fn take_found(
        &self,
        project: &ProjectRecord,
        found: Found,
    ) -> Result<(Vec<EventRecord>, Option<String>)> {
        let name = &project.name;
        let (mut events, mut failed) = (Vec::new(), None);
        let mut tags = found.tags;
        for kind in found.events {
            let event = event_of(project, kind);
            let told = Told {
                project: name.clone(),
                source: TriggerKind::Poller,
                event: event.clone(),
                delivery: None,
            };
            let taken = async {
                let received = self.receive(told).await?;
                if received.existed {
                    self.follow_known(name, &received, &event).await?;
                }
                self.event(name, received.id).await
            };
            match taken.await {
                Ok(record) => events.push(record),
                Err(error) => {
                    if let EventKind::Tag(tag) = &event.kind {
                        tags.remove(&steps::tag_number(&tag.tag, tag.commit.as_str()));
                    }
                    failed.get_or_insert_with(|| cut(&error.to_string()));
                }
            }
        }
        self.note_heads(name, found.noted).await?;
        self.note_tags(name, tags).await?;
        events.reverse();
        Ok((events, failed))
    }

    /// Notes what an event meant that was told, and decided, before: the branch has come back to where
    /// it was once, and would be told again for ever.
    async fn follow_known(&self, name: &ProjectName, received: &Received, event: &Event) -> Result<()> {
        if let EventDecision::Pending { .. } = received.decision {
            return Ok(());
        }
        let (branch, before, after) = match &event.kind {
            EventKind::Push(push) => (&push.branch, push.before.as_ref(), Some(&push.after)),
            EventKind::BranchDeleted { branch, before } => (branch, before.as_ref(), None),
            EventKind::Tag(_) | EventKind::TagDeleted { .. } | EventKind::PullRequest(_) => return Ok(()),
        };
        let reference = format!("refs/heads/{branch}");
        let key = name.head_key(&reference).to_string();
        let now = self.timestamp();
        let updated = self.updater.update(&key, |known: Option<HeadRecord>| {
            if known.as_ref().map(|head| head.commit.as_str()) != before.map(|before| before.as_str()) {
                return Ok::<_, Error>(Edit::Keep);
            }
            Ok(match after {
                None => Edit::Delete,
                Some(after) => Edit::Put(HeadRecord {
                    project: name.clone(),
                    reference: reference.clone(),
                    commit: after.as_str().to_owned(),
                    event: Some(received.id),
                    seen_at: now,
                    success: known.and_then(|head| head.success),
                }),
            })
        });
        settled(updated.await).map(drop)
    }

    /// Notes branches that are seen for the first time and not built.
    async fn note_heads(&self, name: &ProjectName, noted: Vec<(String, String)>) -> Result<()> {
        let head = |(reference, commit): &(String, String)| HeadRecord {
            project: name.clone(),
            reference: reference.clone(),
            commit: commit.clone(),
            event: None,
            seen_at: self.timestamp(),
            success: None,
        };
        let put = |txn: Txn, one: &(String, String)| {
            let key = name.head_key(&one.0).to_string();
            txn.when(key.as_str(), Expected::Absent).put(key, encode(&head(one), None))
        };
        for batch in noted.chunks(BATCH) {
            if self.commit_duty(batch.iter().fold(Txn::new(), put)).await? {
                continue;
            }
            // One of them is known meanwhile: the others are noted one by one.
            for one in batch {
                self.commit_duty(put(Txn::new(), one)).await?;
            }
        }
        Ok(())
    }

    async fn note_tags(&self, name: &ProjectName, there: std::collections::BTreeSet<u64>) -> Result<()> {
        let key = name.tags_key().to_string();
        let updated = self.updater.update(&key, |known: Option<TagsRecord>| {
            let known = known.unwrap_or_default();
            let decided = known.decided.intersection(&there).copied().collect();
            let next = TagsRecord { seen: there.clone(), decided };
            Ok::<_, Error>(if next == known { Edit::Keep } else { Edit::Put(next) })
        });
        settled(updated.await).map(drop)
    }

    async fn note_look(&self, name: &ProjectName, trouble: Option<String>, is_known: bool) -> Result<()> {
        let at = self.timestamp();
        let key = name.look_key().to_string();
        let updated = self.updater.update(&key, |known: Option<LookRecord>| {
            let is_known = is_known || known.is_some_and(|look| look.is_known);
            let look = LookRecord { at, trouble: trouble.clone(), is_known };
            Ok::<_, Error>(Edit::Put(look).beside(Txn::new().when(name.key(), Expected::Present)))
        });
        settled(updated.await).map(drop)
    }
}

/// Returns the event as the project's forge would tell it.
pub(crate) fn event_of(project: &ProjectRecord, kind: EventKind) -> Event {
    let link = project.forge.as_ref();
    let forge: Option<Forge> = link.map(|link| link.kind);
    let id = link.and_then(|link| link.repository.clone()).unwrap_or_default();
    Event {
        forge,
        repository: RepositoryIdentity {
            id: RepositoryId::from_text(id),
            full_name: project.name.to_string(),
            clone_url_https: None,
            clone_url_ssh: None,
            default_branch: Some(project.default_branch.clone()),
            web_url: None,
            private: true,
        },
        actor: Actor { id: None, login: POLLER.to_owned() },
        kind,
    }
}
