//! The store on etcd beside the bare client library: the same transactions on the same etcd, in turns.
//!
//! What the store adds is a deadline, the choice of a member, the check of each answer's origin, and
//! reads of the compared keys for the case that they do not match. `combined` rows let callers that
//! wait at the same time share a transaction, which the bare client cannot.

use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, KvClient, Txn, TxnOp};
use ocelot_controller::store::etcd::{Config, Etcd};
use ocelot_e2e::etcd::{Cluster, Settings};
use tokio::sync::Mutex;

use super::{Measuring, Row};
use crate::measure::{Effort, in_turns};
use crate::workload::{StoreTarget, Target, Write, Writers};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "store.etcd.w1.alone",
        about: "durable transactions of one writer, beside the bare client",
        measure: |effort| beside_bare(effort, 1, false),
    },
    Row {
        name: "store.etcd.w64.alone",
        about: "durable transactions of 64 writers, each sent by itself, beside the bare client",
        measure: |effort| beside_bare(effort, 64, false),
    },
    Row {
        name: "store.etcd.w256.alone",
        about: "durable transactions of 256 writers, each sent by itself, beside the bare client",
        measure: |effort| beside_bare(effort, 256, false),
    },
    Row {
        name: "store.etcd.w1.combined",
        about: "durable transactions of one writer with combining on, beside the bare client",
        measure: |effort| beside_bare(effort, 1, true),
    },
    Row {
        name: "store.etcd.w64.combined",
        about: "durable transactions of 64 writers that share etcd's, beside the bare client",
        measure: |effort| beside_bare(effort, 64, true),
    },
    Row {
        name: "store.etcd.w256.combined",
        about: "durable transactions of 256 writers that share etcd's, beside the bare client",
        measure: |effort| beside_bare(effort, 256, true),
    },
];

fn beside_bare(effort: Effort, count: usize, combine: bool) -> Measuring {
    Box::pin(async move {
        let settings = Settings { folder: Some(effort.directory.clone()), ..Settings::members(1) };
        let cluster = Cluster::start(settings).await?;
        let store = Etcd::connect(Config { combine, ..Config::new(cluster.endpoints()) }).await?;
        let ours: Arc<dyn Target> = Arc::new(StoreTarget(Arc::new(store)));
        let client = Client::connect(cluster.endpoints(), None).await?;
        let bare: Arc<dyn Target> = Arc::new(Bare(client.kv_client()));
        let our_writers = Mutex::new(Writers::new(count));
        let bare_writers = Mutex::new(Writers::new(count));
        our_writers.lock().await.fill(&ours).await?;
        bare_writers.lock().await.fill(&bare).await?;
        in_turns(
            &effort,
            "txn/s",
            "etcd-client bare, same etcd",
            async || our_writers.lock().await.round(&ours, effort.round).await,
            async || bare_writers.lock().await.round(&bare, effort.round).await,
        )
        .await
    })
}

/// The client library as anybody would use it. Its keys are its own, below another prefix.
struct Bare(KvClient);

#[async_trait]
impl Target for Bare {
    async fn write(&self, write: Write) -> anyhow::Result<i64> {
        let Write { record, second, last, value } = write;
        let (record, second) = (format!("/bare{record}"), format!("/bare{second}"));
        let compare = Compare::mod_revision(record.as_str(), CompareOp::Equal, last.unwrap_or(0));
        let ops = [TxnOp::put(record, value.clone(), None), TxnOp::put(second, value, None)];
        let answer = self.0.clone().txn(Txn::new().when([compare]).and_then(ops)).await?;
        anyhow::ensure!(answer.succeeded(), "refused");
        let header = answer.header().ok_or_else(|| anyhow::anyhow!("an answer has no header"))?;
        Ok(header.revision())
    }
}
