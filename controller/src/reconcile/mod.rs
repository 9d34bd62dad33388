//! What follows from the records and has not been done: each duty in one file, level-triggered.
//!
//! A duty looks at the view and acts by transactions that compare, so any number of controllers may
//! carry it out at once, and again after any crash. Nothing here is the only one to remember
//! anything: what a controller measures, another measures for itself.

mod groups;
pub mod objects;
pub mod offers;
pub mod outbox;
mod projects;
pub mod retention;
pub mod runs;
mod schedules;
mod sessions;
#[cfg(test)]
mod tests;
pub mod timeouts;

pub use retention::Keep;
pub use sessions::Sessions;

use std::time::Duration;

use crate::service::{Error, Service};

/// How often duties that depend on time are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often everything is looked at, whatever the news.
const SWEEP: Duration = Duration::from_secs(30);

/// How often artifacts and caches are looked at.
const OBJECTS: Duration = Duration::from_secs(300);

/// Runs every duty until it is dropped.
pub async fn run(service: &Service, keep: Keep) {
    service.view.loaded().await;
    let seconds = async {
        let mut sessions = Sessions::new(service);
        loop {
            service.sleep(TICK).await;
            note("sessions", sessions.once(service).await.map(drop));
            note("logs", service.end_lost_logs().await.map(drop));
            note("offers", offers::once(service).await.map(drop));
            note("timeouts", timeouts::once(service).await.map(drop));
        }
    };
    let sweeps = async {
        loop {
            service.sleep(SWEEP).await;
            note("retention", retention::once(service, keep).await.map(drop));
        }
    };
    let objects = async {
        loop {
            service.sleep(OBJECTS).await;
            note("objects", objects::once(service).await.map(drop));
        }
    };
    // None of them ends; dropping one at any await leaves only transactions that happened or did not.
    tokio::join!(
        runs::follow(service),
        seconds,
        sweeps,
        objects,
        projects::follow(service),
        schedules::follow(service)
    );
}

/// Lets a pass go on behind a record that cannot be dealt with; the store's trouble ends it.
fn or_left(duty: &'static str, done: Result<bool, Error>) -> Result<bool, Error> {
    match done {
        Err(error) if !error.is_retryable() => {
            note(duty, Err(error));
            Ok(false)
        }
        done => done,
    }
}

fn note(duty: &'static str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(duty, error = &error as &dyn std::error::Error, "a duty is left for the next pass");
    }
}
