//! From the last stage, or a fence, until nothing is left.

use std::sync::Arc;
use std::time::Duration;

use ocelot_core::frame::Offset;
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;
use sha2::{Digest, Sha256};

use super::begin::{CALL, answered};
use super::{Done, Driver, LogPlace, Sealing, Shared, pace};
use crate::attempt::ports::Log;
use crate::attempt::state::{CompleteAnswer, Event};
use crate::attempt::{AttemptId, Ended, LogDigest, LogLoss, outcome_to_wire};
use crate::connection::CallError;

/// A completion waits for the controller's disk and its home of bytes.
const COMPLETE: Duration = Duration::from_secs(10);
/// Beside the grace of what is swept.
const SWEEP_MARGIN: Duration = Duration::from_secs(15);
/// A start that is under way has so long before it is cut off by a kill.
const START_PATIENCE: Duration = Duration::from_secs(3);

impl Driver {
    pub(super) fn seal(&mut self) {
        if self.sealing != Sealing::No {
            return;
        }
        self.sealing = Sealing::Sweeping;
        self.task_swept = self.container.is_none();
        self.setup.stop();
        self.setup.stop_checkout();
        if self.task_swept && self.setup.is_over() {
            return self.swept();
        }
        self.sweep();
        let (shared, grace) = (self.shared.clone(), self.plan.limits.grace);
        self.work(async move {
            shared.clock.sleep(grace + SWEEP_MARGIN).await;
            Done::SweepOver
        });
    }

    /// One of those that write is at its end: the task's own processes, or a service.
    pub(super) fn part_swept(&mut self) {
        if self.sealing == Sealing::Sweeping && self.task_swept && self.setup.is_over() {
            self.swept();
        }
    }

    /// Nothing writes any more: the capture is at its end.
    pub(super) fn swept(&mut self) {
        if matches!(self.sealing, Sealing::No | Sealing::Sweeping) {
            self.sealing = Sealing::Waiting;
            self.seal_now();
        }
    }

    pub(super) fn seal_now(&mut self) {
        let log = match &self.log {
            LogPlace::Making => return,
            LogPlace::None => return self.make_log(),
            LogPlace::Failed(why) => {
                let log = LogDigest { length: Offset(0), sha256: Sha256::digest([]).into() };
                let loss = Some(LogLoss { at: Offset(0), why: why.clone() });
                self.sealing = Sealing::Begun;
                return self.event(Event::Sealed { log, loss });
            }
            LogPlace::Ready(log) => log.clone(),
        };
        self.sealing = Sealing::Begun;
        let (shared, id) = (self.shared.clone(), self.id);
        self.work(async move {
            let mut failures = 0;
            loop {
                match log.seal().await {
                    Ok((log, loss)) => return Done::Event(Event::Sealed { log, loss }),
                    Err(error) => {
                        failures += 1;
                        tracing::error!(attempt = %id, error = %chain(&error), "a log cannot be ended yet");
                        shared
                            .wait(pace(Duration::from_millis(100), Duration::from_secs(10)), failures)
                            .await;
                    }
                }
            }
        });
    }

    pub(super) fn kill(&mut self) {
        if chaos::bug("fenced.keeps_container") {
            return self.event(Event::ContainerRemoved);
        }
        self.link = None;
        self.assigned = false;
        self.setup.give_up();
        if self.starting.is_none() {
            return self.take_away(true);
        }
        self.kill_waits = true;
        let shared = self.shared.clone();
        self.work(async move {
            shared.clock.sleep(START_PATIENCE).await;
            Done::StartTooLong
        });
    }

    pub(super) fn start_took_too_long(&mut self) {
        if !std::mem::take(&mut self.kill_waits) {
            return;
        }
        if let Some(starting) = self.starting.take() {
            starting.abort();
        }
        self.take_away(true);
    }

    pub(super) fn remove(&mut self, keep: bool) {
        if self.keeps_container(keep) {
            tracing::warn!(attempt = %self.id, "kept containers are not supported yet: it is removed");
        }
        self.link = None;
        self.assigned = false;
        self.setup.give_up();
        self.take_away(false);
    }

    /// Takes the container and the task's own directories away, until that has worked.
    pub(super) fn take_away(&mut self, kill: bool) {
        let container = self.container.take();
        let (shared, runtime, places) = (self.shared.clone(), self.runtime.clone(), self.places.clone());
        let memory = shared.memory.join(places.directory.file_name().unwrap_or_default());
        let id = self.id;
        self.work(async move {
            let mut failures = 0;
            loop {
                let removed = async {
                    if let Some(runtime) = &runtime {
                        if let Some(container) = container.as_ref().filter(|_| kill) {
                            runtime.kill(container).await.map_err(|error| chain(&error).to_string())?;
                        }
                        let removed = runtime.remove(&places.control()).await;
                        removed.map_err(|error| chain(&error).to_string())?;
                    }
                    let (places, memory) = (places.clone(), memory.clone());
                    let cleared = tokio::task::spawn_blocking(move || {
                        crate::attempt::files::gone(std::fs::remove_dir_all(memory))?;
                        places.clear()
                    });
                    cleared.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
                };
                match removed.await {
                    Ok(()) => break,
                    Err(why) => {
                        failures += 1;
                        tracing::warn!(attempt = %id, why, "a container is not removed yet");
                        shared.runtimes.suspect();
                        shared
                            .wait(pace(Duration::from_millis(100), Duration::from_secs(10)), failures)
                            .await;
                    }
                }
            }
            chaos::point("remove.container_gone");
            Done::Event(Event::ContainerRemoved)
        });
    }

