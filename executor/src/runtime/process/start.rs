//! From a control directory to a supervisor that listens in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ocelot_core::plan::Resources;
use ocelot_supervisor::birth::spawn_in_group;
use ocelot_supervisor::control;
use ocelot_supervisor::protocol::Moment;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::child::Child;
use super::groups::Group;
use super::table::ProcessId;
use super::{BUSY_WAIT, Process, Shared, failed, platform};
use crate::attempt::state::Cause;
use crate::journal::Container;
use crate::runtime::listening::Arrival;
use crate::runtime::{Runtime, RuntimeError};

/// What the supervisor itself says when it cannot run.
pub(super) const COMPLAINT: &str = "supervisor.stderr";
const COMPLAINT_BYTES_MAX: u64 = 4096;
/// A loaded machine needs long to start a program; one that needs longer is broken.
const START_MAX: Duration = Duration::from_secs(30);
/// Another thread's child may hold the freshly written program open until it executes its own.
const BUSY_TRIES_MAX: u32 = 100;

impl Process {
    /// Starts a supervisor and waits until it listens.
    pub(super) async fn bring_up(
        &self,
        control: &Path,
        deadline: Moment,
        resources: &Resources,
    ) -> Result<Container, Cause> {
        let arrival =
            Arrival::watch(control).map_err(|error| platform("watch the control directory", &error))?;
        let spawned = self.spawn(control, deadline, resources).await;
        let id = spawned.map_err(|error| platform(&error.doing, &error.source))?;
        let outcome = tokio::select! {
            biased;
            () = arrival.listening() => Ok(()),
            gone = self.gone(id) => Err(gone.map_or_else(|error| error.to_string(), |()| complaint(control))),
            () = tokio::time::sleep(START_MAX) => Err(format!("it does not listen after {START_MAX:?}")),
        };
        match outcome {
            Ok(()) => Ok(Container { id: id.to_string(), control: control.to_owned() }),
            Err(why) => {
                if let Err(error) = self.remove(control).await {
                    tracing::warn!(%error, "a supervisor that did not start may be left");
                }
                Err(platform("start the supervisor", &why))
            }
        }
    }

    async fn spawn(
        &self,
        control: &Path,
        deadline: Moment,
        resources: &Resources,
    ) -> Result<ProcessId, RuntimeError> {
        let limits = with_defaults(resources, &self.shared.defaults);
        let control = control.to_owned();
        let spawn = move |shared: &Shared| shared.spawn(&control, deadline, &limits);
        self.once_not_busy("start the supervisor", spawn).await
    }

    /// Starts a program that was just written, once nobody holds it open any more.
    pub(super) async fn once_not_busy<T: Send + 'static>(
        &self,
        doing: &'static str,
        start: impl Fn(&Shared) -> io::Result<T> + Clone + Send + 'static,
    ) -> Result<T, RuntimeError> {
        for _ in 1..BUSY_TRIES_MAX {
            let start = start.clone();
            let started = self.blocking(doing, move |shared| match start(shared) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => Ok(None),
                other => other.map(Some),
            });
            if let Some(started) = started.await? {
                return Ok(started);
            }
            tokio::time::sleep(BUSY_WAIT).await;
        }
        Err(failed(doing, io::ErrorKind::ExecutableFileBusy.into()))
    }

    /// Returns what an earlier call of the same start has started.
    pub(super) async fn earlier(&self, control: &Path) -> Result<Option<Container>, Cause> {
        // Nobody listens in a fresh directory; only otherwise is the table of processes read.
        if control::connect(control).is_err() {
            return Ok(None);
        }
        let own = control.to_owned();
        let found = self.blocking("find the supervisor", move |shared| shared.of(&own)).await;
        let found = found.map_err(|error| platform(&error.doing, &error.source))?;
        let container = |id: &ProcessId| Container { id: id.to_string(), control: control.to_owned() };
        Ok(found.first().map(container))
    }
}

impl Shared {
    fn spawn(&self, control: &Path, deadline: Moment, limits: &Resources) -> io::Result<ProcessId> {
        let mut group = self.group(control);
        if let Some(group) = &mut group {
            group.make(limits)?;
        }
        let complaints = File::create(control.join(COMPLAINT))?;
        let deadline = deadline.0.to_string();
        let arguments = [control.as_os_str(), "--deadline-ms".as_ref(), deadline.as_ref()];
        let cradle = group.as_ref().and_then(Group::cradle);
        let born = cradle.map(|cradle| spawn_in_group(cradle, &self.supervisor, &arguments, &complaints));
        let born = born.transpose()?.flatten().and_then(Pid::from_raw);
        let pid = match born {
            Some(pid) => pid,
            None => self.spawn_outside(&arguments, complaints)?,
        };
        // It starts nothing before it is asked to, so nothing can be outside of the group.
        let number = pid.as_raw_nonzero().get().unsigned_abs();
        let joined = group.map_or(Ok(()), |group| group.take(number, born.is_some()));
        match joined.and_then(|()| ProcessId::of(number)) {
            Ok(id) => {
                self.children().insert(id, Child::new(pid, control));
                Ok(id)
            }
            Err(error) => {
                rustix::process::kill_process(pid, Signal::KILL)?;
                waitpid(Some(pid), WaitOptions::empty())?;
                Err(error)
            }
        }
    }

    /// Where nothing can be born into a group.
    fn spawn_outside(&self, arguments: &[&OsStr], complaints: File) -> io::Result<Pid> {
        let mut command = Command::new(&self.supervisor);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints);
        let child = command.spawn()?;
        i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn with_defaults(asked: &Resources, defaults: &Resources) -> Resources {
    Resources {
        cpu_millis: asked.cpu_millis.or(defaults.cpu_millis),
        memory_bytes: asked.memory_bytes.or(defaults.memory_bytes),
        disk_bytes: asked.disk_bytes.or(defaults.disk_bytes),
        pids: asked.pids.or(defaults.pids),
        gpus: asked.gpus.or(defaults.gpus),
    }
}

fn complaint(control: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(control.join(COMPLAINT)) {
        let _unreadable = file.take(COMPLAINT_BYTES_MAX).read_to_string(&mut text);
    }
    if text.is_empty() { "it ended at once".to_owned() } else { text.trim_end().to_owned() }
}
