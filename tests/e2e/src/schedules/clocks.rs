//! The clocks on the walls of a fleet's controllers: each is set by a file of its own.

use std::path::PathBuf;

use anyhow::Result;
use ocelot_e2e::fleet::{Build, Fleet};
use ocelot_proto::kit::clock::{Clock, SystemClock};

use super::{HOUR, MINUTE};

/// A file for each controller.
#[derive(Debug)]
pub(super) struct Clocks {
    files: Vec<PathBuf>,
}

impl Clocks {
    /// Starts every controller anew, with a clock that is off by so many seconds.
    pub(super) async fn start(fleet: &mut Fleet, seconds: i64) -> Result<Self> {
        let files = (0..fleet.controllers.len()).map(|who| fleet.path(&format!("clock-{who}")));
        let clocks = Self { files: files.collect() };
        clocks.set_all(seconds)?;
        for (who, controller) in fleet.controllers.iter_mut().enumerate() {
            controller.kill()?;
            controller.start_with(Build::Chaos, &clocks.planted(who))?;
        }
        fleet.ready().await?;
        Ok(clocks)
    }

    /// Returns what a controller is started with.
    pub(super) fn planted(&self, who: usize) -> String {
        format!("wall:{}", self.files[who].display())
    }

    /// Sets one clock to be off by so many seconds.
    pub(super) fn set(&self, who: usize, seconds: i64) -> Result<()> {
        // In one step, so that nobody reads half of it.
        let new = self.files[who].with_extension("new");
        std::fs::write(&new, seconds.to_string())?;
        Ok(std::fs::rename(&new, &self.files[who])?)
    }

    pub(super) fn set_all(&self, seconds: i64) -> Result<()> {
        (0..self.files.len()).try_for_each(|who| self.set(who, seconds))
    }

    /// Returns what a clock shows, in seconds since 1970.
    pub(super) fn now(&self, who: usize) -> i64 {
        let moved = std::fs::read_to_string(&self.files[who]).ok().and_then(|text| text.parse().ok());
        true_now() + moved.unwrap_or(0)
    }
}

/// Returns by how much clocks are off that show ten past: no hour ends by itself while a trial goes on.
pub(super) fn to_ten_past() -> i64 {
    (10 * MINUTE - true_now()).rem_euclid(HOUR)
}

/// Returns the true time, in seconds since 1970.
pub(super) fn true_now() -> i64 {
    i64::try_from(SystemClock.wall().0 / 1_000_000).unwrap_or(i64::MAX)
}
