//! Events as they are received, kept and listed.
//!
//! Receiving is one transaction that puts the record if it is absent. Whoever delivers the same again,
//! to whichever controller, finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ocelot_core::id::RunId;
use ocelot_forge::event::{Event, EventKind};
use ocelot_proto::kit::chaos;

use super::decide::cut;
use crate::records::{
    EventDecision, EventRecord, ForgeLink, ProjectName, ProjectRecord, Stored, TriggerKind,
};
use crate::service::Service;
use crate::service::error::{Error, Result, What};
use crate::service::jobs::{PAGE_MAX, settled};
use crate::store::codec::encode;
use crate::store::keys::{Folder, Key};
use crate::store::update::Edit;
use crate::store::view::Entry;
use crate::store::{Expected, Revision, Txn};

/// How long events are kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many events of a project are kept.
const KEPT_MAX: usize = 10_000;
/// Records that one transaction deletes.
const BATCH: usize = 60;
/// Commits of a push that are kept; the number of all is kept too.
const COMMITS_KEPT: usize = 20;

/// An event that somebody told of.
#[derive(Debug, Clone)]
pub struct Told {
    pub project: ProjectName,
    /// Webhook, or poller.
    pub source: TriggerKind,
    pub event: Event,
    /// What the forge calls this delivery.
    pub delivery: Option<String>,
}

/// An event that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The run's id, if it makes one.
    pub id: RunId,
    /// It was told before.
    pub existed: bool,
    pub decision: EventDecision,
}

/// One page of events, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    pub events: Vec<EventRecord>,
    /// Behind which the next page begins; none on the last.
    pub next: Option<Revision>,
}

/// Returns the id of an event: the same wherever and however often it is told.
pub(super) fn id_of(project: &ProjectName, event: &Event) -> RunId {
    RunId::from_bytes(event.key().uuid_within(project.as_str().as_bytes()))
}

/// Returns one sentence about an event.
pub(crate) fn summary(event: &Event) -> String {
    let what = match &event.kind {
        EventKind::Push(push) => {
            let commits = match push.commits_total {
                0 => String::new(),
                1 => " of 1 commit".to_owned(),
                count => format!(" of {count} commits"),
            };
            let how = if push.forced == Some(true) { "forced push" } else { "push" };
            format!("{how}{commits} to {}", push.branch)
        }
        EventKind::BranchDeleted { branch, .. } => format!("deletion of branch {branch}"),
        EventKind::Tag(tag) => format!("tag {}", tag.tag),
        EventKind::TagDeleted { tag, .. } => format!("deletion of tag {tag}"),
        EventKind::PullRequest(pull) => format!("pull request {} to {}", pull.number, pull.base_ref),
    };
    match event.actor.login.as_str() {
        "" => what,
        by => format!("{what} by {by}"),
    }
}

/// Returns the id of the commit that an event is about; empty where it names none.
pub(crate) fn commit_of(event: &Event) -> &str {
    super::facts::told_commit(&event.kind).map(|commit| commit.as_str()).unwrap_or_default()
}

impl Service {
    /// Keeps an event durably; what becomes of it is decided afterwards.
    pub async fn receive(&self, told: Told) -> Result<Received> {
        let Told { project: name, source, mut event, delivery } = told;
        let project = self.project(&name).await?;
        check_repository(&project, &event)?;
        let id = id_of(&name, &event);
        if let EventKind::Push(push) = &mut event.kind {
            push.commits.truncate(COMMITS_KEPT);
        }
        let decision = match project.enabled {
            true => EventDecision::Pending { tries: 0, trouble: None },
            false => EventDecision::Ignored { why: "the project is disabled".into() },
        };
        let record = EventRecord {
            id,
            project: name.clone(),
            source,
            event,
            received_at: self.timestamp(),
            deliveries: delivery.iter().cloned().collect(),
            decision,
        };
        let mut received = None;
        let key = name.event_key(id).to_string();
        chaos::point("event.before_commit");
        let updated = self.updater.update(&key, |known: Option<EventRecord>| {
            let (existed, decision) = match &known {
                Some(known) => (true, known.decision.clone()),
                None => (false, record.decision.clone()),
            };
            received = Some(Received { id, existed, decision });
            let edit = match known {
                None => Edit::Put(record.clone()),
                Some(known) => match delivery.as_deref().and_then(|delivery| known.delivered(delivery)) {
                    Some(more) => Edit::Put(more),
                    None => Edit::Keep,
                },
            };
            Ok::<_, Error>(edit.beside(Txn::new().when(name.key(), Expected::Present)))
        });
        settled(updated.await)?;
        chaos::point("event.committed");
        received.ok_or(Error::NotNow { why: "the event was not written" })
    }

