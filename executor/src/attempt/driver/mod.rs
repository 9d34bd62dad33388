//! Carries one attempt through: feeds its machine with what happened, and does what it asks for.
//!
//! Everything of an attempt runs inside one task, so nothing waits for a hop between tasks. A driver
//! decides nothing about the attempt; what it keeps is only what an effect needs to be carried out.

mod adopt;
mod begin;
mod end;
mod journal;
mod lines;
mod objects;
mod parts;
mod secret;
mod setup;
mod shared;
mod start;
mod stops;
mod supervised;
mod talk;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::AbortHandle;
use futures_util::stream::FuturesUnordered;
use ocelot_core::frame::Offset;
use ocelot_core::plan::TaskPlan;
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::wire::held::Phase as WirePhase;
use ocelot_supervisor::protocol::Moment;
use tokio::sync::{Notify, mpsc};

use super::AttemptId;
use super::files::{Offered, Places};
use super::link::{Link, LinkError};
use super::ports::{LogNews, NewsSender};
use super::progress::{Clocks, Told};
use super::secrets::{self, Secrets};
use super::state::{AttemptState, BootTime, Effect, Event, Spec};
use crate::journal::{Accepted, Container, Entry};
use crate::runtime::{Given, Launch, Mount, Runtime};
pub use adopt::Left;
pub use shared::Shared;

use adopt::Up;
use parts::{Done, Files, LogPlace, Sealing, Wants};
use setup::Setup;

/// News of a log that may wait.
const NEWS_MAX: usize = 256;

