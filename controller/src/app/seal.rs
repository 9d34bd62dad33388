//! The keys that seal secrets: had at the start, checked against the fleet's, and followed when they
//! are changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::kit::telemetry::chain;

use super::settings::Settings;
use super::{StartError, store as opening};
use crate::auth::random_secret;
use crate::seal::{SealKeys, SealSource};
use crate::service::{Error, Resealed, SealStanding, Service};

/// How often a file of keys is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// While older keys are here: another controller may have sealed with one after the last pass.
const AGAIN: Duration = Duration::from_secs(600);

/// Returns where the keys are.
pub(super) fn source(settings: &Settings, home: &Path) -> SealSource {
    settings.seal.clone().unwrap_or_else(|| SealSource::Own(home.join("seal-key")))
}

/// Refuses keys that are not the fleet's; the first controller's become it.
pub(super) async fn are_the_fleets(
    service: &Service,
    keys: &SealKeys,
    (clock, tasks): (&dyn Clock, &Tasks),
) -> Result<(), StartError> {
    let mut wait = Duration::from_millis(100);
    loop {
        match service.seal_standing(keys).await {
            Ok(SealStanding::Ours) => return Ok(()),
            Ok(SealStanding::Others(fleets)) => {
                return Err(StartError::WrongSeal { fleets, given: keys.current() });
            }
            Ok(SealStanding::Broken) => return Err(StartError::BrokenSeal),
            Err(error) if error.is_retryable() => {
                tracing::warn!(error = %chain(&error), again_in = ?wait, "the fleet's seal key is not known");
            }
            Err(error) => return Err(error.into()),
        }
        opening::pause(&mut wait, (clock, tasks)).await?;
    }
}

/// Takes up keys that change, and seals anew what older ones seal, for as long as the program runs.
pub(super) fn follow(service: &Arc<Service>, source: SealSource, clock: &Arc<dyn Clock>, tasks: &Tasks) {
    let (service, clock) = (Arc::clone(service), Arc::clone(clock));
    tasks.spawn_beside("seal-keys", async move {
        let mut due_in = Some(Duration::ZERO);
        loop {
            if source.is_file() && take_up(&service, &source).await {
                due_in = Some(Duration::ZERO);
            }
            if due_in == Some(Duration::ZERO) {
                due_in = pass(&service).await;
            }
            clock.sleep(LOOK).await;
            due_in = due_in.map(|left| left.saturating_sub(LOOK));
        }
    });
}

/// Returns whether there are other keys than before.
async fn take_up(service: &Service, source: &SealSource) -> bool {
    let taken = async {
        let keys = source.keys(random_secret).await?;
        let before = service.seal_keys()?.ids();
        if keys.ids() == before {
            return Ok(false);
        }
        match service.seal_standing(&keys).await? {
            SealStanding::Ours => {}
            SealStanding::Others(fleets) => {
                return Err(StartError::WrongSeal { fleets, given: keys.current() });
            }
            SealStanding::Broken => return Err(StartError::BrokenSeal),
        }
        tracing::info!(key = %keys.current(), keys = keys.ids().len(), "other keys seal secrets from now on");
        service.set_seal(keys);
        Ok(true)
    };
    taken.await.unwrap_or_else(|error: StartError| {
        tracing::error!(error = %chain(&error), "the seal keys stay as they were");
        false
    })
}

/// Seals anew what older keys seal; returns when to look again, if ever.
async fn pass(service: &Service) -> Option<Duration> {
    let more_than_one = service.seal_keys().is_ok_and(|keys| keys.ids().len() > 1);
    if !more_than_one {
        return None;
    }
    match service.reseal_all().await {
        Ok(Resealed { anew, left: 0, closed: 0 }) => {
            tracing::info!(anew, "every secret is sealed with the current key; older ones may be forgotten");
            Some(AGAIN)
        }
        Ok(Resealed { anew, left, closed }) => {
            tracing::warn!(anew, left, closed, "not every secret is sealed with the current key yet");
            Some(if left > 0 { LOOK } else { AGAIN })
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error as &(dyn std::error::Error + 'static)), "sealing anew goes on later");
            Some(if Error::is_retryable(&error) { LOOK } else { AGAIN })
        }
    }
}
