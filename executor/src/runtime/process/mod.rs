//! Runs attempts on the machine itself: the supervisor is a plain process, with a control group
//! around all that it starts where this executor may make one.
//!
//! A supervisor is found again by what the kernel says of it: its program lies in this executor's
//! data directory, its first argument is the control directory. A process is named by number, start
//! time and boot, never by its number alone. Nothing isolates such a task from the machine: it has
//! the rights of the executor's own user.

mod child;
mod groups;
mod start;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ocelot_core::plan::Resources;
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::Moment;

use super::listening::watched;
use super::{
    Given, Launch, Ours, Runtime, RuntimeError, Standing, Support, Tell, UNKNOWN_STATUS, embedded, unused,
};
use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::journal::Container;
use child::{Child, ChildState};
use groups::{Group, Groups};
use table::ProcessId;

/// What a shell finds its programs with, if the plan does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A killed process that is stuck in the kernel longer than this is told to people.
const DEATH_MAX: Duration = Duration::from_secs(10);
/// How long a supervisor waits for an attempt before it ends.
const READY_FOR: Duration = Duration::from_secs(600);
/// Between two looks at something that passes at once.
const BUSY_WAIT: Duration = Duration::from_millis(2);

/// The runtime without containers.
#[derive(Debug, Clone)]
pub struct Process {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    supervisor: PathBuf,
    /// Programs in it are supervisors of ours, of whatever version.
    folder: PathBuf,
    groups: Option<Groups>,
    defaults: Resources,
    /// Those that this process started: only a parent learns an exit status.
    children: Mutex<HashMap<ProcessId, Child>>,
}

impl Process {
    /// Takes the supervisor that [`super::install`] put below the data directory, and the limits of a
    /// task that asks for none.
    pub fn new(data: &Path, supervisor: PathBuf, defaults: Resources) -> Self {
        let folder = embedded::folder(data);
        let shared =
            Shared { supervisor, folder, groups: Groups::find(), defaults, children: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Carries out what blocks on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Shared) -> io::Result<T> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(io::Error::other).and_then(|done| done).map_err(|error| failed(doing, error))
    }

    /// Waits until the process is gone, whoever its parent is. Cancel-safe.
    async fn gone(&self, id: ProcessId) -> io::Result<()> {
        let Some(descriptor) = id.open()? else { return Ok(()) };
        let descriptor = watched(descriptor)?;
        let _ready = descriptor.readable().await?;
        Ok(())
    }

