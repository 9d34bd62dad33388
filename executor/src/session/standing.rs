//! Whether this executor takes work just now, and why not: pure, so that an offer is judged by what is
//! known and by nothing else.

use ocelot_core::plan::{Runtime, TaskPlan};
use ocelot_proto::wire::decline_request::Reason;

/// What is known when an offer comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why it takes nothing new until it is told or restarted.
    pub draining: Option<String>,
    pub disk_free: u64,
    pub disk_floor: u64,
    /// Attempts that need a slot.
    pub working: usize,
    pub slots: usize,
    /// Why no runtime at all works.
    pub runtimes: Option<String>,
}

/// Why an offer is handed back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub detail: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl Standing {
    /// Returns why nothing is taken at all, for people.
    pub fn refusing(&self) -> Option<String> {
        let disk = (self.disk_free < self.disk_floor).then(|| {
            format!(
                "{} MiB of disk are free, and its floor is {} MiB",
                self.disk_free >> 20,
                self.disk_floor >> 20
            )
        });
        self.draining.clone().or(disk).or_else(|| self.runtimes.clone())
    }

    /// Judges an offer. `broken` is why the runtime that it needs does not work.
    pub fn admit(
        &self,
        plan: &TaskPlan,
        has_source: bool,
        broken: Option<String>,
        process_allowed: bool,
    ) -> Result<(), Refusal> {
        if let Some(why) = &self.draining {
            return Err(Refusal::new(Reason::Draining, why.clone()));
        }
        if self.disk_free < self.disk_floor {
            return Err(Refusal::new(Reason::Disk, self.refusing().unwrap_or_default()));
        }
        if plan.environment.runtime == Runtime::Process && !process_allowed {
            let why = "this executor runs nothing outside containers; `--allow-process` would permit it";
            return Err(Refusal::new(Reason::Policy, why));
        }
        if let Some(why) = broken {
            return Err(Refusal::new(Reason::Runtime, why));
        }
        if !has_source && plan.environment.checkout.is_some() {
            return Err(Refusal::new(
                Reason::Runtime,
                "the task wants a checkout, and the offer names no repository",
            ));
        }
        if self.working >= self.slots {
            return Err(Refusal::new(Reason::NoSlot, format!("all of its {} slots are taken", self.slots)));
        }
        Ok(())
    }
}
