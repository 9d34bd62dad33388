//! A machine that a story writes: a runtime whose supervisors speak the real protocol over real
//! sockets, and outlive the executor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use ocelot_core::frame::{Exit, Offset};
use ocelot_executor::attempt::ports::{Log, LogFailed, Logs, NewsSender};
use ocelot_executor::attempt::state::Cause;
use ocelot_executor::attempt::{AttemptId, LogDigest, LogLoss};
use ocelot_executor::journal::Container;
use ocelot_executor::mask::MaskSet;
use ocelot_executor::runtime::{Given, Launch, Ours, Runtime, RuntimeError, Standing, Support, Tell};
use ocelot_supervisor::control::SOCKET;
use ocelot_supervisor::protocol::{
    CaptureState, Moment, Notice, Outcome, Request, Running, StageEnd, StageOrder, State, Stop, Usage,
    VERSION,
};
use ocelot_supervisor::wire::{Inbox, encode};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::controller::{PATIENCE, spawn};

/// What one supervisor has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) identity: Option<String>,
    pub(crate) deadline: u64,
    pub(crate) orders: Vec<StageOrder>,
    pub(crate) running: Option<u16>,
    pub(crate) ended: Vec<StageEnd>,
    pub(crate) alive: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) containers: BTreeMap<PathBuf, Seen>,
    /// What stages were given, in their order, also those whose container is gone.
    pub(crate) environments: Vec<BTreeMap<String, String>>,
    /// Stages end only when the story says so.
    pub(crate) held_stages: bool,
    /// Exit codes of stages, by their place; else 0.
    pub(crate) exits: BTreeMap<u16, i32>,
    /// Preparing waits until the story says otherwise.
    pub(crate) held_prepare: bool,
    pub(crate) held_start: bool,
    pub(crate) broken: bool,
    pub(crate) starts: u32,
    pub(crate) lines: Vec<String>,
    pub(crate) spools_dropped: u32,
    pub(crate) logs_begun: u32,
    pub(crate) logs_recovered: u32,
    pub(crate) logs_removed: u32,
    /// So much of a log a controller said to have.
    pub(crate) received: u64,
    /// From where it was told to be missing.
    pub(crate) missing: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Machine {
    facts: Arc<Mutex<Facts>>,
    changed: watch::Sender<u64>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { facts: Arc::default(), changed: watch::Sender::new(0) }
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts());
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Facts) -> bool) {
        if tokio::time::timeout(PATIENCE, self.wait(holds)).await.is_err() {
            panic!("the machine never came to this: {what}; {:?}", self.facts());
        }
    }

    /// Waits until the first stage of a task runs.
    pub(crate) async fn runs_a_stage(&self) {
        self.until("a stage", |facts| facts.containers.values().any(|seen| seen.running == Some(0))).await;
    }

    async fn wait(&self, holds: impl Fn(&Facts) -> bool) {
        let mut changed = self.changed.subscribe();
        while !holds(&self.facts()) {
            changed.changed().await.unwrap();
        }
    }

    /// The only container there is.
    pub(crate) fn seen(&self) -> Seen {
        self.facts().containers.values().next().cloned().unwrap_or_default()
    }

    /// Ends the container as a crash would.
    pub(crate) fn crash(&self) {
        self.set(|facts| facts.containers.values_mut().for_each(|seen| seen.alive = false));
    }

    fn seen_of(&self, control: &Path) -> Option<Seen> {
        self.facts().containers.get(control).cloned()
    }

    fn change(&self, control: &Path, change: impl FnOnce(&mut Seen)) {
        self.set(|facts| {
            if let Some(seen) = facts.containers.get_mut(control) {
                change(seen);
            }
        });
    }

    /// Serves one connection: what it is asked, and what it has seen that the other side has not heard.
    async fn serve(self, control: PathBuf, mut socket: UnixStream) {
        let Some(first) = self.seen_of(&control) else { return };
        let (mut inbox, mut out) = (Inbox::default(), Vec::new());
        let (mut told, mut started) = (first.ended.len(), first.running);
        encode(&Notice::State(Box::new(state(&first))), &mut out).unwrap();
        let mut changed = self.changed.subscribe();
        let mut buffer = [0; 4096];
        loop {
            while let Some(request) = inbox.next_message::<Request>().unwrap() {
                self.answer(&control, request, &mut out);
            }
            let Some(seen) = self.seen_of(&control).filter(|seen| seen.alive) else { return };
            if seen.running != started {
                started = seen.running;
                if let Some(stage) = seen.running {
                    encode(&Notice::Started { stage }, &mut out).unwrap();
                }
            }
            for end in &seen.ended[told..] {
                encode(&Notice::Ended(Box::new(end.clone())), &mut out).unwrap();
            }
            told = seen.ended.len();
            if socket.write_all(&out).await.is_err() {
                return;
            }
            out.clear();
            tokio::select! {
                read = socket.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) => inbox.push(&buffer[..count]),
                },
                _ = changed.changed() => {}
            }
        }
    }

    fn answer(&self, control: &Path, request: Request, out: &mut Vec<u8>) {
        encode(&Notice::Done, out).unwrap();
        match request {
            Request::Assign { identity, deadline } => self.change(control, |seen| {
                seen.identity = Some(identity);
                seen.deadline = seen.deadline.max(deadline.0);
            }),
            Request::Beat { deadline } => {
                self.change(control, |seen| seen.deadline = seen.deadline.max(deadline.0));
            }
            Request::RunStage(order) => {
                let (stage, env) = (order.stage, order.env.clone());
                let mut is_new = false;
                self.change(control, |seen| {
                    is_new = !seen.orders.contains(&order);
                    if is_new {
                        seen.orders.push(*order);
                        seen.running = Some(stage);
                    }
                });
                let held = self.facts().held_stages;
                self.facts().environments.extend(is_new.then_some(env));
                if is_new && !held {
                    self.end_stage(control);
                }
            }
            Request::Cancel { .. } => {
                let running = self.seen_of(control).and_then(|seen| seen.running);
                match running {
                    Some(_) => self.end(control, Exit::Signal(15), Some(Stop::Cancelled)),
                    None => encode(&Notice::Swept, out).unwrap(),
                }
            }
            Request::AddMask { .. } | Request::Taken { .. } => {}
            Request::Finish { .. } => self.change(control, |seen| seen.alive = false),
        }
    }

    /// Lets every held stage end.
    pub(crate) fn release_stages(&self) {
        self.set(|facts| facts.held_stages = false);
        let controls: Vec<PathBuf> = self.facts().containers.keys().cloned().collect();
        controls.iter().for_each(|control| self.end_stage(control));
    }

    fn end_stage(&self, control: &Path) {
        let Some(stage) = self.seen_of(control).and_then(|seen| seen.running) else { return };
        let code = self.facts().exits.get(&stage).copied().unwrap_or(0);
        self.end(control, Exit::Code(code), None);
    }

    fn end(&self, control: &Path, exit: Exit, stopped: Option<Stop>) {
        self.change(control, |seen| {
            let Some(stage) = seen.running.take() else { return };
            seen.ended.push(StageEnd {
                stage,
                outcome: Outcome::Ended(exit),
                stopped,
                since: Moment(1),
                until: Moment(2),
                usage: Usage::default(),
                oom_kills: Some(0),
            });
        });
    }
}

