//! Space, history, credentials, and clusters that are not ours.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use ocelot_controller::store::contract::insist;
use ocelot_controller::store::etcd::{Config, Etcd, Login, OwnCertificate, Tls, Upkeep, UpkeepTask};
use ocelot_controller::store::{Error, Expected, RangeRequest, Revision, Store, Txn, Verdict};
use ocelot_e2e::etcd::{Cluster, Settings};
use ocelot_e2e::proxy::Proxy;
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::{wait_until, within};
use tokio::sync::Mutex;

use super::connect_with;

const MIB: u64 = 1024 * 1024;
const CLAIM: &str = "/t/upkeep";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("etcd::limits::a_full_etcd_says_so_goes_on_reading_and_recovers", runs_full),
        trial("etcd::limits::a_watch_below_the_compaction_ends_with_compacted", watch_is_compacted),
        trial("etcd::limits::a_long_page_is_read_in_parts", long_page),
        trial("etcd::limits::one_spoiled_transaction_does_not_spoil_its_company", spoiled_company),
        trial("etcd::limits::tls_with_client_certificates_works_and_without_is_refused", tls),
        trial("etcd::limits::a_login_is_used_and_renewed_and_a_wrong_one_is_refused", login),
        trial("etcd::limits::a_cluster_restored_from_an_older_snapshot_is_refused_until_confirmed", restored),
    ]
}

async fn runs_full() -> Result<()> {
    let quota = 32 * MIB;
    let cluster = Cluster::start(Settings { quota_bytes: Some(quota), ..Settings::members(1) }).await?;
    let store = connect_with(Config { quota_bytes: quota, ..Config::new(cluster.endpoints()) }).await?;
    let mut upkeep = Upkeep::new("c1");
    store.upkeep_once(&mut upkeep, CLAIM, Duration::ZERO).await?;

    let write = || store.commit(Txn::new().put("/t/big", vec![b'x'; 512 * 1024]));
    let full = wait_until("etcd to be full", || async {
        match write().await {
            Err(error @ Error::Full(_)) => Ok(error),
            other => Err(other),
        }
    })
    .await?;
    ensure!(full.may_have_happened(), "{full:?}");
    ensure!(store.range(RangeRequest::key("/t/big")).await?.items.len() == 1);
    ensure!(store.health().await?.fullness >= 1.0, "{:?}", store.health().await?);
    ensure!(matches!(write().await, Err(Error::Full(_))));

    // Time passes for the upkeep only: old history goes, space is given back, writes are let in.
    let state = Mutex::new((Duration::ZERO, upkeep, Vec::new()));
    wait_until("the upkeep to make room", || async {
        let (now, upkeep, done) = &mut *state.lock().await;
        *now += Duration::from_secs(40);
        let tasks = store.upkeep_once(upkeep, CLAIM, *now).await;
        done.extend(tasks.map_err(|error| format!("{error:?}"))?);
        // Compactions go on behind etcd's answer.
        let health = store.health().await.map_err(|error| format!("{error:?}"))?;
        if health.fullness < 0.5 { Ok(()) } else { Err(format!("{done:?} {health:?}")) }
    })
    .await?;
    let (_, _, done) = state.into_inner();
    ensure!(done.iter().any(|task| matches!(task, UpkeepTask::Compact(_))), "{done:?}");
    ensure!(done.iter().any(|task| matches!(task, UpkeepTask::Defragment(0))), "{done:?}");
    ensure!(done.contains(&UpkeepTask::Disarm), "{done:?}");
    write().await?;
    Ok(())
}

