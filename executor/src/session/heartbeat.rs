//! The heartbeat, on a thread and a runtime of its own: whatever else this executor is busy with, its
//! session lives, and what it holds is vouched for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;
use tokio::sync::watch;

use super::{Speech, apply};
use crate::alive::Alive;
use crate::attempt::AttemptId;
use crate::attempt::state::Event;
use crate::connection::{CallError, Line, Route};

/// A heartbeat that is not answered in this time is sent anew, elsewhere.
const DEADLINE: Duration = Duration::from_secs(3);
/// Between two heartbeats that were asked for.
const LEAST: Duration = Duration::from_millis(100);
/// After one that was not answered; after more, up to the time between two that are.
const AGAIN: Duration = Duration::from_millis(500);
/// A fleet whose controller is slow must not ask it more, and not all at once.
const JITTER: f64 = 0.5;

/// The thread; it ends soon after this is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat {
    _over: watch::Sender<()>,
}

impl Heartbeat {
    pub(super) fn start(speech: Arc<Speech>, routes: Vec<Route>) -> std::io::Result<Self> {
        let (over, ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("heartbeat".to_owned());
        drop(thread.spawn(move || runtime.block_on(beat(&speech, routes, ended)))?);
        Ok(Self { _over: over })
    }
}

async fn beat(speech: &Speech, routes: Vec<Route>, mut ended: watch::Receiver<()>) {
    let line = Line::new(routes, speech.credential.clone());
    let mut live = speech.shared.live.subscribe();
    let mut sequence = 0;
    let mut failures = 0;
    loop {
        // A session that does not count must not be heard.
        tokio::select! {
            live = live.wait_for(|live| *live) => if live.is_err() { return },
            _ = ended.changed() => return,
        }
        sequence += 1;
        let is_answered = once(speech, &line, sequence).await;
        failures = if is_answered { 0 } else { failures + 1 };
        let every = Duration::from_millis(speech.timing.heartbeat_ms.load(Ordering::Relaxed));
        line.ease(every);
        let wait = wait(every, failures, speech.shared.random());
        let clock = &speech.shared.clock;
        tokio::select! {
            () = clock.sleep(wait.max(LEAST)) => {}
            () = async {
                speech.shared.beat.notified().await;
                clock.sleep(LEAST).await;
            } => {}
            _ = ended.changed() => return,
        }
    }
}

/// Returns how long to wait for the next one, after so many in a row that were not answered.
fn wait(every: Duration, failures: u32, random: f64) -> Duration {
    if failures == 0 {
        return every;
    }
    let pace = Policy::new(AGAIN, every.max(AGAIN), JITTER).expect("the pace is written down here");
    pace.wait(failures, random)
}

/// Sends one. Returns whether it was answered.
async fn once(speech: &Speech, line: &Line, sequence: u64) -> bool {
    let standing = speech.look();
    let refusing = standing.refusing().unwrap_or_default();
    let journal = speech.shared.journal.state();
    let request = wire::HeartbeatRequest {
        sequence,
        held: speech.shared.board.held(&journal),
        disk_free_bytes: standing.disk_free,
        refusing: refusing.clone(),
        warm_images: vec![],
        poll: speech.shared.poll.load(Ordering::Relaxed),
    };
    let sent = speech.shared.boot.now();
    let called = line.call(DEADLINE, request, async |mut client, request| client.heartbeat(request).await);
    let answer = match called.await {
        Ok(answer) => answer,
        Err(error @ (CallError::Fenced | CallError::Unauthenticated(_))) => {
            speech.lost(&error);
            return false;
        }
        Err(error @ (CallError::Refused(_) | CallError::Unknown(_))) => {
            tracing::debug!(error = %chain(&error), "a heartbeat was not answered");
            return false;
        }
    };
    speech.timing.take(answer.timing.as_ref());
    leave_sign(speech, refusing);
    let board = &speech.shared.board;
    for id in answer.vouched.iter().filter_map(AttemptId::from_wire) {
        board.tell(id, Event::Vouched { sent });
    }
    for log in answer.logs {
        if let Some(id) = log.attempt.as_ref().and_then(AttemptId::from_wire) {
            board.safe(id, log.received, log.durable);
        }
    }
    answer.directives.into_iter().for_each(|directive| apply(speech, directive));
    true
}

/// For whoever asks on this machine whether all is well.
fn leave_sign(speech: &Speech, refusing: String) {
    let answered = speech.shared.clock.wall().0 / 1_000_000;
    let every = Duration::from_millis(speech.timing.heartbeat_ms.load(Ordering::Relaxed));
    speech.alive.send_replace(Some(Alive { answered, every, refusing }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_heartbeat_is_sent_anew_soon_then_later_and_never_later_than_one_that_is_due() {
        let waits = |every_ms| {
            let every = Duration::from_millis(every_ms);
            (0..=6).map(|failures| wait(every, failures, 0.0).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(2_000), [2_000, 500, 1_000, 2_000, 2_000, 2_000, 2_000]);
        assert_eq!(waits(10_000), [10_000, 500, 1_000, 2_000, 4_000, 8_000, 10_000]);
        assert_eq!(wait(Duration::from_secs(2), 1, 1.0), Duration::from_millis(250));
    }
}
