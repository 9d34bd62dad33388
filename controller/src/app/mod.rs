//! A controller put together: store, logs, use cases, services, one listener.
//!
//! `ocelot-controller` and the programs that carry a controller inside start this very code. What is
//! not there yet is waited for, loudly, with the listener open so that `/readyz` can say what is
//! missing; only what no waiting can mend is an error.

mod bytes;
mod certificate;
mod chance;
mod disk;
pub mod doctor;
mod health;
mod late;
mod outside;
mod presence;
mod rest;
mod seal;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ocelot_domain::placement::Limits as PlacementLimits;
use ocelot_forge::secret::Secret as HookSecret;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire::admin_service_server::AdminServiceServer;
use ocelot_proto::wire::artifact_service_server::ArtifactServiceServer;
use ocelot_proto::wire::job_service_server::JobServiceServer;
use ocelot_proto::wire::project_service_server::ProjectServiceServer;
use ocelot_proto::wire::run_service_server::RunServiceServer;
use ocelot_proto::wire::schedule_service_server::ScheduleServiceServer;
use ocelot_proto::wire::secret_service_server::SecretServiceServer;

use crate::auth::{ApiTokens, Gate, NewApiToken, random_secret};
use crate::grpc::executor::{Executors, ObjectCalls};
use crate::grpc::{
    Admin, Artifacts, Client, Directory, Jobs, LogReaders, OwnToken, Peers, Projects, Schedules, Secrets,
};
use crate::hooks::Hooks;
use crate::http::{METRICS, Rest, scraped};
use crate::metrics::{Exposition, Metered, StoreMetrics};
use crate::reconcile::{self, Keep};
use crate::seal::{KeyId, SourceError};
use crate::server::{
    Certificate, CertificateError, Fingerprint, Limits, ListenError, Listener, MESSAGE_BYTES_MAX, RequestIds,
    Routes, Transport,
};
use crate::service::logs::{Logs, MachineDisk, Retention, Settings as LogSettings, SyncPolicy};
use crate::service::objects::Objects;
use crate::service::{AskService, Ed25519, MIRRORS_BYTES, Mirrors, Parts, Service};
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;
use crate::store::update::Chance;

pub use certificate::certificate;
pub use outside::OutsideError;
pub use settings::{EtcdSettings, InvalidSettings, Settings, StoreSettings};

use chance::SystemChance;
use health::AppHealth;
use late::LateStore;
use store::Opened;

/// A running controller.
#[derive(Debug)]
pub struct Started {
    /// What it listens on.
    pub address: SocketAddr,
    /// How it is reached by others.
    pub url: String,
    /// Of the certificate that it shows; none in plain text on loopback.
    pub fingerprint: Option<Fingerprint>,
    /// The text of the fleet's first API token, if this start made it. It is nowhere else.
    pub first_token: Option<FirstToken>,
    /// The use cases, for a program that carries this controller inside.
    pub service: Arc<Service>,
    /// The tokens, for the same.
    pub tokens: Arc<ApiTokens>,
    /// The logs, for the same.
    pub logs: Arc<Logs>,
    store: Opened,
}

/// The text of a token, which is not printed by accident.
#[derive(Clone)]
pub struct FirstToken(String);

impl FirstToken {
    /// Returns the text itself, to hand it to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for FirstToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstToken")
    }
}

