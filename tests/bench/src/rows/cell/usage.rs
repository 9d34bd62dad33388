//! What one process costs the machine: its memory and its time on the processors.

use std::time::Duration;

use anyhow::{Context, Result};
use ocelot_e2e::fleet::Fleet;
use tokio::time::Instant;

/// What the kernel counts a second of a processor's time in.
const TICKS_PER_SECOND: f64 = 100.0;

/// The first controller of a fleet, looked at from outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(u32);

/// What was used at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    at: Instant,
    processor_s: f64,
    pub(super) resident: usize,
}

impl Process {
    pub(super) fn of(fleet: &Fleet) -> Result<Self> {
        fleet.controllers.first().and_then(|controller| controller.pid()).map(Self).context("a controller")
    }

    pub(super) fn used(self) -> Result<Used> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // Its name, in brackets, may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a field")?.parse()?) };
        let processor_s = (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND;
        let resident = self.status("VmRSS:")?;
        Ok(Used { at: Instant::now(), processor_s, resident })
    }

    /// Returns the most memory that it ever had.
    pub(super) fn peak(self) -> Result<usize> {
        self.status("VmHWM:")
    }

    fn status(self, what: &str) -> Result<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)).context("its memory")?;
        let kib: usize = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Used {
    /// Returns the share of one processor that was used since.
    pub(super) fn share_since(&self, before: &Self) -> f64 {
        let wall = self.at.saturating_duration_since(before.at).max(Duration::from_millis(1));
        (self.processor_s - before.processor_s) / wall.as_secs_f64()
    }

    /// Returns what the process has used since it began.
    pub(super) fn processor_s(&self) -> f64 {
        self.processor_s
    }

    pub(super) fn processor_since(&self, before: &Self) -> Duration {
        Duration::from_secs_f64((self.processor_s - before.processor_s).max(0.0))
    }
}

pub(super) fn mib(bytes: usize) -> usize {
    bytes >> 20
}

/// Returns by how much the memory grew for each of so many, in KiB.
pub(super) fn kib_each(before: &Used, after: &Used, count: usize) -> f64 {
    after.resident.saturating_sub(before.resident) as f64 / 1024.0 / count.max(1) as f64
}
