//! The executor as one piece that a program starts: `ocelot-executor` and `ocelot up` alike.

mod logs;
pub(crate) mod parts;
mod register;
mod registration;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ocelot_core::id::ExecutorId;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::kit::shutdown::Tasks;
use tokio::sync::{Notify, oneshot, watch};

use crate::attempt::driver::Shared;
use crate::attempt::ports::Logs;
use crate::attempt::ready::Ready;
use crate::boot::{BootClock, MachineBootClock};
use crate::checkout::Checkouts;
use crate::collect::Collector;
use crate::connection::{Credential, Fingerprint, InvalidAddress, Line, Proxies, Route, Trust, TrustError};
use crate::disk::MachineDisk;
use crate::identity::{Key, KeyError};
use crate::journal::{Journal, JournalError};
use crate::runtime::Runtime;
use crate::runtime::docker::usual_socket;
use crate::runtimes::Runtimes;
use crate::session::{Board, Rules, Speech, Stopped, run};

pub use crate::collect::{Limits, Report};
pub use crate::session::Leave;
pub use register::{Register, RegisterError, Registered, register};
pub use registration::{Registration, RegistrationError};

/// So many containers wait at most, where nobody says otherwise.
const WARM_USUAL: u32 = 4;

/// Which runtimes are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// A container engine if there is one, and processes if that is allowed.
    #[default]
    Auto,
    Docker,
    Process,
}

/// How the executor reaches its controllers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Addresses of controllers; empty: those of the registration.
    pub controllers: Vec<String>,
    /// A file of authorities; none: the registration's fingerprint, or what the machine trusts.
    pub ca: Option<PathBuf>,
    pub proxies: Proxies,
}

/// What an executor is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Journal, key, attempts: all that is kept.
    pub data: PathBuf,
    pub reach: Reach,
    /// Attempts at a time; none: as it was registered. More than that are never offered.
    pub slots: Option<u32>,
    /// Containers that are started before a task needs them; none: one for each slot, and four at most.
    pub warm: Option<u32>,
    /// With fewer bytes free, no work is taken.
    pub disk_floor: u64,
    /// What its things may take, and when they make room.
    pub limits: Limits,
    pub runtime: RuntimeChoice,
    /// The engine's socket.
    pub engine: PathBuf,
    /// Tasks may run without a container.
    pub allow_process: bool,
    /// How long attempts may go on when the program ends, before they are left to the next start.
    pub drain_grace: Duration,
    /// Which repositories may be checked out beyond those over https and ssh.
    pub repositories: ocelot_git::Allowed,
    /// When it ends without being told to.
    pub leave: Leave,
}

impl Settings {
    /// Returns the settings that are in force where nobody says otherwise.
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            reach: Reach::default(),
            slots: None,
            warm: None,
            disk_floor: 2 << 30,
            limits: Limits::default(),
            runtime: RuntimeChoice::Auto,
            engine: usual_socket(None),
            allow_process: false,
            drain_grace: Duration::from_secs(30),
            repositories: ocelot_git::Allowed::default(),
            leave: Leave::default(),
        }
    }
}

/// Makes what makes logs, which go to the controllers over this line.
pub type MakeLogs = Box<dyn FnOnce(Arc<Line>, &Tasks) -> Arc<dyn Logs> + Send>;

/// What an executor is put together from, beside what is always the same.
pub struct Parts {
    pub runtimes: Vec<Arc<dyn Runtime>>,
    pub logs: MakeLogs,
    pub clock: Arc<dyn Clock>,
    pub boot: Arc<dyn BootClock>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("runtimes", &self.runtimes).finish_non_exhaustive()
    }
}

/// An executor at work.
#[derive(Debug)]
pub struct Started {
    pub executor: ExecutorId,
    pub name: String,
    /// Says why it stopped, once it did.
    pub stopped: oneshot::Receiver<Stopped>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "{data} holds no executor: register it first, with the command that `ocelot executor token` prints",
        data = data.display()
    )]
    NotRegistered { data: PathBuf },
    #[error("the directory {path} cannot be used", path = path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("no runtime can be used")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Address(#[from] InvalidAddress),
}

/// Starts an executor that was registered. What it does goes on in `tasks`.
pub async fn start(settings: Settings, tasks: &Tasks) -> Result<Started, StartError> {
    let journal = Journal::open_when_free(&own_directory(&settings.data)?, Arc::new(MachineDisk)).await?;
    let identity = journal.state().identity;
    let not_registered = || StartError::NotRegistered { data: settings.data.clone() };
    let executor = identity.ok_or_else(not_registered)?.executor;
    let parts = parts::standard(&settings, executor)?;
    start_on(journal, settings, parts, tasks).await
}

