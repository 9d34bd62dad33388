//! The contract of every home, on one etcd and on three.

use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use futures_util::FutureExt;
use libtest_mimic::Trial;
use ocelot_controller::store::Store;
use ocelot_controller::store::contract::{Case, Home, cases};
use ocelot_e2e::etcd::{Cluster, Settings};
use ocelot_e2e::runner::trial;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::connect;

pub(super) fn trials() -> Vec<Trial> {
    [("one", 1), ("three", 3)].into_iter().flat_map(|(name, members)| trials_on(name, members)).collect()
}

/// One cluster for all cases, one case at a time; it ends with the last trial.
fn trials_on(name: &'static str, members: usize) -> Vec<Trial> {
    let shared = Arc::new(Mutex::new(None));
    let on_shared = |case: Case| {
        let shared = Arc::clone(&shared);
        trial(&format!("etcd::contract::{name}::{}", case.name), move || run(case, shared, members))
    };
    cases().into_iter().map(on_shared).collect()
}

async fn run(case: Case, shared: Arc<Mutex<Option<Cluster>>>, members: usize) -> Result<()> {
    let mut held = shared.lock_owned().await;
    let cluster = match &mut *held {
        Some(cluster) => cluster,
        None => held.insert(Cluster::start(Settings::members(members)).await?),
    };
    // A lease that the case before left behind would change the revision under this one.
    let mut bare = cluster.bare(0).await?;
    for lease in bare.leases().await?.leases() {
        bare.lease_client().revoke(lease.id()).await?;
    }
    let store = connect(cluster).await?;
    let home = Arc::new(EtcdHome { store, cluster: Mutex::new(held) });
    let outcome = AssertUnwindSafe(case.run(Arc::clone(&home) as Arc<dyn Home>)).catch_unwind().await;
    if outcome.is_err() {
        // The next case begins with a cluster that this one has not touched.
        home.cluster.lock().await.take();
    }
    outcome.map_err(|panic| resume_unwind(panic))
}

struct EtcdHome {
    store: Arc<dyn Store>,
    cluster: Mutex<OwnedMutexGuard<Option<Cluster>>>,
}

impl fmt::Debug for EtcdHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("etcd")
    }
}

#[async_trait]
impl Home for EtcdHome {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn ttl(&self) -> Duration {
        // What etcd raises shorter ones to, with its default election time.
        Duration::from_secs(2)
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn restart(&self) -> Arc<dyn Store> {
        let mut held = self.cluster.lock().await;
        let cluster = held.as_mut().expect("a case that runs has a cluster");
        for member in 0..cluster.len() {
            cluster.kill(member).expect("the member runs");
        }
        cluster.start_again().await.expect("etcd starts on what it has");
        connect(cluster).await.expect("etcd answers")
    }
}
