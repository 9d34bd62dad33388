//! Whether this controller can do its work.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use ocelot_proto::kit::shutdown::Tasks;

use crate::bytes::Space;
use crate::server::{Health, NotReady};
use crate::service::Service;
use crate::store::Store;

use super::late::LateStore;

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks everything that the controller needs.
#[derive(Debug)]
pub(super) struct AppHealth {
    store: Arc<LateStore>,
    service: Weak<Service>,
    home: PathBuf,
    tasks: Tasks,
}

impl AppHealth {
    pub(super) fn new(store: Arc<LateStore>, service: &Arc<Service>, home: PathBuf, tasks: Tasks) -> Self {
        Self { store, service: Arc::downgrade(service), home, tasks }
    }

    async fn store(&self) -> Option<String> {
        if let Some(why) = self.store.missing() {
            return Some(why);
        }
        match tokio::time::timeout(PATIENCE, self.store.health()).await {
            // Its causes may name addresses; they are in the log.
            Ok(answered) => answered.err().map(|error| error.to_string()),
            Err(_) => Some("it does not answer".to_owned()),
        }
    }

    async fn home(&self) -> Option<String> {
        let home = self.home.clone();
        let asked = tokio::task::spawn_blocking(move || Space::under(&home));
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(Ok(_))) => None,
            Ok(Ok(Err(error))) => Some(error.kind().to_string()),
            Ok(Err(_)) | Err(_) => Some("it does not answer".to_owned()),
        }
    }
}

#[async_trait]
impl Health for AppHealth {
    async fn missing(&self) -> Vec<NotReady> {
        let missing = |what: &str, why: String| NotReady { what: what.to_owned(), why };
        if self.tasks.is_draining() {
            return vec![missing("controller", "it is being stopped".to_owned())];
        }
        let (store, home) = tokio::join!(self.store(), self.home());
        let view = match (&store, self.service.upgrade()) {
            (None, Some(service)) if !service.is_loaded() => Some("it is being read".to_owned()),
            (_, _) => None,
        };
        let found = [("store", store), ("view", view), ("bytes", home)];
        found.into_iter().filter_map(|(what, why)| Some(missing(what, why?))).collect()
    }
}
