//! The clocks of this program, which is too small for those of the others.
//!
//! Deadlines are moments of `CLOCK_BOOTTIME` and nothing else; the time of day is for people.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::protocol::Moment;

/// Returns the present moment.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    Moment(time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000)
}

/// Returns the time of day in microseconds since 1970.
pub(crate) fn unix_us() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

pub(crate) fn timer() -> io::Result<OwnedFd> {
    Ok(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?)
}

/// Makes the timer readable once `at` has come.
pub(crate) fn set_timer(timer: impl AsFd, at: Moment) -> io::Result<()> {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    // Moment 0 would turn the timer off.
    let nanos = (at.0 % 1000) as i64 * 1_000_000 + 1;
    let timer_value = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: seconds, tv_nsec: nanos },
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &timer_value)?;
    Ok(())
}