    /// Returns an event.
    pub async fn event(&self, project: &ProjectName, id: RunId) -> Result<EventRecord> {
        let item = self.read(&project.event_key(id).to_string()).await?;
        let item = item.ok_or_else(|| Error::not_found(What::Event, id))?;
        Ok(crate::store::codec::decode(&item.value)?)
    }

    /// Lists the events of a project, newest first, from the one behind `after`.
    pub fn events(&self, project: &ProjectName, after: Option<Revision>, limit: usize) -> EventPage {
        let folder = project.events_folder();
        let mut events: Vec<(Revision, EventRecord)> = self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let events = items.filter_map(|(_, entry)| {
                let place = entry.create_revision;
                let is_next = after.is_none_or(|after| place < after);
                is_next.then_some(())?;
                Some((place, entry.known()?.event()?.clone()))
            });
            events.collect()
        });
        // Those of one transaction do not exist: each is put by one of its own.
        events.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
        let limit = limit.clamp(1, PAGE_MAX);
        let more = events.len() > limit;
        events.truncate(limit);
        let next = events.last().filter(|_| more).map(|(place, _)| *place);
        EventPage { events: events.into_iter().map(|(_, event)| event).collect(), next }
    }

    /// Returns the pending events of each project in the order of their reception.
    pub(crate) fn pending_events(&self) -> BTreeMap<ProjectName, BTreeSet<(Revision, RunId)>> {
        let folder = Folder::Events.to_string();
        self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let mut pending: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
            for (_, entry) in items {
                if let Some((project, place)) = pending_in(entry) {
                    pending.entry(project).or_default().insert(place);
                }
            }
            pending
        })
    }

    /// Returns what a key of an event tells: whose it is, its place, and whether it is pending.
    pub(crate) fn pending_event(&self, key: &str) -> Option<(ProjectName, (Revision, RunId))> {
        pending_in(&self.view.get(key)?)
    }

    /// Forgets old events, and everything of projects that are no more; returns how much.
    pub(crate) async fn sweep_events(&self) -> Result<usize> {
        let mut gone = 0;
        for (name, place) in self.leaving_events() {
            gone += usize::from(self.forget_event(&name, place).await?);
        }
        for name in self.removed_projects() {
            gone += self.forget_remains(&name).await?;
        }
        Ok(gone)
    }

    fn leaving_events(&self) -> Vec<(ProjectName, (RunId, Revision, bool))> {
        let folder = Folder::Events.to_string();
        let now = self.timestamp().unix_ms;
        let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        let mut of: BTreeMap<ProjectName, Vec<(Revision, RunId, Revision, bool, bool)>> = BTreeMap::new();
        self.view.read(|items| {
            for (_, entry) in items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder)) {
                let Some(event) = entry.known().and_then(|stored| stored.event()) else { continue };
                let is_old = now.saturating_sub(event.received_at.unix_ms) >= kept;
                let one = (entry.create_revision, event.id, entry.mod_revision, is_old, event.is_pending());
                of.entry(event.project.clone()).or_default().push(one);
            }
        });
        let mut leaving = Vec::new();
        for (name, mut events) in of {
            events.sort_unstable_by_key(|(place, ..)| std::cmp::Reverse(*place));
            for (index, (_, id, revision, is_old, is_pending)) in events.into_iter().enumerate() {
                if is_old || (index >= KEPT_MAX && !is_pending) {
                    leaving.push((name.clone(), (id, revision, is_pending)));
                }
            }
        }
        leaving
    }

    async fn forget_event(
        &self,
        name: &ProjectName,
        (id, revision, is_pending): (RunId, Revision, bool),
    ) -> Result<bool> {
        let key = name.event_key(id).to_string();
        let txn = Txn::new().when(key.as_str(), Expected::At(revision));
        if !is_pending {
            return self.commit_duty(txn.delete(key)).await;
        }
        // Nobody loses it without being told: it is decided first, and forgotten another time.
        let record = self.event(name, id).await?;
        let EventDecision::Pending { trouble, .. } = &record.decision else { return Ok(false) };
        let why = trouble.as_deref().unwrap_or("nobody could look at it");
        let why = cut(&format!("it could not be decided for 7 days: {why}"));
        let record =
            EventRecord { decision: EventDecision::Ignored { why }, received_at: self.timestamp(), ..record };
        self.commit_duty(txn.put(key, encode(&record, None))).await
    }

    /// Returns the projects of which there is something, and which are no more themselves.
    fn removed_projects(&self) -> BTreeSet<ProjectName> {
        self.view.read(|items| {
            let of = |folder: Folder| {
                let folder = folder.to_string();
                let start = folder.clone();
                items.range(start..).take_while(move |(key, _)| key.starts_with(&folder))
            };
            let events =
                of(Folder::Events).filter_map(|(_, entry)| Some(entry.known()?.event()?.project.clone()));
            let heads =
                of(Folder::Heads).filter_map(|(_, entry)| Some(entry.known()?.head()?.project.clone()));
            let looks = of(Folder::Looks).filter_map(|(key, _)| {
                let Ok(Key::Look { owner, name }) = key.parse() else { return None };
                format!("{owner}/{name}").parse().ok()
            });
            let all: BTreeSet<ProjectName> = events.chain(heads).chain(looks).collect();
            all.into_iter().filter(|name| !items.contains_key(&name.key().to_string())).collect()
        })
    }

    /// Removes what a removed project has left.
    pub(super) async fn forget_remains(&self, name: &ProjectName) -> Result<usize> {
        let mut keys: Vec<String> = Vec::new();
        for folder in [name.events_folder(), name.heads_folder()] {
            keys.extend(self.list(&folder).await?.into_iter().map(|item| item.key));
        }
        keys.extend([name.look_key().to_string(), name.tags_key().to_string()]);
        let mut gone = 0;
        for batch in keys.chunks(BATCH) {
            let absent = Txn::new().when(name.key(), Expected::Absent);
            let txn = batch.iter().fold(absent, |txn, key| txn.delete(key.as_str()));
            if !self.commit_duty(txn).await? {
                return Ok(gone);
            }
            gone += batch.len();
        }
        Ok(gone)
    }
}

fn pending_in(entry: &Entry<Stored>) -> Option<(ProjectName, (Revision, RunId))> {
    let event = entry.known()?.event().filter(|event| event.is_pending())?;
    Some((event.project.clone(), (entry.create_revision, event.id)))
}

/// Refuses what happened elsewhere: who knows a project's secret can sign anything.
fn check_repository(project: &ProjectRecord, event: &Event) -> Result<()> {
    let Some(ForgeLink { kind, repository: Some(id), .. }) = &project.forge else { return Ok(()) };
    if event.forge == Some(*kind) && event.repository.id.as_str() == id {
        return Ok(());
    }
    let why = format!("the event is not of the repository that {} is", project.name);
    Err(Error::Conflict { why })
}