async fn watch_is_compacted() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect_with(Config::new(cluster.endpoints())).await?;
    let mut last = Revision(0);
    for value in 0..20 {
        let Verdict::Committed(revision) = store.commit(Txn::new().put("/t/a", format!("{value}"))).await?
        else {
            bail!("no compare")
        };
        last = revision;
    }
    store.compact(last).await?;
    store.compact(last).await?;
    let mut watch = store.watch("/t/", Revision(2)).await?;
    let end = within("the watch to end", watch.next()).await?.context("an error")?;
    ensure!(matches!(end, Err(Error::Compacted { oldest }) if oldest == last), "{end:?}");
    ensure!(within("the watch to be over", watch.next()).await?.is_none());
    let read = store.range(RangeRequest::key("/t/a").at(Revision(2))).await;
    ensure!(matches!(read, Err(Error::Compacted { .. })), "{read:?}");
    ensure!(store.range(RangeRequest::key("/t/a").at(last)).await?.items.len() == 1);
    Ok(())
}

async fn long_page() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = connect_with(Config::new(cluster.endpoints())).await?;
    for key in 0..24 {
        let txn = Txn::new().put(format!("/t/{key:02}"), vec![b'x'; MIB as usize]);
        wait_until("a write", || store.commit(txn.clone())).await?;
    }
    let mut found = Vec::new();
    let mut pages = 0;
    let mut next = Some(RangeRequest::prefix("/t/"));
    while let Some(request) = next {
        let page = wait_until("a page", || store.range(request.clone())).await?;
        next = request.after(&page);
        found.extend(page.items.into_iter().map(|item| item.key));
        pages += 1;
    }
    let all: Vec<_> = (0..24).map(|key| format!("/t/{key:02}")).collect();
    ensure!(found == all, "{found:?}");
    ensure!(pages > 1, "24 MiB came in one answer");
    Ok(())
}

/// Many transactions at the same time, one under a lease that is gone, some on the same key.
async fn spoiled_company() -> Result<()> {
    let cluster = Cluster::one().await?;
    let store = std::sync::Arc::new(connect_with(Config::new(cluster.endpoints())).await?);
    let gone = store.grant(Duration::from_secs(60)).await?.id;
    store.revoke(gone).await?;
    let mut calls = tokio::task::JoinSet::new();
    for caller in 0..200 {
        let store = std::sync::Arc::clone(&store);
        let txn = match caller % 10 {
            3 => Txn::new().put_under(gone, format!("/t/lease/{caller}"), "x"),
            5 => Txn::new().when("/t/first", Expected::Absent).put("/t/first", format!("{caller}")),
            _ => Txn::new().when(format!("/t/{caller}"), Expected::Absent).put(format!("/t/{caller}"), "x"),
        };
        calls.spawn(async move { (caller, insist(|| store.commit(txn.clone())).await) });
    }
    let (mut gone, mut won, mut lost, mut put) = (0, 0, 0, 0);
    while let Some(call) = calls.join_next().await {
        match call? {
            (caller, Err(Error::LeaseGone)) if caller % 10 == 3 => gone += 1,
            (caller, Ok(Verdict::Committed(_))) if caller % 10 == 5 => won += 1,
            (caller, Ok(Verdict::Refused { found })) if caller % 10 == 5 => {
                ensure!(matches!(&found[..], [Some(item)] if item.key == "/t/first"), "{found:?}");
                lost += 1;
            }
            (caller, Ok(Verdict::Committed(_))) if caller % 10 != 3 => put += 1,
            other => bail!("{other:?}"),
        }
    }
    ensure!((gone, won, lost, put) == (20, 1, 19, 160), "{gone} {won} {lost} {put}");
    Ok(())
}

async fn tls() -> Result<()> {
    let cluster = Cluster::start(Settings { tls: true, ..Settings::members(1) }).await?;
    let certificates = cluster.certificates().context("made")?.clone();
    let own = OwnCertificate { certificate: certificates.certificate, key: certificates.key };
    let tls = Tls { ca: certificates.ca, own: Some(own), server_name: None };
    let config = |tls| Config { tls: Some(tls), ..Config::new(cluster.endpoints()) };
    let store = connect_with(config(tls.clone())).await?;
    store.commit(Txn::new().put("/t/a", "1")).await?;
    ensure!(store.range(RangeRequest::key("/t/a")).await?.items.len() == 1);

    let nameless = Etcd::connect(config(Tls { own: None, ..tls.clone() })).await;
    ensure!(nameless.is_err(), "etcd let a client without a certificate in");
    let stranger = Cluster::start(Settings { tls: true, ..Settings::members(1) }).await?;
    let untrusted = Etcd::connect(Config { tls: Some(tls), ..Config::new(stranger.endpoints()) }).await;
    ensure!(untrusted.is_err(), "a server of another authority was believed");
    Ok(())
}

