//! The poll: always exactly one is open, asked again the moment it is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;

use super::{Speech, apply, offer};
use crate::connection::CallError;

/// Beside the time that a controller holds a poll open.
const MARGIN: Duration = Duration::from_secs(5);

/// Polls until the session does not count any more; returns what said so.
pub(super) async fn poll(speech: &Arc<Speech>, tasks: &Tasks) -> CallError {
    let pace = Policy::new(Duration::from_millis(50), Duration::from_secs(5), 0.5)
        .expect("the pace is written down here");
    let shared = &speech.shared;
    let mut failures = 0;
    loop {
        shared.line.ease(Duration::from_millis(speech.timing.heartbeat_ms.load(Ordering::Relaxed)));
        let wait_ms = speech.timing.poll_ms.load(Ordering::Relaxed);
        // Read at one moment, so that the list is what the number says.
        let journal = shared.journal.state();
        let request = wire::PollRequest {
            poll: shared.poll.fetch_add(1, Ordering::Relaxed) + 1,
            journal_sequence: journal.sequence.0,
            held: shared.board.held(&journal),
            wait_ms,
        };
        let deadline = Duration::from_millis(wait_ms) + MARGIN;
        let called =
            shared.line.call(deadline, request, async |mut client, request| client.poll(request).await);
        match called.await {
            Ok(answer) => {
                failures = 0;
                for offer in answer.offers {
                    offer::take(speech, tasks, offer);
                }
                answer.directives.into_iter().for_each(|directive| apply(speech, directive));
                if answer.voided {
                    // A newer one of ours is open somewhere, from before a break: it is given time to end.
                    shared.clock.sleep(pace.wait(1, shared.random())).await;
                }
            }
            Err(error @ (CallError::Fenced | CallError::Unauthenticated(_))) => return error,
            Err(error @ (CallError::Refused(_) | CallError::Unknown(_))) => {
                failures += 1;
                if speech.is_ending() {
                    tracing::debug!(failures, error = %chain(&error), "a poll was not answered: {error}");
                } else {
                    tracing::warn!(failures, error = %chain(&error), "a poll was not answered: {error}");
                }
                shared.clock.sleep(pace.wait(failures, shared.random())).await;
            }
        }
    }
}
