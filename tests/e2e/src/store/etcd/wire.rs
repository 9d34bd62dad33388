//! Connections that break at any byte, or fall silent.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use ocelot_controller::store::contract::insist;
use ocelot_controller::store::etcd::{Config, Etcd};
use ocelot_controller::store::{Change, Error, Expected, RangeRequest, Revision, Store, Txn, Verdict, Watch};
use ocelot_e2e::etcd::Cluster;
use ocelot_e2e::proxy::{Proxy, Way};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::{wait_until, within};
use tokio::time::Instant;

use super::{connect, connect_with, times};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("etcd::wire::an_answer_cut_at_any_byte_is_an_unknown_outcome", || cut(Way::Answers)),
        trial("etcd::wire::a_request_cut_at_any_byte_is_never_told_as_not_done_if_it_was", || {
            cut(Way::Requests)
        }),
        trial("etcd::wire::a_watch_cut_at_any_byte_tells_every_change_once", watch_is_cut),
        trial("etcd::wire::a_connection_that_falls_silent_is_replaced", falls_silent),
        trial("etcd::wire::a_follower_that_does_not_follow_loses_nothing", slow_follower),
        trial("etcd::wire::an_idle_connection_is_good_when_it_is_needed", idle_connection),
    ]
}

/// A store that reaches etcd through the proxy, one transaction at a time.
async fn through(proxy: &Proxy) -> Result<Etcd> {
    connect_with(Config { combine: false, ..Config::new([proxy.endpoint()]) }).await
}

async fn cut(way: Way) -> Result<()> {
    let cluster = Cluster::one().await?;
    let witness = connect(&cluster).await?;
    let proxy = Proxy::start(cluster.port(0)).await?;
    let store = through(&proxy).await?;
    let put = |key: &str| Txn::new().when(key, Expected::Absent).put(key, key.to_owned());

    store.commit(put("/t/warm")).await?;
    let before = proxy.passed(way);
    store.commit(put("/t/measure")).await?;
    let length = proxy.passed(way) - before;
    ensure!(length > 20, "{length} bytes are no answer");

    let (mut unknown, mut not_done) = (0, 0);
    let cuts = proxy.cuts();
    for bytes in 0..length {
        wait_until("the connection to stand", || store.health()).await?;
        let key = format!("/t/{bytes:04}");
        proxy.cut_after(way, bytes);
        match store.commit(put(&key)).await {
            Ok(Verdict::Committed(_)) => {}
            Err(Error::Unknown(_)) => unknown += 1,
            Err(Error::Unavailable(_)) => {
                not_done += 1;
                let page = witness.range(RangeRequest::key(&key)).await?;
                ensure!(page.items.is_empty(), "byte {bytes}: told as not done, and is there");
            }
            other => bail!("byte {bytes}: {other:?}"),
        }
        // The same transaction again tells what became of the first.
        let again = wait_until("the outcome", || store.commit(put(&key))).await?;
        match again {
            Verdict::Committed(_) => {}
            Verdict::Refused { found } => {
                let found = found.into_iter().next().flatten().context("found")?;
                ensure!(found.value == key.as_bytes(), "{found:?}");
            }
        }
    }
    eprintln!(
        "{way:?}: {length} bytes, {} cuts, {unknown} unknown, {not_done} not done",
        proxy.cuts() - cuts
    );
    ensure!(proxy.cuts() - cuts >= length / 2, "the cuts did not bite");
    ensure!(unknown > 0, "no outcome was left open");
    Ok(())
}

/// Follows `watch` until `last` and checks that revisions only grow and come whole.
async fn follow(mut watch: Watch, last: Revision) -> Result<BTreeMap<Revision, usize>> {
    let mut seen = BTreeMap::new();
    let mut reached = Revision(0);
    while reached < last {
        let batch = within("the next batch", watch.next()).await?.context("the watch goes on")??;
        ensure!(batch.revision > reached, "went from {reached} to {}", batch.revision);
        for event in &batch.events {
            ensure!(event.mod_revision > reached && event.mod_revision <= batch.revision, "{event:?}");
            *seen.entry(event.mod_revision).or_default() += 1;
        }
        reached = batch.revision;
    }
    Ok(seen)
}

