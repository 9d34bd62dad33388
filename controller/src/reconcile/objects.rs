//! Artifacts past their time, caches beyond the budget, and bytes that nothing names leave.

use crate::service::{Result, Service};

/// Looks once; returns how many records and objects have left.
pub async fn once(service: &Service) -> Result<usize> {
    let swept = service.sweep_objects().await?;
    let left = swept.expired + swept.evicted + swept.deleted;
    if left + swept.apart + swept.back > 0 {
        tracing::info!(?swept, "artifacts and caches were swept");
    }
    Ok(left)
}
