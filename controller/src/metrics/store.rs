//! How long the store takes, and how often it fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ocelot_proto::kit::clock::Clock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::store::{
    Error, Health, Lease, LeaseId, Page, RangeRequest, Result, Revision, Store, Txn, Verdict, Watch,
};

/// From what memory takes to what nobody waits for.
const CALL: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// Counts of one store's calls.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    latency: Family<Call, Histogram, fn() -> Histogram>,
    errors: Family<Failed, Counter>,
    refused: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    operation: &'static str,
    error: &'static str,
}

fn call() -> Histogram {
    Histogram::new(CALL)
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            latency: Family::new_with_constructor(call),
            errors: Family::default(),
            refused: Counter::default(),
        }
    }
}

impl StoreMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "ocelot_store_latency_seconds",
            "How long calls of the store take, those that fail too",
            self.latency.clone(),
        );
        registry.register("ocelot_store_errors", "Calls of the store that failed", self.errors.clone());
        registry.register(
            "ocelot_store_refused",
            "Transactions in which something compared was not so: somebody else was faster",
            self.refused.clone(),
        );
    }

    pub(super) fn note<T>(&self, operation: &'static str, took: Duration, done: &Result<T>) {
        self.latency.get_or_create(&Call { operation }).observe(took.as_secs_f64());
        let error = match done {
            Ok(_) => return,
            Err(Error::Unavailable(_)) => "unavailable",
            Err(Error::Unknown(_)) => "unknown",
            Err(Error::Full(_)) => "full",
            Err(Error::Invalid(_)) => "invalid",
            Err(Error::Compacted { .. }) => "compacted",
            Err(Error::LeaseGone) => "lease_gone",
            Err(Error::Corrupt(_)) => "corrupt",
            Err(Error::Unusable(_)) => "unusable",
        };
        self.errors.get_or_create(&Failed { operation, error }).inc();
    }
}

/// A store whose calls are counted.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    metrics: StoreMetrics,
    clock: Arc<dyn Clock>,
}

impl Metered {
    pub fn new(inner: Arc<dyn Store>, metrics: StoreMetrics, clock: Arc<dyn Clock>) -> Self {
        Self { inner, metrics, clock }
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let begun = self.clock.monotonic();
        let done = call.await;
        self.metrics.note(operation, self.clock.monotonic() - begun, &done);
        done
    }
}

#[async_trait]
impl Store for Metered {
    async fn range(&self, request: RangeRequest) -> Result<Page> {
        let from = request.from.clone();
        let page = self.timed("range", self.inner.range(request)).await;
        tracing::trace!(from, "read");
        page
    }

    async fn commit(&self, txn: Txn) -> Result<Verdict> {
        let first = txn.ops().first().map(|op| op.key().to_owned());
        let verdict = self.timed("commit", self.inner.commit(txn)).await;
        tracing::trace!(first, committed = matches!(verdict, Ok(Verdict::Committed(_))), "written");
        if let Ok(Verdict::Refused { .. }) = &verdict {
            self.metrics.refused.inc();
        }
        verdict
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.timed("watch", self.inner.watch(prefix, from)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.timed("grant", self.inner.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        self.timed("keep_alive", self.inner.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.timed("revoke", self.inner.revoke(lease)).await
    }

    async fn compact(&self, at: Revision) -> Result<()> {
        self.timed("compact", self.inner.compact(at)).await
    }

    async fn health(&self) -> Result<Health> {
        self.timed("health", self.inner.health()).await
    }
}
