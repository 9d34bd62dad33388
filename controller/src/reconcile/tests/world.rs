//! A fleet in one process: controllers and executors on one embedded store, and time by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use ocelot_core::id::{ExecutorId, Incarnation, RunId, TaskId};
use ocelot_core::plan::Plan;
use ocelot_domain::outcome::{Actor, Failure};
use ocelot_domain::placement::Limits;
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::Task;
use ocelot_domain::task::event::Report;
use ocelot_domain::task::state::{CompletionId, JournalSequence, Session, TaskState};
use ocelot_domain::task::timing::POLL_MIN;

use crate::reconcile::{Sessions, offers, runs, timeouts};
use crate::records::{
    Condition, Digest, Machine, RunRecord, RuntimeSupport, Stage, Subject, Trigger, TriggerKind,
};
use crate::service::testing::{DigestSigned, LossyStore, ManualClock, MemoryPlans, Sequence, TestLogs, sign};
use crate::service::*;
use crate::store::embedded::{EmbeddedStore, Settings};
use crate::store::view::Changed;
use crate::store::{Page, RangeRequest, Store};

pub(super) const JOB: &str = "name: build\nimage: alpine\ncommand: [make]\n";

/// Nothing in a test takes this long unless it never happens.
const NEVER: Duration = Duration::from_secs(30);

pub(super) struct World {
    _directory: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) embedded: Arc<EmbeddedStore>,
    pub(super) store: Arc<LossyStore>,
    chance: Arc<Sequence>,
    pub(super) logs: Arc<TestLogs>,
    plans: Arc<MemoryPlans>,
}

/// One controller; dropping it is killing it.
pub(super) struct Controller {
    pub(super) service: Arc<Service>,
    pub(super) sessions: Sessions,
    clock: Arc<ManualClock>,
    embedded: Arc<EmbeddedStore>,
    _loops: JoinSet<()>,
}

impl World {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let settings = Settings { clock: Arc::clone(&clock) as _, ..Settings::new(directory.path()) };
        let embedded = Arc::new(EmbeddedStore::open(settings).unwrap());
        Self {
            _directory: directory,
            clock,
            store: Arc::new(LossyStore::new(Arc::clone(&embedded) as _)),
            embedded,
            chance: Arc::new(Sequence::new(7)),
            logs: Arc::default(),
            plans: Arc::default(),
        }
    }

    pub(super) async fn controller(&self, name: &str) -> Controller {
        let parts = Parts {
            name: name.into(),
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.clock) as _,
            chance: Arc::clone(&self.chance) as _,
            unguessable: Arc::clone(&self.chance) as _,
            verify: Arc::new(DigestSigned),
            logs: Arc::clone(&self.logs) as _,
            plans: Arc::clone(&self.plans) as _,
            limits: Limits::default(),
        };
        let (service, follower) = Service::new(parts);
        let mut loops = JoinSet::new();
        loops.spawn(follower.run());
        let dispatching = Arc::clone(&service);
        loops.spawn(async move { dispatching.dispatch().await });
        let following = Arc::clone(&service);
        loops.spawn(async move { runs::follow(&following).await });
        service.view.loaded().await;
        let sessions = Sessions::new(&service);
        let (clock, embedded) = (Arc::clone(&self.clock), Arc::clone(&self.embedded));
        Controller { service, sessions, clock, embedded, _loops: loops }
    }
}

impl Controller {
    /// Brings view and board up to everything that is committed.
    pub(super) async fn settle(&self) {
        let revision = self.embedded.health().await.unwrap().revision;
        self.service.view.wait_for(revision).await;
        self.service.take_in(&Changed::Everything).await;
    }

    /// Moves the clock alone: what is at the executors goes on as it was.
    pub(super) fn clock_advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    pub(super) async fn advance(&self, time: Duration) {
        self.clock.advance(time);
        self.embedded.nudge().await.unwrap();
        self.settle().await;
    }

