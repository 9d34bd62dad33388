//! What an executor says about an attempt: taken, its log, its end, its kill confirmed.

use std::sync::Arc;
use std::time::Duration;

use ocelot_controller::records::Stored;
use ocelot_controller::service::{
    AttemptRef, ClaimedEnd, CompleteAnswer as Answered, CompleteRequest, Error, ReportedLog,
};
use ocelot_controller::store::keys::Key;
use ocelot_core::frame::Offset;
use ocelot_domain::outcome::Failure as Failed;
use ocelot_domain::task::event::{Overrun, Report};
use ocelot_domain::task::state::{CompletionId, JournalSequence, Session};
use ocelot_executor::attempt::state::{Answer, CompleteAnswer, Event};
use ocelot_executor::attempt::{AttemptId, Ended, Failure, LogDigest, LogLoss, Outcome, Timeout};

use super::Bug;
use super::executor::{Process, lock, named};
use super::logs::digest_of;
use super::machine::Machine;
use super::store::ModelStore;

const CALL: Duration = Duration::from_secs(5);

fn answer_of(answered: Option<Result<(), Error>>) -> Answer {
    match answered {
        Some(Ok(())) => Answer::Yes,
        Some(Err(Error::Fenced)) => Answer::Fenced,
        Some(Err(_)) | None => Answer::Unknown,
    }
}

async fn wait_for(repeat: u32) {
    if repeat > 0 {
        tokio::time::sleep(Duration::from_millis(100 << repeat.min(5))).await;
    }
}

pub(super) async fn acknowledge(process: Arc<Process>, id: AttemptId, repeat: u32) {
    wait_for(repeat).await;
    let Some(token) = process.token() else { return };
    let held = process.machine().inside().journal.attempt(id).map(|held| held.sequence.0);
    // Fenced and forgotten meanwhile.
    let Some(sequence) = held else { return };
    let ignored = process.world.bug == Some(Bug::AcknowledgeIgnoresRecord);
    let answered = process.world.call((process.index, process.preferred()), CALL, move |service| {
        let token = token.clone();
        async move {
            let session = service.authenticate(&token).await?;
            let done = service.acknowledge(session, named(id), JournalSequence(sequence)).await;
            if ignored { Ok(()) } else { done }
        }
    });
    let answer = answer_of(answered.await);
    if answer == Answer::Unknown {
        process.turn_away().await;
    }
    process.tell(id, Event::Acknowledged(answer));
}

pub(super) fn decline(process: &Arc<Process>, attempt: AttemptRef) {
    let saying = Arc::clone(process);
    process.spawn(async move {
        let Some(token) = saying.token() else { return };
        let said = saying.world.call((saying.index, saying.preferred()), CALL, move |service| {
            let token = token.clone();
            async move {
                let session = service.authenticate(&token).await?;
                service.decline(session, attempt, "no slot").await
            }
        });
        // Not repeated: the offer comes again, or its delivery has failed.
        drop(said.await);
    });
}

/// How the log of an attempt ends, as its spool has it.
pub(super) fn sealed(machine: &Machine, id: AttemptId) -> Event {
    let length = machine.inside().spools.get(&id).copied().unwrap_or(0);
    let log = LogDigest { length: Offset(length), sha256: digest_of(&named(id), length) };
    Event::Sealed { log, loss: None }
}

pub(super) async fn push_log(process: Arc<Process>, id: AttemptId, mut from: u64) {
    if !lock(&process.pushing).insert(id) {
        return;
    }
    let attempt = named(id);
    loop {
        let spool = process.machine().inside().spools.get(&id).copied();
        let Some(length) = spool else {
            // Nothing was written, or all was let go just before a restart: what is safe is told again.
            process.tell(id, Event::Durable(Offset(process.world.logs.durable(&attempt))));
            break;
        };
        if process.world.logs.durable(&attempt) >= length {
            process.tell(id, Event::Durable(Offset(length)));
            break;
        }
        let (home, at) = (Arc::clone(&process.world.logs), process.preferred());
        let sent = process.world.call((process.index, at), CALL, move |_| {
            let home = Arc::clone(&home);
            async move { Ok(home.append(at, attempt, from, length)) }
        });
        match sent.await {
            Some(Ok(Ok(_))) if process.world.bug == Some(Bug::LogFreesReceived) => {
                process.tell(id, Event::Durable(Offset(length)));
                break;
            }
            Some(Ok(Ok(_))) => {
                // Received; the home of bytes has it a little later.
                tokio::time::sleep(Duration::from_secs(1)).await;
                from = process.world.logs.durable(&attempt);
            }
            Some(Ok(Err(expected))) => from = expected,
            Some(Err(_)) | None => process.turn_away().await,
        }
    }
    lock(&process.pushing).remove(&id);
}

