//! What the first stage waits for beside its container: services, and what its workspace is filled with.
//!
//! They begin with the container, and the machine hears of them only when it asks: so it need not know
//! which of them was first.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, abortable};
use ocelot_core::frame::Offset;
use ocelot_core::plan::Ready;
use ocelot_git::{Credentials, Owner};
use ocelot_proto::kit::chaos;
use tokio::sync::{mpsc, watch};

use super::stops::Stop;
use super::{Done, Driver, LogPlace, Sealing};
use crate::attempt::Failure;
use crate::attempt::files::identity;
use crate::attempt::service::{Begin, Minder, News, Wishes};
use crate::attempt::state::{BootTime, Cause, Event};
use crate::checkout::Order;
use crate::journal::Container;
use crate::mask::Masker;
use crate::objects::fills;
use crate::runtime::{Launch, Runtime, ServiceLaunch, Tell};

/// News of services that may wait.
const NEWS_MAX: usize = 64;

/// How far everything beside the container is.
pub(super) struct Setup {
    companions: Vec<Companion>,
    pub(super) news: mpsc::Receiver<(u16, News)>,
    sender: mpsc::Sender<(u16, News)>,
    workspace: Workspace,
    /// Stops its being filled.
    abort: Option<AbortHandle>,
    /// How much is known of the environment that the workspace's owner is of.
    known: watch::Sender<Known>,
    /// The machine wants to know.
    asked: bool,
    /// Of the first thing that will never be there.
    failure: Option<Cause>,
}

/// How far the workspace is: its commit, what the task needs of others, its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workspace {
    /// It is too early.
    Untouched,
    /// What opens the repository has not come.
    Waits,
    Filling,
    Filled,
}

/// How far the environment of the task is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Nothing,
    Image,
    Container(Container),
}

/// One service that is looked after.
struct Companion {
    name: String,
    ready: bool,
    over: bool,
    wishes: watch::Sender<Wishes>,
    abort: AbortHandle,
}

impl Default for Setup {
    fn default() -> Self {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        Self {
            companions: Vec::new(),
            news,
            sender,
            workspace: Workspace::Untouched,
            abort: None,
            known: watch::Sender::new(Known::Nothing),
            asked: false,
            failure: None,
        }
    }
}

impl Setup {
    fn wish(&self, change: impl Fn(&mut Wishes)) {
        self.companions.iter().for_each(|companion| companion.wishes.send_modify(&change));
    }

    pub(super) fn vouch(&self, deadline: BootTime) {
        self.wish(|wishes| wishes.deadline = wishes.deadline.max(deadline));
    }

    pub(super) fn stop(&self) {
        self.wish(|wishes| wishes.stop = true);
    }

    pub(super) fn taken(&self, service: u16, offset: Offset) {
        if let Some(companion) = self.companions.get(usize::from(service)) {
            companion.wishes.send_modify(|wishes| wishes.taken = wishes.taken.max(offset));
        }
    }

    pub(super) fn know_image(&self) {
        self.known.send_replace(Known::Image);
    }

    pub(super) fn know_container(&self, container: &Container) {
        self.known.send_replace(Known::Container(container.clone()));
    }

    pub(super) fn stop_checkout(&mut self) {
        if let Some(abort) = self.abort.take() {
            abort.abort();
        }
    }

    /// Nothing of any service runs, as far as is known.
    pub(super) fn is_over(&self) -> bool {
        self.companions.iter().all(|companion| companion.over)
    }

    /// Leaves them to whoever removes them.
    pub(super) fn give_up(&mut self) {
        self.companions.drain(..).for_each(|companion| companion.abort.abort());
        self.stop_checkout();
    }
}

impl Driver {
    pub(super) fn service_launch(&self, place: usize, deadline: BootTime) -> Option<ServiceLaunch> {
        let service = self.plan.environment.services.get(place)?;
        Some(ServiceLaunch {
            task: self.places.control(),
            service: service.clone(),
            control: self.places.service(place),
            mounts: self.service_mounts.get(place).cloned().unwrap_or_default(),
            login: self.secrets.login(service.pull_secret.as_deref()),
            deadline,
        })
    }

