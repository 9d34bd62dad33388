//! Finding an object for somebody who may have it.

use std::collections::BTreeSet;

use ocelot_core::id::{RunId, TaskId};
use ocelot_domain::task::state::Session;

use super::scope::{fits, is_state_of, part, prefix, scopes};
use super::{AttemptRef, Error, Kept, Result, Service, What};
use crate::records::{ArtifactRecord, CacheRecord, RunRecord, Subject};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key, caches_of};
use crate::store::update::Edit;
use crate::store::{Expected, KeyValue, Txn};

/// A chain of retries is followed so far.
const RETRIES_MAX: usize = 32;
/// The use of a cache is written down no more often.
const USED_EVERY_MS: u64 = 600_000;

/// An artifact, as people and needing tasks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptArtifact {
    /// Index of the task.
    pub index: u32,
    /// As the task's plan names it.
    pub name: String,
    pub record: ArtifactRecord,
}

/// Which state of a cache is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedCache {
    pub name: String,
    pub key: String,
    /// The newest whose key begins as this one will do.
    pub fallback: Option<String>,
}

/// The best state of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCache {
    pub key: String,
    pub kept: Kept,
}

impl Service {
    /// Lists what a run kept, in the order of tasks and names; of a retry also what the tasks kept that
    /// it did not repeat.
    pub async fn artifacts(&self, run: RunId) -> Result<Vec<KeptArtifact>> {
        let now = self.timestamp();
        let mut found = Vec::new();
        let (mut at, mut inherited) = (run, None::<BTreeSet<u32>>);
        for _ in 0..RETRIES_MAX {
            for item in self.list(&Folder::ArtifactsOf(at).to_string()).await? {
                let Ok(Key::Artifact(TaskId { index, .. }, name)) = item.key.parse() else { continue };
                let record: ArtifactRecord = decode(&item.value)?;
                let counts = inherited.as_ref().is_none_or(|inherited| inherited.contains(&index));
                if counts && !record.has_expired(now) {
                    found.push(KeptArtifact { index, name, record });
                }
            }
            let Some(item) = self.read(&Key::Run(at).to_string()).await? else { break };
            let record: RunRecord = decode(&item.value)?;
            let Some(retry) = record.retry else { break };
            let kept = retry.succeeded.into_iter();
            let kept: BTreeSet<u32> =
                kept.filter(|index| inherited.as_ref().is_none_or(|before| before.contains(index))).collect();
            if kept.is_empty() {
                break;
            }
            (at, inherited) = (retry.run, Some(kept));
        }
        found.sort_by(|one, other| (one.index, &one.name).cmp(&(other.index, &other.name)));
        Ok(found)
    }

    /// Lists what the tasks kept whose artifacts this attempt's task needs, in the order of its needs.
    pub async fn needed(&self, session: Session, attempt: AttemptRef) -> Result<Vec<KeptArtifact>> {
        self.live_now(session, attempt).await?;
        let planned = self.planned(attempt).await?;
        let needs = planned.task().needs.iter().filter(|need| need.artifacts);
        let needs: Vec<u32> = needs.map(|need| need.task).collect();
        if needs.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.artifacts(attempt.task.run).await?;
        let of = |need: &u32| {
            let need = *need;
            all.iter().filter(move |artifact| artifact.index == need).cloned()
        };
        Ok(needs.iter().flat_map(of).collect())
    }

    /// Finds an artifact that an attempt's task needs.
    pub async fn find_needed(
        &self,
        session: Session,
        attempt: AttemptRef,
        (task, name): (u32, &str),
    ) -> Result<Kept> {
        let needed = self.needed(session, attempt).await?;
        let found = needed.iter().find(|artifact| artifact.index == task && artifact.name == name);
        self.held(found, name).await
    }

    /// Finds an artifact for a person; without a task's name there must be one alone.
    pub async fn find_artifact(&self, run: RunId, task: &str, name: &str) -> Result<Kept> {
        let all = self.artifacts(run).await?;
        let fits: Vec<&KeptArtifact> = all
            .iter()
            .filter(|artifact| artifact.name == name && (task.is_empty() || artifact.record.task == task))
            .collect();
        match fits[..] {
            [] | [_] => self.held(fits.first().copied(), name).await,
            [_, _, ..] => Err(Error::Ambiguous {
                what: What::Artifact,
                text: name.to_owned(),
                matches: fits.iter().map(|artifact| format!("of {}", artifact.record.task)).collect(),
            }),
        }
    }