/// Starts an executor of these parts.
pub async fn start_with(settings: Settings, parts: Parts, tasks: &Tasks) -> Result<Started, StartError> {
    let journal = Journal::open_when_free(&own_directory(&settings.data)?, Arc::new(MachineDisk)).await?;
    start_on(journal, settings, parts, tasks).await
}

async fn start_on(
    journal: Journal,
    settings: Settings,
    parts: Parts,
    tasks: &Tasks,
) -> Result<Started, StartError> {
    let data = own_directory(&settings.data)?;
    let attempts = own_directory(&data.join("attempts"))?;
    let registration =
        Registration::read(&data)?.ok_or_else(|| StartError::NotRegistered { data: data.clone() })?;
    let identity = journal.state().identity;
    let identity = identity.ok_or_else(|| StartError::NotRegistered { data: data.clone() })?;
    let key = Key::open(&data.join(&identity.key_file))?;
    let routes = routes(&settings.reach, &registration)?;
    let credential = Credential::default();
    let line = Arc::new(Line::new(routes.clone(), credential.clone()));
    let runtimes = Arc::new(Runtimes::new(parts.runtimes));
    runtimes.check().await;
    let memory = memory_directory(identity.executor)?;
    let checkouts =
        Checkouts::new(&data, &git_memory(&memory), settings.repositories, Arc::clone(&parts.clock));
    let checkouts = Arc::new(checkouts);
    let shared = Arc::new(Shared {
        journal,
        logs: (parts.logs)(Arc::clone(&line), tasks),
        line,
        runtimes: Arc::clone(&runtimes),
        clock: Arc::clone(&parts.clock),
        boot: parts.boot,
        board: Arc::new(Board::default()),
        attempts,
        ready: Ready::default(),
        memory,
        checkouts: Arc::clone(&checkouts),
        signs: Arc::default(),
        poll: AtomicU64::new(0),
        beat: Arc::new(Notify::new()),
        live: watch::Sender::new(false),
        reopen: Arc::new(Notify::new()),
        failed: Arc::new(Notify::new()),
        over: watch::Sender::new(false),
    });
    let slots = settings.slots.unwrap_or(registration.slots);
    let rules = Rules {
        slots: usize::try_from(slots).unwrap_or(usize::MAX),
        warm: usize::try_from(warm(&settings, slots)).unwrap_or(usize::MAX),
        disk_floor: settings.disk_floor,
        allow_process: settings.allow_process || settings.runtime == RuntimeChoice::Process,
        drain_grace: settings.drain_grace,
        leave: settings.leave,
    };
    let speech = Speech::new(Arc::clone(&shared), credential, (identity.executor, key), data, rules);
    watch_runtimes(&shared, &runtimes, tasks);
    let holding = Arc::clone(&shared);
    let collector = Collector {
        data: settings.data,
        floor: settings.disk_floor,
        limits: settings.limits,
        incarnation: shared.journal.incarnation().0,
        holds: Box::new(move || held(&holding.journal)),
        signs: Arc::clone(&shared.signs),
        runtimes: Arc::clone(&runtimes),
        checkouts,
        clock: Arc::clone(&shared.clock),
    };
    collect(&shared, collector, tasks);
    let (tell, stopped) = oneshot::channel();
    let own = tasks.clone();
    tasks.spawn("session", async move {
        let stopped = run(Arc::new(speech), routes, own).await;
        // Nobody may be waiting for it.
        drop(tell.send(stopped));
    });
    Ok(Started { executor: identity.executor, name: registration.name, stopped })
}

/// Returns how many containers may wait. One that carries a single attempt through needs none.
fn warm(settings: &Settings, slots: u32) -> u32 {
    if settings.leave.once { 0 } else { settings.warm.unwrap_or(slots.min(WARM_USUAL)) }
}

fn collect(shared: &Arc<Shared>, collector: Collector, tasks: &Tasks) {
    let mut over = shared.over.subscribe();
    tasks.spawn("collect", async move {
        tokio::select! {
            () = collector.keep() => {}
            _ = over.wait_for(|over| *over) => {}
        }
    });
}

