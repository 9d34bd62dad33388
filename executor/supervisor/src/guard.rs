//! The end of an attempt that nobody vouches for, whatever else this program is doing.
//!
//! The loop decides by the same deadline, but it may be stuck in the kernel: writing to a disk that
//! hangs, or starting a program from one. So a thread of its own waits for nothing but the deadline,
//! ends every process, and then this one. It waits for nothing that the loop might hold.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{now, set_timer, timer};
use crate::machine::{Leave, Signal, Target};
use crate::processes;
use crate::protocol::Moment;
use crate::sys;

/// It calls next to nothing.
const STACK_BYTES: usize = 64 * 1024;

/// What the thread and the loop share.
#[derive(Debug)]
struct Watch {
    deadline: AtomicU64,
    timer: OwnedFd,
}

/// The loop's hold on the guard.
#[derive(Debug)]
pub(crate) struct Guard {
    watch: Arc<Watch>,
}

impl Guard {
    pub(crate) fn start(deadline: Moment) -> io::Result<Self> {
        let watch = Watch { deadline: AtomicU64::new(deadline.0), timer: timer()? };
        let guard = Self { watch: Arc::new(watch) };
        set_timer(&guard.watch.timer, deadline)?;
        let watch = Arc::clone(&guard.watch);
        let thread = std::thread::Builder::new().name("guard".to_owned()).stack_size(STACK_BYTES);
        drop(thread.spawn(move || watch.keep())?);
        Ok(guard)
    }

    /// Takes the deadline that counts from now on.
    pub(crate) fn set(&self, deadline: Moment) -> io::Result<()> {
        // In this order: the timer wakes a thread that must already see the new deadline.
        if self.watch.deadline.swap(deadline.0, Ordering::SeqCst) == deadline.0 {
            return Ok(());
        }
        set_timer(&self.watch.timer, deadline)
    }
}

impl Watch {
    fn keep(&self) {
        let mut expirations = [0; 8];
        while now().0 < self.deadline.load(Ordering::SeqCst) {
            // Interrupted or not, the time is what counts.
            let _expired = rustix::io::read(&self.timer, &mut expirations);
        }
        processes::signal(Target::All, Signal::Kill);
        sys::exit_now(Leave::Guard as i32);
    }
}
