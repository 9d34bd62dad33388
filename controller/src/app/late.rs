//! A store that may not be there yet: until it is, every call says so.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::store::{
    Error, Health, Lease, LeaseId, Page, RangeRequest, Result, Revision, Store, Txn, Verdict, Watch,
};

/// The store, once it is there.
#[derive(Default)]
pub(super) struct LateStore {
    inner: OnceLock<Arc<dyn Store>>,
    /// Why it is not there, for people; no address and no secret.
    why: Mutex<Option<String>>,
    arrived: tokio::sync::Notify,
}

impl fmt::Debug for LateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateStore").field("is_there", &self.inner.get().is_some()).finish_non_exhaustive()
    }
}

impl LateStore {
    pub(super) fn arrive(&self, store: Arc<dyn Store>) {
        self.inner.get_or_init(|| store);
        self.arrived.notify_waiters();
    }

    pub(super) fn note(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Returns why it is not there; none if it is.
    pub(super) fn missing(&self) -> Option<String> {
        if self.inner.get().is_some() {
            return None;
        }
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(why.unwrap_or_else(|| "it was not reached yet".to_owned()))
    }

    fn get(&self) -> Result<&Arc<dyn Store>> {
        self.inner.get().ok_or_else(|| Error::Unavailable("the store was not reached yet".into()))
    }

    /// Waits until it is there.
    pub(super) async fn there(&self) {
        loop {
            let arrived = self.arrived.notified();
            if self.inner.get().is_some() {
                return;
            }
            arrived.await;
        }
    }
}

#[async_trait]
impl Store for LateStore {
    async fn range(&self, request: RangeRequest) -> Result<Page> {
        self.get()?.range(request).await
    }

    async fn commit(&self, txn: Txn) -> Result<Verdict> {
        self.get()?.commit(txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.get()?.watch(prefix, from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.get()?.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        self.get()?.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.get()?.revoke(lease).await
    }

    async fn compact(&self, at: Revision) -> Result<()> {
        self.get()?.compact(at).await
    }

    async fn health(&self) -> Result<Health> {
        self.get()?.health().await
    }
}
