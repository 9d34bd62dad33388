//! An offer: taken at once, or handed back with the reason. The same offer may come many times.

use std::sync::Arc;
use std::time::Duration;

use ocelot_core::plan::TaskPlan;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use ocelot_proto::wire::decline_request::Reason;
use sha2::{Digest, Sha256};

use super::{Refusal, Speech};
use crate::attempt::AttemptId;
use crate::attempt::driver::Driver;
use crate::attempt::files::{Offered, Places};
use crate::attempt::state::Spec;
use crate::checkout::Source;
use crate::journal::Accepted;

/// What is not declined in this time comes again by itself.
const DECLINE: Duration = Duration::from_secs(3);

pub(super) fn take(speech: &Arc<Speech>, tasks: &Tasks, offer: wire::Offer) {
    let Some(id) = offer.attempt.as_ref().and_then(AttemptId::from_wire) else {
        tracing::error!("an offer without an attempt");
        return;
    };
    let shared = &speech.shared;
    if shared.board.is_seated(id) || shared.journal.state().attempt(id).is_some() {
        return;
    }
    match judge(speech, id, offer) {
        Ok((spec, taken, accepted)) => {
            let Some(inbox) = shared.board.seat(id) else { return };
            tracing::info!(attempt = %id, "taken");
            tasks.spawn("attempt", Driver::new(Arc::clone(shared), spec, taken, accepted, inbox).run());
        }
        Err(refusal) => decline(speech, tasks, id, refusal),
    }
}

type Taken = (Spec, (TaskPlan, Offered), (Accepted, bool));

fn judge(speech: &Speech, id: AttemptId, offer: wire::Offer) -> Result<Taken, Refusal> {
    let plan_sha256: [u8; 32] = Sha256::digest(&offer.plan).into();
    if plan_sha256.as_slice() != offer.plan_digest.as_ref() {
        return Err(Refusal::new(Reason::Runtime, "the plan is not what its digest says"));
    }
    let unreadable = |why: String| Refusal::new(Reason::Runtime, format!("the plan cannot be read: {why}"));
    let plan = String::from_utf8(offer.plan.into()).map_err(|error| unreadable(error.to_string()))?;
    let source = offer.source.map(|source| Source {
        url: source.url,
        commit: source.commit,
        reference: source.reference,
        branch: source.branch,
        needs_credentials: source.needs_credentials,
    });
    let env = offer.env.into_iter().collect();
    let offered = Offered { plan, env, source, masks: offer.masks };
    let plan = offered.read_plan().map_err(|error| unreadable(error.to_string()))?;
    let broken = speech.shared.runtimes.broken(&plan.environment.runtime);
    speech.look().admit(&plan, offered.source.is_some(), broken, speech.rules.allow_process)?;
    let spec = Spec::new(id, &plan, speech.timing.guard(plan.class)).with(&plan, &offered);
    let mut completion = [0; 16];
    getrandom::fill(&mut completion)
        .map_err(|error| Refusal::new(Reason::Runtime, format!("there is no randomness: {error}")))?;
    let ready = speech.shared.ready.take(&speech.shared, &plan);
    let is_ready = ready.is_some();
    let places = ready.unwrap_or_else(|| Places::new(&speech.shared.attempts, id));
    let accepted = Accepted { plan_sha256, directory: places.directory, completion };
    Ok((spec, (plan, offered), (accepted, is_ready)))
}

fn decline(speech: &Arc<Speech>, tasks: &Tasks, id: AttemptId, refusal: Refusal) {
    tracing::info!(attempt = %id, reason = ?refusal.reason, detail = refusal.detail, "handed back");
    let shared = Arc::clone(&speech.shared);
    tasks.spawn("decline", async move {
        let request = wire::DeclineRequest {
            attempt: Some(id.to_wire()),
            reason: refusal.reason.into(),
            detail: refusal.detail,
        };
        let called =
            shared.line.call(DECLINE, request, async |mut client, request| client.decline(request).await);
        if let Err(error) = called.await {
            tracing::debug!(attempt = %id, %error, "handing back was not answered; the offer comes again");
        }
    });
}
