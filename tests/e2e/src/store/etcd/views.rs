//! Watches and views while history is taken away under them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use ocelot_controller::store::etcd::Config;
use ocelot_controller::store::view::{View, view};
use ocelot_controller::store::{KeyValue, Revision, Store, Txn, Verdict};
use ocelot_e2e::etcd::Cluster;
use ocelot_e2e::proxy::Proxy;
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::{wait_until, within};
use tokio::task::JoinSet;

use super::load::list;
use super::{connect, connect_with, times};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("etcd::views::a_view_equals_the_list_although_its_place_was_compacted", compacted_view),
        trial("etcd::views::a_watch_that_keeps_up_outlives_every_compaction", watch_keeps_up),
        trial("etcd::views::a_view_outlives_its_members", members_die),
    ]
}

/// How often the view must have lost its place.
const COMPACTED_MIN: usize = 20;
/// In so many rounds it loses it often enough.
const ROUNDS_MAX: usize = 200;

fn follow(store: &Arc<dyn Store>) -> (View<Vec<u8>>, JoinSet<()>) {
    let decode = |item: &KeyValue| Ok::<_, String>(item.value.to_vec());
    let (view, follower) = view(Arc::clone(store), "/t/", decode, 1);
    let mut tasks = JoinSet::new();
    tasks.spawn(follower.run());
    (view, tasks)
}

fn keys(view: &View<Vec<u8>>) -> Vec<(String, Revision)> {
    view.read(|items| items.iter().map(|(key, entry)| (key.clone(), entry.mod_revision)).collect())
}

async fn churn(store: &Arc<dyn Store>, round: usize) -> Result<Revision> {
    let mut last = Revision(0);
    for step in 0..5 {
        let txn = Txn::new()
            .put(format!("/t/{}", (round * 7 + step) % 40), format!("{round}"))
            .delete(format!("/t/own/{}/{step}", round / 2))
            .put(format!("/t/own/{}/{step}", round + 1), "x");
        match wait_until("a write", || store.commit(txn.clone())).await? {
            Verdict::Committed(revision) => last = revision,
            Verdict::Refused { found } => bail!("{found:?}"),
        }
    }
    Ok(last)
}

/// Waits for what was written last, and compares with a list.
async fn equals(view: &View<Vec<u8>>, store: &Arc<dyn Store>, last: Revision) -> Result<()> {
    within("the view to catch up", view.wait_for(last)).await?;
    let (listed, _) = list(store, "/t/").await?;
    ensure!(keys(view) == listed, "the view differs from the list: {:?}", view.counts());
    Ok(())
}

async fn compacted_view() -> Result<()> {
    let cluster = Cluster::one().await?;
    let witness = connect(&cluster).await?;
    let proxy = Proxy::start(cluster.port(0)).await?;
    let store: Arc<dyn Store> = Arc::new(connect_with(Config::new([proxy.endpoint()])).await?);
    let (view, _follower) = follow(&store);
    within("the view to load", view.loaded()).await?;
    let least = (COMPACTED_MIN * times()) as u64;
    for round in 0..ROUNDS_MAX * times() {
        // While the watch is away, its place goes; a view that was still listing loses nothing.
        proxy.hold(true);
        proxy.hang_up();
        let last = churn(&witness, round).await?;
        witness.compact(last).await?;
        proxy.hold(false);
        proxy.hang_up();
        equals(&view, &witness, last).await?;
        if view.counts().compacted >= least {
            break;
        }
    }
    let counts = view.counts();
    eprintln!("view: {counts:?}, {} cuts", proxy.cuts());
    ensure!(counts.compacted >= least, "{counts:?}");
    ensure!(counts.divergences == 0, "{counts:?}");
    Ok(())
}

async fn watch_keeps_up() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect(&cluster).await?;
    let (view, _follower) = follow(&store);
    let start = store.health().await?.revision;
    let mut watch = store.watch("/t/", start.next()).await?;
    let mut every = tokio::time::interval(Duration::from_millis(100));
    let (mut last, mut seen) = (start, start);
    for round in 0..30 * times() {
        every.tick().await;
        last = churn(&store, round).await?;
        while seen < last {
            let batch = within("the next change", watch.next()).await?.context("goes on")??;
            ensure!(batch.revision > seen, "{seen} and then {}", batch.revision);
            seen = batch.revision;
        }
        store.compact(last).await?;
    }
    equals(&view, &store, last).await
}

async fn members_die() -> Result<()> {
    let mut cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    let (view, _follower) = follow(&store);
    within("the view to load", view.loaded()).await?;
    for round in 0..3 * times() {
        let member = round % 3;
        cluster.kill(member)?;
        let last = churn(&store, round).await?;
        equals(&view, &store, last).await?;
        cluster.restart(member).await?;
    }
    let counts = view.counts();
    ensure!(counts.divergences == 0, "{counts:?}");
    Ok(())
}
