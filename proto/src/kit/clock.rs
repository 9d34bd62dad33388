//! Time, as something that a program is given.
//!
//! This is the only module that reads the system's clocks. Everything else holds an
//! `Arc<dyn Clock>` or takes `now`, so that a test or the simulation owns time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::chaos;

/// Waits that a [`Clock`] hands out.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Reads time and waits for it.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the time of day. For people and for what leaves the system; nothing is decided by it
    /// except schedules, because it jumps.
    fn wall(&self) -> UnixMicros;

    /// Returns a moment that only moves forward. All deadlines are measured with it.
    fn monotonic(&self) -> Instant;

    /// Returns a future that is ready after `duration`.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// A moment for people: microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

/// The machine's clocks. Under tokio's paused time, `monotonic` and `sleep` follow it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn wall(&self) -> UnixMicros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        UnixMicros(wall.saturating_add_signed(chaos::wall_moved_us()))
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sleeping_moves_the_monotonic_clock() {
        let clock = SystemClock;
        let before = clock.monotonic();
        clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.monotonic() - before, Duration::from_secs(60));
    }

    #[test]
    fn the_wall_clock_is_past_the_year_2025() {
        assert!(SystemClock.wall() > UnixMicros(1_735_689_600_000_000));
    }
}