async fn login() -> Result<()> {
    // A token lives for one second here, so that it must be renewed.
    let extra = vec!["--auth-token-ttl=1".to_owned()];
    let mut cluster = Cluster::start(Settings { extra, ..Settings::members(1) }).await?;
    cluster.require_login("ocelot", "secret-word").await?;
    let with = |password: &str| Config {
        login: Some(Login { user: "ocelot".to_owned(), password: password.to_owned() }),
        ..Config::new(cluster.endpoints())
    };
    let store = connect_with(with("secret-word")).await?;
    ensure!(!format!("{store:?}").contains("secret-word"), "a password is in the debug text");
    let start = store.health().await?.revision;
    let mut watch = store.watch("/t/", start.next()).await?;
    store.commit(Txn::new().put("/t/a", "1")).await?;
    let lease = store.grant(Duration::from_secs(2)).await?;
    // The lease is gone long after the first token was.
    wait_until("the lease to run out", || async {
        match store.range(RangeRequest::key("/t/a")).await.map(|_| store.keep_alive(lease.id)) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    within("the change", watch.next()).await?.context("goes on")??;

    let wrong = Etcd::connect(with("wrong")).await;
    ensure!(matches!(wrong, Err(Error::Unusable(_))), "{wrong:?}");
    let nobody = Etcd::connect(Config::new(cluster.endpoints())).await;
    ensure!(matches!(nobody, Err(Error::Unusable(_))), "{nobody:?}");
    Ok(())
}

async fn restored() -> Result<()> {
    for (token, same_cluster) in [("etcd-cluster", true), ("another", false)] {
        let cluster = Cluster::one().await?;
        let proxy = Proxy::start(cluster.port(0)).await?;
        let config = Config::new([proxy.endpoint()]);
        let store = connect_with(config.clone()).await?;
        store.commit(Txn::new().put("/t/old", "1")).await?;
        let snapshot = cluster.snapshot(token)?;
        for number in 0..50 {
            store.commit(Txn::new().put(format!("/t/new/{number}"), "1")).await?;
        }
        let known = store.identity();
        let mut watch = store.watch("/t/", store.health().await?.revision.next()).await?;
        let restored = cluster.restore(&snapshot, token).await?;
        proxy.lead_to(restored.port(0));

        let refused = wait_until("the restored cluster to be refused", || async {
            match store.range(RangeRequest::key("/t/old")).await {
                Err(error @ Error::Unusable(_)) => Ok(error),
                other => Err(other),
            }
        })
        .await?;
        eprintln!("restored with token {token}: {}", std::error::Error::source(&refused).context("why")?);
        let write = store.commit(Txn::new().put("/t/x", "1")).await;
        ensure!(matches!(write, Err(Error::Unusable(_))), "{write:?}");
        let end = loop {
            match within("the watch to end", watch.next()).await? {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => bail!("the watch ended without a word"),
            }
        };
        ensure!(matches!(end, Error::Unusable(_)), "{end:?}");
        // Also after a restart of ours, if what was known is remembered.
        let again = Etcd::connect(Config { known, ..config }).await;
        ensure!(matches!(again, Err(Error::Unusable(_))), "{again:?}");

        let confirmed = store.confirm().await?;
        let known = known.context("known")?;
        ensure!(confirmed.revision < known.revision);
        ensure!((confirmed.cluster == known.cluster) == same_cluster, "{confirmed:?} {known:?}");
        store.commit(Txn::new().put("/t/x", "1")).await?;
    }
    Ok(())
}