    /// Ends everything of a control directory and waits until it is gone.
    async fn end(&self, control: &Path, known: Option<ProcessId>) -> Result<(), RuntimeError> {
        let own = control.to_owned();
        let ended = self.blocking("kill the task's processes", move |shared| {
            let mut all = shared.of(&own)?;
            all.extend(known);
            shared.kill(&own, &all)?;
            Ok(all)
        });
        for id in ended.await? {
            match tokio::time::timeout(DEATH_MAX, self.gone(id)).await {
                Ok(gone) => gone.map_err(|error| failed("wait for a killed supervisor", error))?,
                Err(_) => return Err(failed("wait for a killed supervisor", io::ErrorKind::TimedOut.into())),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Runtime for Process {
    fn name(&self) -> &'static str {
        super::PROCESS
    }

    async fn check(&self) -> Result<Support, RuntimeError> {
        let whole_kill = self.shared.groups.is_some();
        self.once_not_busy("run the supervisor", |shared| {
            // Called wrongly it says so, which proves that this machine can start it.
            let status = Command::new(&shared.supervisor).env_clear().stderr(Stdio::null()).status()?;
            match status.code() {
                Some(2) => Ok(()),
                Some(_) | None => Err(io::Error::other(format!("it ended with {status}"))),
            }
        })
        .await?;
        Ok(Support { version: env!("CARGO_PKG_VERSION").to_owned(), whole_kill })
    }

    async fn prepare(&self, launch: &Launch, tell: &dyn Tell) -> Result<(), Cause> {
        let environment = &launch.environment;
        if !environment.services.is_empty() {
            return Err(refused("services need a container runtime, and this task runs without one"));
        }
        if !launch.mounts.is_empty() {
            tell.line("files outside the workspace are not moved into place without a container");
        }
        if launch.resources.disk_bytes.is_some() {
            tell.line("the disk limit is not enforced: a task without a container shares the machine's disk");
        }
        if self.shared.groups.is_none() && launch.resources != Resources::default() {
            tell.line("resource limits are not enforced: this executor may not make control groups");
        }
        Ok(())
    }

    async fn start(&self, launch: &Launch) -> Result<Container, Cause> {
        if clock::now() >= Moment(launch.deadline.0) {
            return Err(platform("start the supervisor", &"its deadline is over"));
        }
        if let Some(earlier) = self.earlier(&launch.control).await? {
            return Ok(earlier);
        }
        let control = launch.control.clone();
        self.blocking("clear the control directory", move |_| unused::clear(&control))
            .await
            .map_err(|error| platform(&error.doing, &error.source))?;
        self.bring_up(&launch.control, Moment(launch.deadline.0), &launch.resources).await
    }

    async fn make_ready(&self, control: &Path) -> Result<bool, Cause> {
        let deadline = clock::now().after(READY_FOR.as_millis().try_into().unwrap_or(u64::MAX));
        self.bring_up(control, deadline, &Resources::default()).await?;
        Ok(true)
    }

    fn workspace(&self, launch: &Launch) -> PathBuf {
        launch.workspace.clone()
    }

    async fn given(&self, _: &Container) -> Result<Given, RuntimeError> {
        let env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        Ok(Given { env, ..Given::default() })
    }

    async fn inspect(&self, container: &Container) -> Result<Standing, RuntimeError> {
        let id = parse(container)?;
        let control = container.control.clone();
        self.blocking("look at the supervisor", move |shared| {
            let child = shared.child(id)?;
            let child_status = match child {
                // Its first thread may be gone before the last: only the whole has a status.
                Some(ChildState::Runs) => return Ok(Standing::Running),
                Some(ChildState::Ended(status)) => Some(status),
                None if id.is_alive() => return Ok(Standing::Running),
                None => None,
            };
            let group = shared.group(&control);
            let out_of_memory = group.as_ref().and_then(Group::out_of_memory);
            Ok(match child_status {
                Some(status) => Standing::Ended { status, out_of_memory },
                None if group.is_some_and(|group| group.exists()) => {
                    Standing::Ended { status: UNKNOWN_STATUS, out_of_memory }
                }
                None => Standing::Absent,
            })
        })
        .await
    }

    async fn ended(&self, container: &Container) -> Result<Standing, RuntimeError> {
        let id = parse(container)?;
        loop {
            self.gone(id).await.map_err(|error| failed("wait for the supervisor", error))?;
            match self.inspect(container).await? {
                Standing::Running => tokio::time::sleep(BUSY_WAIT).await,
                ended => return Ok(ended),
            }
        }
    }

    async fn kill(&self, container: &Container) -> Result<(), RuntimeError> {
        self.end(&container.control, Some(parse(container)?)).await
    }

    async fn remove(&self, control: &Path) -> Result<(), RuntimeError> {
        self.end(control, None).await?;
        let control = control.to_owned();
        self.blocking("remove the task's control group", move |shared| {
            shared.bury();
            shared.group(&control).map_or(Ok(()), |group| group.remove())
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Ours>, RuntimeError> {
        self.blocking("list supervisors", |shared| {
            let found = table::supervisors(&shared.folder)?;
            let ours = |(id, control): (ProcessId, PathBuf)| Ours {
                container: Container { id: id.to_string(), control },
                running: true,
                waiting: false,
            };
            Ok(found.into_iter().map(ours).collect())
        })
        .await
    }
}

impl Shared {
    fn group(&self, control: &Path) -> Option<Group> {
        self.groups.as_ref().map(|groups| groups.of(control))
    }

    fn children(&self) -> std::sync::MutexGuard<'_, HashMap<ProcessId, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a child of this process does; none if it is no child.
    fn child(&self, id: ProcessId) -> io::Result<Option<ChildState>> {
        let mut children = self.children();
        let Some(child) = children.get_mut(&id) else { return Ok(None) };
        Ok(Some(child.look()?))
    }

    /// Returns the supervisors of a control directory. One that this process started is the only one:
    /// a directory serves one supervisor once. Only otherwise is the table of processes read.
    fn of(&self, control: &Path) -> io::Result<Vec<ProcessId>> {
        let ours: Vec<ProcessId> = {
            let children = self.children();
            children.iter().filter(|(_, child)| child.control() == control).map(|(id, _)| *id).collect()
        };
        if !ours.is_empty() {
            return Ok(ours);
        }
        let found = table::supervisors(&self.folder)?;
        Ok(found.into_iter().filter(|(_, own)| own == control).map(|(id, _)| id).collect())
    }

    fn kill(&self, control: &Path, supervisors: &[ProcessId]) -> io::Result<()> {
        if let Some(group) = self.group(control) {
            group.kill()?;
        }
        // Also those whose group could not be joined, or was made by an executor with other rights.
        supervisors.iter().try_for_each(|id| id.kill_tree())
    }

    /// Forgets the children that have ended.
    fn bury(&self) {
        self.children().retain(|_, child| matches!(child.look(), Ok(ChildState::Runs)));
    }
}

fn parse(container: &Container) -> Result<ProcessId, RuntimeError> {
    container.id.parse().map_err(|error| failed("read the supervisor's name", io::Error::other(error)))
}

fn failed(doing: &str, source: io::Error) -> RuntimeError {
    RuntimeError { doing: format!("cannot {doing}"), source: source.into() }
}

fn platform(doing: &str, why: &dyn std::fmt::Display) -> Cause {
    Cause::Platform { why: format!("{doing}: {why}") }
}

fn refused(why: &str) -> Cause {
    Cause::Failed(Failure::Policy { why: why.to_owned() })
}
