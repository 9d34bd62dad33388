//! From messages to what the use cases take: strict, and each refusal names its field.
//!
//! Whatever bytes a stranger sends, nothing here panics, and nothing is guessed.

use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_domain::outcome::Failure;
use ocelot_domain::task::event::{Overrun, Report};
use ocelot_domain::task::timing::POLL_MIN;
use ocelot_proto::wire;
use tonic::Status;

use crate::error::{Error, Kind};
use crate::records::{Digest, Kept, Machine, RuntimeSupport, StageExit, StageRecord, Told, Used};
use crate::service::objects::{ARTIFACTS_MAX, ClaimedArtifact};
use crate::service::{AttemptRef, ClaimedEnd, HELD_MAX, Held, ReportedLog};

type Decoded<T> = Result<T, Status>;

/// The longest text that a message may bring, in bytes.
const TEXT_MAX: usize = 4096;
/// The longest word: a name, a version, a label, a digest.
pub(super) const WORD_MAX: usize = 256;
const RUNTIMES_MAX: usize = 16;
const STAGES_MAX: usize = 1024;
/// Bytes of what a preparation says of itself; the rest is cut off.
const PREPARING_MAX: usize = 512;

pub(super) fn invalid(field: &str, why: &str) -> Status {
    Error::new(Kind::Invalid, format!("{field}: {why}")).into()
}

pub(super) fn need<T>(field: &str, value: Option<T>) -> Decoded<T> {
    value.ok_or_else(|| invalid(field, "is missing"))
}

pub(super) fn bytes<const N: usize>(field: &str, given: &[u8]) -> Decoded<[u8; N]> {
    given.try_into().map_err(|_| invalid(field, &format!("has {} bytes, not {N}", given.len())))
}

pub(super) fn text(field: &str, given: String) -> Decoded<String> {
    bounded(field, given, TEXT_MAX)
}

pub(super) fn word(field: &str, given: String) -> Decoded<String> {
    bounded(field, given, WORD_MAX)
}

fn bounded(field: &str, given: String, bytes_max: usize) -> Decoded<String> {
    if given.len() <= bytes_max {
        return Ok(given);
    }
    Err(invalid(field, &format!("has {} bytes; at most {bytes_max}", given.len())))
}

pub(super) fn count<T>(field: &str, given: &[T], most: usize) -> Decoded<()> {
    if given.len() <= most {
        return Ok(());
    }
    Err(invalid(field, &format!("has {} entries; at most {most}", given.len())))
}

pub(super) fn attempt(given: Option<wire::AttemptId>) -> Decoded<AttemptRef> {
    let wire::AttemptId { task, number, epoch } = need("attempt", given)?;
    let wire::TaskId { run, index } = need("attempt.task", task)?;
    let run = RunId::from_bytes(bytes("attempt.task.run", &run)?);
    let attempt = Attempt::new(number).ok_or_else(|| invalid("attempt.number", "begins with 1"))?;
    Ok(AttemptRef { task: TaskId { run, index }, attempt, epoch: Epoch(epoch) })
}

pub(super) fn held(given: Vec<wire::Held>) -> Decoded<Vec<Held>> {
    count("held", &given, HELD_MAX)?;
    let one = |held: wire::Held| {
        match held.phase() {
            wire::held::Phase::Unspecified => Err(invalid("held.phase", "is not said")),
            wire::held::Phase::Accepted
            | wire::held::Phase::Preparing
            | wire::held::Phase::Running
            | wire::held::Phase::Finishing
            | wire::held::Phase::Ended => Ok(()),
        }?;
        Ok(Held { attempt: attempt(held.attempt)?, log_end: held.log_end })
    };
    given.into_iter().map(one).collect()
}

/// How long a poll waits: what older executors do not say is what they were told.
pub(super) fn poll_wait(wait_ms: u64) -> Duration {
    if wait_ms == 0 { POLL_MIN } else { Duration::from_millis(wait_ms) }
}

