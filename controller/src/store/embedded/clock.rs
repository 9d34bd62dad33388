//! The time that leases and retention are measured by.
//!
//! It is monotonic and says nothing of the time of day: a jump of the wall clock ends no lease.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// A clock that only goes forward.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the time since a moment that stays the same as long as the clock lives.
    fn now(&self) -> Duration;
}

/// The machine's own monotonic clock.
#[derive(Debug)]
pub struct MachineClock {
    origin: Instant,
}

impl Default for MachineClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that stands still until a test moves it. The store must be nudged afterwards.
#[cfg(any(test, feature = "test-util"))]
#[derive(Debug, Default)]
pub struct ManualClock {
    now: std::sync::Mutex<Duration>,
}

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    pub fn advance(&self, time: Duration) {
        *self.now.lock().expect("nothing panics while it holds the clock") += time;
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.lock().expect("nothing panics while it holds the clock")
    }
}
