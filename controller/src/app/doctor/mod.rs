//! Looks at everything that a controller needs, and says what mends what is not well.
//!
//! It writes nothing and takes no lock, so it can be asked beside a controller that runs.

mod files;
mod own;
mod store;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::doctor::moment::UnixSeconds;
use ocelot_proto::kit::doctor::{Finding, Report, judge};
use ocelot_proto::kit::telemetry::chain;

use super::Settings;

/// Looks at all of it.
pub async fn examine(settings: &Settings, clock: &dyn Clock) -> Report {
    let mut report = Report::default();
    let now = seconds(clock);
    files::look(&mut report, settings, now);
    store::look(&mut report, settings).await;
    own::certificate(&mut report, settings, now);
    let found = ocelot_git::Git::installed().await;
    let found = found.map(|git| (git.to_string(), git.advice()));
    report.add(judge::git(found.map_err(|error| chain(&error).to_string())));
    report.add(own::listens(settings).await);
    report
}

/// Looks only whether the controller that runs here is ready.
pub async fn of_running(settings: &Settings) -> Report {
    let mut report = Report::default();
    report.add(match own::ask(settings).await {
        Ok(answer) => answer.finding("controller", &settings.listen.to_string()),
        Err(error) => {
            let says = format!("no controller answers at {}: {error}", settings.listen);
            Finding::fail("controller", says, own::START)
        }
    });
    report
}

fn seconds(clock: &dyn Clock) -> UnixSeconds {
    i64::try_from(clock.wall().0 / 1_000_000).unwrap_or(i64::MAX)
}
