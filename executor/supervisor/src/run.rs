//! Carries out what the machine decides: one thread, one `poll`.
//!
//! Before anything else in a round the machine hears what time it is, so that a supervisor that was
//! frozen past its deadline does nothing more than end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ocelot_core::frame::{Body, Exit, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};

use crate::capture::Capture;
pub use crate::capture::Room;
use crate::clock::{now, set_timer, timer, unix_us};
use crate::connections::{ConnectionId, Connections};
use crate::control;
use crate::guard::Guard;
use crate::launch;
use crate::machine::{Input, Leave, Machine, Output, Signal, Target, UNASSIGNED_MS};
use crate::oom;
use crate::processes;
use crate::protocol::{Moment, Notice, Outcome, Refusal, Request, StageOrder, State, VERSION};
use crate::streams::Streams;
use crate::sys;

/// What a shell says of a program that it cannot find; for people who read the log.
const NOT_STARTED: Exit = Exit::Code(127);
/// How soon something is looked at again that gives no sign of its own: a disk that was full, a
/// process that somebody else reaped.
const RETRY_MS: i64 = 200;
/// Masks that wait for a full disk.
const BEHIND_BYTES_MAX: usize = 1024 * 1024;

/// What a supervisor is started with.
#[derive(Debug)]
pub struct Settings {
    pub directory: PathBuf,
    /// It ends then, unless somebody vouches for it; none is ten minutes.
    pub deadline: Option<Moment>,
    pub room: Room,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0} must be a directory of mode 0700 that belongs to this user")]
    Open(PathBuf),
    #[error("{0} has a supervisor")]
    Taken(PathBuf),
    #[error("{0} was used by a supervisor before")]
    Used(PathBuf),
    #[error("the system refused")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for RunError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Supervises until the attempt is over or nobody vouches for it any more.
pub fn run(settings: Settings) -> Result<Leave, RunError> {
    let mut supervisor = Supervisor::start(settings)?;
    let ended = supervisor.supervise();
    if ended.is_err() {
        // Nobody would be left to guard them.
        processes::signal(Target::All, Signal::Kill);
    }
    ended
}

struct Supervisor {
    directory: PathBuf,
    /// Held for as long as the process lives.
    _lock: File,
    machine: Machine,
    capture: Capture,
    streams: Streams,
    connections: Connections,
    signals: OwnedFd,
    guard: Guard,
    timer: OwnedFd,
    armed: Option<Moment>,
    /// What stages get; its own is zero.
    core: Rlimit,
    oom_kills: Option<u64>,
}

/// What `poll` found.
struct Ready {
    signals: bool,
    streams: Vec<bool>,
}