/// Between two tries of something that did not work.
fn pace(first: Duration, longest: Duration) -> Policy {
    Policy::new(first, longest, 0.5).expect("the paces are written down in this module")
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// One attempt being carried through.
pub struct Driver {
    shared: Arc<Shared>,
    id: AttemptId,
    state: Option<AttemptState>,
    plan: Arc<TaskPlan>,
    offered: Arc<Offered>,
    accepted: Accepted,
    places: Places,
    runtime: Option<Arc<dyn Runtime>>,
    inbox: mpsc::Receiver<Event>,
    works: FuturesUnordered<Work>,
    queue: VecDeque<Entry>,
    writing: bool,
    preparing: Option<AbortHandle>,
    collecting: Option<AbortHandle>,
    restored: Arc<objects::Restored>,
    /// The image needs a login that has not come.
    prepare_waits: bool,
    /// Everything is ready but the log.
    prepared: bool,
    starting: Option<AbortHandle>,
    kill_waits: bool,
    files: Files,
    /// To be done once the files are there.
    prepare_wanted: bool,
    log_waits: bool,
    log: LogPlace,
    lines: Arc<lines::Lines>,
    news: mpsc::Receiver<(AttemptId, LogNews)>,
    news_sender: NewsSender,
    masks: Vec<Bytes>,
    /// This process was told what the run masks, and not one before it.
    acknowledged_here: bool,
    secrets: Secrets,
    mounts: Vec<Mount>,
    service_mounts: Vec<Vec<Mount>>,
    setup: Setup,
    container: Option<Container>,
    given: Given,
    link: Option<Link>,
    assigned: bool,
    /// The wanted stage was ordered on this connection.
    ordered: bool,
    captured: Offset,
    breaks: u32,
    wants: Wants,
    sealing: Sealing,
    /// What stages left running is ended, or its container is gone.
    task_swept: bool,
    deadline: Option<BootTime>,
    task_deadline: Option<Moment>,
    /// Someone was asked to vouch for this deadline.
    asked_for: Option<BootTime>,
    /// The result is durable.
    ended: bool,
    /// Secrets of stages to come are asked for again after a restart.
    fetching_again: bool,
    stage_waits: Option<u16>,
    told: Told,
    told_preparing: String,
    dirty: bool,
    reporting: bool,
    /// Woken when more of the log is safe.
    safer: Arc<Notify>,
    /// The controller missed a part of the log; so much of it one had when that was asked.
    log_was_incomplete: Option<Offset>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Driver {
    /// Begins with an offer that is not journalled yet, in a ready place or one that is still to be made.
    pub fn new(
        shared: Arc<Shared>,
        spec: Spec,
        (plan, offered): (TaskPlan, Offered),
        (accepted, is_ready): (Accepted, bool),
        inbox: mpsc::Receiver<Event>,
    ) -> Self {
        let state = AttemptState::accepting(spec);
        let mut driver = Self::build(shared, state, (plan, offered), accepted, inbox);
        driver.accept(is_ready);
        driver
    }

    /// Goes on with what another process left; the session's answer comes as an event.
    pub fn recovering(
        shared: Arc<Shared>,
        spec: Spec,
        (plan, offered): (TaskPlan, Offered),
        left: Left,
        inbox: mpsc::Receiver<Event>,
    ) -> Self {
        let state = AttemptState::recovering(spec, left.held.clone(), left.found.clone());
        let mut driver = Self::build(shared, state, (plan, offered), left.held.accepted.clone(), inbox);
        driver.was_written(&left.held.phase);
        driver.resume(left);
        driver
    }

    fn build(
        shared: Arc<Shared>,
        state: AttemptState,
        (plan, offered): (TaskPlan, Offered),
        accepted: Accepted,
        inbox: mpsc::Receiver<Event>,
    ) -> Self {
        let (news_sender, news) = mpsc::channel(NEWS_MAX);
        Self {
            id: state.spec().id,
            runtime: shared.runtimes.for_task(&plan.environment.runtime),
            places: Places { directory: accepted.directory.clone() },
            state: Some(state),
            plan: Arc::new(plan),
            offered: Arc::new(offered),
            accepted,
            inbox,
            works: FuturesUnordered::new(),
            queue: VecDeque::new(),
            writing: false,
            preparing: None,
            collecting: None,
            restored: Arc::default(),
            prepare_waits: false,
            prepared: false,
            starting: None,
            kill_waits: false,
            files: Files::Making,
            prepare_wanted: false,
            log_waits: false,
            log: LogPlace::None,
            lines: Arc::new(lines::Lines::default()),
            news,
            news_sender,
            masks: Vec::new(),
            acknowledged_here: false,
            secrets: Secrets::default(),
            mounts: Vec::new(),
            service_mounts: Vec::new(),
            setup: Setup::default(),
            container: None,
            given: Given::default(),
            link: None,
            assigned: false,
            ordered: false,
            captured: Offset(0),
            breaks: 0,
            wants: Wants::default(),
            sealing: Sealing::No,
            task_swept: false,
            deadline: None,
            task_deadline: None,
            asked_for: None,
            ended: false,
            fetching_again: false,
            stage_waits: None,
            told: Told::default(),
            told_preparing: String::new(),
            dirty: false,
            reporting: false,
            safer: Arc::new(Notify::new()),
            log_was_incomplete: None,
            shared,
        }
    }

    /// Runs until nothing of the attempt is left, or it is left as it is for the next process.
    pub async fn run(mut self) {
        let mut over = self.shared.over.subscribe();
        while !self.is_done() {
            let guard = self.guard_low_in();
            tokio::select! {
                biased;
                Some(done) = self.works.next(), if !self.works.is_empty() => self.take(done),
                heard = heard(&mut self.link) => self.hear(heard),
                Some(event) = self.inbox.recv() => self.event(event),
                Some((_, news)) = self.news.recv() => self.hear_news(news),
                Some((place, news)) = self.setup.news.recv() => self.hear_service(place, news),
                _ = over.wait_for(|over| *over) => return,
                () = self.shared.clock.sleep(guard.unwrap_or(Duration::MAX)), if guard.is_some() => {
                    self.asked_for = self.deadline;
                    self.event(Event::GuardLow);
                }
            }
            self.report_if_due();
        }
        self.shared.board.leave(self.id);
    }

    fn is_done(&self) -> bool {
        self.state.as_ref().is_none_or(AttemptState::is_done)
    }

    /// Lets something happen, and does what follows.
    fn event(&mut self, event: Event) {
        let Some(state) = self.state.take() else { return };
        if event == Event::Kept && self.container.is_some() {
            self.fetch_secrets_again();
        }
        tracing::trace!(attempt = %self.id, ?event, "happened");
        let (state, effects) = state.step(event, self.shared.boot.now());
        tracing::trace!(attempt = %self.id, ?state, ?effects, "so");
        self.state = Some(state);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(entry) => self.write(entry),
            Effect::Acknowledge { sent, repeat } => self.acknowledge(sent, repeat),
            Effect::FetchSecrets { repeat } => self.fetch_secrets(repeat),
            Effect::Prepare => self.prepare(),
            Effect::StopPreparing => self.stop_preparing(),
            Effect::StartContainer { deadline } => self.start(deadline),
            Effect::SetGuard { deadline } => self.set_guard(deadline),
            Effect::SetUp => self.set_up(),
            Effect::HeartbeatNow => self.shared.beat.notify_one(),
            Effect::RunStage { index } => self.run_stage(index),
            Effect::TellSkipped { index } => self.tell_skipped(index),
            Effect::CancelStage { index } => self.cancel_stage(index),
            Effect::Collect { success } => self.collect(success),
            Effect::StopCollecting => self.stop_collecting(),
            Effect::SealLog => self.seal(),
            Effect::KillContainer => self.kill(),
            Effect::RemoveContainer { keep } => self.remove(keep),
            Effect::PushLog { from } => self.push_log(from),
            Effect::Complete { ended, repeat } => self.complete(*ended, repeat),
            Effect::PushArtifact { artifact, repeat } => self.push_artifact(*artifact, repeat),
            Effect::DropSpool => self.drop_spool(),
            Effect::ConfirmFenced { repeat } => self.confirm_fenced(repeat),
        }
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Event(event) => self.event(event),
            Done::Written(written) => self.written(written),
            Done::NotWritten(entries, error) => self.not_written(entries, &error),
            Done::Acknowledged(masks) => self.acknowledged(masks),
            Done::Secrets(secrets, mounts, of_services) => {
                self.service_mounts = of_services;
                self.secrets_fetched(*secrets, mounts);
            }
            Done::NoSecrets(event) => self.secrets_not_fetched(event),
            Done::Log(log) => self.log_made(log),
            Done::Prepared => self.environment_prepared(),
            Done::Launched(up) => self.launched(*up),
            Done::NotLaunched(cause) => self.not_launched(cause),
            Done::Linked(up) => self.linked(up),
            Done::Looked(standing) => self.looked(standing),
            Done::SweepOver => self.swept(),
            Done::Filled(filled) => self.filled(filled),
            Done::StartTooLong => self.start_took_too_long(),
            Done::Files(made) => self.files_made(made),
            Done::Completed(answer, had) => self.completed(answer, had),
            Done::ReportDue => self.report(),
            Done::Reported => self.reporting = false,
            Done::Nothing => {}
        }
    }

    fn work(&self, work: impl Future<Output = Done> + Send + 'static) {
        self.works.push(Box::pin(work));
    }

    fn show(&self, phase: WirePhase) {
        self.shared.board.note_phase(self.id, phase);
    }

    fn clocks(&self) -> Clocks {
        Clocks { unix_us: self.shared.clock.wall().0, boot: self.shared.boot.now() }
    }

    fn launch(&self, deadline: BootTime) -> Launch {
        Launch {
            attempt: self.id,
            environment: self.plan.environment.clone(),
            resources: self.plan.resources.clone(),
            control: self.places.control(),
            workspace: self.places.workspace(),
            mounts: self.mounts.clone(),
            login: self.secrets.login(secrets::pull_secret(&self.plan)),
            deadline,
        }
    }
}

async fn heard(link: &mut Option<Link>) -> Result<super::link::Heard, LinkError> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}
