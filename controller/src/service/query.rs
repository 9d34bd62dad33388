//! Queries: one run with its tasks, and runs newest first, a page at a time.

use std::ops::Bound;
use std::time::Duration;

use ocelot_core::id::RunId;
use ocelot_core::plan::{Plan, TaskPlan};
use ocelot_domain::outcome::Actor;
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::Task;
use ocelot_domain::task::state::Timestamp;
use ocelot_spec::Glob;

use super::Service;
use super::error::{Error, Result, What};
use super::jobs::PAGE_MAX;
use crate::records::{RunRecord, Stage, Stored, StoredPlan, Subject};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::view::{Changed, Changes, Entry};

/// Which runs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    pub job: Option<String>,
    /// Pattern over `owner/name` of projects.
    pub project: Option<Glob>,
    pub branch: Option<String>,
    pub by: Option<Actor>,
    pub group: Option<String>,
    /// Only those that have not ended, or only those that have.
    pub finished: Option<bool>,
    /// Only those that failed, timed out or were lost.
    pub failed: bool,
    /// Only those that were accepted at this moment or later.
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    pub runs: Vec<RunRecord>,
    /// The run after which the next page begins; none on the last.
    pub next: Option<RunId>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunWithTasks {
    pub run: RunRecord,
    /// In the order of the plan; while the run is expanding some may not be there yet.
    pub tasks: Vec<Task>,
}

impl RunWithTasks {
    /// Returns the names of the tasks that this one needs and that have not ended.
    pub(crate) fn open_needs(&self, planned: &TaskPlan, plan: &Plan) -> Vec<String> {
        let is_open = |index: u32| {
            let task = self.tasks.iter().find(|task| task.id.index == index);
            task.is_none_or(|task| task.outcome().is_none())
        };
        let open = planned.needs.iter().filter(|need| is_open(need.task));
        open.filter_map(|need| Some(plan.tasks.get(need.task as usize)?.name.clone())).collect()
    }
}

/// Pages are bounded by the runs that are looked at, too: so many a filter may pass over.
const LOOKED_AT_MAX: usize = 20_000;
/// Matches that an ambiguous reference lists.
const MATCHES_MAX: usize = 10;
/// How long a list waits for the view.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Fewer characters are no part of an id: they would fit by chance.
const PART_MIN: usize = 4;

fn is_failure(run: &RunRecord) -> bool {
    match run.stage {
        Stage::Finished { outcome, .. } => match outcome {
            RunOutcome::Failed | RunOutcome::TimedOut | RunOutcome::Lost => true,
            RunOutcome::Rejected | RunOutcome::Cancelled | RunOutcome::Succeeded | RunOutcome::Skipped => {
                false
            }
        },
        Stage::Expanding | Stage::Active => false,
    }
}

/// Returns the group that the run's plan names; that of a large plan is not looked up.
pub(crate) fn group_of(run: &RunRecord) -> Option<String> {
    match &run.plan {
        StoredPlan::Inline(plan) => plan.group.clone(),
        StoredPlan::Kept { .. } => None,
    }
}

impl RunFilter {
    fn admits(&self, run: &RunRecord) -> bool {
        let (job, project) = match &run.subject {
            Subject::Job { name, .. } => (Some(name), None),
            Subject::Project { name } => (None, Some(name)),
        };
        let branch = run.source.as_ref().and_then(|source| source.event.branch());
        self.project.as_ref().is_none_or(|glob| project.is_some_and(|name| glob.matches(name)))
            && self.branch.as_ref().is_none_or(|wanted| branch == Some(wanted.as_str()))
            && self.job.as_ref().is_none_or(|wanted| job == Some(wanted))
            && self.group.as_ref().is_none_or(|group| group_of(run).is_some_and(|of| of == *group))
            && (!self.failed || is_failure(run))
            && self.since.is_none_or(|since| since.unix_ms <= run.accepted_at.unix_ms)
            && self.by.as_ref().is_none_or(|by| *by == run.trigger.by)
            && self.finished.is_none_or(|finished| finished == run.is_finished())
    }
}

impl Service {
    /// Returns a run with its tasks, read for this call: what was answered before is in it.
    pub async fn run(&self, id: RunId) -> Result<RunWithTasks> {
        let item = self.read(&Key::Run(id).to_string()).await?;
        let run = decode(&item.ok_or_else(|| Error::not_found(What::Run, id))?.value)?;
        let items = self.list(&Folder::TasksOf(id).to_string()).await?;
        let tasks = items.iter().map(|item| Ok(decode(&item.value)?)).collect::<Result<_>>()?;
        Ok(RunWithTasks { run, tasks })
    }

    /// Returns a run with its tasks as the view has them; none if the view does not have it.
    pub fn sight_of(&self, id: RunId) -> Option<RunWithTasks> {
        let folder = Folder::TasksOf(id).to_string();
        self.view.read(|items| {
            let run = items.get(&Key::Run(id).to_string())?.known()?.run()?.clone();
            let tasks = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let tasks = tasks.filter_map(|(_, entry)| entry.known()?.task().cloned()).collect();
            Some(RunWithTasks { run, tasks })
        })
    }