fn watch_runtimes(shared: &Arc<Shared>, runtimes: &Arc<Runtimes>, tasks: &Tasks) {
    let (shared, runtimes) = (Arc::clone(shared), Arc::clone(runtimes));
    tasks.spawn("runtimes", async move {
        let mut over = shared.over.subscribe();
        let changed = || {
            shared.beat.notify_one();
            if runtimes.has_news() {
                shared.reopen.notify_one();
            }
        };
        tokio::select! {
            () = runtimes.watch(Arc::clone(&shared.clock), changed) => {}
            _ = over.wait_for(|over| *over) => {}
        }
    });
}

/// Returns the directories of all attempts that are held.
fn held(journal: &Journal) -> BTreeSet<PathBuf> {
    journal.state().attempts.into_iter().map(|held| held.accepted.directory).collect()
}

/// Does one pass of collection by hand, on an executor that does not run; a dry one only says what it
/// would do.
pub async fn collect_now(settings: Settings, dry: bool) -> Result<Report, StartError> {
    let data = settings.data.canonicalize();
    let data = data.map_err(|source| StartError::Directory { path: settings.data.clone(), source })?;
    let journal = Journal::open(&data, Arc::new(MachineDisk))?;
    let identity =
        journal.state().identity.ok_or_else(|| StartError::NotRegistered { data: data.clone() })?;
    let Parts { runtimes, clock, .. } = parts::standard(&settings, identity.executor)?;
    let runtimes = Arc::new(Runtimes::new(runtimes));
    runtimes.check().await;
    let memory = memory_directory(identity.executor)?;
    let checkouts = Checkouts::new(&data, &git_memory(&memory), settings.repositories, Arc::clone(&clock));
    let collector = Collector {
        data,
        floor: settings.disk_floor,
        limits: settings.limits,
        incarnation: journal.incarnation().0,
        holds: Box::new(move || held(&journal)),
        signs: Arc::default(),
        runtimes,
        checkouts: Arc::new(checkouts),
        clock,
    };
    Ok(collector.pass(dry).await)
}

/// Returns the ways to the controllers.
pub(crate) fn routes(reach: &Reach, registration: &Registration) -> Result<Vec<Route>, StartError> {
    let trust = match (&reach.ca, registration.fingerprint) {
        (Some(path), _) => Trust::File(path.clone()),
        (None, Some(fingerprint)) => Trust::Fingerprint(Fingerprint(fingerprint)),
        (None, None) => Trust::System,
    };
    let addresses = match reach.controllers.is_empty() {
        true => &registration.controllers,
        false => &reach.controllers,
    };
    Ok(ways(addresses, &trust, &reach.proxies)?)
}

fn ways(addresses: &[String], trust: &Trust, proxies: &Proxies) -> Result<Vec<Route>, WaysError> {
    let tls = trust.config()?;
    let routes: Result<Vec<_>, _> = addresses
        .iter()
        .map(|address| Route::new(address, &tls, proxies.for_address(address).cloned()))
        .collect();
    let routes = routes?;
    if routes.is_empty() {
        return Err(InvalidAddress::none().into());
    }
    Ok(routes)
}

/// Why there is no way to the controllers.
#[derive(Debug, thiserror::Error)]
pub enum WaysError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Address(#[from] InvalidAddress),
}

impl From<WaysError> for StartError {
    fn from(error: WaysError) -> Self {
        match error {
            WaysError::Trust(error) => Self::Trust(error),
            WaysError::Address(error) => Self::Address(error),
        }
    }
}

/// Makes a directory of the owner alone, unless it is there, and returns its absolute path.
fn own_directory(path: &Path) -> Result<PathBuf, StartError> {
    let directory = |source| StartError::Directory { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(directory)?;
    path.canonicalize().map_err(directory)
}

/// Secrets in files lie in memory, where the machine has room for that.
fn memory_directory(executor: ExecutorId) -> Result<PathBuf, StartError> {
    let user = rustix::process::geteuid().as_raw();
    own_directory(&Path::new("/dev/shm").join(format!("ocelot-{user}-{executor}")))
}

/// Beside the executor's own, since git runs as another account.
fn git_memory(own: &Path) -> PathBuf {
    let mut name = own.file_name().unwrap_or_default().to_owned();
    name.push("-git");
    own.with_file_name(name)
}

impl Parts {
    /// Puts the machine's clocks to these.
    pub fn new(runtimes: Vec<Arc<dyn Runtime>>, logs: MakeLogs) -> Self {
        Self { runtimes, logs, clock: Arc::new(SystemClock), boot: Arc::new(MachineBootClock) }
    }
}
