//! Queries: one run with its tasks, and runs newest first, a page at a time.

use std::ops::Bound;

use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::Task;

use super::Service;
use super::error::{Error, Result, What};
use super::jobs::PAGE_MAX;
use crate::records::{RunRecord, Stored, Subject};
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::view::Entry;

/// Which runs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    pub job: Option<String>,
    pub by: Option<Actor>,
    /// Only those that have not ended, or only those that have.
    pub finished: Option<bool>,
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

impl RunFilter {
    fn admits(&self, run: &RunRecord) -> bool {
        let Subject::Job { name, .. } = &run.subject;
        self.job.as_ref().is_none_or(|job| job == name)
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

    /// Lists runs, newest first, from the one after `after`.
    pub fn runs(&self, filter: &RunFilter, after: Option<RunId>, limit: usize) -> RunPage {
        let folder = Folder::Runs.to_string();
        let end = match after {
            Some(id) => Bound::Excluded(Key::Run(id).to_string()),
            None => Bound::Unbounded,
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let mut runs: Vec<RunRecord> = self.view.read(|items| {
            let items = items.range((Bound::Included(folder.clone()), end)).rev();
            let items = items.skip_while(|(key, _)| !key.starts_with(&folder));
            let runs = items.take_while(|(key, _)| key.starts_with(&folder)).filter_map(run_of);
            runs.filter(|run| filter.admits(run)).take(limit + 1).cloned().collect()
        });
        let more = runs.len() > limit;
        runs.truncate(limit);
        let next = runs.last().filter(|_| more).map(|run| run.id);
        RunPage { runs, next }
    }

    /// Finds the run that a person means: an id or any unique part of one, `name#42`, or a job's
    /// name for its last run.
    pub fn find_run(&self, text: &str) -> Result<RunId> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let folder = Folder::Runs.to_string();
        let found: Vec<RunId> = self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let runs = items.filter_map(run_of);
            let numbered =
                text.rsplit_once('#').and_then(|(name, number)| Some((name, number.parse::<u64>().ok()?)));
            match numbered {
                Some((name, number)) => {
                    let is_it = |run: &&RunRecord| run.number == number && *run.project() == *name;
                    runs.filter(is_it).map(|run| run.id).collect()
                }
                None => {
                    let (mut named, mut parts) = (None::<(u64, RunId)>, Vec::new());
                    for run in runs {
                        if *run.project() == *text {
                            named = named.max(Some((run.number, run.id)));
                        } else if text.len() >= 4 && run.id.to_string().contains(text) {
                            parts.push(run.id);
                        }
                    }
                    named.map_or(parts, |(_, id)| vec![id])
                }
            }
        });
        match found[..] {
            [] => Err(Error::not_found(What::Run, text)),
            [id] => Ok(id),
            [_, _, ..] => Err(Error::Ambiguous { text: text.to_owned() }),
        }
    }
}

fn run_of<'a>((_, entry): (&String, &'a Entry<Stored>)) -> Option<&'a RunRecord> {
    entry.known()?.run()
}