    /// Waits, for a moment at most, until the view has what was answered before this call.
    pub async fn see_latest(&self) {
        let caught_up = async {
            match self.store.health().await {
                Ok(health) => self.view.wait_for(health.revision).await,
                Err(error) => tracing::debug!(%error, "the view is used as it is"),
            }
        };
        // What is late shows what is known; it is a hint in any case.
        drop(tokio::time::timeout(CATCH_UP, caught_up).await);
    }

    /// Returns the name of an executor, if it is still known.
    pub fn executor_name(&self, id: ocelot_core::id::ExecutorId) -> Option<String> {
        self.board().fleet.get(&id).map(|known| known.name.to_string())
    }

    /// Follows the view: what it tells is where to look.
    pub fn news(&self) -> Changes {
        self.view.changes()
    }

    /// Waits until the view has news of the run, and returns it as it is then.
    pub async fn next_sight(&self, id: RunId, news: &mut Changes) -> Result<RunWithTasks> {
        let text = id.to_string();
        loop {
            let concerns = match news.next().await {
                Changed::Everything => true,
                Changed::Keys(keys) => keys.iter().any(|key| key.contains(&text)),
            };
            if !concerns {
                continue;
            }
            return match self.sight_of(id) {
                Some(found) => Ok(found),
                // It has left the view, or is not in it yet: the store knows.
                None => self.run(id).await,
            };
        }
    }

    /// Returns what the run was planned to do.
    pub async fn plan(&self, run: &RunRecord) -> Result<std::sync::Arc<ocelot_core::plan::Plan>> {
        self.plan_of(run).await
    }

    /// Lists runs, newest first, from the one after `after`.
    pub fn runs(&self, filter: &RunFilter, after: Option<RunId>, limit: usize) -> RunPage {
        let folder = Folder::Runs.to_string();
        let end = match after {
            Some(id) => Key::Run(id).to_string(),
            // The first key behind the folder: what lies there is not gone through to get here.
            None => folder.trim_end_matches('/').to_owned() + "0",
        };
        let limit = limit.clamp(1, PAGE_MAX);
        self.view.read(|items| {
            let items = items.range((Bound::Included(folder), Bound::Excluded(end))).rev();
            let runs = items.filter_map(run_of);
            let mut found = Vec::new();
            for (looked_at, run) in runs.enumerate() {
                if filter.admits(run) {
                    if found.len() == limit {
                        let next = found.last().map(|run: &RunRecord| run.id);
                        return RunPage { runs: found, next };
                    }
                    found.push(run.clone());
                }
                if looked_at >= LOOKED_AT_MAX {
                    return RunPage { runs: found, next: Some(run.id) };
                }
            }
            RunPage { runs: found, next: None }
        })
    }

    /// Finds the run that a person means: an id or any unique part of one, `name#42`, or a job's
    /// name for its last run.
    pub fn find_run(&self, text: &str) -> Result<RunId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let wanted = text.to_lowercase();
        let numbered =
            text.rsplit_once('#').and_then(|(name, number)| Some((name, number.parse::<u64>().ok()?)));
        let folder = Folder::Runs.to_string();
        let found: Vec<RunRecord> = self.view.read(|items| {
            // The newest first, so that those are listed when many fit.
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let mut runs: Vec<&RunRecord> = items.filter_map(run_of).collect();
            runs.reverse();
            if let Some((name, number)) = numbered {
                let is_it = |run: &&&RunRecord| run.number == number && *run.project() == *name;
                return runs.iter().filter(is_it).map(|run| (*run).clone()).collect();
            }
            let named = runs.iter().filter(|run| *run.project() == *text).max_by_key(|run| run.number);
            if let Some(run) = named {
                return vec![(*run).clone()];
            }
            let is_part =
                |run: &&&RunRecord| wanted.len() >= PART_MIN && run.id.to_string().contains(&wanted);
            runs.iter().filter(is_part).take(MATCHES_MAX + 1).map(|run| (*run).clone()).collect()
        });
        match &found[..] {
            [] => Err(Error::not_found(What::Run, text)),
            [run] => Ok(run.id),
            [_, _, ..] => {
                let shown = |run: &RunRecord| format!("{}  {}#{}", run.id, run.project(), run.number);
                let mut matches: Vec<String> = found.iter().take(MATCHES_MAX).map(shown).collect();
                if found.len() > MATCHES_MAX {
                    matches.push("and more".to_owned());
                }
                Err(Error::Ambiguous { what: What::Run, text: text.to_owned(), matches })
            }
        }
    }
}

fn run_of<'a>((_, entry): (&String, &'a Entry<Stored>)) -> Option<&'a RunRecord> {
    entry.known()?.run()
}