fn state(seen: &Seen) -> State {
    State {
        version: VERSION,
        now: ocelot_supervisor::clock::now(),
        identity: seen.identity.clone(),
        deadline: Moment(seen.deadline),
        running: seen.running.map(|stage| Running { stage, since: Moment(1), stopped: None }),
        sweeping: false,
        ended: seen.ended.clone(),
        capture: CaptureState { end: Offset(0), taken: Offset(0), held: None },
    }
}

fn broken() -> RuntimeError {
    RuntimeError { doing: "the engine does not answer".to_owned(), source: "as the story says".into() }
}

#[async_trait]
impl Runtime for Machine {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn check(&self) -> Result<Support, RuntimeError> {
        if self.facts().broken {
            return Err(broken());
        }
        Ok(Support { version: "1".to_owned(), whole_kill: true })
    }

    async fn prepare(&self, _: &Launch, tell: &dyn Tell) -> Result<(), Cause> {
        tell.line("preparing");
        self.wait(|facts| !facts.held_prepare).await;
        Ok(())
    }

    async fn start(&self, launch: &Launch) -> Result<Container, Cause> {
        self.set(|facts| facts.starts += 1);
        self.wait(|facts| !facts.held_start).await;
        if self.facts().broken {
            return Err(Cause::Platform { why: "the engine does not answer".to_owned() });
        }
        let control = launch.control.clone();
        let listener = UnixListener::bind(control.join(SOCKET)).unwrap();
        self.set(|facts| {
            let seen = Seen { alive: true, deadline: launch.deadline.0, ..Seen::default() };
            facts.containers.insert(control.clone(), seen);
        });
        let (machine, folder) = (self.clone(), control.clone());
        spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if machine.seen_of(&folder).is_none_or(|seen| !seen.alive) {
                    return;
                }
                spawn(machine.clone().serve(folder.clone(), socket));
            }
        });
        Ok(Container { id: "1".to_owned(), control })
    }

    fn workspace(&self, launch: &Launch) -> PathBuf {
        launch.workspace.clone()
    }

    async fn given(&self, _: &Container) -> Result<Given, RuntimeError> {
        Ok(Given::default())
    }

    async fn inspect(&self, container: &Container) -> Result<Standing, RuntimeError> {
        Ok(match self.seen_of(&container.control) {
            Some(seen) if seen.alive => Standing::Running,
            Some(_) => Standing::Ended { status: 137, out_of_memory: None },
            None => Standing::Absent,
        })
    }

    async fn ended(&self, container: &Container) -> Result<Standing, RuntimeError> {
        self.wait(|facts| facts.containers.get(&container.control).is_none_or(|seen| !seen.alive)).await;
        self.inspect(container).await
    }

    async fn kill(&self, container: &Container) -> Result<(), RuntimeError> {
        self.change(&container.control, |seen| seen.alive = false);
        Ok(())
    }

    async fn remove(&self, control: &Path) -> Result<(), RuntimeError> {
        self.set(|facts| drop(facts.containers.remove(control)));
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Ours>, RuntimeError> {
        let facts = self.facts();
        let ours = facts.containers.iter().map(|(control, seen)| Ours {
            container: Container { id: "1".to_owned(), control: control.clone() },
            running: seen.alive,
            waiting: false,
        });
        Ok(ours.collect())
    }
}

