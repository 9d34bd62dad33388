//! Which states of caches have to go, decided: pure. The one that was used longest ago goes first.

use std::collections::BTreeMap;

use super::ObjectLimits;
use crate::records::CacheRecord;

/// Returns the places of those that are too many: first of each owner, then of all.
pub(super) fn too_many(caches: &[CacheRecord], limits: &ObjectLimits) -> Vec<usize> {
    let mut by_use: Vec<usize> = (0..caches.len()).collect();
    by_use.sort_by_key(|place| std::cmp::Reverse(caches[*place].used_at.unix_ms));
    let mut leaving = Vec::new();
    let mut owners: BTreeMap<&str, u64> = BTreeMap::new();
    let mut all = 0_u64;
    for place in by_use {
        let cache = &caches[place];
        let own = owners.entry(&cache.owner).or_default();
        let (own_after, all_after) =
            (own.saturating_add(cache.kept.size_bytes), all.saturating_add(cache.kept.size_bytes));
        if own_after > limits.owner_caches_bytes || all_after > limits.caches_bytes {
            leaving.push(place);
            continue;
        }
        (*own, all) = (own_after, all_after);
    }
    leaving
}
