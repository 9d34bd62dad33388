//! One service beside a task, from its start until nothing of it runs.
//!
//! It is one future of its attempt's driver: what is wished of it comes in as the latest wishes, what
//! happens goes out as news. It decides nothing about the task. If it is dropped the service goes on,
//! under its own supervisor, and is found again or removed with its task.

mod signs;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::frame::Offset;
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::telemetry::chain;
use ocelot_supervisor::protocol::{
    Leftovers, Moment, Notice, Program, Request, StageEnd as Seen, StageOrder, State, Stop,
};
use tokio::sync::{mpsc, watch};

use super::Failure;
use super::link::{Heard, Link, LinkError};
use super::order::{PATH, millis};
use super::state::{BootTime, Cause};
use crate::journal::Container;
use crate::runtime::{Exec, Given, Runtime, ServiceLaunch, Standing};

/// A supervisor answers at once, or it is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// What the attempt wishes of a service; only the latest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) deadline: BootTime,
    /// Of its capture, so much is safe.
    pub(super) taken: Offset,
    /// SIGTERM, grace, SIGKILL.
    pub(super) stop: bool,
}

/// What happened to a service.
#[derive(Debug)]
pub(super) enum News {
    /// Its supervisor is there, and so is its capture.
    Up,
    Captured(Offset),
    Ready {
        after: Duration,
    },
    /// It will not be ready, for a reason of its own; with the last of what it said, unmasked.
    Unready {
        why: String,
        said: String,
    },
    /// It could not be had at all.
    Failed(Cause),
    /// It ended when nobody asked it to.
    Ended {
        how: String,
    },
    /// Nothing of it runs any more, and its capture is at its end.
    Over,
}

/// Who looks after one service.
pub(super) struct Minder {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) launch: ServiceLaunch,
    /// What its supervisor is told that it belongs to.
    pub(super) identity: String,
    /// Its secrets among them.
    pub(super) env: BTreeMap<String, String>,
    pub(super) grace: Duration,
    /// It is ready within this time, or never.
    pub(super) patience: Duration,
    pub(super) wishes: watch::Receiver<Wishes>,
    /// Its place in the plan goes with each.
    pub(super) news: mpsc::Sender<(u16, News)>,
    pub(super) place: u16,
}

/// Whether it was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    Fresh,
    /// Another process started it.
    Found,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Beginning,
    Ready,
    /// It failed before it was ready, or ended after it.
    Past,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What one service is doing.
struct Course {
    container: Container,
    order: Option<StageOrder>,
    standing: Stand,
    running: bool,
    /// Becomes over when it is ready.
    probe: Waiting,
    probing: bool,
    /// Becomes over when it is too late to be.
    late: Waiting,
}

impl Minder {
    pub(super) async fn run(mut self, begin: Begin) {
        match self.begin(begin).await {
            Ok(course) => self.follow(course).await,
            Err(cause) => self.tell(News::Failed(cause)).await,
        }
        self.tell(News::Over).await;
    }

    async fn begin(&mut self, begin: Begin) -> Result<Course, Cause> {
        let container = match begin {
            Begin::Found => self.runtime.service(&self.launch),
            Begin::Fresh => {
                let (own, identity) = (self.launch.control.clone(), self.identity.clone());
                let made = tokio::task::spawn_blocking(move || super::files::make_control(&own, &identity));
                let made = made.await.map_err(std::io::Error::other).and_then(|made| made);
                made.map_err(|error| Cause::Failed(Failure::Disk { why: error.to_string() }))?;
                self.start().await?
            }
        };
        chaos::point("service.container_up");
        let given = self.runtime.given(&container).await.map_err(|error| Cause::Platform {
            why: format!("what service {} runs is not known: {}", self.name(), chain(&error)),
        })?;
        let order = match begin {
            // What another process ordered runs, or ended.
            Begin::Found => None,
            Begin::Fresh => Some(self.order(&given)?),
        };
        self.tell(News::Up).await;
        Ok(Course {
            probe: self.probe(&container, &given),
            late: self.late(),
            container,
            order,
            standing: Stand::Beginning,
            running: false,
            probing: false,
        })
    }