    /// Lets time pass second by second, with the duties that depend on it.
    pub(super) async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.advance(Duration::from_secs(1)).await;
            self.tick().await;
        }
    }

    pub(super) async fn tick(&mut self) {
        self.sessions.once(&self.service).await.unwrap();
        offers::once(&self.service).await.unwrap();
        timeouts::once(&self.service).await.unwrap();
        self.settle().await;
    }

    pub(super) async fn put_job(&self, text: &str) {
        self.service.put_job(text, &Actor("ana".into()), Seen::Any).await.unwrap();
    }

    pub(super) async fn execute(&self, number: u8) -> RunId {
        self.put_job(JOB).await;
        self.service.execute(request(number)).await.unwrap().run.id
    }

    /// Accepts a plan as it is, as a run of a job with this name.
    pub(super) async fn execute_plan(&self, number: u8, plan: Plan) -> RunId {
        let draft = Draft {
            id: run_id(number),
            payload: Digest::of(&[number]),
            subject: Subject::Job { name: "graph".into(), version: 1 },
            source: None,
            trigger: trigger(),
            retry: None,
            rejected: None,
        };
        self.service.accept(draft, plan).await.unwrap().run.id
    }

    pub(super) async fn task(&self, run: RunId, index: u32) -> Task {
        self.service.read_task(TaskId { run, index }).await.unwrap().expect("the task is stored")
    }

    pub(super) async fn state(&self, run: RunId) -> TaskState {
        self.task(run, 0).await.state
    }

    pub(super) async fn run(&self, run: RunId) -> RunRecord {
        self.service.run(run).await.unwrap().run
    }

    /// Waits until the run has ended.
    pub(super) async fn ended(&self, run: RunId) -> RunOutcome {
        let mut changes = self.service.view.changes();
        let ended = async {
            loop {
                if let Stage::Finished { outcome, .. } = self.run(run).await.stage {
                    return outcome;
                }
                changes.next().await;
            }
        };
        tokio::time::timeout(NEVER, ended).await.expect("the run ends")
    }

    /// Waits until a task is as wanted.
    pub(super) async fn until(&self, run: RunId, index: u32, wanted: impl Fn(&TaskState) -> bool) -> Task {
        let mut changes = self.service.view.changes();
        let reached = async {
            loop {
                let task = self.service.read_task(TaskId { run, index }).await.unwrap();
                if let Some(task) = task.filter(|task| wanted(&task.state)) {
                    return task;
                }
                changes.next().await;
            }
        };
        tokio::time::timeout(NEVER, reached).await.expect("the task gets there")
    }
}

/// An executor's side of the conversation: a journal in memory, and no containers.
#[derive(Debug, Clone)]
pub(super) struct Executor {
    pub(super) id: ExecutorId,
    key: [u8; 32],
    pub(super) incarnation: u64,
    pub(super) token: String,
    poll: u64,
    sequence: u64,
    pub(super) held: Vec<AttemptRef>,
    /// Offers of an answer that had several.
    pending: Vec<OfferedTask>,
}