pub(super) fn machine(given: Option<wire::Machine>) -> Decoded<Machine> {
    let given = need("machine", given)?;
    count("machine.runtimes", &given.runtimes, RUNTIMES_MAX)?;
    let runtime = |runtime: wire::RuntimeSupport| {
        Ok(RuntimeSupport {
            name: word("machine.runtimes.name", runtime.name)?,
            version: word("machine.runtimes.version", runtime.version)?,
            whole_kill: runtime.whole_kill,
        })
    };
    Ok(Machine {
        os: word("machine.os", given.os)?,
        arch: word("machine.arch", given.arch)?,
        cpu_millis: given.cpu_millis,
        memory_bytes: given.memory_bytes,
        disk_bytes: given.disk_bytes,
        gpus: given.gpus,
        runtimes: given.runtimes.into_iter().map(runtime).collect::<Decoded<_>>()?,
    })
}

pub(super) fn decline(reason: i32, detail: String) -> Decoded<String> {
    use wire::decline_request::Reason;
    let reason = match Reason::try_from(reason) {
        Ok(Reason::NoSlot) => "no slot",
        Ok(Reason::Disk) => "disk",
        Ok(Reason::Draining) => "draining",
        Ok(Reason::Runtime) => "runtime",
        Ok(Reason::Policy) => "policy",
        Ok(Reason::Unspecified) => return Err(invalid("reason", "is not said")),
        Err(_) => return Err(invalid("reason", "is none that is known")),
    };
    let detail = text("detail", detail)?;
    Ok(if detail.is_empty() { reason.to_owned() } else { format!("{reason}: {detail}") })
}

/// Reads what an executor may say about the end of an attempt. A cancel is the controller's word: of
/// an executor's own only the result counts.
pub(super) fn report(given: Option<wire::Outcome>) -> Decoded<Report> {
    use wire::outcome::Outcome;
    let outcome = need("outcome", given)?.outcome;
    match need("outcome.outcome", outcome)? {
        Outcome::Succeeded(wire::outcome::Succeeded {}) => Ok(Report::Succeeded),
        Outcome::Failed(given) => failed(given),
        Outcome::TimedOut(given) => timed_out(given),
        Outcome::Cancelled(given) => match given.result {
            None => Ok(Report::Lost { why: "it was ended before it was done".into() }),
            Some(result) => match result.outcome {
                Some(Outcome::Cancelled(_)) => Err(invalid("outcome.cancelled.result", "is a cancel again")),
                result => report(Some(wire::Outcome { outcome: result })),
            },
        },
        Outcome::Lost(given) => Ok(Report::Lost { why: text("outcome.lost.why", given.why)? }),
        Outcome::Skipped(_) | Outcome::Rejected(_) => {
            Err(invalid("outcome", "is none that an executor decides"))
        }
    }
}

fn failed(given: wire::outcome::Failed) -> Decoded<Report> {
    use wire::outcome::failed::Failure as Given;
    let stage = word("outcome.failed.stage", given.stage)?;
    let failure = match need("outcome.failed.failure", given.failure)? {
        Given::Exit(code) => Failure::Exit(code),
        Given::Signal(signal) => Failure::Signal(signal),
        Given::OutOfMemory(memory) => Failure::OutOfMemory { limit_bytes: limit(memory.limit_bytes) },
        Given::Image(why) => Failure::Image { why: text("outcome.failed.image", why)? },
        Given::Disk(why) => Failure::Disk { why: text("outcome.failed.disk", why)? },
        Given::Policy(why) => Failure::Policy { why: text("outcome.failed.policy", why)? },
        Given::Setup(why) => Failure::Setup { why: text("outcome.failed.setup", why)? },
    };
    Ok(Report::Failed { stage: Some(stage).filter(|stage| !stage.is_empty()), failure })
}

fn timed_out(given: wire::outcome::TimedOut) -> Decoded<Report> {
    use wire::outcome::timed_out::Limit;
    match need("outcome.timed_out.limit", given.limit)? {
        Limit::Run(true) => Ok(Report::TimedOut(Overrun::Run)),
        Limit::Quiet(true) => Ok(Report::TimedOut(Overrun::Quiet)),
        Limit::Stage(stage) => {
            Ok(Report::TimedOut(Overrun::Stage { stage: word("outcome.timed_out.stage", stage)? }))
        }
        Limit::Queue(_) => Err(invalid("outcome.timed_out.queue", "is none that an executor decides")),
        Limit::Run(false) | Limit::Quiet(false) => Err(invalid("outcome.timed_out.limit", "is not said")),
    }
}

