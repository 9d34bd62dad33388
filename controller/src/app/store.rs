//! Opening the store: at once where it is a file of ours, and for as long as it takes where it is a
//! cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::kit::telemetry::chain;

use crate::store::embedded::{EmbeddedStore, InUse, Settings as EmbeddedSettings};
use crate::store::etcd::{Config, Etcd, Login, OwnCertificate, Tls, UPKEEP_PASS, Upkeep};
use crate::store::{Error, Store};

use super::StartError;
use super::late::LateStore;
use super::settings::{EtcdSettings, Settings, StoreSettings};

/// Beside the keys that a view reads.
const UPKEEP_CLAIM: &str = "/ocelot/upkeep";
const LONGEST: Duration = Duration::from_secs(10);
/// How long the lock of a process that was killed may outlive it.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_STEP: Duration = Duration::from_millis(20);

/// The store as it is to be closed.
#[derive(Debug)]
pub(super) enum Opened {
    Embedded(Arc<EmbeddedStore>),
    Etcd(Arc<Etcd>),
}

impl Opened {
    pub(super) fn given(store: Arc<EmbeddedStore>, late: &LateStore) -> Self {
        late.arrive(Arc::clone(&store) as Arc<dyn Store>);
        Self::Embedded(store)
    }

    /// Keeps a cluster small, for as long as the program runs.
    pub(super) fn upkeep(&self, name: &str, clock: &Arc<dyn Clock>, tasks: &Tasks) {
        let Self::Etcd(etcd) = self else { return };
        let (etcd, clock, mut upkeep) = (Arc::clone(etcd), Arc::clone(clock), Upkeep::new(name));
        tasks.spawn_beside("etcd-upkeep", async move {
            let origin = clock.monotonic();
            loop {
                clock.sleep(UPKEEP_PASS).await;
                let now = clock.monotonic() - origin;
                if let Err(error) = etcd.upkeep_once(&mut upkeep, UPKEEP_CLAIM, now).await {
                    tracing::warn!(error = %chain(&error), "a pass of etcd's upkeep failed");
                }
            }
        });
    }

    pub(super) async fn close(self) {
        match self {
            Self::Embedded(store) => {
                if let Err(error) = tokio::task::spawn_blocking(move || store.stop()).await {
                    tracing::error!(%error, "the store could not be closed");
                }
            }
            // Whoever still holds it ends it with their own end.
            Self::Etcd(etcd) => {
                if let Some(etcd) = Arc::into_inner(etcd) {
                    etcd.close().await;
                }
            }
        }
    }
}

/// Opens the store and hands it to all who wait for it.
pub(super) async fn open(
    settings: &Settings,
    late: &LateStore,
    (clock, tasks): (&dyn Clock, &Tasks),
) -> Result<Opened, StartError> {
    match &settings.store {
        StoreSettings::Embedded => {
            let directory = settings.data.join("store");
            let store = Arc::new(open_embedded(&directory, clock).await.map_err(StartError::Store)?);
            late.arrive(Arc::clone(&store) as Arc<dyn Store>);
            Ok(Opened::Embedded(store))
        }
        StoreSettings::Etcd(etcd) => {
            let config = config(etcd)?;
            let mut wait = Duration::from_millis(100);
            loop {
                match Etcd::connect(config.clone()).await {
                    Ok(store) => {
                        let store = Arc::new(store);
                        late.arrive(Arc::clone(&store) as Arc<dyn Store>);
                        tracing::info!(members = %etcd.members.join(","), "etcd is there");
                        return Ok(Opened::Etcd(store));
                    }
                    Err(error) if error.is_retryable() => {
                        late.note("etcd does not answer".to_owned());
                        tracing::error!(
                            members = %etcd.members.join(","), cause = %chain(&error),
                            "etcd cannot be reached; next try in {wait:?}"
                        );
                    }
                    Err(error) => return Err(StartError::Store(error)),
                }
                pause(&mut wait, (clock, tasks)).await?;
            }
        }
    }
}

/// Opens the embedded store, and waits for the lock of a controller that was just killed.
async fn open_embedded(directory: &Path, clock: &dyn Clock) -> Result<EmbeddedStore, Error> {
    let until = clock.monotonic() + LOCK_PATIENCE;
    loop {
        let settings = EmbeddedSettings::new(directory);
        let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(settings)).await;
        match opened.unwrap_or_else(|died| Err(Error::Unusable(Box::new(died)))) {
            Err(Error::Unusable(why)) if why.is::<InUse>() && clock.monotonic() < until => {
                clock.sleep(LOCK_STEP).await;
            }
            opened => return opened,
        }
    }
}

/// Waits before the next try, each time longer.
pub(super) async fn pause(
    wait: &mut Duration,
    (clock, tasks): (&dyn Clock, &Tasks),
) -> Result<(), StartError> {
    tokio::select! {
        () = clock.sleep(*wait) => {}
        () = tasks.draining() => return Err(StartError::Stopped),
    }
    *wait = wait.saturating_mul(2).min(LONGEST);
    Ok(())
}

pub(super) fn config(settings: &EtcdSettings) -> Result<Config, StartError> {
    let scheme = if settings.ca.is_some() { "https" } else { "http" };
    let mut config = Config::new(settings.members.iter().map(|member| format!("{scheme}://{member}")));
    if let Some(ca) = &settings.ca {
        let own = match &settings.own {
            Some((certificate, key)) => {
                Some(OwnCertificate { certificate: text(certificate)?, key: text(key)? })
            }
            None => None,
        };
        config.tls = Some(Tls { ca: text(ca)?, own, server_name: settings.server_name.clone() });
    }
    if let Some((user, file)) = &settings.login {
        let password = text(file)?.trim_end_matches(['\r', '\n']).to_owned();
        config.login = Some(Login { user: user.clone(), password });
    }
    Ok(config)
}

fn text(path: &Path) -> Result<String, StartError> {
    let unreadable = |source| StartError::Directory { path: PathBuf::from(path), source };
    fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use ocelot_proto::kit::clock::SystemClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_outlives_its_process_is_waited_for_and_one_that_stays_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let open = || open_embedded(directory.path(), &SystemClock);
        let earlier = open().await.unwrap();
        let refused = open().await.unwrap_err();
        assert!(matches!(&refused, Error::Unusable(why) if why.is::<InUse>()), "{refused}");
        let freed = async {
            tokio::time::sleep(LOCK_PATIENCE / 2).await;
            drop(earlier);
        };
        let (opened, ()) = tokio::join!(open(), freed);
        opened.unwrap();
    }
}
