//! Opening a session: a challenge, its proof, and what becomes of everything that is held.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;

use super::{Speech, Stopped};
use crate::attempt::AttemptId;
use crate::attempt::state::Event;
use crate::connection::CallError;
use crate::journal::Phase;

const CHALLENGE: Duration = Duration::from_secs(5);
/// What is held is attached before the answer.
const OPEN: Duration = Duration::from_secs(30);

impl Speech {
    /// Opens the session, however long it takes, unless this executor does not count any more.
    pub(super) async fn open(self: &Arc<Self>) -> Result<(), Stopped> {
        let pace = Policy::new(Duration::from_millis(100), Duration::from_secs(15), 0.5)
            .expect("the pace is written down here");
        let mut failures = 0;
        loop {
            let error = match self.open_once().await {
                Ok(opened) => {
                    self.opened(&opened);
                    return Ok(());
                }
                Err(error) => error,
            };
            failures += 1;
            match &error {
                CallError::Fenced => return Err(Stopped::Fenced),
                CallError::Refused(why) if self.is_unknown(why) => {
                    return Err(Stopped::Removed { why: why.clone() });
                }
                CallError::Unauthenticated(_) if failures > 3 => {
                    tracing::error!(
                        failures,
                        "no controller accepts the key of this executor; if it was removed, register it again"
                    );
                }
                CallError::Unauthenticated(_) | CallError::Refused(_) | CallError::Unknown(_) => {
                    let error = chain(&error);
                    tracing::warn!(failures, %error, "no session yet: {error}");
                }
            }
            self.shared.clock.sleep(pace.wait(failures, self.shared.random())).await;
        }
    }

    /// The word of a controller that knows no such executor.
    fn is_unknown(&self, why: &str) -> bool {
        why.contains("there is no executor")
    }

    async fn open_once(&self) -> Result<wire::OpenSessionResponse, CallError> {
        let line = &self.shared.line;
        // A challenge is known to the controller that gave it, and to no other.
        let way = line.client();
        let executor: bytes::Bytes = self.executor.as_bytes().to_vec().into();
        let request = wire::ChallengeRequest { executor: executor.clone() };
        let called = line.call_through(way.clone(), CHALLENGE, request, async |mut client, request| {
            client.challenge(request).await
        });
        let challenge = called.await?.challenge;
        let incarnation = self.shared.journal.incarnation();
        let request = wire::OpenSessionRequest {
            executor,
            signature: self.key.sign(self.executor, incarnation, &challenge).into(),
            challenge,
            incarnation: incarnation.0,
            held: self.shared.board.held(&self.shared.journal.state()),
            version: ocelot_proto::kit::version::VERSION.to_owned(),
            machine: Some(crate::identity::machine(&self.data, self.shared.runtimes.tell())),
        };
        let called = line
            .call_through(way, OPEN, request, async |mut client, request| client.open_session(request).await);
        called.await
    }

    fn opened(&self, opened: &wire::OpenSessionResponse) {
        self.credential.set(&opened.session_token);
        self.timing.take(opened.timing.as_ref());
        let keep: BTreeSet<AttemptId> = opened.keep.iter().filter_map(AttemptId::from_wire).collect();
        let board = &self.shared.board;
        let journal = self.shared.journal.state();
        for id in board.ids() {
            let phase = journal.attempt(id).map(|held| &held.phase);
            match phase {
                // Its completion is told and answered, whatever the record has become.
                Some(Phase::Ended(_)) => board.tell(id, Event::Kept),
                Some(Phase::Fenced) => {
                    board.tell(id, Event::Kept);
                }
                Some(_) if keep.contains(&id) => board.tell(id, Event::Kept),
                Some(_) => board.tell(id, Event::Fenced),
                // Taken meanwhile: the next poll tells it.
                None => {}
            }
        }
        tracing::info!(kept = keep.len(), "a session is open");
        // Whoever found the older credential void has what it asked for.
        while self.shared.reopen.notified().now_or_never().is_some() {}
        if self.shared.runtimes.has_news() {
            self.shared.reopen.notify_one();
        }
        self.shared.live.send_replace(true);
        self.shared.beat.notify_one();
    }
}
