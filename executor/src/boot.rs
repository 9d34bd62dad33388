//! The clock that deadlines of attempts are measured with, as something that a program is given.
//!
//! It runs on while the machine sleeps, is never set, and is the same inside a container.

use std::fmt;

use crate::attempt::state::BootTime;

/// Reads the machine's `CLOCK_BOOTTIME`.
pub trait BootClock: fmt::Debug + Send + Sync {
    fn now(&self) -> BootTime;
}

/// The machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineBootClock;

impl BootClock for MachineBootClock {
    fn now(&self) -> BootTime {
        BootTime(ocelot_supervisor::clock::now().0)
    }
}
