//! The container engine that the tests work with. `tests/run` starts it and makes its image.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A static busybox and nothing else, made without a registry.
pub const IMAGE: &str = "ocelot-test/busybox:1";

/// The socket of the engine that is asked, for the engine's own command and for our programs.
#[expect(clippy::disallowed_methods, reason = "whoever runs these tests chooses the engine")]
pub fn host() -> Option<String> {
    std::env::var("DOCKER_HOST").ok()
}

/// The path of that socket.
pub fn socket() -> PathBuf {
    let host = host();
    host.as_deref().and_then(|host| host.strip_prefix("unix://")).unwrap_or("/var/run/docker.sock").into()
}

/// Whether the engine keeps the containers of this network from each other.
pub fn keeps_apart(network: &str) -> Result<bool> {
    let option = "{{index .Options \"com.docker.network.bridge.enable_icc\"}}";
    Ok(docker(&["network", "inspect", "--format", option, network])? == "false")
}

/// The network that a container is in, by its name.
pub fn network_of(container: &str) -> Result<String> {
    docker(&["inspect", "-f", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}", container])
}

/// Whether Podman answers, which says less than Docker of what it does.
pub fn is_podman() -> Result<bool> {
    let parts = docker(&["version", "--format", "{{range .Server.Components}}{{.Name}} {{end}}"])?;
    Ok(parts.contains("Podman"))
}

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
        let found = self.executors.iter().map(|executor| carrying(executor, command));
        Ok(found.collect::<Result<Vec<_>>>()?.concat())
    }
}

/// Returns the ids of what carries the label of one executor.
fn carrying(executor: &str, command: &[&str]) -> Result<Vec<String>> {
    let filter = format!("label=ocelot.executor={executor}");
    let ids = docker(&[command, &["--filter", &filter]].concat())?;
    Ok(ids.lines().map(str::to_owned).collect())
}

/// Returns what the attempts of one executor have in the engine. The network that its lonely tasks
/// share is of no attempt.
pub fn of_attempts(executor: &str) -> Result<Vec<String>> {
    let containers = carrying(executor, &["ps", "-a", "--format", "container {{.Names}}, {{.Status}}"])?;
    let networks = ["network", "ls", "--format", "network {{.Name}}", "--filter", "label=ocelot.control"];
    Ok([containers, carrying(executor, &networks)?].concat())
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
