//! The container engine that the tests work with. `tests/run` starts it and makes its image.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A static busybox and nothing else, made without a registry.
pub const IMAGE: &str = "ocelot-test/busybox:1";

/// Runs one command in a container of its own and returns what it printed.
pub fn run_in_container(command: &[&str]) -> Result<String> {
    let output = Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--pull", "never", IMAGE])
        .args(command)
        .output()
        .context("no docker command: run tests/run, which installs it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the engine does not run {IMAGE}; tests/run sets both up: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Tells whether an engine answers.
pub fn answers() -> bool {
    docker(&["version", "--format", "{{.Server.Version}}"]).is_ok()
}

/// Runs one command of the engine and returns what it printed.
pub fn docker(arguments: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(arguments).output().context("no docker command")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "docker {arguments:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// What some executors have in the engine, by the label that all of it carries. It goes with this
/// value.
#[derive(Debug, Default)]
pub struct Traces {
    executors: Vec<String>,
}

impl Traces {
    pub fn follow(&mut self, executor: String) {
        self.executors.push(executor);
    }

    /// Returns the ids of the containers that run, or of all that are there.
    pub fn containers(&self, all: bool) -> Result<Vec<String>> {
        self.find(if all { &["ps", "-aq", "--no-trunc"] } else { &["ps", "-q", "--no-trunc"] })
    }

    fn find(&self, command: &[&str]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for executor in &self.executors {
            let filter = format!("label=ocelot.executor={executor}");
            let ids = docker(&[command, &["--filter", &filter]].concat())?;
            found.extend(ids.lines().map(str::to_owned));
        }
        Ok(found)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nobody: its labels are of an executor that is no more.
        for id in self.containers(true).unwrap_or_default() {
            docker(&["rm", "-f", &id]).ok();
        }
        for id in self.find(&["network", "ls", "-q"]).unwrap_or_default() {
            docker(&["network", "rm", &id]).ok();
        }
    }
}