    /// Looks after every service from here on.
    pub(super) fn begin_services(&mut self, begin: Begin) {
        let Some(runtime) = self.runtime.clone() else { return };
        let deadline = self.deadline.unwrap_or(BootTime(0));
        for place in 0..self.plan.environment.services.len() {
            let Some(launch) = self.service_launch(place, deadline) else { continue };
            let Ok(number) = u16::try_from(place) else { continue };
            let service = &launch.service;
            let mut env = service.env.clone();
            let files = self.secret_place().of_service(place);
            env.extend(self.secrets.variables(&service.secrets, &files));
            let patience = match &service.ready {
                Ready::Started => self.plan.limits.timeout,
                Ready::Port { timeout, .. } | Ready::Command { timeout, .. } => *timeout,
            };
            let name = service.name.clone();
            let (wishes, wished) = watch::channel(Wishes { deadline, taken: Offset(0), stop: false });
            let minder = Minder {
                runtime: Arc::clone(&runtime),
                clock: Arc::clone(&self.shared.clock),
                identity: identity(self.id),
                env,
                grace: self.plan.limits.grace,
                // The task's own limit is over before a longer one.
                patience: patience.min(self.plan.limits.timeout),
                wishes: wished,
                news: self.setup.sender.clone(),
                place: number,
                launch,
            };
            let (minding, abort) = abortable(minder.run(begin));
            self.work(async move {
                match minding.await {
                    // Over, it has said so; given up, nobody listens.
                    Ok(()) | Err(_) => Done::Nothing,
                }
            });
            self.setup.companions.push(Companion { name, ready: false, over: false, wishes, abort });
        }
    }

    /// The machine asks for all that the first stage needs.
    pub(super) fn set_up(&mut self) {
        self.setup.asked = true;
        if let Some(container) = &self.container {
            self.setup.know_container(container);
        }
        if self.setup.workspace == Workspace::Untouched {
            // After a restart: what the process before it finished says so itself.
            match self.places.checked_out().exists() {
                true => self.setup.workspace = Workspace::Filled,
                false => self.fill_workspace(),
            }
        }
        self.tell_setup();
    }