impl Supervisor {
    fn start(settings: Settings) -> Result<Self, RunError> {
        // A session of its own, so that no terminal or shell of its starter reaches it.
        let _leader = rustix::process::setsid();
        let Settings { directory, deadline, room } = settings;
        sys::close_inherited_on_exec();
        let signals = sys::signal_descriptor()?;
        let lock = lock(&directory)?;
        let core = getrlimit(Resource::Core);
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: core.maximum })?;
        if !processes::is_init() {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        }
        let capture = Capture::begin(&directory, room).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RunError::Used(directory.clone()),
            _ => RunError::Io(error),
        })?;
        let connections = Connections::bind(&directory)?;
        // Last, because a process that is not dumpable may not use some of its own files in /proc.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let deadline = deadline.unwrap_or_else(|| now().after(UNASSIGNED_MS));
        Ok(Self {
            directory,
            _lock: lock,
            machine: Machine::new(deadline),
            capture,
            streams: Streams::new(),
            connections,
            signals,
            timer: timer()?,
            guard: Guard::start(deadline)?,
            armed: None,
            core,
            oom_kills: None,
        })
    }

    fn supervise(&mut self) -> Result<Leave, RunError> {
        loop {
            let ready = self.wait()?;
            if let Some(leave) = self.round(ready)? {
                return Ok(leave);
            }
        }
    }

    /// Sleeps until something happens.
    fn wait(&mut self) -> Result<Ready, RunError> {
        self.arm()?;
        let reads = self.capture.held().is_none();
        let mut polled = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.timer.as_fd(), PollFlags::IN),
        ];
        // A pipe that must not be read is not even looked at: one without a writer is always ready.
        let streams = self.streams.descriptors().filter(|_| reads);
        polled.extend(streams.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        let streams_end = polled.len();
        polled.extend(self.connections.descriptors().map(|(socket, writes)| {
            let flags = if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            PollFd::from_borrowed_fd(socket, flags)
        }));
        let leaving = self.machine.left().is_some();
        let impatient = self.capture.behind() > 0 || self.machine.awaits().is_some() || leaving;
        let retry = Timespec { tv_sec: 0, tv_nsec: RETRY_MS * 1_000_000 };
        match poll(&mut polled, impatient.then_some(&retry)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |place: &PollFd<'_>| !place.revents().is_empty();
        Ok(Ready { signals: ready(&polled[0]), streams: polled[2..streams_end].iter().map(ready).collect() })
    }

    /// Sets the timers to what is due next.
    fn arm(&mut self) -> Result<(), RunError> {
        self.guard.set(self.machine.deadline())?;
        let next = self.machine.next_deadline();
        if self.armed != Some(next) {
            set_timer(&self.timer, next)?;
            self.armed = Some(next);
        }
        Ok(())
    }

    /// Handles everything that is there.
    fn round(&mut self, ready: Ready) -> Result<Option<Leave>, RunError> {
        self.feed(Input::Tick, None);
        if self.machine.left() == Some(Leave::Guard) {
            return Ok(Some(Leave::Guard));
        }
        if self.capture.behind() > 0 {
            self.capture.flush();
        }
        for place in (0..ready.streams.len()).filter(|place| ready.streams[*place]) {
            self.read(place);
        }
        self.streams.close_ended();
        if ready.signals {
            if sys::take_signals(self.signals.as_fd())? {
                self.feed(Input::Terminate, None);
            }
            self.bury()?;
        }
        self.serve();
        self.follow_up();
        self.connections.tell_capture(self.capture.state());
        self.connections.flush();
        Ok(self.machine.left().filter(|leave| self.may_leave(*leave)))
    }

    fn read(&mut self, place: usize) {
        if self.capture.held().is_none()
            && let Some(stage) = self.streams.read(place, &mut self.capture, unix_us())
        {
            self.feed(Input::Heard { stage }, None);
        }
    }

    /// Reaps every child that has ended, whoever started it.
    fn bury(&mut self) -> Result<(), RunError> {
        while let Some(pid) = sys::peek_dead_child()? {
            self.feed(Input::Dying { pid }, None);
            let (exit, usage) = sys::reap(pid)?;
            let before = self.oom_kills;
            let oom_kills = oom::kills().zip(before).map(|(after, before)| after.saturating_sub(before));
            self.feed(Input::Exited { pid, exit, usage, oom_kills }, None);
        }
        Ok(())
    }

    /// Welcomes who comes, and does what is asked.
    fn serve(&mut self) {
        for newcomer in self.connections.accept() {
            self.connections.tell(newcomer, &Notice::State(Box::new(self.state())));
        }
        for (from, request) in self.connections.read() {
            let input = match request {
                Request::Assign { identity, deadline } => {
                    Input::Assign { identity, deadline, on_disk: read_identity(&self.directory) }
                }
                other => Input::Request(other),
            };
            self.feed(input, Some(from));
        }
    }

    /// Tells the machine what came of what it waits for.
    fn follow_up(&mut self) {
        if self.machine.awaits().is_some_and(processes::are_gone) {
            self.feed(Input::Gone, None);
        }
        self.feed(Input::Held(self.capture.held().is_some()), None);
        if self.streams.take_drained() {
            self.feed(Input::Drained, None);
        }
    }

    fn feed(&mut self, input: Input, from: Option<ConnectionId>) {
        for output in self.machine.step(input, now()) {
            self.carry_out(output, from);
        }
    }

    fn carry_out(&mut self, output: Output, from: Option<ConnectionId>) {
        match output {
            Output::Answer(answer) => self.answer(from, answer),
            Output::Notify(notice) => self.connections.tell_all(&notice),
            Output::Spawn(order) => {
                let next = self.spawn(&order);
                self.feed(next, None);
            }
            Output::Signal(target, signal) => processes::signal(target, signal),
            Output::Drain { stage } => self.streams.begin_drain(stage),
            Output::End { stage, outcome } => self.write_end(stage, &outcome),
            Output::AddMask { stage, value } => {
                let answer = match self.capture.behind() < BEHIND_BYTES_MAX {
                    true => {
                        self.write(stage, Body::AddMask(&value.0));
                        Ok(())
                    }
                    false => Err(Refusal::Busy),
                };
                self.answer(from, answer);
            }
            Output::Taken { offset } => {
                let answer = self.capture.take(offset).map_err(|()| Refusal::BeyondEnd);
                self.answer(from, answer);
            }
            // The loop looks at the machine itself.
            Output::Leave(_) => {}
        }
    }

    fn answer(&mut self, to: Option<ConnectionId>, answer: Result<(), Refusal>) {
        let notice = answer.map_or_else(Notice::Refused, |()| Notice::Done);
        if let Some(to) = to {
            self.connections.tell(to, &notice);
        }
    }

    fn spawn(&mut self, order: &StageOrder) -> Input {
        self.write(Some(order.stage), Body::Begin(&order.name));
        self.oom_kills = oom::kills();
        let writers = match self.streams.open(order.stage) {
            Ok(writers) => writers,
            Err(error) => return Input::NotSpawned { why: error.to_string() },
        };
        // The order may have waited for a slow disk; the machine ends everything at this input.
        if now() >= self.machine.deadline() {
            return Input::Tick;
        }
        match launch::launch(order, writers, self.core) {
            Ok(pid) => Input::Spawned { pid },
            Err(why) => Input::NotSpawned { why },
        }
    }

    fn write_end(&mut self, stage: u16, outcome: &Outcome) {
        let exit = match outcome {
            Outcome::Ended(exit) => *exit,
            Outcome::NotStarted(why) => {
                self.write(Some(stage), Body::Platform(format!("{why}\n").as_bytes()));
                NOT_STARTED
            }
        };
        self.write(Some(stage), Body::End(exit));
    }

    fn write(&mut self, stage: Option<u16>, body: Body<'_>) {
        self.capture.append(&Frame { unix_us: unix_us(), stage, body });
    }

    /// The last words of what was killed are still in the pipes, and the disk may be full.
    fn may_leave(&mut self, leave: Leave) -> bool {
        if leave == Leave::Guard || now() >= self.machine.deadline() {
            return true;
        }
        let mut place = 0;
        while self.capture.held().is_none() && place < self.streams.descriptors().count() {
            if self.streams.read(place, &mut self.capture, unix_us()).is_none() {
                place += 1;
            }
        }
        self.streams.close_ended();
        self.connections.flush();
        self.capture.held().is_none()
    }

    fn state(&self) -> State {
        State {
            version: VERSION,
            now: now(),
            identity: self.machine.identity().map(str::to_owned),
            deadline: self.machine.deadline(),
            running: self.machine.running(),
            sweeping: self.machine.is_sweeping(),
            ended: self.machine.ended().to_vec(),
            capture: self.capture.state(),
        }
    }
}

/// Takes the directory for this process alone.
fn lock(directory: &Path) -> Result<File, RunError> {
    let folder = File::open(directory)?;
    let metadata = folder.metadata()?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || !own || metadata.mode() & 0o077 != 0 {
        return Err(RunError::Open(directory.to_owned()));
    }
    match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(folder),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(RunError::Taken(directory.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn read_identity(directory: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(directory.join(control::IDENTITY)).ok()?;
    file.take(control::IDENTITY_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.truncate(text.trim_end().len());
    Some(text)
}
