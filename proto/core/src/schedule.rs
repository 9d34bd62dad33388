//! What a schedule does about its moments: words that the job file says and the controller keeps.

use serde::{Deserialize, Serialize};

/// What a schedule does while its last run still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    Skip,
    Queue,
    Allow,
}

/// Which missed moments a schedule makes up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    None,
    One,
    All,
}