    /// Starts it, unless it is not wanted any more.
    async fn start(&mut self) -> Result<Container, Cause> {
        let stopped = async {
            let stop = |wishes: &Wishes| wishes.stop;
            if self.wishes.wait_for(stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            started = self.runtime.start_service(&self.launch) => started,
            () = stopped => Err(Cause::Platform { why: "it was stopped before it was up".to_owned() }),
        }
    }

    fn name(&self) -> &str {
        &self.launch.service.name
    }

    fn order(&self, given: &Given) -> Result<StageOrder, Cause> {
        let service = &self.launch.service;
        let command = if service.command.is_empty() { &given.command } else { &service.command };
        let argv = [given.entry.clone(), command.clone()].concat();
        if argv.is_empty() {
            let (name, image) = (&service.name, &service.image);
            let why = format!("service {name}: its image {image} names no command, so it needs `command`");
            return Err(Cause::Failed(Failure::Setup { why }));
        }
        Ok(StageOrder {
            stage: 0,
            name: service.name.clone(),
            program: Program::Command(argv),
            directory: directory(given),
            user: given.user.clone(),
            env: self.variables(given),
            timeout_ms: None,
            task_deadline: None,
            quiet_timeout_ms: None,
            grace_ms: millis(self.grace),
            leftovers: Leftovers::Kill,
        })
    }

    fn variables(&self, given: &Given) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        env.extend(given.env.clone());
        env.extend(self.env.clone());
        env
    }

    /// Returns what is over when the service is ready, once it runs.
    fn probe(&self, container: &Container, given: &Given) -> Waiting {
        let (runtime, clock) = (Arc::clone(&self.runtime), Arc::clone(&self.clock));
        let exec = |command: &[String]| Exec {
            command: command.to_vec(),
            env: self.variables(given),
            user: given.user.clone(),
            directory: directory(given),
        };
        signs::ready(runtime, clock, container.clone(), &self.launch.service.ready, exec)
    }

    fn late(&self) -> Waiting {
        let (clock, patience) = (Arc::clone(&self.clock), self.patience);
        Box::pin(async move { clock.sleep(patience).await })
    }