/// Logs without a byte: nothing has to be sent before a completion.
#[async_trait]
impl Logs for Machine {
    async fn make_ready(&self, _: &Path) -> Result<(), LogFailed> {
        Ok(())
    }

    async fn create(
        &self,
        _: AttemptId,
        _: &Path,
        _: MaskSet,
        _: NewsSender,
    ) -> Result<Arc<dyn Log>, LogFailed> {
        self.set(|facts| facts.logs_begun += 1);
        Ok(Arc::new(self.clone()))
    }

    async fn recover(&self, _: AttemptId, _: &Path, _: NewsSender) -> Result<Arc<dyn Log>, LogFailed> {
        self.set(|facts| facts.logs_recovered += 1);
        Ok(Arc::new(self.clone()))
    }

    async fn remove(&self, _: AttemptId, _: &Path) {
        self.set(|facts| facts.logs_removed += 1);
    }
}

impl Tell for Machine {
    fn line(&self, text: &str) {
        self.set(|facts| facts.lines.push(text.to_owned()));
    }
}

#[async_trait]
impl Log for Machine {
    fn follow(&self, _: &Path) {}

    fn captured(&self, _: Offset) {}

    fn follow_service(&self, _: u16, _: &Path) {}

    fn service_captured(&self, _: u16, _: Offset) {}

    async fn seal(&self) -> Result<(LogDigest, Option<LogLoss>), LogFailed> {
        Ok((LogDigest { length: Offset(0), sha256: Sha256::digest([]).into() }, None))
    }

    fn end(&self) -> Offset {
        Offset(0)
    }

    fn safe(&self, _: Offset, _: Offset) {}

    fn received(&self) -> Offset {
        Offset(self.facts().received)
    }

    fn missing(&self, from: Offset) {
        self.set(|facts| facts.missing.push(from.0));
    }

    async fn drop_spool(&self) {
        self.set(|facts| facts.spools_dropped += 1);
    }
}
