//! Writers that know what they were promised.
//!
//! Each writes keys of its own, one after another, and repeats a transaction whose outcome it does
//! not know until it does: the key's absence is compared, so the repetition shows what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ocelot_controller::store::{Error, Expected, RangeRequest, Revision, Store, Txn, Verdict};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use ocelot_e2e::wait::wait_until;

/// Between a failure and the next try; pacing only.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Load {
    prefix: String,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    written: Arc<AtomicUsize>,
    writers: JoinSet<Result<Written>>,
}

/// What writers were promised, and what it cost.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) keys: Vec<String>,
    pub(super) unknown: usize,
    pub(super) unavailable: usize,
    /// The longest time between two promises to one writer.
    pub(super) longest_gap: Duration,
}

impl Load {
    pub(super) fn start(store: &Arc<dyn Store>, prefix: &str, writers: usize) -> Self {
        let mut load = Self {
            prefix: prefix.to_owned(),
            store: Arc::clone(store),
            stop: CancellationToken::new(),
            written: Arc::default(),
            writers: JoinSet::new(),
        };
        for writer in 0..writers {
            let store = Arc::clone(store);
            let (stop, written) = (load.stop.clone(), Arc::clone(&load.written));
            let prefix = format!("{prefix}{writer}/");
            load.writers.spawn(async move { write(store, prefix, stop, written).await });
        }
        load
    }

    /// Waits until `count` more promises were made.
    pub(super) async fn progress(&self, count: usize) -> Result<()> {
        let goal = self.written.load(Ordering::SeqCst) + count;
        wait_until(&format!("{count} more writes"), || async {
            let written = self.written.load(Ordering::SeqCst);
            if written >= goal { Ok(()) } else { Err(format!("{written} of {goal} written")) }
        })
        .await
    }

    /// Ends the writers and proves that every promise was kept.
    pub(super) async fn finish(mut self) -> Result<Written> {
        self.stop.cancel();
        let mut all = Written::default();
        while let Some(writer) = self.writers.join_next().await {
            let written = writer??;
            all.keys.extend(written.keys);
            all.unknown += written.unknown;
            all.unavailable += written.unavailable;
            all.longest_gap = all.longest_gap.max(written.longest_gap);
        }
        let stored = list_keys(&self.store, &self.prefix).await?;
        for key in &all.keys {
            ensure!(stored.binary_search(key).is_ok(), "{key} was promised and is not there");
        }
        Ok(all)
    }
}

async fn write(
    store: Arc<dyn Store>,
    prefix: String,
    stop: CancellationToken,
    count: Arc<AtomicUsize>,
) -> Result<Written> {
    let mut written = Written::default();
    let mut last = Instant::now();
    let mut number = 0;
    while !stop.is_cancelled() {
        let key = format!("{prefix}{number:08}");
        let txn = || Txn::new().when(&key, Expected::Absent).put(&key, key.clone());
        match store.commit(txn()).await {
            Ok(Verdict::Committed(_)) => {}
            Ok(Verdict::Refused { found }) => {
                let found = found.into_iter().next().flatten().context("the key is there")?;
                ensure!(found.value == key.as_bytes(), "{key} holds what nobody wrote");
            }
            Err(Error::Unknown(_)) => {
                written.unknown += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(Error::Unavailable(_)) => {
                written.unavailable += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => bail!("{key}: {error:?}"),
        }
        number += 1;
        written.longest_gap = written.longest_gap.max(last.elapsed());
        last = Instant::now();
        written.keys.push(key);
        count.fetch_add(1, Ordering::SeqCst);
    }
    Ok(written)
}

/// Lists all keys below a prefix at one revision.
pub(super) async fn list_keys(store: &Arc<dyn Store>, prefix: &str) -> Result<Vec<String>> {
    Ok(list(store, prefix).await?.0.into_iter().map(|(key, _)| key).collect())
}

/// Lists keys and their revisions, and the revision at which they were so.
pub(super) async fn list(
    store: &Arc<dyn Store>,
    prefix: &str,
) -> Result<(Vec<(String, Revision)>, Revision)> {
    let mut found = Vec::new();
    let mut next = Some(RangeRequest::prefix(prefix).keys_only());
    let mut at = None;
    while let Some(request) = next {
        let page = wait_until("a page", || store.range(request.clone())).await?;
        at.get_or_insert(page.revision);
        next = request.after(&page);
        found.extend(page.items.into_iter().map(|item| (item.key, item.mod_revision)));
    }
    Ok((found, at.context("a list has a page")?))
}
