//! Members that die, pause, or lead no longer.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use ocelot_controller::store::{Expected, RangeRequest, Txn};
use ocelot_e2e::etcd::Cluster;
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;

use super::load::Load;
use super::{connect, times};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("etcd::members::a_follower_dies_and_no_promise_is_broken", a_follower_dies),
        trial("etcd::members::the_leader_dies_and_no_promise_is_broken", the_leader_dies),
        trial("etcd::members::the_lead_moves_again_and_again_and_writes_go_on", the_lead_moves),
        trial("etcd::members::all_pause_and_go_on", all_pause),
        trial("etcd::members::a_paused_member_is_left_for_another_within_the_deadline", one_pauses),
        trial("etcd::members::a_lone_member_is_killed_and_keeps_what_it_promised", a_lone_member_dies),
    ]
}

async fn a_follower_dies() -> Result<()> {
    let mut cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    let load = Load::start(&store, "/t/", 4);
    load.progress(50).await?;
    let follower = (cluster.leader().await? + 1) % 3;
    cluster.kill(follower)?;
    load.progress(200).await?;
    cluster.restart(follower).await?;
    load.progress(50).await?;
    load.finish().await?;
    Ok(())
}

async fn the_leader_dies() -> Result<()> {
    let mut cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    for round in 0..2 * times() {
        let load = Load::start(&store, &format!("/t/{round}/"), 4);
        load.progress(50).await?;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        load.progress(200).await?;
        let written = load.finish().await?;
        eprintln!(
            "leader killed: write gap {:?}, {} unknown, {} unavailable, {} written",
            written.longest_gap,
            written.unknown,
            written.unavailable,
            written.keys.len()
        );
        cluster.restart(leader).await?;
    }
    Ok(())
}

async fn the_lead_moves() -> Result<()> {
    let cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    let load = Load::start(&store, "/t/", 4);
    for _ in 0..5 * times() {
        load.progress(100).await?;
        cluster.move_leader().await?;
    }
    load.progress(100).await?;
    load.finish().await?;
    Ok(())
}

async fn all_pause() -> Result<()> {
    let cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    let load = Load::start(&store, "/t/", 4);
    load.progress(50).await?;
    for member in 0..3 {
        cluster.pause(member).await?;
    }
    let paused = wait_until("a call to fail", || async {
        match store.range(RangeRequest::key("/t/x")).await {
            Ok(_) => Err("etcd still answers"),
            Err(error) => Ok(error),
        }
    })
    .await?;
    ensure!(paused.is_retryable() && !paused.may_have_happened(), "{paused:?}");
    for member in 0..3 {
        cluster.resume(member)?;
    }
    load.progress(100).await?;
    load.finish().await?;
    Ok(())
}

async fn one_pauses() -> Result<()> {
    let cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    store.commit(Txn::new().when("/t/a", Expected::Absent).put("/t/a", "1")).await?;
    // The first endpoint is the one that is asked while all is well.
    cluster.pause(0).await?;
    let page =
        wait_until("another member to answer a read", || store.range(RangeRequest::key("/t/a"))).await?;
    ensure!(page.items.len() == 1, "{page:?}");
    // From now on the sick one is not asked first: a write goes through at once.
    wait_until("another member to take a write", || store.commit(Txn::new().put("/t/b", "2"))).await?;
    cluster.resume(0)?;
    Ok(())
}

async fn a_lone_member_dies() -> Result<()> {
    let mut cluster = Cluster::one().await?;
    let store = connect(&cluster).await?;
    let load = Load::start(&store, "/t/", 8);
    for _ in 0..3 * times() {
        load.progress(100).await?;
        cluster.kill(0)?;
        cluster.restart(0).await?;
    }
    load.progress(50).await?;
    load.finish().await?;
    Ok(())
}