impl Executor {
    pub(super) async fn register(controller: &Controller, name: &str, slots: u32) -> Self {
        let key = *Digest::of(name.as_bytes()).as_bytes();
        let token = registration_token(controller, 1).await;
        let request = registration(name, slots, key, token);
        let registered = controller.service.register(request).await.unwrap();
        Self {
            id: registered.executor,
            key,
            incarnation: 0,
            token: String::new(),
            poll: 0,
            sequence: 0,
            held: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Registers it and opens its first session.
    pub(super) async fn ready(controller: &Controller, name: &str, slots: u32) -> Self {
        let mut executor = Self::register(controller, name, slots).await;
        executor.start(controller).await;
        executor
    }

    /// Starts its process anew: a higher incarnation, with what the journal holds.
    pub(super) async fn start(&mut self, controller: &Controller) -> Vec<AttemptRef> {
        self.incarnation += 1;
        self.open(controller).await.unwrap()
    }

    pub(super) async fn open(&mut self, controller: &Controller) -> Result<Vec<AttemptRef>> {
        let challenge = controller.service.challenge(self.id, None);
        let incarnation = Incarnation(self.incarnation);
        let message = signed_message(self.id, incarnation, &challenge);
        let opened = controller
            .service
            .open_session(OpenSessionRequest {
                executor: self.id,
                challenge,
                signature: sign(&self.key, &message),
                incarnation,
                held: self.held(),
                version: "1".into(),
                machine: machine(),
            })
            .await?;
        self.token = opened.token;
        self.poll = 0;
        controller.settle().await;
        Ok(opened.keep)
    }

    fn held(&self) -> Vec<Held> {
        self.held.iter().map(|attempt| Held { attempt: *attempt, log_end: 0 }).collect()
    }

    pub(super) async fn session(&self, controller: &Controller) -> Session {
        controller.service.authenticate(&self.token).await.unwrap()
    }

    pub(super) fn next_poll(&mut self) -> PollRequest {
        self.poll += 1;
        self.sequence += 1;
        PollRequest {
            poll: self.poll,
            sequence: JournalSequence(self.sequence),
            held: self.held(),
            wait: POLL_MIN,
        }
    }

    /// Polls until there is an answer.
    pub(super) async fn poll(&mut self, controller: &Controller) -> PollAnswer {
        let request = self.next_poll();
        let session = self.session(controller).await;
        let answer = controller.service.poll(session, request);
        tokio::time::timeout(NEVER, answer).await.expect("the poll is answered").unwrap()
    }

    /// Polls and gives up at once if there is nothing to say.
    pub(super) async fn poll_now(&mut self, controller: &Controller) -> PollAnswer {
        let request = self.next_poll();
        let session = self.session(controller).await;
        // The list counts once the poll has judged it and sleeps; leaving sooner would lose it.
        let asleep = async || {
            while !controller.service.waiters.is_asleep(&session.id) {
                tokio::task::yield_now().await;
            }
        };
        let nothing_to_say = async {
            asleep().await;
            quiet(controller).await;
            asleep().await;
        };
        tokio::select! {
            biased;
            answer = controller.service.poll(session, request) => answer.unwrap(),
            () = nothing_to_say => PollAnswer::default(),
        }
    }

    /// Polls until it is offered something.
    pub(super) async fn offered(&mut self, controller: &Controller) -> OfferedTask {
        while self.pending.is_empty() {
            self.pending = self.poll(controller).await.offers;
            self.pending.sort_by_key(|offer| offer.attempt);
        }
        self.pending.remove(0)
    }

    pub(super) async fn acknowledge(&mut self, controller: &Controller, attempt: AttemptRef) -> Result<()> {
        self.sequence += 1;
        if !self.held.contains(&attempt) {
            self.held.push(attempt);
        }
        let session = controller.service.authenticate(&self.token).await?;
        controller.service.acknowledge(session, attempt, JournalSequence(self.sequence)).await
    }

    /// Takes the next offer.
    pub(super) async fn take(&mut self, controller: &Controller) -> AttemptRef {
        let attempt = self.offered(controller).await.attempt;
        self.acknowledge(controller, attempt).await.unwrap();
        attempt
    }

    pub(super) async fn heartbeat(&self, controller: &Controller) -> Result<HeartbeatAnswer> {
        let session = controller.service.authenticate(&self.token).await?;
        let request = HeartbeatRequest { held: self.held(), condition: Condition::default() };
        controller.service.heartbeat(session, request).await
    }

    pub(super) async fn complete(
        &mut self,
        controller: &Controller,
        attempt: AttemptRef,
        result: Report,
    ) -> Result<CompleteAnswer> {
        let session = controller.service.authenticate(&self.token).await?;
        let answer = controller.service.complete(session, completion(attempt, result)).await?;
        if answer == CompleteAnswer::Recorded {
            self.held.retain(|held| *held != attempt);
            self.sequence += 1;
        }
        Ok(answer)
    }

    pub(super) async fn succeed(&mut self, controller: &Controller, attempt: AttemptRef) {
        let answer = self.complete(controller, attempt, Report::Succeeded).await.unwrap();
        assert_eq!(answer, CompleteAnswer::Recorded);
    }
}

/// The same calls under lost answers: each may be repeated as it is.
impl Executor {
    pub(super) async fn poll_now_lossy(&mut self, controller: &Controller) -> PollAnswer {
        let request = self.next_poll();
        let Ok(session) = controller.service.authenticate(&self.token).await else {
            return PollAnswer::default();
        };
        tokio::select! {
            biased;
            answer = controller.service.poll(session, request) => answer.unwrap_or_default(),
            () = quiet(controller) => PollAnswer::default(),
        }
    }

    pub(super) async fn acknowledge_again(&self, controller: &Controller, attempt: AttemptRef) -> Result<()> {
        let session = controller.service.authenticate(&self.token).await?;
        controller.service.acknowledge(session, attempt, JournalSequence(0)).await
    }

    pub(super) async fn complete_again(&self, controller: &Controller, attempt: AttemptRef) -> Result<()> {
        let session = controller.service.authenticate(&self.token).await?;
        controller.service.complete(session, completion(attempt, Report::Succeeded)).await.map(drop)
    }
}

impl Executor {
    /// Reports a success that comes too late; returns what it is told.
    pub(super) async fn succeed_late(&mut self, controller: &Controller, attempt: AttemptRef) -> Error {
        self.complete(controller, attempt, Report::Succeeded).await.expect_err("it comes too late")
    }
}

/// Waits until the controller has taken in all news and has offered what it could.
async fn quiet(controller: &Controller) {
    for _ in 0..3 {
        controller.settle().await;
        // Under lost answers it may fail, and is tried again with the next poll.
        controller.service.dispatch_once().await.ok();
    }
    // What the controller itself has begun meanwhile comes to its end.
    while controller.service.is_offering() {
        tokio::task::yield_now().await;
        controller.settle().await;
    }
}

pub(super) fn completion(attempt: AttemptRef, result: Report) -> CompleteRequest {
    CompleteRequest {
        artifacts: Vec::new(),
        told: None,
        attempt,
        completion: CompletionId(u128::from(attempt.attempt.number())),
        result,
        log: ReportedLog::Whole(ClaimedEnd { bytes: 3, sha256: [1; 32] }),
    }
}

pub(super) fn failed() -> Report {
    Report::Failed { stage: None, failure: Failure::Exit(1) }
}

pub(super) async fn registration_token(controller: &Controller, uses: u32) -> String {
    let new = NewRegistrationToken {
        labels: vec!["gpu".into()],
        uses,
        valid_for: Duration::from_secs(900),
        by: Actor("ana".into()),
    };
    controller.service.make_registration_token(new).await.unwrap()
}

pub(super) fn registration(name: &str, slots: u32, key: [u8; 32], token: String) -> RegisterRequest {
    RegisterRequest {
        token,
        public_key: key,
        name: name.into(),
        labels: Vec::new(),
        slots,
        version: "1".into(),
        machine: machine(),
    }
}

pub(super) fn machine() -> Machine {
    let runtime = |name: &str| RuntimeSupport { name: name.into(), version: "1".into(), whole_kill: true };
    Machine {
        os: "linux".into(),
        arch: "x86_64".into(),
        cpu_millis: 64_000,
        memory_bytes: 1 << 40,
        disk_bytes: 1 << 40,
        gpus: 0,
        runtimes: vec![runtime("docker"), runtime("process")],
    }
}

pub(super) fn run_id(number: u8) -> RunId {
    RunId::from_parts(1_800_000_000_000 + u64::from(number), [number; 10])
}

pub(super) fn trigger() -> Trigger {
    Trigger { kind: TriggerKind::CommandLine, by: Actor("ana".into()), schedule: None }
}

pub(super) fn request(number: u8) -> ExecuteRequest {
    ExecuteRequest {
        id: run_id(number),
        job: "build".into(),
        arguments: BTreeMap::new(),
        env: BTreeMap::new(),
        trigger: trigger(),
    }
}

/// Reads everything in a folder.
pub(super) async fn page(world: &World, folder: &str) -> Page {
    world.embedded.range(RangeRequest::prefix(folder)).await.unwrap()
}
