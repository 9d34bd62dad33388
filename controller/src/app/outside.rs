//! The way out, put together: what may be called, which forges are where, who is notified.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ocelot_forge::secret::Secret;
use ocelot_git::{Guard, Refusal};
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;

use super::settings::Settings;
use crate::config::{NoText, NotifyKind, NotifyTarget};
use crate::egress::{Egress, EgressError, InvalidCa};
use crate::forge::ForgeLine;
use crate::reconcile::outbox::{self, Channel, Outside, Targets};
use crate::service::Service;

/// Why nothing can be called or told.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    #[error("--egress-ca is of no use")]
    Ca(#[from] InvalidCa),
    #[error("the notification target {name:?} is of no use: {why}")]
    Target { name: String, why: String },
}

/// Opens the way out. Blocks.
pub(super) fn open(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<(Outside, ForgeLine), OutsideError> {
    let egress = Arc::new(Egress::new(&settings.egress)?);
    let line = ForgeLine::new(Arc::clone(&egress), Arc::clone(clock), settings.forge_apis.clone());
    let mut targets = Targets::new();
    for (name, target) in &settings.notify {
        let wrong = |why: String| OutsideError::Target { name: name.clone(), why };
        targets.insert(name.clone(), channel(target).map_err(wrong)?);
    }
    Ok((Outside { egress, targets }, line))
}

fn channel(target: &NotifyTarget) -> Result<Channel, String> {
    let told = |error: NoText| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let url = target.url().map_err(told)?;
    match target.kind {
        NotifyKind::Slack => Ok(Channel::Slack { url }),
        NotifyKind::Generic => {
            let secret = target.secret().map_err(told)?;
            let secret = Secret::new(secret.as_str()).map_err(|error| error.to_string())?;
            Ok(Channel::Generic { url, secret })
        }
    }
}

impl From<OutsideError> for super::StartError {
    fn from(error: OutsideError) -> Self {
        Self::Outside(error)
    }
}

/// Holds git to the same rules as every other call.
#[derive(Debug)]
struct GitGuard(Arc<Egress>);

#[async_trait]
impl Guard for GitGuard {
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, Refusal> {
        let refusal = |error: EgressError| Refusal { may_pass: error.is_passing(), why: error.to_string() };
        self.0.may_reach(host, port).await.map_err(refusal)
    }
}

pub(super) fn guard(outside: &Outside) -> Arc<dyn Guard> {
    Arc::new(GitGuard(Arc::clone(&outside.egress)))
}

/// Tells what is owed for as long as the program runs.
pub(super) fn follow(service: &Arc<Service>, outside: Outside, tasks: &Tasks) {
    let service = Arc::clone(service);
    tasks.spawn_beside("outbox", async move { outbox::follow(&service, &outside).await });
}

/// Reads what may be called, and who is trusted there besides the system's authorities.
pub(super) fn egress_settings(
    allowed: &[String],
    ca: Option<PathBuf>,
) -> Result<crate::egress::Settings, super::InvalidSettings> {
    let allowed = allowed.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
    Ok(crate::egress::Settings { rules: crate::egress::Rules::new(allowed), ca })
}
