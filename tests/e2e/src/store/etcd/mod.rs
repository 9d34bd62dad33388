//! The store on real etcd processes, under the faults that it must survive.

mod contract;
mod facts;
mod leases;
mod limits;
mod load;
mod members;
mod views;
mod wire;

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::Trial;
use ocelot_controller::store::Store;
use ocelot_controller::store::etcd::{Config, Etcd};
use ocelot_e2e::etcd::Cluster;
use ocelot_e2e::wait::wait_until;

pub(crate) fn trials() -> Vec<Trial> {
    [
        contract::trials(),
        facts::trials(),
        members::trials(),
        wire::trials(),
        limits::trials(),
        leases::trials(),
        views::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Connects to all members directly.
async fn connect(cluster: &Cluster) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(connect_with(Config::new(cluster.endpoints())).await?))
}

async fn connect_with(config: Config) -> Result<Etcd> {
    wait_until("the store to connect", || Etcd::connect(config.clone())).await
}

/// How much longer than usual this run is; `OCELOT_E2E_LONG=10` makes ten of one.
fn times() -> usize {
    #[expect(clippy::disallowed_methods, reason = "this is where the program reads how long it is to run")]
    let asked = std::env::var("OCELOT_E2E_LONG");
    asked.ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}
