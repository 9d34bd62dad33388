//! Executors, tokens and controllers.

use ocelot_proto::wire;
use serde::Serialize;

use super::{text, uuid};
use crate::show::precise;
use crate::words::{self, ExecutorWord};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Executor {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: ExecutorWord,
    /// Why it takes no work.
    pub(crate) reason: Option<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) slots: u32,
    pub(crate) version: Option<String>,
    pub(crate) registered: Option<String>,
    pub(crate) last_seen: Option<String>,
    pub(crate) disk_free_bytes: u64,
    pub(crate) attempts: Vec<Held>,
}

/// One attempt that an executor holds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Held {
    pub(crate) run: String,
    pub(crate) task: u32,
    pub(crate) attempt: u32,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Token {
    pub(crate) name: String,
    #[serde(rename = "for")]
    pub(crate) owner: Option<String>,
    pub(crate) prefix: String,
    pub(crate) created: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) last_used: Option<String>,
    /// The token itself, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fleet {
    pub(crate) controllers: Vec<Controller>,
    pub(crate) store: String,
    pub(crate) store_fullness: f64,
    pub(crate) epoch: u64,
    pub(crate) executors_online: u32,
    pub(crate) executors_total: u32,
    pub(crate) tasks_queued: u64,
    pub(crate) tasks_running: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Controller {
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) started: Option<String>,
}

impl From<&wire::Executor> for Executor {
    fn from(executor: &wire::Executor) -> Self {
        let (state, reason) = words::executor_state(executor);
        let held = |attempt: &wire::AttemptId| {
            let task = attempt.task.clone().unwrap_or_default();
            Held { run: uuid(&task.run), task: task.index, attempt: attempt.number }
        };
        Self {
            id: uuid(&executor.id),
            name: executor.name.clone(),
            state,
            reason,
            labels: executor.labels.clone(),
            slots: executor.slots,
            version: text(&executor.version),
            registered: precise(executor.registered_unix_us),
            last_seen: precise(executor.last_seen_unix_us),
            disk_free_bytes: executor.disk_free_bytes,
            attempts: executor.attempts.iter().map(held).collect(),
        }
    }
}

impl From<&wire::ApiToken> for Token {
    fn from(token: &wire::ApiToken) -> Self {
        Self {
            name: token.name.clone(),
            owner: text(&token.r#for),
            prefix: token.prefix.clone(),
            created: precise(token.created_unix_us),
            expires: precise(token.expires_unix_us),
            last_used: precise(token.last_used_unix_us),
            value: None,
        }
    }
}

impl From<&wire::GetFleetResponse> for Fleet {
    fn from(fleet: &wire::GetFleetResponse) -> Self {
        let store = fleet.store.clone().unwrap_or_default();
        let controller = |controller: &wire::Controller| Controller {
            address: controller.address.clone(),
            version: controller.version.clone(),
            started: precise(controller.started_unix_us),
        };
        Self {
            controllers: fleet.controllers.iter().map(controller).collect(),
            store: store.description,
            store_fullness: f64::from(store.fullness_permille) / 1_000.0,
            epoch: store.epoch,
            executors_online: fleet.executors_online,
            executors_total: fleet.executors_total,
            tasks_queued: fleet.tasks_queued,
            tasks_running: fleet.tasks_running,
        }
    }
}
