//! Finished runs leave the live store: the newest stay, and none for longer than its days.
//!
//! Tasks go first, in batches that compare the run, and the run goes last, so that a crash between
//! leaves something that is found again. Age is told by the time of day, because it spans restarts
//! of every controller; a clock that jumps costs history at worst, never a run that goes on.

use std::time::Duration;

use ocelot_core::id::RunId;

use crate::records::{RunRecord, Stage};
use crate::service::{Result, Service};
use crate::store::keys::{Folder, Key};
use crate::store::{Expected, Revision, Txn};

/// Tasks that one transaction deletes.
const BATCH: usize = 100;

/// How many finished runs stay, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub runs: usize,
    pub at_most: Duration,
    /// None leaves sooner: a repeated request must find its run.
    pub at_least: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { runs: 10_000, at_most: Duration::from_secs(7 * 24 * 3600), at_least: Duration::from_secs(600) }
    }
}

/// Looks once; returns how many runs have left.
pub async fn once(service: &Service, keep: Keep) -> Result<usize> {
    let mut left = 0;
    for (run, revision) in leaving(service, keep) {
        left += usize::from(remove(service, run, revision).await?);
    }
    Ok(left)
}

fn leaving(service: &Service, keep: Keep) -> Vec<(RunId, Revision)> {
    let folder = Folder::Runs.to_string();
    let mut finished: Vec<(Revision, RunId, Revision, u64)> = service.view.read(|items| {
        let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        let runs = items.filter_map(|(_, entry)| {
            let run: &RunRecord = entry.known()?.run()?;
            match run.stage {
                Stage::Finished { at, .. } => {
                    Some((entry.create_revision, run.id, entry.mod_revision, at.unix_ms))
                }
                Stage::Expanding | Stage::Active => None,
            }
        });
        runs.collect()
    });
    finished.sort_unstable_by_key(|(accepted, ..)| std::cmp::Reverse(*accepted));
    let now = service.timestamp().unix_ms;
    let age = |ended: u64| Duration::from_millis(now.saturating_sub(ended));
    let leaves = |(place, ended): (usize, u64)| {
        age(ended) >= keep.at_least && (place >= keep.runs || age(ended) >= keep.at_most)
    };
    let placed = finished.into_iter().enumerate();
    placed
        .filter(|(place, (.., ended))| leaves((*place, *ended)))
        .map(|(_, (_, run, revision, _))| (run, revision))
        .collect()
}

async fn remove(service: &Service, run: RunId, revision: Revision) -> Result<bool> {
    let unchanged = || Txn::new().when(Key::Run(run), Expected::At(revision));
    let mut tasks = service.list(&Folder::ProgressOf(run).to_string()).await?;
    tasks.extend(service.list(&Folder::TasksOf(run).to_string()).await?);
    for batch in tasks.chunks(BATCH) {
        let txn = batch.iter().fold(unchanged(), |txn, item| txn.delete(item.key.as_str()));
        if !service.commit_duty(txn).await? {
            return Ok(false);
        }
    }
    service.commit_duty(unchanged().delete(Key::RunSecrets(run)).delete(Key::Run(run))).await
}
