//! The sentences for ends: one place, so that the command line, scripts and the web say the same.

use crate::wire;
use crate::wire::outcome::failed::Failure;
use crate::wire::outcome::timed_out::Limit;
use crate::wire::outcome::{Failed, Outcome as End};

fn word(outcome: &wire::Outcome) -> &'static str {
    match &outcome.outcome {
        Some(End::Succeeded(_)) => "succeeded",
        Some(End::Failed(_)) => "failed",
        Some(End::TimedOut(_)) => "timed out",
        Some(End::Cancelled(_)) => "cancelled",
        Some(End::Skipped(_)) => "skipped",
        Some(End::Rejected(_)) => "rejected",
        Some(End::Lost(_)) => "lost",
        None => "ended",
    }
}

/// An end as a sentence without its subject: `failed: stage test exited with 1`.
pub fn outcome(outcome: &wire::Outcome) -> String {
    let word = word(outcome);
    match &outcome.outcome {
        Some(End::Succeeded(_)) | None => word.to_owned(),
        Some(End::Failed(failed)) => format!("{word}: {}", failure(failed)),
        Some(End::TimedOut(timed_out)) => match &timed_out.limit {
            Some(Limit::Queue(_)) => format!("{word}: no executor took it in time"),
            Some(Limit::Run(_)) => format!("{word}: it ran longer than it may"),
            Some(Limit::Stage(stage)) => format!("{word}: stage {stage} ran longer than it may"),
            Some(Limit::Quiet(_)) => format!("{word}: it wrote nothing for longer than it may"),
            None => word.to_owned(),
        },
        Some(End::Cancelled(cancelled)) if cancelled.by.is_empty() => word.to_owned(),
        Some(End::Cancelled(cancelled)) => format!("{word} by {}", cancelled.by),
        Some(End::Skipped(skipped)) => because(word, &skipped.why),
        Some(End::Rejected(rejected)) => because(word, &rejected.why),
        Some(End::Lost(lost)) => because(word, &lost.why),
    }
}

/// An end and why, where that is known.
pub fn because(word: &str, why: &str) -> String {
    if why.is_empty() { word.to_owned() } else { format!("{word}: {why}") }
}

fn failure(failed: &Failed) -> String {
    let of = if failed.stage.is_empty() { "it".to_owned() } else { format!("stage {}", failed.stage) };
    match &failed.failure {
        Some(Failure::Exit(code)) => format!("{of} exited with {code}"),
        Some(Failure::Signal(signal)) => format!("{of} was ended by {}", self::signal(*signal)),
        Some(Failure::OutOfMemory(memory)) => match memory.limit_bytes {
            0 => format!("{of} ran out of the machine's memory"),
            limit => format!("{of} ran out of memory: its limit is {}", bytes(limit)),
        },
        Some(Failure::Image(why)) => format!("its image could not be had: {why}"),
        Some(Failure::Disk(why)) => format!("the disk did not do: {why}"),
        Some(Failure::Policy(rule)) => format!("it is not allowed: {rule}"),
        Some(Failure::Setup(why)) => format!("its first stage could not begin: {why}"),
        None => format!("{of} failed"),
    }
}

fn signal(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {number}"),
    };
    format!("{name} (signal {number})")
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = count as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 || scaled >= 100.0 || scaled.fract() < 0.05 {
        format!("{scaled:.0} {}", UNITS[unit])
    } else {
        format!("{scaled:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(stage: &str, failure: Failure) -> wire::Outcome {
        let failed = Failed { stage: stage.into(), failure: Some(failure) };
        wire::Outcome { outcome: Some(End::Failed(failed)) }
    }

    #[test]
    fn an_end_is_a_sentence_with_its_evidence() {
        let memory = wire::OutOfMemory { limit_bytes: 512 * 1024 * 1024 };
        let said = [
            failed("test", Failure::Exit(1)),
            failed("", Failure::Signal(9)),
            failed("build", Failure::OutOfMemory(memory)),
            failed("", Failure::Image("no such tag".into())),
            wire::Outcome { outcome: Some(End::Lost(wire::outcome::Lost::default())) },
        ]
        .map(|end| outcome(&end));
        insta::assert_snapshot!(said.join("\n"), @r"
        failed: stage test exited with 1
        failed: it was ended by SIGKILL (signal 9)
        failed: stage build ran out of memory: its limit is 512 MiB
        failed: its image could not be had: no such tag
        lost
        ");
    }

    #[test]
    fn bytes_are_read_by_people() {
        let shown = [0, 1_023, 1_024, 1_536, 2 * 1_048_576, 150_000_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "2 MiB", "140 GiB"]);
    }
}
