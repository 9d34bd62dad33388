//! Looks at everything that an executor needs, and says what mends what is not well.
//!
//! It changes nothing that is the executor's: whatever it has to try, it tries in a folder of its own,
//! which is gone afterwards. It takes no lock that a starting executor wants.

mod engine;
mod files;
mod line;

use std::path::Path;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::doctor::{Finding, Report, judge};
use ocelot_proto::kit::telemetry::chain;

use crate::alive::{self, Alive};
use crate::app::{Registration, Settings};

pub use engine::engine;

const REGISTER: &str = "ocelot-executor register INVITATION  # what `ocelot executor token` prints";
const START: &str = "systemctl enable --now ocelot-executor  # or: ocelot-executor start";
/// An executor is well while so many of its heartbeats at most went unanswered.
const BEATS: u64 = 5;
/// Beside them.
const MARGIN_SECONDS: u64 = 10;

/// Looks at all of it.
pub async fn examine(settings: &Settings, clock: &dyn Clock) -> Report {
    let mut report = Report::default();
    let data = &settings.data;
    files::look(&mut report, settings);
    let runs = process(data, clock);
    report.add(match &runs {
        Some(finding) => finding.clone(),
        None => Finding::warn("executor", format!("no executor runs on {}", data.display()), START),
    });
    Box::pin(engine::look(&mut report, settings)).await;
    let found = ocelot_git::Git::installed().await;
    let found = found.map(|git| (git.to_string(), git.advice())).map_err(|error| chain(&error).to_string());
    report.add(judge::git(found));
    // Where there is none, that was said already.
    if let Ok(Some(registration)) = Registration::read(data) {
        line::look(&mut report, settings, &registration, clock).await;
    }
    report
}

/// Looks only whether the executor that runs on this data is well. Blocks.
pub fn of_running(data: &Path, clock: &dyn Clock) -> Report {
    let mut report = Report::default();
    report.add(process(data, clock).unwrap_or_else(|| {
        Finding::fail("executor", format!("no executor runs on {}", data.display()), START)
    }));
    report
}

/// Judges the executor that runs here; none if none does.
fn process(data: &Path, clock: &dyn Clock) -> Option<Finding> {
    let process = alive::process(data)?;
    let now = clock.wall().0 / 1_000_000;
    Some(well(&process, Alive::read(data), now))
}

fn well(process: &str, sign: Option<Alive>, now: u64) -> Finding {
    let check = "executor";
    let logs = "journalctl -u ocelot-executor --since -10m";
    let Some(Alive { answered, every, refusing }) = sign else {
        return Finding::fail(
            check,
            format!("process {process} runs, and no controller has answered it yet"),
            logs,
        );
    };
    let ago = now.saturating_sub(answered);
    if ago > every.as_secs() * BEATS + MARGIN_SECONDS {
        let says = format!("process {process} runs, and no controller has answered it for {ago} s");
        return Finding::fail(check, says, logs);
    }
    if !refusing.is_empty() {
        return Finding::warn(check, format!("process {process} takes no work: {refusing}"), logs);
    }
    Finding::ok(check, format!("process {process} runs, and has a session"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ocelot_proto::kit::doctor::Verdict;

    use super::*;

    #[test]
    fn an_executor_is_well_while_a_controller_answers_it() {
        let sign = |refusing: &str| {
            Some(Alive { answered: 1_000, every: Duration::from_secs(2), refusing: refusing.to_owned() })
        };
        assert_eq!(well("7", sign(""), 1_020).verdict, Verdict::Ok);
        assert_eq!(well("7", sign(""), 1_021).verdict, Verdict::Fail);
        assert_eq!(well("7", None, 1_000).verdict, Verdict::Fail);
        // It was answered, which is all that a health check may end it for.
        assert_eq!(well("7", sign("draining: by ann"), 1_000).verdict, Verdict::Warn);
    }
}
