//! An executor's process: the attempt machine and the journal's fold that ship, in simulated hands.
//!
//! Every effect is carried out by a task of its own that dies with the process; what comes of it
//! returns by the inbox. Only what was synced to the machine's disk is there for the next process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use ocelot_controller::service::testing::sign;
use ocelot_controller::service::{
    AttemptRef, Directive, Error, HeartbeatRequest, Held, NewRegistrationToken, OfferedTask,
    OpenSessionRequest, OpenedSession, PollRequest, RegisterRequest, signed_message,
};
use ocelot_core::id::{ExecutorId, Incarnation};
use ocelot_core::plan::{Class, TaskPlan};
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::Timing;
use ocelot_domain::task::state::JournalSequence;
use ocelot_domain::task::timing::POLL_MIN;
use ocelot_executor::attempt::AttemptId;
use ocelot_executor::attempt::state::{AttemptState, Event};
use ocelot_executor::journal::{Accepted, Entry, Record};

use super::gate::through;
use super::hands::spec;
use super::machine::Machine;
use super::reports;
use super::world::{CONTROLLERS, World};

const CALL: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) index: usize,
    pub(super) session: Mutex<Option<(String, Timing)>>,
    pub(super) attempts: Mutex<BTreeMap<AttemptId, AttemptState>>,
    pub(super) inbox: mpsc::UnboundedSender<(AttemptId, Event)>,
    pub(super) journal: mpsc::UnboundedSender<Record>,
    tasks: Mutex<JoinSet<()>>,
    preferred: AtomicUsize,
    pub(super) pushing: Mutex<BTreeSet<AttemptId>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn named(attempt: AttemptId) -> AttemptRef {
    AttemptRef { task: attempt.task, attempt: attempt.number, epoch: attempt.epoch }
}

fn held_as(attempt: AttemptRef) -> AttemptId {
    AttemptId { task: attempt.task, number: attempt.attempt, epoch: attempt.epoch }
}

/// Registers a machine under a name and a key that nobody has; false if it is not known to have
/// happened.
pub(super) async fn register(world: &Arc<World>, index: usize, controller: usize) -> bool {
    let machine = &world.machines[index];
    let life = {
        let mut inside = machine.inside();
        inside.registered = inside.registered.wrapping_add(1);
        inside.registered
    };
    let (key, slots) = (machine.key(), machine.slots);
    let registered = world.call((index, controller), CALL, move |service| async move {
        let token = NewRegistrationToken {
            labels: Vec::new(),
            uses: 1,
            valid_for: Duration::from_secs(900),
            by: Actor("ana".into()),
        };
        let token = service.make_registration_token(token).await?;
        let request = RegisterRequest {
            token,
            public_key: key,
            name: format!("machine-{index}-{life}"),
            labels: Vec::new(),
            slots,
            version: "1".into(),
            machine: super::workload::machine(),
        };
        service.register(request).await
    });
    let Some(Ok(registered)) = registered.await else { return false };
    machine.inside().id = Some(registered.executor);
    true
}

impl Process {
    pub(super) fn start(world: &Arc<World>, index: usize) -> Arc<Self> {
        let (inbox, mut events) = mpsc::unbounded_channel();
        let (journal, mut records) = mpsc::unbounded_channel();
        let process = Arc::new(Self {
            world: Arc::clone(world),
            index,
            session: Mutex::default(),
            attempts: Mutex::default(),
            inbox,
            journal,
            tasks: Mutex::default(),
            preferred: AtomicUsize::new(index % CONTROLLERS),
            pushing: Mutex::default(),
        });
        let hearing = Arc::clone(&process);
        process.spawn(async move {
            while let Some((attempt, event)) = events.recv().await {
                hearing.event(attempt, event);
            }
        });
        let writing = Arc::clone(&process);
        process.spawn(async move {
            while let Some(record) = records.recv().await {
                writing.write(record).await;
            }
        });
        let living = Arc::clone(&process);
        process.spawn(async move { living.live().await });
        process
    }