    /// Begins to fill the workspace, as soon as the repository can be opened.
    pub(super) fn fill_workspace(&mut self) {
        let checkout = self.offered.checkout(&self.plan);
        if checkout.is_none() && !fills(&self.plan) {
            self.setup.workspace = Workspace::Filled;
            return;
        }
        let credentials = self.secrets.checkout();
        let is_locked = checkout.is_some_and(|(source, _)| source.needs_credentials);
        if is_locked && matches!(credentials, Credentials::None) {
            self.setup.workspace = Workspace::Waits;
            return;
        }
        let Some(runtime) = self.runtime.clone() else { return };
        let order = checkout.map(|(source, wanted)| Order {
            source: source.clone(),
            wanted: wanted.clone(),
            credentials,
            workspace: self.places.workspace(),
        });
        self.setup.workspace = Workspace::Filling;
        let (shared, lines, done) = (self.shared.clone(), self.lines.clone(), self.places.checked_out());
        let (hands, launch, known) = (self.hands(), self.launch(BootTime(0)), self.setup.known.clone());
        let (filling, abort) = abortable(async move {
            let noted = |error: std::io::Error| {
                let why = format!("how far the workspace is cannot be noted: {error}");
                Stop::Cause(Cause::Platform { why })
            };
            // One that is begun again is not done, whoever finished another before.
            match tokio::fs::remove_file(&done).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(noted(error)),
                Ok(()) | Err(_) => {}
            }
            let owner = || owner(runtime.clone(), launch.clone(), known.subscribe());
            if let Some(order) = order {
                shared.checkouts.place(&order, owner(), &*lines).await.map_err(Stop::Cause)?;
                chaos::point("checkout.placed");
            }
            hands.fill(owner()).await?;
            // Only a process that died looks for it, so it need not survive a power cut.
            tokio::fs::write(&done, b"").await.map_err(noted)
        });
        self.setup.abort = Some(abort);
        self.work(async move {
            match filling.await {
                Ok(filled) => Done::Filled(filled),
                Err(_aborted) => Done::Nothing,
            }
        });
    }

    /// What opens the repository has come, if anything does.
    pub(super) fn opened(&mut self) {
        if self.setup.workspace == Workspace::Waits {
            self.fill_workspace();
        }
    }

    pub(super) fn filled(&mut self, filled: Result<(), Stop>) {
        self.setup.abort = None;
        match filled {
            Ok(()) => {
                self.setup.workspace = Workspace::Filled;
                self.tell_setup();
            }
            Err(Stop::Fenced) => self.event(Event::Fenced),
            Err(Stop::Cause(cause)) => {
                // Before anything is started it is heard at once; later, when it is asked for.
                self.stop_preparing();
                self.event(Event::NotPrepared(cause.clone()));
                self.fail_setup(cause);
            }
        }
    }

    fn tell_setup(&mut self) {
        if !self.setup.asked {
            return;
        }
        if let Some(cause) = self.setup.failure.clone() {
            self.setup.asked = false;
            return self.event(Event::NotSetUp(cause));
        }
        let ready = self.setup.companions.iter().all(|companion| companion.ready);
        // After a restart nothing is known of them before somebody looked.
        let known = self.setup.companions.len() == self.plan.environment.services.len();
        if ready && known && self.setup.workspace == Workspace::Filled {
            self.setup.asked = false;
            self.event(Event::SetUp);
        }
    }

    pub(super) fn hear_service(&mut self, place: u16, news: News) {
        let Some(companion) = self.setup.companions.get_mut(usize::from(place)) else { return };
        let name = companion.name.clone();
        match news {
            News::Up => self.follow_service(usize::from(place)),
            News::Captured(end) => {
                if let LogPlace::Ready(log) = &self.log {
                    log.service_captured(place, end);
                }
            }
            News::Ready { after } => {
                companion.ready = true;
                self.lines.line(&format!("service {name} is ready after {}", seconds(after)));
                self.tell_setup();
            }
            News::Unready { why, said } => {
                let why = self.evidence(&name, &why, &said);
                self.fail_setup(Cause::Failed(Failure::Setup { why }));
            }
            News::Failed(cause) => self.fail_setup(of_service(&name, cause)),
            News::Ended { how } if self.sealing == Sealing::No => {
                self.lines.line(&format!("service {name} {how}"));
            }
            News::Ended { .. } => {}
            News::Over => {
                companion.over = true;
                self.part_swept();
            }
        }
    }

    fn fail_setup(&mut self, cause: Cause) {
        if let Cause::Failed(Failure::Setup { why } | Failure::Image { why }) = &cause {
            self.lines.line(why);
        }
        self.setup.failure.get_or_insert(cause);
        self.tell_setup();
    }

    /// Says why a service failed, with what it said, masked like everything else that leaves here.
    fn evidence(&self, name: &str, why: &str, said: &str) -> String {
        let masker = self.mask_set().map(Masker::new);
        let shown = match masker {
            Ok(Ok(masker)) if self.knows_masks() => masker.text(said),
            // Without a mask nothing is quoted.
            Ok(Ok(_) | Err(_)) | Err(_) => return format!("service {name} {why}; its log says more"),
        };
        match shown.lines().collect::<Vec<_>>().join(" / ") {
            lines if lines.is_empty() => format!("service {name} {why}; it said nothing"),
            lines => format!("service {name} {why}; it said last: {lines}"),
        }
    }

    /// Reads what a service says into the log, from where the log has it.
    pub(super) fn follow_service(&self, place: usize) {
        let (LogPlace::Ready(log), Ok(number)) = (&self.log, u16::try_from(place)) else { return };
        let control = self.places.service(place);
        if control.is_dir() {
            log.follow_service(number, &control);
        }
    }

    /// The same for those that another process began, whatever is left of them.
    pub(super) fn follow_services(&self) {
        (0..self.plan.environment.services.len()).for_each(|place| self.follow_service(place));
    }
}

/// Returns whose the workspace is, as soon as that can be known.
async fn owner(
    runtime: Arc<dyn Runtime>,
    launch: Launch,
    mut known: watch::Receiver<Known>,
) -> Result<Option<Owner>, Cause> {
    let gone = |_| Cause::Platform { why: "the attempt is over".to_owned() };
    known.wait_for(|known| *known != Known::Nothing).await.map_err(gone)?;
    let (uid, gid) = match runtime.owner(&launch) {
        Some(owner) => owner,
        None => {
            let is_up = |known: &Known| matches!(known, Known::Container(_));
            let up = known.wait_for(is_up).await.map_err(gone)?.clone();
            let Known::Container(container) = up else { return Ok(None) };
            runtime.owner_in(&launch, &container).await?
        }
    };
    // Nobody but root gives files away.
    Ok(rustix::process::geteuid().is_root().then_some(Owner { uid, gid }))
}

fn of_service(name: &str, cause: Cause) -> Cause {
    match cause {
        Cause::Platform { why } => Cause::Platform { why: format!("service {name}: {why}") },
        Cause::Failed(failure) => Cause::Failed(failure),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
