//! Offers that nobody answered: back to the queue after their time without any poll.
//!
//! Only who delivered an offer knows that its time has begun. Every other controller waits as long
//! as a poll elsewhere may last, besides: what that poll was told may be on its way into a journal.

use ocelot_core::id::ExecutorId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::TaskState;
use ocelot_domain::task::timing::{OFFER, QUARANTINE_AFTER};

use super::or_left;
use crate::service::{AttemptRef, Result, Service};

/// Looks once; returns how many offers were taken back.
pub async fn once(service: &Service) -> Result<usize> {
    let mut taken = 0;
    for (task, age) in service.offered_tasks() {
        let TaskState::Offered { live } = &task.state else { continue };
        let attempt = AttemptRef::of(&task, live);
        let time = if service.has_delivered(&attempt) { OFFER } else { OFFER + service.timing().poll() };
        if age < time || service.polled_within(&live.session.id, OFFER) {
            continue;
        }
        let claim = attempt.claim(live.session);
        let done = service.let_happen(task.id, Event::Undelivered { claim, waited: age }).await;
        taken += usize::from(or_left("offers", done)?);
    }
    for executor in service.undeliverable() {
        quarantine(service, executor).await?;
    }
    service.forget_the_past();
    Ok(taken)
}

async fn quarantine(service: &Service, executor: ExecutorId) -> Result<()> {
    let why = format!("{QUARANTINE_AFTER} deliveries to it failed in a row");
    tracing::error!(executor.id = %executor, why, "an executor is quarantined");
    service.quarantine_executor(executor, &why, &Actor("rule:deliveries".into())).await?;
    service.forget_failed_deliveries(&executor);
    Ok(())
}
