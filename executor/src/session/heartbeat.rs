//! The heartbeat, on a thread and a runtime of its own: whatever else this executor is busy with, its
//! session lives, and what it holds is vouched for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;
use tokio::sync::watch;

use super::{Speech, apply};
use crate::attempt::AttemptId;
use crate::attempt::state::Event;
use crate::connection::{CallError, Line, Route};

/// A heartbeat that is not answered in this time is sent anew, elsewhere.
const DEADLINE: Duration = Duration::from_secs(3);
/// Between two heartbeats that were asked for.
const LEAST: Duration = Duration::from_millis(100);
/// After one that was not answered.
const AGAIN: Duration = Duration::from_millis(500);

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
    loop {
        // A session that does not count must not be heard.
        tokio::select! {
            live = live.wait_for(|live| *live) => if live.is_err() { return },
            _ = ended.changed() => return,
        }
        sequence += 1;
        let wait = match once(speech, &line, sequence).await {
            true => Duration::from_millis(speech.timing.heartbeat_ms.load(Ordering::Relaxed)),
            false => AGAIN,
        };
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

/// Sends one. Returns whether it was answered.
async fn once(speech: &Speech, line: &Line, sequence: u64) -> bool {
    let standing = speech.look();
    let journal = speech.shared.journal.state();
    let request = wire::HeartbeatRequest {
        sequence,
        held: speech.shared.board.held(&journal),
        disk_free_bytes: standing.disk_free,
        refusing: standing.refusing().unwrap_or_default(),
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
