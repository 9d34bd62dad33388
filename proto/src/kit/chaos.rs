//! Named places where a test ends or holds the process, and bugs that a test plants.
//!
//! Without the feature `chaos` nothing of it is compiled in. With it, the variable `OCELOT_CHAOS`
//! says what happens, as a list with commas: `kill:POINT:N` ends the process without a word when it
//! passes POINT for the N-th time, `stop:POINT:N` holds it there until it is told to go on,
//! `bug:NAME` plants a bug that the tests must find, and `wall:PATH` moves the clock on the wall by as
//! many seconds as that file says.

/// Where a test may end or hold a process, in the order in which a run passes them.
pub const POINTS: &[&str] = &[
    "event.before_commit",
    "event.committed",
    "event.decided",
    "execute.before_commit",
    "execute.committed",
    "schedule.fired",
    "schedule.moved",
    "offer.before_commit",
    "offer.committed",
    "poll.answered",
    "accept.journalled",
    "acknowledge.before_commit",
    "acknowledge.committed",
    "acknowledge.answered",
    "start.journalled",
    "start.container_up",
    "service.container_up",
    "checkout.placed",
    "stage.ordered",
    "report.committed",
    "log.spooled",
    "log.checkpointed",
    "log.appended",
    "log.synced",
    "log.shipped",
    "object.piece_written",
    "object.kept",
    "end.journalled",
    "complete.log_checked",
    "complete.before_commit",
    "complete.committed",
    "complete.answered",
    "cancel.before_commit",
    "cancel.committed",
    "cancel.passed_on",
    "remove.container_gone",
    "remove.journalled",
    "lost.before_commit",
    "lost.committed",
    "run.ended",
    "outbox.claimed",
    "outbox.posted",
    "session.before_commit",
    "session.committed",
    "session.attached",
];

/// Bugs that can be planted: each breaks a promise, and a test that misses one is too weak.
pub const BUGS: &[&str] = &[
    "execute.answers_before_commit",
    "offer.ignores_session",
    "acknowledge.ignores_record",
    "acknowledge.before_journal",
    "start.without_journal",
    "lost.without_wait",
    "lost.ignores_epoch",
    "complete.ignores_claim",
    "complete.ignores_log",
    "cancel.loses_to_complete",
    "log.acknowledges_unsynced",
    "log.frees_received",
    "guard.never_ends",
    "fenced.keeps_container",
    "session.vouches_from_memory",
];

/// Passes a point.
#[cfg(not(feature = "chaos"))]
#[inline]
pub fn point(_name: &'static str) {}

/// Tells whether a bug is planted.
#[cfg(not(feature = "chaos"))]
#[inline]
pub const fn bug(_name: &'static str) -> bool {
    false
}

/// Returns by how many microseconds the clock on the wall is moved.
#[cfg(not(feature = "chaos"))]
#[inline]
pub const fn wall_moved_us() -> i64 {
    0
}

#[cfg(feature = "chaos")]
pub use planted::{bug, point, wall_moved_us};

#[cfg(feature = "chaos")]
mod planted {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{BUGS, POINTS};

    /// The most that a loaded machine takes to hold a process; it passes while the process is held.
    const STOPPED_WITHIN: Duration = Duration::from_secs(2);

    struct Planted {
        at: HashMap<&'static str, (Signal, u64)>,
        bugs: Vec<&'static str>,
        wall: Option<String>,
        passed: Mutex<HashMap<&'static str, u64>>,
    }

    #[expect(clippy::disallowed_methods, reason = "a test plants before any configuration is read")]
    static PLANTED: LazyLock<Planted> =
        LazyLock::new(|| Planted::parse(&std::env::var("OCELOT_CHAOS").unwrap_or_default()));

    impl Planted {
        /// # Panics
        /// If the list is not understood: a test that plants nothing proves nothing.
        fn parse(list: &str) -> Self {
            let mut planted =
                Self { at: HashMap::new(), bugs: Vec::new(), wall: None, passed: Mutex::default() };
            for item in list.split(',').filter(|item| !item.is_empty()) {
                match item.split(':').collect::<Vec<_>>()[..] {
                    ["bug", name] => planted.bugs.push(known(BUGS, name)),
                    ["wall", path] => planted.wall = Some(path.to_owned()),
                    [action @ ("kill" | "stop"), name, times] => {
                        let times = times.parse().expect("a count follows the point");
                        let signal = if action == "kill" { Signal::KILL } else { Signal::STOP };
                        planted.at.insert(known(POINTS, name), (signal, times));
                    }
                    _ => panic!("OCELOT_CHAOS: {item:?} is not understood"),
                }
            }
            planted
        }
    }

    fn known(names: &[&'static str], name: &str) -> &'static str {
        names
            .iter()
            .find(|known| **known == name)
            .unwrap_or_else(|| panic!("OCELOT_CHAOS: there is no {name:?}"))
    }

    /// Passes a point.
    ///
    /// # Panics
    /// If the point is not in the list.
    pub fn point(name: &'static str) {
        let name = known(POINTS, name);
        let Some((signal, times)) = PLANTED.at.get(name) else { return };
        let passed = {
            let mut passed = PLANTED.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let count = passed.entry(name).or_default();
            *count += 1;
            *count
        };
        if passed == *times {
            kill_process(getpid(), *signal).expect("a process may signal itself");
            // Another thread may be the one that takes a stop and holds all the others, and it takes it
            // when it gets its turn: this one must not go on before. Nobody could tell it: who sees
            // the stop is stopped.
            std::thread::park_timeout(STOPPED_WITHIN);
        }
    }

    /// Tells whether a bug is planted.
    ///
    /// # Panics
    /// If the bug is not in the list.
    pub fn bug(name: &'static str) -> bool {
        PLANTED.bugs.contains(&known(BUGS, name))
    }

    /// Returns by how many microseconds the clock on the wall is moved; read anew each time.
    ///
    /// # Panics
    /// If the file holds something else than a number of seconds.
    pub fn wall_moved_us() -> i64 {
        let Some(path) = &PLANTED.wall else { return 0 };
        let text = std::fs::read_to_string(path).expect("the file with the clock's move is there");
        text.trim().parse::<i64>().expect("it holds a number of seconds") * 1_000_000
    }
}
