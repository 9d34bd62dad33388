//! The container engine that the tests work with. `tests/run` starts it and makes its image.

use std::process::Command;

use anyhow::{Context, ensure};

/// A static busybox and nothing else, made without a registry.
pub const IMAGE: &str = "ocelot-test/busybox:1";

/// Runs one command in a container of its own and returns what it printed.
pub fn run_in_container(command: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--pull", "never", IMAGE])
        .args(command)
        .output()
        .context("no docker command: run tests/run, which installs it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the engine does not run {IMAGE}; tests/run sets both up: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}