async fn watch_is_cut() -> Result<()> {
    const KEYS: usize = 5;
    let cluster = Cluster::one().await?;
    let witness = connect(&cluster).await?;
    let proxy = Proxy::start(cluster.port(0)).await?;
    let store = through(&proxy).await?;
    let start = witness.health().await?.revision;
    let watch = store.watch("/t/", start.next()).await?;

    let (rounds, last) = (Cell::new(0), Cell::new(start));
    for cut in 0..30 * times() {
        // At every distance: in the headers, in an event, between two of one revision.
        let before = proxy.cuts();
        proxy.cut_after(Way::Answers, (cut as u64 * 37) % 900);
        wait_until("the cut to bite", || async {
            let txn = (0..KEYS).fold(Txn::new(), |txn, key| txn.put(format!("/t/{key}"), "x".repeat(40)));
            let Ok(Verdict::Committed(revision)) = witness.commit(txn).await else { return Err("no commit") };
            last.set(revision);
            rounds.set(rounds.get() + 1);
            if proxy.cuts() > before { Ok(()) } else { Err("no cut") }
        })
        .await?;
    }
    let (rounds, last) = (rounds.get(), last.get());
    let seen = follow(watch, last).await?;
    ensure!(seen.len() == rounds, "{} of {rounds} revisions were told", seen.len());
    ensure!(seen.values().all(|keys| *keys == KEYS), "a revision was torn: {seen:?}");
    eprintln!("watch: {} cuts over {rounds} revisions", proxy.cuts());
    Ok(())
}

async fn falls_silent() -> Result<()> {
    let cluster = Cluster::one().await?;
    let witness = connect(&cluster).await?;
    let proxy = Proxy::start(cluster.port(0)).await?;
    let other = Proxy::start(cluster.port(0)).await?;
    let store =
        connect_with(Config { combine: false, ..Config::new([proxy.endpoint(), other.endpoint()]) }).await?;
    let start = store.health().await?.revision;
    let mut watch = store.watch("/t/", start.next()).await?;
    witness.commit(Txn::new().put("/t/a", "1")).await?;
    let first = within("the first change", watch.next()).await?.context("goes on")??;
    ensure!(first.events.len() == 1, "{first:?}");

    proxy.hold(true);
    let held = Instant::now();
    witness.commit(Txn::new().put("/t/b", "2")).await?;
    let key = loop {
        let batch = within("the change past the silence", watch.next()).await?.context("goes on")??;
        if let Some(event) = batch.events.first() {
            break event.key().to_owned();
        }
    };
    ensure!(key == "/t/b", "{key}");
    eprintln!("watch went on {:?} after its connection fell silent", held.elapsed());
    let held = Instant::now();
    wait_until("a read", || store.range(RangeRequest::key("/t/b"))).await?;
    wait_until("a write", || store.commit(Txn::new().put("/t/c", "3"))).await?;
    let lease = wait_until("a lease", || store.grant(Duration::from_secs(30))).await?;
    wait_until("a renewal", || store.keep_alive(lease.id)).await?;
    eprintln!("read, write, lease and renewal went on within {:?}", held.elapsed());
    ensure!(other.passed(Way::Answers) > 0, "nothing went the other way");
    Ok(())
}

async fn slow_follower() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect(&cluster).await?;
    let start = store.health().await?.revision;
    let watch = store.watch("/t/", start.next()).await?;
    let mut last = start;
    // More batches than the watch holds for its follower.
    for round in 0..3 * Watch::QUEUE {
        let txn = Txn::new().put(format!("/t/{round}"), vec![b'x'; 2000]);
        let verdict = insist(|| store.commit(txn.clone())).await?;
        let Verdict::Committed(revision) = verdict else { bail!("no compare") };
        last = revision;
    }
    wait_until("nobody follows and other calls go on", || store.health()).await?;
    let seen = follow(watch, last).await?;
    ensure!(seen.len() == 3 * Watch::QUEUE, "{} were told", seen.len());
    Ok(())
}

/// etcd hangs up on a client that pings a connection without streams (`too_many_pings`), after the
/// fourth ping. Ours must neither do that nor take it for a failed call.
async fn idle_connection() -> Result<()> {
    /// More than the watch's connection carries in seven pings' time by its progress requests alone.
    const WHILE: u64 = 1_200;
    let cluster = Cluster::one().await?;
    let proxy = Proxy::start(cluster.port(0)).await?;
    let store = through(&proxy).await?;
    let start = store.health().await?.revision;
    let mut watch = store.watch("/t/", start.next()).await?;
    for key in ["/t/before", "/t/after"] {
        store.commit(Txn::new().put(key, "1")).await?;
        let change = loop {
            let batch = within("the change", watch.next()).await?.context("goes on")??;
            if let Some(event) = batch.events.into_iter().next() {
                break event.change;
            }
        };
        ensure!(matches!(&change, Change::Put(item) if item.key == key), "{change:?}");
        if key == "/t/before" {
            let (passed, accepted) = (proxy.passed(Way::Answers), proxy.accepted());
            wait_until("a while of idleness", || async {
                let passed = proxy.passed(Way::Answers) - passed;
                if passed > WHILE { Ok(()) } else { Err(passed) }
            })
            .await?;
            store.range(RangeRequest::key(key)).await?;
            let opened = proxy.accepted() - accepted;
            ensure!(opened == 0, "{opened} connections were opened again: etcd hung up on idle ones");
        }
    }
    Ok(())
}
