//! This controller among the others: a record under a lease says where it is and how it is known.

use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::kit::telemetry::chain;

use crate::grpc::OwnToken;
use crate::records::ControllerRecord;
use crate::server::Certificate;
use crate::service::{Result, Service};
use crate::store::LeaseId;
use crate::store::update::Chance;

use super::chance::SystemChance;
use super::{StartError, store as opening};

/// How long the others take a silent controller for one that runs.
const TTL: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(2);

/// What the others are told.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) token: OwnToken,
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl Own {
    fn record(&self, life: u64, service: &Service) -> ControllerRecord {
        ControllerRecord {
            name: self.name.clone(),
            life,
            address: self.url.clone(),
            version: ocelot_proto::kit::version::VERSION.to_owned(),
            started_at: service.timestamp(),
            certificate: self.certificate.as_ref().map(|certificate| certificate.fingerprint().0),
            token: self.token.digest(),
        }
    }
}

/// Announces the controller, and keeps it announced until the program drains. A store that does not
/// answer is waited for.
pub(super) async fn announce(
    service: &Arc<Service>,
    own: Own,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) -> std::result::Result<(), StartError> {
    let mut record = own.record(SystemChance.number(), service);
    let mut wait = Duration::from_millis(100);
    let mut lease = loop {
        match renew(service, &record).await {
            Ok(lease) => break lease,
            Err(error) if error.is_retryable() => {
                tracing::warn!(error = %chain(&error), again_in = ?wait, "the other controllers do not see this one");
            }
            Err(error) => return Err(error.into()),
        }
        opening::pause(&mut wait, (clock.as_ref(), tasks)).await?;
    };
    let (service, clock, draining) = (Arc::clone(service), Arc::clone(clock), tasks.clone());
    tasks.spawn("presence", async move {
        loop {
            tokio::select! {
                () = clock.sleep(EVERY) => {}
                () = draining.draining() => break,
            }
            record.certificate = own.certificate.as_ref().map(|certificate| certificate.fingerprint().0);
            match keep(&service, &record, lease).await {
                Ok(new) => lease = new,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the other controllers may not see this one");
                }
            }
        }
        if let Err(error) = service.end_lease(lease).await {
            tracing::debug!(error = %chain(&error), "the others will see the end of this one later");
        }
    });
    Ok(())
}

async fn renew(service: &Service, record: &ControllerRecord) -> Result<LeaseId> {
    let lease = service.lease(TTL).await?;
    service.announce(record, lease).await?;
    Ok(lease)
}

async fn keep(service: &Service, record: &ControllerRecord, lease: LeaseId) -> Result<LeaseId> {
    if !service.keep_lease(lease).await? {
        return renew(service, record).await;
    }
    match service.announced(&record.name) {
        Some(known) if known == *record => {}
        Some(known) if known.life != record.life => {
            tracing::error!(
                name = %record.name, other = %known.address,
                "another controller goes by the name of this one; give one of them another --name"
            );
        }
        Some(_) | None => service.announce(record, lease).await?,
    }
    Ok(lease)
}