/// Why a controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    #[error("{} cannot be used", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the certificate cannot be used")]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the store cannot be used")]
    Store(#[source] crate::store::Error),
    #[error("the logs cannot be kept")]
    Logs(#[from] crate::service::logs::Error),
    #[error("the home of bytes cannot be used")]
    Home(#[from] crate::bytes::Error),
    #[error(transparent)]
    Seal(#[from] SourceError),
    #[error(
        "this is not the fleet's seal key: its secrets are sealed with key {fleets}, and this controller \
         was given {given}; start it with the key that the other controllers have"
    )]
    WrongSeal { fleets: KeyId, given: KeyId },
    #[error("the store's record of the fleet's seal key was changed: no key opens it")]
    BrokenSeal,
    #[error("the first API token could not be made")]
    FirstToken(#[from] crate::auth::Error),
    #[error("the controller could not be announced to the others")]
    Announce(#[from] crate::service::Error),
    #[error("nothing can be called")]
    Outside(#[source] OutsideError),
    #[error("it was asked to stop before it had started")]
    Stopped,
}

impl Started {
    /// Closes the store. Call it when the tasks have ended.
    pub async fn close(self) {
        let Self { store, service, tokens, logs, .. } = self;
        drop((service, tokens, logs));
        store.close().await;
    }
}

/// Starts a controller. Its tasks end when these drain.
pub async fn start(settings: Settings, tasks: &Tasks) -> Result<Started, StartError> {
    start_on(None, settings, tasks).await
}

/// Starts on a store that is open already, or opens its own.
async fn start_on(
    given: Option<Arc<EmbeddedStore>>,
    settings: Settings,
    tasks: &Tasks,
) -> Result<Started, StartError> {
    let own = Own::prepare(&settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let transport = own.transport(&settings, Arc::clone(&clock), tasks)?;
    let listener = Listener::bind(settings.listen, transport.clone(), Limits::default()).await?;
    let (address, url) = (listener.address(), settings.url(listener.address()));
    let fingerprint = match &transport {
        Transport::Plain => None,
        Transport::Tls(certificate) => Some(certificate.fingerprint()),
    };

    let late = Arc::new(LateStore::default());
    let home = bytes::open(&settings)?;
    let joined = join(&settings, &own, (&late, &home), (&clock, tasks))?;
    joined.service.set_url(&url);
    joined.service.set_objects(Objects::new(Arc::clone(&home.plans), settings.objects));
    let (outside, line) = outside::open(&settings, &clock)?;
    let mirrors = Mirrors::new(settings.data.join("git"), settings.repositories, MIRRORS_BYTES);
    joined.service.set_mirrors(mirrors.guarded(outside::guard(&outside)));
    joined.service.set_forge_line(line);
    let source = seal::source(&settings, &home.path);
    let keys = source.keys(random_secret).await?;
    let directory = Directory { url: url.clone(), fingerprint: fingerprint.map(|one| one.0) };
    let health =
        Arc::new(AppHealth::new(Arc::clone(&late), &joined.service, home.path.clone(), tasks.clone()));
    let open = settings.metrics_open;
    listener.serve(routes(&joined, directory, &clock, (health, open), tasks), Arc::clone(&clock), tasks);
    tracing::info!(%address, %url, "the controller listens on {address}");

    let opened = match given {
        Some(given) => Opened::given(given, &late),
        None => store::open(&settings, &late, (clock.as_ref(), tasks)).await?,
    };
    bytes::is_the_fleets(&home, late.as_ref(), (clock.as_ref(), tasks)).await?;
    seal::are_the_fleets(&joined.service, &keys, (clock.as_ref(), tasks)).await?;
    joined.service.set_seal(keys);
    seal::follow(&joined.service, source, &clock, tasks);
    run(&joined, &settings, &home, &clock, tasks).await;
    outside::follow(&joined.service, outside, tasks);
    opened.upkeep(&own.name, &clock, tasks);
    let certificate = match transport {
        Transport::Plain => None,
        Transport::Tls(certificate) => Some(certificate),
    };
    let presence =
        presence::Own { name: own.name, url: url.clone(), token: joined.token.clone(), certificate };
    presence::announce(&joined.service, presence, &clock, tasks).await?;
    joined.service.loaded().await;
    // Last: the token is told once, by a controller that runs.
    let new = NewApiToken { name: "first".into(), person: "admin".into(), expires_in: None };
    let first = joined.tokens.create_first(new, random_secret()).await?;
    Ok(Started {
        address,
        url,
        fingerprint,
        first_token: first.map(|token| FirstToken(token.reveal().to_owned())),
        service: joined.service,
        tokens: joined.tokens,
        logs: joined.logs,
        store: opened,
    })
}

/// The parts that know each other.
#[derive(Debug)]
struct Joined {
    service: Arc<Service>,
    logs: Arc<Logs>,
    tokens: Arc<ApiTokens>,
    peers: Arc<Peers>,
    token: OwnToken,
    chance: Arc<SystemChance>,
    exposition: Arc<Exposition>,
}

fn join(
    settings: &Settings,
    own: &Own,
    (late, home): (&Arc<LateStore>, &bytes::Homes),
    (clock, tasks): (&Arc<dyn Clock>, &Tasks),
) -> Result<Joined, StartError> {
    let counted = StoreMetrics::default();
    let store: Arc<dyn Store> =
        Arc::new(Metered::new(Arc::clone(late) as _, counted.clone(), Arc::clone(clock)));
    let chance = Arc::new(SystemChance);
    let ask = Arc::new(AskService::default());
    let logs = Arc::new(Logs::open(LogSettings {
        directory: settings.own_logs(),
        disk: Arc::new(MachineDisk),
        clock: Arc::clone(clock),
        holders: Arc::clone(&ask) as _,
        sync: SyncPolicy::default(),
        retention: Retention::default(),
        home: home.shared.clone(),
    })?);
    let (service, follower) = Service::new(Parts {
        name: own.name.clone(),
        store: Arc::clone(&store),
        clock: Arc::clone(clock),
        chance: Arc::clone(&chance) as _,
        unguessable: Arc::clone(&chance) as _,
        verify: Arc::new(Ed25519),
        logs: Arc::clone(&logs) as _,
        plans: Arc::new(bytes::HomePlans::new(Arc::clone(&home.plans))),
        limits: PlacementLimits::default(),
    });
    ask.set(&service);
    let there = Arc::clone(late);
    tasks.spawn_beside("view", async move {
        there.there().await;
        follower.run().await;
    });
    let tokens = Arc::new(ApiTokens::new(store, Arc::clone(clock)));
    let token = OwnToken::make();
    let peers = Arc::new(Peers::new(Arc::clone(&service), token.clone()));
    let looked_at = rest::Looked { service: Arc::clone(&service), logs: Arc::clone(&logs) };
    let exposition = Exposition::new(service.metrics(), &counted, looked_at, Arc::clone(clock));
    Ok(Joined { service, logs, tokens, peers, token, chance, exposition: Arc::new(exposition) })
}

/// Returns everything that the listener answers.
fn routes(
    joined: &Joined,
    directory: Directory,
    clock: &Arc<dyn Clock>,
    (health, metrics_open): (Arc<AppHealth>, bool),
    tasks: &Tasks,
) -> Routes {
    let Joined { service, logs, tokens, peers, chance, exposition, .. } = joined;
    let readers = LogReaders::new(
        Arc::clone(service),
        Arc::clone(logs),
        Arc::clone(peers),
        Arc::clone(clock),
        tasks.clone(),
    );
    let rest = Rest::new(Arc::clone(service), Arc::new(rest::Readers(readers.clone())), tasks.clone());
    let client = Client::new(Arc::clone(service), readers, tasks.clone());
    let admin = Admin::new(Arc::clone(service), Arc::clone(tokens), Arc::clone(clock), directory);
    let jobs = Jobs::new(Arc::clone(service));
    let secrets = Secrets::new(Arc::clone(service));
    let projects = Projects::new(Arc::clone(service));
    let schedules = Schedules::new(Arc::clone(service));
    let decoy = random_secret().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let decoy = HookSecret::new(decoy).expect("64 digits are long enough for a secret");
    let hooks = Hooks::new(Arc::clone(service), Arc::clone(clock), decoy);
    let gate = Gate::new(Arc::clone(tokens), Arc::clone(service) as _);
    let gate = gate.with_controllers(Arc::clone(peers) as _);
    let executors = Executors::new(Arc::clone(service), Arc::clone(logs), gate.clone(), tasks.clone());
    let objects = ObjectCalls::new(Arc::clone(service), Arc::clone(clock), tasks.clone());
    let artifacts = Artifacts::new(Arc::clone(service), Arc::clone(clock), tasks.clone());
    let app = tonic::service::Routes::new(
        RunServiceServer::new(client).max_decoding_message_size(MESSAGE_BYTES_MAX),
    )
    .add_service(JobServiceServer::new(jobs).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .add_service(AdminServiceServer::new(admin).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .add_service(SecretServiceServer::new(secrets).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .add_service(ProjectServiceServer::new(projects).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .add_service(ScheduleServiceServer::new(schedules).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .add_service(executors.into_server())
    .add_service(objects.into_server())
    .add_service(ArtifactServiceServer::new(artifacts).max_decoding_message_size(MESSAGE_BYTES_MAX))
    .into_axum_router()
    .reset_fallback()
    .merge(hooks.router())
    .merge(rest.into_router())
    .merge(scraped(Arc::clone(exposition), metrics_open));
    let open: &[&str] = if metrics_open { &[METRICS] } else { &[] };
    Routes::with_open(app, gate, health, RequestIds::new(chance.number()), open)
}

/// Runs what goes on in the background.
async fn run(
    joined: &Joined,
    settings: &Settings,
    home: &bytes::Homes,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) {
    joined.tokens.run(tasks);
    joined.logs.run(tasks);
    let service = Arc::clone(&joined.service);
    tasks.spawn_beside("dispatch", async move { service.dispatch().await });
    let service = Arc::clone(&joined.service);
    tasks.spawn_beside("duties", async move { reconcile::run(&service, Keep::default()).await });
    let watched = vec![settings.data.clone(), settings.own_logs(), home.path.clone()];
    disk::watch(&joined.service, watched, clock, tasks).await;
}

/// What is this controller's own: its directory, its name.
#[derive(Debug)]
struct Own {
    name: String,
}

impl Own {
    const NAME_FILE: &str = "name";

    fn prepare(settings: &Settings) -> Result<Self, StartError> {
        settings.check()?;
        let directory = |source| StartError::Directory { path: settings.data.clone(), source };
        crate::bytes::files::ensure_directory(&settings.data).map_err(directory)?;
        if let Some(name) = &settings.name {
            return Ok(Self { name: name.clone() });
        }
        let path = settings.data.join(Self::NAME_FILE);
        let name = format!("controller-{:08x}", SystemChance.number() & 0xffff_ffff);
        match crate::bytes::files::create(&path, name.as_bytes(), crate::bytes::files::Access::Usual) {
            Ok(()) => Ok(Self { name }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let name = fs::read_to_string(&path).map_err(directory)?;
                Ok(Self { name: name.trim().to_owned() })
            }
            Err(error) => Err(directory(error)),
        }
    }

    fn transport(
        &self,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Transport, StartError> {
        let certificate = match &settings.certificate {
            Some((chain, key)) => Certificate::open(chain.clone(), key.clone())?,
            None if settings.listen.ip().to_canonical().is_loopback() => return Ok(Transport::Plain),
            None => Certificate::ensure(&settings.data, &settings.names())?,
        };
        let certificate = Arc::new(certificate);
        certificate.watch(clock, tasks);
        Ok(Transport::Tls(certificate))
    }
}
