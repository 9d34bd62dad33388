//! The words for ends, as the command line says them.

use ocelot_domain::outcome::{Failure, Outcome, Timeout};

/// An end as a sentence without its subject: `failed: stage test exited with 1`.
pub(super) fn says(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded => "succeeded".to_owned(),
        Outcome::Failed { stage, failure } => format!("failed: {}", self::failure(stage.as_deref(), failure)),
        Outcome::TimedOut(Timeout::Queue) => "timed out: no executor took it in time".to_owned(),
        Outcome::TimedOut(Timeout::Run) => "timed out: it ran longer than it may".to_owned(),
        Outcome::TimedOut(Timeout::Stage { stage }) => {
            format!("timed out: stage {stage} ran longer than it may")
        }
        Outcome::TimedOut(Timeout::Quiet) => "timed out: it wrote nothing for longer than it may".to_owned(),
        Outcome::Cancelled { by, .. } if by.0.is_empty() => "cancelled".to_owned(),
        Outcome::Cancelled { by, .. } => format!("cancelled by {}", by.0),
        Outcome::Skipped { why } => because("skipped", why),
        Outcome::Rejected { why } => because("rejected", why),
        Outcome::Lost { why } => because("lost", why),
    }
}

pub(super) fn because(word: &str, why: &str) -> String {
    if why.is_empty() { word.to_owned() } else { format!("{word}: {why}") }
}

fn failure(stage: Option<&str>, failure: &Failure) -> String {
    let of = stage.map_or_else(|| "it".to_owned(), |stage| format!("stage {stage}"));
    match failure {
        Failure::Exit(code) => format!("{of} exited with {code}"),
        Failure::Signal(signal) => format!("{of} was ended by {}", self::signal(*signal)),
        Failure::OutOfMemory { limit_bytes: Some(limit) } if *limit > 0 => {
            format!("{of} ran out of memory: its limit is {}", bytes(*limit))
        }
        Failure::OutOfMemory { .. } => format!("{of} ran out of the machine's memory"),
        Failure::Image { why } => format!("its image could not be had: {why}"),
        Failure::Disk { why } => format!("the disk did not do: {why}"),
        Failure::Policy { why } => format!("it is not allowed: {why}"),
        Failure::Setup { why } => format!("its first stage could not begin: {why}"),
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

fn bytes(count: u64) -> String {
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

    #[test]
    fn an_end_is_a_sentence_with_its_evidence() {
        let failed =
            |stage: Option<&str>, failure| Outcome::Failed { stage: stage.map(str::to_owned), failure };
        let ends = [
            failed(Some("test"), Failure::Exit(1)),
            failed(None, Failure::Signal(9)),
            failed(Some("build"), Failure::OutOfMemory { limit_bytes: Some(512 << 20) }),
            failed(None, Failure::Image { why: "no such tag".into() }),
            Outcome::TimedOut(Timeout::Queue),
            Outcome::Lost { why: String::new() },
        ];
        insta::assert_snapshot!(ends.each_ref().map(says).join("\n"), @r"
        failed: stage test exited with 1
        failed: it was ended by SIGKILL (signal 9)
        failed: stage build ran out of memory: its limit is 512 MiB
        failed: its image could not be had: no such tag
        timed out: no executor took it in time
        lost
        ");
    }
}