    /// Nothing of it runs after this.
    pub(super) fn end(&self) {
        lock(&self.tasks).abort_all();
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.world.machines[self.index]
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                self.world.laws.broken(format!("an executor panicked: {error}"));
            }
        }
        tasks.spawn(through(Arc::clone(&self.machine().gate), task));
    }

    pub(super) fn tell(&self, attempt: AttemptId, event: Event) {
        self.inbox.send((attempt, event)).ok();
    }

    /// The controller that is asked, until it does not answer.
    pub(super) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Waits a little, and asks another controller the next time.
    pub(super) async fn turn_away(&self) {
        self.preferred.store(self.machine().dice.place(CONTROLLERS), Ordering::Relaxed);
        tokio::time::sleep(self.machine().dice.ms(50, 900)).await;
    }

    pub(super) fn token(&self) -> Option<String> {
        lock(&self.session).as_ref().map(|(token, _)| token.clone())
    }

    pub(super) async fn sync(&self) {
        let dice = &self.machine().dice;
        let takes = if dice.hits(30) { dice.ms(20, 900) } else { dice.ms(0, 4) };
        tokio::time::sleep(takes).await;
    }

    async fn live(self: Arc<Self>) {
        let incarnation = Incarnation(self.machine().inside().journal.incarnation.0 + 1);
        self.sync().await;
        self.apply(&Record::Opened { incarnation });
        for attempt in self.machine().containers() {
            if self.machine().inside().journal.attempt(attempt).is_none() {
                self.machine().kill_container(&self.world, attempt);
            }
        }
        let id = self.registered().await;
        let opened = loop {
            match self.open(id, incarnation).await {
                Some(Ok(opened)) => break opened,
                Some(Err(Error::Fenced)) => {
                    return self.world.laws.broken(format!("executor {} fenced at its start", self.index));
                }
                Some(Err(_)) | None => self.turn_away().await,
            }
        };
        self.recover(&opened);
        *lock(&self.session) = Some((opened.token, opened.timing));
        let beating = Arc::clone(&self);
        self.spawn(async move { beating.beat().await });
        self.poll().await;
    }

    /// Who it is; one whose disk was lost registers as somebody new.
    async fn registered(&self) -> ExecutorId {
        loop {
            let known = self.machine().inside().id;
            if let Some(id) = known {
                return id;
            }
            if !register(&self.world, self.index, self.preferred()).await {
                self.turn_away().await;
            }
        }
    }

    async fn open(
        &self,
        executor: ExecutorId,
        incarnation: Incarnation,
    ) -> Option<Result<OpenedSession, Error>> {
        let way = (self.index, self.preferred());
        let asked =
            self.world.call(way, CALL, move |service| async move { Ok(service.challenge(executor, None)) });
        let challenge = asked.await?.ok()?;
        let signature = sign(&self.machine().key(), &signed_message(executor, incarnation, &challenge));
        let (held, _) = self.held();
        self.world
            .call(way, CALL, move |service| {
                let request = OpenSessionRequest {
                    executor,
                    challenge,
                    signature: signature.clone(),
                    incarnation,
                    held: held.clone(),
                    version: "1".into(),
                    machine: super::workload::machine(),
                };
                async move { service.open_session(request).await }
            })
            .await
    }

    /// Goes on with what an earlier process left.
    fn recover(self: &Arc<Self>, opened: &OpenedSession) {
        let left: Vec<_> = self.machine().inside().journal.attempts.clone();
        for held in left {
            let id = held.id;
            let spec = self.machine().inside().plans.get(&id).map(|plan| spec(id, plan, opened.timing));
            let Some(spec) = spec else { continue };
            let state = AttemptState::recovering(spec, held, self.machine().found(id));
            lock(&self.attempts).insert(id, state);
            let is_kept = opened.keep.contains(&named(id));
            self.event(id, if is_kept { Event::Kept } else { Event::Fenced });
        }
    }

    /// What the journal holds, and its number then.
    fn held(&self) -> (Vec<Held>, JournalSequence) {
        let inside = self.machine().inside();
        let held = inside.journal.attempts.iter().map(|held| Held {
            attempt: named(held.id),
            log_end: inside.spools.get(&held.id).copied().unwrap_or(0),
        });
        (held.collect(), JournalSequence(inside.journal.sequence.0))
    }

    async fn poll(self: Arc<Self>) {
        let mut poll = 0;
        loop {
            poll += 1;
            let (held, sequence) = self.held();
            let request = PollRequest { poll, sequence, held, wait: POLL_MIN };
            let Some(token) = self.token() else { return };
            let answer = self.world.call((self.index, self.preferred()), POLL, move |service| {
                let (token, request) = (token.clone(), request.clone());
                async move { service.poll(service.authenticate(&token).await?, request).await }
            });
            match answer.await {
                Some(Ok(answer)) => {
                    answer.offers.into_iter().for_each(|offer| self.offered(offer));
                    answer.directives.iter().for_each(|directive| self.directed(directive));
                }
                Some(Err(Error::Fenced | Error::Unauthenticated)) => return self.replaced(),
                Some(Err(_)) | None => self.turn_away().await,
            }
        }
    }

    async fn beat(self: Arc<Self>) {
        loop {
            let every = lock(&self.session).as_ref().map_or(CALL, |(_, timing)| timing.heartbeat());
            tokio::time::sleep(every).await;
            let (sent, asked) = (self.machine().boot_time(), Instant::now());
            let (held, _) = self.held();
            let request = HeartbeatRequest { held, condition: Default::default() };
            let Some(token) = self.token() else { return };
            let answer = self.world.call((self.index, self.preferred()), CALL, move |service| {
                let (token, request) = (token.clone(), request.clone());
                async move { service.heartbeat(service.authenticate(&token).await?, request).await }
            });
            match answer.await {
                Some(Ok(answer)) => {
                    for at in answer.vouched {
                        if self.is_exclusive(held_as(at)) {
                            self.world.laws.vouched(held_as(at), asked);
                        }
                        self.event(held_as(at), Event::Vouched { sent });
                    }
                    answer.directives.iter().for_each(|directive| self.directed(directive));
                }
                Some(Err(Error::Fenced | Error::Unauthenticated)) => return self.replaced(),
                Some(Err(_)) | None => self.turn_away().await,
            }
        }
    }

    pub(super) fn is_exclusive(&self, id: AttemptId) -> bool {
        let class = self.machine().inside().plans.get(&id).map(|plan| plan.class);
        class == Some(Class::Exclusive)
    }

    /// The session does not count any more: the process ends, and is started again.
    fn replaced(&self) {
        self.world.struck.add("executors told that they are replaced");
        let (world, index) = (Arc::clone(&self.world), self.index);
        super::detached(async move {
            world.machines[index].kill(&world);
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.machines[index].start(&world);
        });
    }

    fn offered(self: &Arc<Self>, offer: OfferedTask) {
        let id = held_as(offer.attempt);
        if lock(&self.attempts).contains_key(&id) {
            return;
        }
        if lock(&self.attempts).len() >= self.machine().slots as usize {
            self.world.struck.add("offers declined");
            return reports::decline(self, offer.attempt);
        }
        let Ok(plan) = serde_json::from_slice::<TaskPlan>(&offer.plan) else {
            return self.world.laws.broken(format!("the plan of {id} cannot be read"));
        };
        let Some((_, timing)) = *lock(&self.session) else { return };
        let state = AttemptState::accepting(spec(id, &plan, timing));
        lock(&self.attempts).insert(id, state);
        self.machine().inside().plans.insert(id, plan);
        let mut completion = [0; 16];
        completion[..8].copy_from_slice(&self.machine().dice.number().to_be_bytes());
        let accepted = Accepted {
            plan_sha256: *offer.plan_digest.as_bytes(),
            directory: format!("/attempts/{id}").into(),
            completion,
        };
        self.enter(id, Entry::Accepted(accepted));
    }

    fn directed(self: &Arc<Self>, directive: &Directive) {
        match directive {
            Directive::Cancel(attempt) => self.event(held_as(*attempt), Event::Cancel),
            Directive::Kill(attempt) => self.event(held_as(*attempt), Event::Fenced),
            Directive::Drain { .. } | Directive::Resume => {}
        }
    }
}