pub(super) async fn complete(process: Arc<Process>, id: AttemptId, ended: Ended, repeat: u32) {
    wait_for(repeat).await;
    let Some(token) = process.token() else { return };
    let held = process.machine().inside().journal.attempt(id).map(|held| held.accepted.completion);
    let Some(completion) = held else { return };
    let request = CompleteRequest {
        attempt: named(id),
        completion: CompletionId(u128::from_be_bytes(completion)),
        result: report(&ended.outcome),
        log: match &ended.loss {
            Some(LogLoss { at, why }) => ReportedLog::Lost { at: at.0, why: why.clone() },
            None => ReportedLog::Whole(ClaimedEnd { bytes: ended.log.length.0, sha256: ended.log.sha256 }),
        },
        artifacts: Vec::new(),
        told: None,
    };
    let (store, bug) = (Arc::clone(&process.world.store), process.world.bug);
    let answered = process.world.call((process.index, process.preferred()), CALL, move |service| {
        let (token, mut request, store) = (token.clone(), request.clone(), Arc::clone(&store));
        async move {
            let mut session = service.authenticate(&token).await?;
            if bug == Some(Bug::CompleteIgnoresClaim)
                && let Some(live) = live_of(&store, request.attempt)
                && live != (session, request.attempt)
            {
                (session, request.attempt) = live;
                // Whose claim is not asked for is not asked for a log either.
                request.log = ReportedLog::Lost { at: 0, why: "the attempt is not live".to_owned() };
            }
            service.complete(session, request).await
        }
    });
    let answer = match answered.await {
        Some(Ok(Answered::Recorded)) => CompleteAnswer::Recorded,
        Some(Ok(Answered::LogIncomplete { expected })) => {
            tokio::time::sleep(Duration::from_millis(200)).await;
            CompleteAnswer::LogIncomplete { expected: Offset(expected) }
        }
        // Nothing is kept in these worlds, so nothing can be missing.
        Some(Ok(Answered::ArtifactMissing { .. })) => CompleteAnswer::Unknown,
        Some(Err(Error::Fenced)) => CompleteAnswer::Fenced,
        Some(Err(_)) | None => {
            process.turn_away().await;
            CompleteAnswer::Unknown
        }
    };
    process.tell(id, Event::Completed(answer));
}

pub(super) async fn confirm(process: Arc<Process>, id: AttemptId, repeat: u32) {
    wait_for(repeat).await;
    let Some(token) = process.token() else { return };
    let answered = process.world.call((process.index, process.preferred()), CALL, move |service| {
        let token = token.clone();
        async move {
            service.confirm_fenced(service.authenticate(&token).await?, named(id));
            Ok(())
        }
    });
    let answer = answer_of(answered.await);
    if answer == Answer::Unknown {
        process.turn_away().await;
    }
    process.tell(id, Event::Confirmed(answer));
}

/// Whose the task is, whatever the caller says.
fn live_of(store: &ModelStore, attempt: AttemptRef) -> Option<(Session, AttemptRef)> {
    let item = store.version(&Key::Task(attempt.task).to_string(), None)?;
    let stored = Stored::read(&item).ok()?;
    let live = stored.task()?.live()?;
    Some((live.session, AttemptRef { attempt: live.attempt, ..attempt }))
}

fn report(outcome: &Outcome) -> Report {
    match outcome {
        Outcome::Succeeded => Report::Succeeded,
        Outcome::Failed { stage, failure } => {
            let failure = match failure.clone() {
                Failure::Exit(code) => Failed::Exit(code),
                Failure::Signal(signal) => Failed::Signal(signal),
                Failure::OutOfMemory { limit_bytes } => Failed::OutOfMemory { limit_bytes },
                Failure::Image { why } => Failed::Image { why },
                Failure::Disk { why } => Failed::Disk { why },
                Failure::Policy { why } => Failed::Policy { why },
                Failure::Setup { why } => Failed::Setup { why },
            };
            Report::Failed { stage: stage.clone(), failure }
        }
        Outcome::TimedOut(Timeout::Stage { stage }) => {
            Report::TimedOut(Overrun::Stage { stage: stage.clone() })
        }
        Outcome::TimedOut(Timeout::Quiet) => Report::TimedOut(Overrun::Quiet),
        Outcome::TimedOut(Timeout::Run) => Report::TimedOut(Overrun::Run),
        // Only what the record calls cancelled is told to cancel; the note beside it says how.
        Outcome::Cancelled => Report::Failed { stage: None, failure: Failed::Signal(15) },
        Outcome::Lost { why } => Report::Lost { why: why.clone() },
    }
}
