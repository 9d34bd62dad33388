//! What an attempt went through, as it is stored: the phases of its life, for people and programs.
//!
//! Nothing is decided by it. Times are microseconds since 1970; those from the executor are of its
//! clock.

use serde::{Deserialize, Serialize};

use ocelot_core::id::ExecutorId;

use crate::store::codec::Record;

/// The life of one attempt. Put with the acknowledgement, never before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressRecord {
    pub executor: ExecutorId,
    /// The controller that holds the live end of its log.
    pub log_at: Option<String>,
    pub offered_us: u64,
    pub acknowledged_us: u64,
    pub ended_us: Option<u64>,
    pub told: Told,
}

/// What its executor told last; each tells the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Counts up; an older one changes nothing.
    pub sequence: u64,
    pub up_us: Option<u64>,
    pub first_byte_us: Option<u64>,
    /// Those that began, in order.
    pub stages: Vec<StageRecord>,
    /// What the preparation is doing; empty once a stage began.
    pub preparing: String,
}

/// How far one stage is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Its place in the task's plan.
    pub index: u32,
    pub began_us: u64,
    pub ended_us: Option<u64>,
    pub exit: Option<StageExit>,
    pub used: Option<Used>,
}

/// How a stage's shell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageExit {
    Code(i32),
    Signal(i32),
    TimedOut,
    OutOfMemory { limit_bytes: Option<u64> },
}

/// What processes used, as the kernel counted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub user_cpu_us: u64,
    pub system_cpu_us: u64,
    pub max_rss_bytes: u64,
}

impl Record for ProgressRecord {
    const KIND: &'static str = "progress";
    const VERSION: u32 = 1;
}

impl ProgressRecord {
    /// Takes what an executor tells now; false if it is no news.
    pub fn take(&mut self, told: Told) -> bool {
        let is_news = told.sequence > self.told.sequence;
        if is_news {
            self.told = told;
        }
        is_news
    }
}