    /// Goes on through any break of the connection, until it was stopped or its container is gone.
    async fn follow(&mut self, mut course: Course) {
        let began = self.clock.monotonic();
        loop {
            let (mut link, seen) = match self.connect(&course.container).await {
                Ok(linked) => linked,
                Err(how) => return self.past(&mut course, how).await,
            };
            match self.talk(&mut course, &mut link, seen, began).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(service = self.name(), error = %chain(&error), "its supervisor's connection broke");
                }
            }
        }
    }

    /// Returns a connection, or how the container ended.
    async fn connect(&self, container: &Container) -> Result<(Link, State), String> {
        let pace = Policy::new(Duration::from_millis(10), Duration::from_secs(2), 0.5)
            .expect("the pace is written down here");
        let mut tries = 0;
        loop {
            if let Ok(Ok(linked)) = tokio::time::timeout(CONNECT, Link::connect(&container.control)).await {
                return Ok(linked);
            }
            match self.runtime.inspect(container).await {
                Ok(Standing::Running) => {}
                Ok(ended) => return Err(ended.gone().map_or_else(|| "is gone".to_owned(), signs::how_gone)),
                Err(error) => {
                    tracing::warn!(service = self.name(), error = %chain(&error), "it cannot be looked at");
                }
            }
            tries += 1;
            self.clock.sleep(pace.wait(tries, 0.5)).await;
        }
    }

    /// Returns once nothing of it runs any more, or nobody wants to know.
    async fn talk(
        &mut self,
        course: &mut Course,
        link: &mut Link,
        seen: State,
        began: tokio::time::Instant,
    ) -> Result<(), LinkError> {
        let mut told = Wishes { stop: false, taken: seen.capture.taken, ..*self.wishes.borrow_and_update() };
        link.send(&Request::Assign { identity: self.identity.clone(), deadline: Moment(told.deadline.0) })?;
        self.tell(News::Captured(seen.capture.end)).await;
        course.running = seen.running.is_some();
        if let Some(end) = seen.ended.first() {
            self.ended(course, end).await;
        } else if let (None, Some(order)) = (&seen.running, &course.order) {
            link.send(&Request::RunStage(Box::new(order.clone())))?;
        } else if seen.running.is_none() {
            let why = "the executor stopped before the service was told what to run".to_owned();
            self.tell(News::Failed(Cause::Platform { why })).await;
            course.standing = Stand::Past;
        }
        course.probing |= course.running;
        self.pass_on(link, &mut told)?;
        loop {
            let beginning = course.standing == Stand::Beginning;
            tokio::select! {
                biased;
                heard = link.next() => match heard? {
                    Heard::Notice(Notice::Swept) if told.stop => return Ok(()),
                    Heard::Notice(notice) => {
                        if self.heard(course, notice).await && told.stop {
                            self.sweep(link)?;
                        }
                    }
                    Heard::Refused { request, refusal } => {
                        tracing::warn!(service = self.name(), request, %refusal, "the supervisor refused");
                    }
                },
                changed = self.wishes.changed() => match changed {
                    Ok(()) => self.pass_on(link, &mut told)?,
                    Err(_) => return Ok(()),
                },
                () = &mut course.probe, if beginning && course.probing => {
                    course.standing = Stand::Ready;
                    course.probing = false;
                    self.tell(News::Ready { after: self.clock.monotonic() - began }).await;
                }
                () = &mut course.late, if beginning => {
                    course.standing = Stand::Past;
                    let why = format!("is not ready after {:?}", self.patience);
                    self.unready(why).await;
                }
            }
        }
    }

    /// Returns whether that was its end.
    async fn heard(&mut self, course: &mut Course, notice: Notice) -> bool {
        match notice {
            Notice::Started { .. } => {
                course.running = true;
                course.probing = true;
                false
            }
            Notice::Ended(end) => {
                self.ended(course, &end).await;
                true
            }
            Notice::Capture(capture) => {
                self.tell(News::Captured(capture.end)).await;
                false
            }
            Notice::State(_) | Notice::Done | Notice::Refused(_) | Notice::Swept => false,
        }
    }

    async fn ended(&mut self, course: &mut Course, end: &Seen) {
        let stopped = matches!(end.stopped, Some(Stop::Cancelled | Stop::Terminated));
        course.running = false;
        course.order = None;
        if stopped {
            course.standing = Stand::Past;
            return;
        }
        let limit = self.launch.service.resources.memory_bytes;
        self.past(course, signs::how_ended(end, limit)).await;
    }

    /// It does not run any more, and nobody asked for that.
    async fn past(&mut self, course: &mut Course, how: String) {
        match std::mem::replace(&mut course.standing, Stand::Past) {
            Stand::Beginning => self.unready(format!("{how} before it was ready")).await,
            Stand::Ready => self.tell(News::Ended { how }).await,
            Stand::Past => {}
        }
    }

    async fn unready(&self, why: String) {
        let control = self.launch.control.clone();
        let said = tokio::task::spawn_blocking(move || signs::last_said(&control)).await.unwrap_or_default();
        self.tell(News::Unready { why, said }).await;
    }

    /// Tells the supervisor what is wished now and was not before.
    fn pass_on(&mut self, link: &mut Link, told: &mut Wishes) -> Result<(), LinkError> {
        let wishes = *self.wishes.borrow_and_update();
        if wishes.deadline > told.deadline {
            link.send(&Request::Beat { deadline: Moment(wishes.deadline.0) })?;
        }
        if wishes.taken > told.taken {
            link.send(&Request::Taken { offset: wishes.taken })?;
        }
        if wishes.stop && !told.stop {
            self.sweep(link)?;
        }
        *told = wishes;
        Ok(())
    }

    /// Answered by its end if it runs, and by a word that nothing runs if it does not.
    fn sweep(&self, link: &mut Link) -> Result<(), LinkError> {
        link.send(&Request::Cancel { through: u16::MAX, grace_ms: millis(self.grace) })
    }

    async fn tell(&self, news: News) {
        // Nobody listens once the attempt has given the service up.
        drop(self.news.send((self.place, news)).await);
    }
}

fn directory(given: &Given) -> String {
    if given.directory.is_empty() { "/".to_owned() } else { given.directory.clone() }
}