    /// The log is sent all the while, from where its controller has it. A word is needed only where it
    /// cannot be sent, or where a controller misses what one had before.
    pub(super) fn push_log(&mut self, from: Offset) {
        match (&self.log, self.log_was_incomplete) {
            (LogPlace::Failed(why), _) => {
                let loss = LogLoss { at: Offset(0), why: why.clone() };
                self.event(Event::LogBroken(loss));
            }
            // What was on its way while it was asked need not go twice.
            (LogPlace::Ready(log), Some(had)) if from < had => log.missing(from),
            (LogPlace::Ready(_) | LogPlace::None | LogPlace::Making, _) => {}
        }
    }

    pub(super) fn complete(&mut self, ended: Ended, repeat: u32) {
        let request = wire::CompleteRequest {
            attempt: Some(self.id.to_wire()),
            completion: self.accepted.completion.to_vec().into(),
            outcome: Some(outcome_to_wire(&ended.outcome)),
            log: Some(wire::LogEnd { length: ended.log.length.0, sha256: ended.log.sha256.to_vec().into() }),
            artifacts: ended.artifacts.iter().map(artifact).collect(),
            poll: self.shared.poll.load(std::sync::atomic::Ordering::Relaxed),
            loss: ended.loss.map(|loss| wire::LogLoss { at: loss.at.0, reason: loss.why }),
            progress: Some(self.told.next()),
        };
        self.dirty = false;
        // A log that is on its way is there in a moment; a controller that does not answer is not.
        let pace = match self.log_was_incomplete.take().is_some() {
            true => pace(Duration::from_millis(2), Duration::from_secs(1)),
            false => pace(Duration::from_millis(50), Duration::from_secs(5)),
        };
        let (shared, safer, log) = (self.shared.clone(), self.safer.clone(), self.ready_log());
        self.work(async move {
            tokio::select! {
                () = shared.wait(pace, repeat) => {}
                () = safer.notified(), if repeat > 0 => {}
            }
            let had = log.map(|log| log.received()).unwrap_or_default();
            let answer = completed(&shared, request).await;
            chaos::point("complete.answered");
            Done::Completed(answer, had)
        });
    }

    pub(super) fn completed(&mut self, answer: CompleteAnswer, had: Offset) {
        if answer == CompleteAnswer::Recorded {
            self.shared.board.note_recorded(self.id);
        }
        self.log_was_incomplete = matches!(answer, CompleteAnswer::LogIncomplete { .. }).then_some(had);
        self.event(Event::Completed(answer));
    }

    pub(super) fn drop_spool(&mut self) {
        let (log, shared, id, directory) =
            (self.ready_log(), self.shared.clone(), self.id, self.places.log());
        self.work(async move {
            match log {
                Some(log) => log.drop_spool().await,
                // Another process may have begun one that this one never opened.
                None => shared.logs.remove(id, &directory).await,
            }
            Done::Event(Event::SpoolDropped)
        });
    }

    fn ready_log(&self) -> Option<Arc<dyn Log>> {
        match &self.log {
            LogPlace::Ready(log) => Some(log.clone()),
            LogPlace::None | LogPlace::Making | LogPlace::Failed(_) => None,
        }
    }

    pub(super) fn confirm_fenced(&mut self, repeat: u32) {
        let (shared, id): (Arc<Shared>, AttemptId) = (self.shared.clone(), self.id);
        self.work(async move {
            shared.wait(pace(Duration::from_millis(50), Duration::from_secs(5)), repeat).await;
            let request = wire::ConfirmFencedRequest { attempt: Some(id.to_wire()) };
            let called = shared
                .line
                .call(CALL, request, async |mut client, request| client.confirm_fenced(request).await);
            let answer = match called.await {
                Ok(_) => crate::attempt::state::Answer::Yes,
                Err(error) => answered(&shared, &error, "confirm a fence"),
            };
            Done::Event(Event::Confirmed(answer))
        });
    }

    /// The journal knows nothing of it any more.
    pub(super) fn remove_directory(&self) {
        let (places, signs, id) = (self.places.clone(), Arc::clone(&self.shared.signs), self.id);
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = places.remove() {
                tracing::warn!(attempt = %id, %error, "its directory is left, and taken away later");
                signs.note_left(&places.directory);
            }
        }));
    }
}

async fn completed(shared: &Shared, request: wire::CompleteRequest) -> CompleteAnswer {
    let names: Vec<String> = request.artifacts.iter().map(|artifact| artifact.name.clone()).collect();
    let called =
        shared.line.call(COMPLETE, request, async |mut client, request| client.complete(request).await);
    use wire::complete_response::Answer;
    match called.await {
        Ok(wire::CompleteResponse { answer: Some(Answer::Recorded(_)) }) => CompleteAnswer::Recorded,
        Ok(wire::CompleteResponse { answer: Some(Answer::LogIncomplete(missing)) }) => {
            CompleteAnswer::LogIncomplete { expected: Offset(missing.expected) }
        }
        Ok(wire::CompleteResponse { answer: Some(Answer::ArtifactMissing(missing)) }) => {
            let place = names.iter().position(|name| *name == missing.name);
            let index = place.and_then(|place| u16::try_from(place).ok());
            index.map_or(CompleteAnswer::Unknown, |index| CompleteAnswer::ArtifactMissing { index })
        }
        Ok(wire::CompleteResponse { answer: None }) => CompleteAnswer::Unknown,
        Err(CallError::Fenced) => CompleteAnswer::Fenced,
        Err(error) => {
            answered(shared, &error, "complete");
            CompleteAnswer::Unknown
        }
    }
}

fn artifact(artifact: &crate::attempt::ArtifactDigest) -> wire::ArtifactDigest {
    wire::ArtifactDigest {
        name: artifact.name.clone(),
        sha256: artifact.sha256.to_vec().into(),
        size_bytes: artifact.size_bytes,
        files: artifact.files,
    }
}