pub(super) fn log_end(field: &str, given: wire::LogEnd) -> Decoded<ClaimedEnd> {
    Ok(ClaimedEnd { bytes: given.length, sha256: bytes(&format!("{field}.sha256"), &given.sha256)? })
}

pub(super) fn kept(field: &str, size_bytes: u64, sha256: &[u8]) -> Decoded<Kept> {
    let digest = Digest::from_bytes(bytes(&format!("{field}.sha256"), sha256)?);
    Ok(Kept { digest, size_bytes })
}

pub(super) fn artifacts(given: Vec<wire::ArtifactDigest>) -> Decoded<Vec<ClaimedArtifact>> {
    count("artifacts", &given, ARTIFACTS_MAX)?;
    let one = |given: wire::ArtifactDigest| {
        let kept = kept("artifacts", given.size_bytes, &given.sha256)?;
        Ok(ClaimedArtifact { name: word("artifacts.name", given.name)?, kept, files: given.files })
    };
    given.into_iter().map(one).collect()
}

pub(super) fn cache_key(field: &str, given: Option<wire::CacheKey>) -> Decoded<(String, String)> {
    let wire::CacheKey { name, key } = need(field, given)?;
    Ok((word(&format!("{field}.name"), name)?, text(&format!("{field}.key"), key)?))
}

/// Reads how the log ends: a loss outweighs a claim, because it says that nobody has the rest.
pub(super) fn reported_log(log: Option<wire::LogEnd>, loss: Option<wire::LogLoss>) -> Decoded<ReportedLog> {
    match loss {
        Some(loss) => Ok(ReportedLog::Lost { at: loss.at, why: text("loss.reason", loss.reason)? }),
        None => Ok(ReportedLog::Whole(log_end("log", need("log", log)?)?)),
    }
}

pub(super) fn told(given: wire::Progress) -> Decoded<Told> {
    if given.sequence == 0 {
        return Err(invalid("progress.sequence", "begins with 1"));
    }
    count("progress.stages", &given.stages, STAGES_MAX)?;
    let stages: Vec<StageRecord> = given.stages.into_iter().map(stage).collect::<Decoded<_>>()?;
    if !stages.is_sorted_by(|one, next| one.index < next.index) {
        return Err(invalid("progress.stages", "are not in order"));
    }
    let mut preparing = given.preparing;
    preparing.truncate(preparing.floor_char_boundary(PREPARING_MAX));
    Ok(Told {
        sequence: given.sequence,
        up_us: moment("progress.up_unix_us", given.up_unix_us)?,
        first_byte_us: moment("progress.first_byte_unix_us", given.first_byte_unix_us)?,
        stages,
        preparing,
    })
}

fn stage(given: wire::StageProgress) -> Decoded<StageRecord> {
    use wire::stage_exit::Exit;
    let exit = given.exit.map(|given| {
        Ok::<_, Status>(match need("progress.stages.exit", given.exit)? {
            Exit::Code(code) => StageExit::Code(code),
            Exit::Signal(signal) => StageExit::Signal(signal),
            Exit::TimedOut(true) => StageExit::TimedOut,
            Exit::TimedOut(false) => return Err(invalid("progress.stages.exit.timed_out", "is not said")),
            Exit::OutOfMemory(memory) => StageExit::OutOfMemory { limit_bytes: limit(memory.limit_bytes) },
        })
    });
    let began = moment("progress.stages.began_unix_us", given.began_unix_us)?;
    Ok(StageRecord {
        index: given.index,
        began_us: need("progress.stages.began_unix_us", began)?,
        ended_us: moment("progress.stages.ended_unix_us", given.ended_unix_us)?,
        exit: exit.transpose()?,
        used: given.r#use.map(|given| Used {
            user_cpu_us: given.user_cpu_us,
            system_cpu_us: given.system_cpu_us,
            max_rss_bytes: given.max_rss_bytes,
        }),
    })
}

/// 0 is a moment that has not come.
fn moment(field: &str, unix_us: i64) -> Decoded<Option<u64>> {
    let unix_us = u64::try_from(unix_us).map_err(|_| invalid(field, "is before 1970"))?;
    Ok(Some(unix_us).filter(|unix_us| *unix_us > 0))
}

/// 0 is the machine's memory.
fn limit(bytes: u64) -> Option<u64> {
    Some(bytes).filter(|bytes| *bytes > 0)
}
