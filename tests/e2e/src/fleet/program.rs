//! One of our programs as a process of its own: started, killed, held and started again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::engine::host;
use crate::wait::{wait_held, wait_until};

/// Which build of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As people use it.
    Plain,
    /// With failpoints and planted bugs; it says so in its version.
    Chaos,
}

impl Build {
    /// Returns where a program of this build is: beside this one. `tests/run` makes both builds.
    pub fn program(self, name: &str) -> Result<PathBuf> {
        let own = std::env::current_exe()?;
        let place = match self {
            Self::Plain => Path::new(name).to_owned(),
            Self::Chaos => Path::new("chaos").join(name),
        };
        let mut near = own.ancestors().skip(1).take(2).map(|folder| folder.join(&place));
        near.find(|path| path.is_file())
            .with_context(|| format!("{} is not built: tests/run does it", place.display()))
    }
}

/// What a process is started with, again and again.
#[derive(Debug, Clone)]
pub struct Start {
    pub build: Build,
    pub program: &'static str,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// A network namespace to live in.
    pub namespace: Option<String>,
}

/// A process that is ended with its value.
#[derive(Debug)]
pub struct Program {
    start: Start,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    pub fn new(start: Start, log: PathBuf) -> Self {
        Self { start, log, child: None }
    }

    /// Starts it, with `chaos` planted for this life only.
    pub fn start_with(&mut self, build: Build, chaos: &str) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs", self.start.program);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let path = build.program(self.start.program)?;
        let mut command = match &self.start.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(path);
                command
            }
            None => Command::new(path),
        };
        let child = command
            .args(&self.start.arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(host().map(|host| ("DOCKER_HOST", host)))
            .envs(self.start.environment.iter().cloned())
            .envs((!chaos.is_empty()).then_some(("OCELOT_CHAOS", chaos)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.start.program))?;
        self.child = Some(child);
        Ok(())
    }

    pub fn start(&mut self) -> Result<()> {
        self.start_with(self.start.build, "")
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Ends it without a word, as a power cut of the process would.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub fn kill_and_start(&mut self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until it stands still, as at a point where it was told to.
    pub async fn held(&self) -> Result<()> {
        wait_held(self.start.program, self.pid().context("it does not run")?).await
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let what = format!("{} to end", self.start.program);
        let mut child = self.child.take().context("it does not run")?;
        let status = wait_until(&what, || {
            let status = child.try_wait();
            async move { status?.context("it runs") }
        });
        let status = status.await;
        if status.is_err() {
            self.child = Some(child);
        }
        status
    }

    /// Returns what it has said so far, of all its lives.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the last lines of what it said.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<_> = said.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            // One that has ended already is what is wanted.
            child.kill().and_then(|()| child.wait()).ok();
        }
    }
}