    async fn held(&self, found: Option<&KeptArtifact>, name: &str) -> Result<Kept> {
        let none = || Error::not_found(What::Artifact, name);
        let kept = found.ok_or_else(none)?.record.kept;
        match self.objects()?.want(&kept, self.wall()).await? {
            true => Ok(kept),
            false => {
                tracing::error!(artifact = name, digest = %kept.digest, "the bytes of an artifact are gone");
                Err(none())
            }
        }
    }

    /// Finds the best state of a cache that an attempt's task sees: with this very key, from the nearest
    /// scope; or else the newest of the nearest scope that has one.
    pub async fn find_cache(
        &self,
        session: Session,
        attempt: AttemptRef,
        wanted: &WantedCache,
    ) -> Result<FoundCache> {
        self.live_now(session, attempt).await?;
        let planned = self.planned(attempt).await?;
        let is_planned = planned.task().environment.caches.iter().any(|cache| {
            cache.name == wanted.name
                && fits(&wanted.key, &cache.key)
                && wanted.fallback.as_ref().is_none_or(|wanted| *wanted == prefix(&cache.key))
        });
        if !is_planned {
            let why = format!("the task's plan has no cache {:?} with such a key", wanted.name);
            return Err(Error::Conflict { why });
        }
        let scopes = scopes(&planned.run, self.default_branch(&planned.run).as_deref());
        for scope in &scopes.read {
            let place = Key::Cache { scope: part(scope), name: wanted.name.clone(), key: part(&wanted.key) };
            if let Some(item) = self.read(&place.to_string()).await?
                && let Some(found) = self.usable(&item, |cache| cache.key == wanted.key).await?
            {
                return Ok(found);
            }
        }
        if let Some(prefix) = &wanted.fallback {
            for scope in &scopes.read {
                if let Some(found) = self.newest(scope, &wanted.name, prefix).await? {
                    return Ok(found);
                }
            }
        }
        Err(Error::not_found(What::Cache, &wanted.name))
    }

    async fn newest(&self, scope: &str, name: &str, prefix: &str) -> Result<Option<FoundCache>> {
        let mut states = Vec::new();
        for item in self.list(&caches_of(&part(scope), name)).await? {
            let cache: CacheRecord = decode(&item.value)?;
            if is_state_of(&cache.key, prefix) {
                states.push((cache.created_at.unix_ms, item));
            }
        }
        states.sort_by_key(|(created, item)| std::cmp::Reverse((*created, item.create_revision)));
        for (_, item) in states {
            if let Some(found) = self.usable(&item, |_| true).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns a state whose bytes are there, and notes its use. One without bytes is forgotten.
    async fn usable(
        &self,
        item: &KeyValue,
        is_it: impl Fn(&CacheRecord) -> bool,
    ) -> Result<Option<FoundCache>> {
        let cache: CacheRecord = decode(&item.value)?;
        if !is_it(&cache) {
            return Ok(None);
        }
        if !self.objects()?.want(&cache.kept, self.wall()).await? {
            tracing::warn!(cache = item.key, "the bytes of a cache are gone, and it is forgotten");
            let txn = Txn::new().when(item.key.as_str(), Expected::At(item.mod_revision));
            self.commit_duty(txn.delete(item.key.as_str())).await?;
            return Ok(None);
        }
        let now = self.timestamp();
        if now.unix_ms.saturating_sub(cache.used_at.unix_ms) >= USED_EVERY_MS {
            let noted = self.updater.update(&item.key, |known: Option<CacheRecord>| {
                Ok::<_, Error>(match known {
                    Some(known) => Edit::Put(CacheRecord { used_at: now, ..known }),
                    None => Edit::Keep,
                })
            });
            // It is there all the same; at worst it leaves sooner.
            if let Err(error) = noted.await {
                tracing::debug!(cache = item.key, ?error, "the use of a cache was not noted");
            }
        }
        Ok(Some(FoundCache { key: cache.key, kept: cache.kept }))
    }

    /// Returns the default branch of a run's project, whose caches all its runs read.
    pub(super) fn default_branch(&self, run: &RunRecord) -> Option<String> {
        match &run.subject {
            Subject::Job { .. } => None,
            Subject::Project { name } => {
                let project = self.sight_of_project(&name.parse().ok()?)?;
                Some(project.default_branch)
            }
        }
    }
}
