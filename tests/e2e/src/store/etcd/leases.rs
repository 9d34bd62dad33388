//! Leases over leader changes and pauses.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use ocelot_controller::store::contract::insist;
use ocelot_controller::store::{Error, LeaseId, RangeRequest, Txn};
use ocelot_e2e::etcd::Cluster;
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;

use super::{connect, times};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("etcd::leases::a_lease_that_is_kept_alive_outlives_its_leaders", outlives_leaders),
        trial("etcd::leases::a_lease_that_is_not_kept_alive_goes_with_its_keys", expires),
        trial("etcd::leases::a_lease_that_is_gone_is_told_so", is_told_gone),
        trial("etcd::leases::renewals_go_on_while_a_member_is_paused", goes_on_past_a_paused_member),
        trial("etcd::leases::a_pause_is_no_loss_and_a_loss_takes_the_key", long_pause),
        trial("etcd::leases::many_leases_share_the_stream", many_leases),
    ]
}

async fn outlives_leaders() -> Result<()> {
    let mut cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    let lease = store.grant(Duration::from_secs(20)).await?;
    store.commit(Txn::new().put_under(lease.id, "/t/session", "here")).await?;
    for _ in 0..2 * times() {
        cluster.move_leader().await?;
        let kept = wait_until("a renewal", || store.keep_alive(lease.id)).await?;
        ensure!(kept.ttl >= Duration::from_secs(20), "{kept:?}");
    }
    let leader = cluster.leader().await?;
    cluster.kill(leader)?;
    wait_until("a renewal by the next leader", || store.keep_alive(lease.id)).await?;
    let page = wait_until("the key", || store.range(RangeRequest::key("/t/session"))).await?;
    ensure!(page.items.first().and_then(|item| item.lease) == Some(lease.id), "{page:?}");
    Ok(())
}

async fn expires() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect(&cluster).await?;
    let lease = store.grant(Duration::from_millis(100)).await?;
    ensure!(lease.ttl >= Duration::from_millis(100), "a lease is rounded up, never down: {lease:?}");
    store.commit(Txn::new().put_under(lease.id, "/t/session", "here")).await?;
    wait_until("the key to go with its lease", || async {
        let page = store.range(RangeRequest::key("/t/session")).await.map_err(|error| error.to_string())?;
        if page.items.is_empty() { Ok(()) } else { Err("still there".to_owned()) }
    })
    .await?;
    ensure!(matches!(store.keep_alive(lease.id).await, Err(Error::LeaseGone)));
    Ok(())
}

async fn is_told_gone() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect(&cluster).await?;
    let lease = store.grant(Duration::from_secs(60)).await?;
    store.keep_alive(lease.id).await?;
    store.revoke(lease.id).await?;
    store.revoke(lease.id).await?;
    ensure!(matches!(store.keep_alive(lease.id).await, Err(Error::LeaseGone)));
    ensure!(matches!(store.keep_alive(LeaseId(123_456)).await, Err(Error::LeaseGone)));
    let put = store.commit(Txn::new().put_under(lease.id, "/t/session", "late")).await;
    ensure!(matches!(put, Err(Error::LeaseGone)), "{put:?}");
    Ok(())
}

async fn goes_on_past_a_paused_member() -> Result<()> {
    let cluster = Cluster::three().await?;
    let store = connect(&cluster).await?;
    let lease = store.grant(Duration::from_secs(30)).await?;
    store.keep_alive(lease.id).await?;
    cluster.pause(0).await?;
    wait_until("a renewal through another member", || store.keep_alive(lease.id)).await?;
    cluster.resume(0)?;
    Ok(())
}

async fn many_leases() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect(&cluster).await?;
    let mut leases = Vec::new();
    for _ in 0..200 {
        leases.push(wait_until("a lease", || store.grant(Duration::from_secs(60))).await?.id);
    }
    let gone = leases.split_off(150);
    for lease in &gone {
        wait_until("a lease to go", || store.revoke(*lease)).await?;
    }
    let mut renewals = tokio::task::JoinSet::new();
    for lease in leases.iter().chain(&gone).copied() {
        let store = store.clone();
        renewals.spawn(async move { (lease, insist(|| store.keep_alive(lease)).await) });
    }
    while let Some(renewal) = renewals.join_next().await {
        match renewal? {
            (lease, Ok(kept)) if kept.id == lease && leases.contains(&lease) => {}
            (lease, Err(Error::LeaseGone)) if gone.contains(&lease) => {}
            (lease, other) => bail!("{lease:?}: {other:?}"),
        }
    }
    Ok(())
}

/// etcd counts a lease's time on its own process's clock: after a pause all leases are overdue.
async fn long_pause() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect(&cluster).await?;
    let lease = store.grant(Duration::from_secs(2)).await?;
    store.commit(Txn::new().put_under(lease.id, "/t/session", "here")).await?;
    cluster.pause(0).await?;
    let unanswered = store.range(RangeRequest::key("/t/session")).await;
    ensure!(matches!(unanswered, Err(Error::Unavailable(_))), "{unanswered:?}");
    let unanswered = store.keep_alive(lease.id).await;
    ensure!(matches!(unanswered, Err(Error::Unavailable(_))), "a lease is not gone because nobody answers");
    cluster.resume(0)?;
    let gone = wait_until("an answer", || async {
        match store.keep_alive(lease.id).await {
            Ok(_) => Ok(false),
            Err(Error::LeaseGone) => Ok(true),
            Err(error) => Err(error),
        }
    })
    .await?;
    if !gone {
        // That some member renewed it does not mean that the key is there.
        return Ok(());
    }
    wait_until("the key to go with its lease", || async {
        let page = store.range(RangeRequest::key("/t/session")).await.map_err(|error| error.to_string())?;
        if page.items.is_empty() { Ok(()) } else { Err(format!("{page:?}")) }
    })
    .await
}
