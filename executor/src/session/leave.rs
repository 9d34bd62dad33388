//! An executor that ends by itself: after one attempt, after a time without work, or because its machine
//! is about to be taken away.
//!
//! It ends as one that is drained: first it takes nothing new, then it carries through what it holds. A
//! SIGTERM that comes meanwhile counts as the first one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use super::{Speech, Stopped};

/// How soon a notice is seen.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When an executor ends by itself; by default never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leave {
    /// After one attempt whose result and log a controller has.
    pub once: bool,
    /// After so long without an attempt.
    pub idle: Option<Duration>,
    /// When this file is there.
    pub notice: Option<PathBuf>,
}

/// Why an executor ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Once,
    Idle,
    Notice,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "it takes one attempt and no other",
            Self::Idle => "it had no work for long enough",
            Self::Notice => "this machine is about to be taken away",
        })
    }
}

impl Speech {
    /// One that takes a single attempt has it, or has had it.
    pub(super) fn has_its_one(&self) -> Option<Why> {
        let board = &self.shared.board;
        (self.rules.leave.once && (board.carried() > 0 || !board.ids().is_empty())).then_some(Why::Once)
    }
}

/// Waits until this executor is to end by itself, and then for what it holds.
pub(super) async fn leave(speech: &Speech) -> Stopped {
    let Leave { once, idle: time, notice } = &speech.rules.leave;
    let why = tokio::select! {
        () = carried(speech), if *once => Why::Once,
        () = idle(speech, time.unwrap_or_default()), if time.is_some() => Why::Idle,
        () = noticed(speech, notice.as_deref()), if notice.is_some() => Why::Notice,
        else => std::future::pending().await,
    };
    speech.draining.lock().unwrap_or_else(PoisonError::into_inner).leaving = Some(why);
    speech.shared.beat.notify_one();
    let mut seats = speech.shared.board.watch();
    let left = *seats.borrow();
    tracing::info!(left, "{why}: no new work is taken; {left} attempts are being finished");
    // An offer may have been taken while that was decided: it is carried through.
    drop(seats.wait_for(|left| *left == 0).await);
    Stopped::Leaves(why)
}

/// Waits until an attempt was carried through. One that was not ours after all does not count.
async fn carried(speech: &Speech) {
    let board = &speech.shared.board;
    let mut seats = board.watch();
    while board.carried() == 0 && seats.changed().await.is_ok() {}
}

/// Waits until nothing was held for so long, from the first session on.
async fn idle(speech: &Speech, time: Duration) {
    let shared = &speech.shared;
    let mut live = shared.live.subscribe();
    drop(live.wait_for(|live| *live).await);
    let mut seats = shared.board.watch();
    loop {
        if seats.wait_for(|held| *held == 0).await.is_err() {
            return;
        }
        tokio::select! {
            () = shared.clock.sleep(time) => return,
            _ = seats.wait_for(|held| *held > 0) => {}
        }
    }
}

/// Waits for the file.
async fn noticed(speech: &Speech, notice: Option<&Path>) {
    let Some(notice) = notice else { return };
    while tokio::fs::metadata(notice).await.is_err() {
        speech.shared.clock.sleep(LOOK_EVERY).await;
    }
}
