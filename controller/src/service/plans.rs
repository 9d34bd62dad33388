//! Plans by run: in the record, or in the home of bytes with a bounded cache before it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ocelot_core::plan::Plan;

use super::error::{Error, Result};
use super::{Service, lock};
use crate::records::{Digest, PLAN_INLINE_MAX, RunRecord, StoredPlan};
use crate::store;

/// Large plans kept in memory.
const CACHED_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct PlanCache {
    plans: Mutex<BTreeMap<[u8; 32], Arc<Plan>>>,
}

impl PlanCache {
    fn find(&self, digest: &Digest) -> Option<Arc<Plan>> {
        lock(&self.plans).get(digest.as_bytes()).cloned()
    }

    fn note(&self, digest: &Digest, plan: &Arc<Plan>) {
        let mut plans = lock(&self.plans);
        if plans.len() >= CACHED_MAX {
            // Any will do: what is asked for again is fetched again.
            plans.pop_first();
        }
        plans.insert(*digest.as_bytes(), Arc::clone(plan));
    }
}

impl Service {
    /// Returns the plan, fetched if need be.
    pub(crate) async fn plan_of(&self, run: &RunRecord) -> Result<Arc<Plan>> {
        let digest = match &run.plan {
            StoredPlan::Inline(plan) => return Ok(Arc::clone(plan)),
            StoredPlan::Kept { digest, .. } => digest,
        };
        if let Some(plan) = self.plans.find(digest) {
            return Ok(plan);
        }
        let bytes = self.parts.plans.fetch(*digest).await?;
        let corrupt = |why: &str| Error::Store(store::Error::Corrupt(why.into()));
        let bytes = bytes.ok_or_else(|| corrupt("the plan of a run is gone"))?;
        if Digest::of(&bytes) != *digest {
            return Err(corrupt("the plan of a run is not the one that was kept"));
        }
        let plan: Plan = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Store(store::Error::Corrupt(error.into())))?;
        let plan = Arc::new(plan);
        self.plans.note(digest, &plan);
        Ok(plan)
    }

    /// Makes of a plan what a run's record holds; a large one is kept first.
    pub(super) async fn store_plan(&self, plan: Plan) -> Result<(StoredPlan, Arc<Plan>)> {
        let bytes = serde_json::to_vec(&plan)
            .expect("a plan has only text keys, and writing to memory does not fail");
        let plan = Arc::new(plan);
        if bytes.len() <= PLAN_INLINE_MAX {
            return Ok((StoredPlan::Inline(Arc::clone(&plan)), plan));
        }
        let digest = Digest::of(&bytes);
        self.parts.plans.keep(digest, bytes.into()).await?;
        self.plans.note(&digest, &plan);
        let tasks = u32::try_from(plan.tasks.len()).unwrap_or(u32::MAX);
        Ok((StoredPlan::Kept { digest, tasks }, plan))
    }
}
