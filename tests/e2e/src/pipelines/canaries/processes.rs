//! What others on the machine see of processes and containers while builds hold their secrets.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use ocelot_e2e::search::Search;

use super::Scene;

/// Looks at the arguments and the environment of all processes but the task's own. Returns how many.
/// A git of the controller's that fetches just then has its login in its environment, on purpose.
pub(super) fn look_at_processes(scene: &Scene, search: &Search) -> Result<usize> {
    let fleet = &scene.ground.fleet;
    let mut ours: BTreeSet<u32> =
        fleet.controllers.iter().chain(&fleet.executors).filter_map(|program| program.pid()).collect();
    let folder = fleet.folder().display().to_string();
    let (mut looked, mut tasks) = (0, 0);
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // One that is gone meanwhile shows nothing.
        let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let environment = environment(&entry.path());
        if pid == std::process::id() {
            continue;
        }
        let found = search.of_bytes(&arguments);
        ensure!(found.is_empty(), "arguments of {pid}: {found:?}");
        let is_task = String::from_utf8_lossy(&environment).contains("OCELOT_RUN_ID=");
        if is_task {
            tasks += usize::from(!search.of_bytes(&environment).is_empty());
        } else {
            let found = search.of_bytes(&without_login_of_git(&environment));
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            ensure!(found.is_empty(), "environment of {pid} ({arguments}): {found:?}");
            looked += usize::from(arguments.contains(&folder));
            ours.remove(&pid);
        }
    }
    ensure!(ours.is_empty(), "nobody looked at {ours:?}");
    // Else this has looked at nothing.
    ensure!(tasks > 0, "no process of the held builds has its secret");
    Ok(looked)
}

fn without_login_of_git(environment: &[u8]) -> Vec<u8> {
    let variables = environment.split(|byte| *byte == 0);
    variables.filter(|variable| !variable.starts_with(b"OCELOT_GIT_SECRET=")).collect::<Vec<_>>().join(&0)
}

/// Returns the environment of a process: what two readings agree on, because one that begins another
/// program meanwhile shows a part of it.
fn environment(process: &Path) -> Vec<u8> {
    let read = || std::fs::read(process.join("environ")).unwrap_or_default();
    let mut seen = read();
    loop {
        let again = read();
        if again == seen {
            return seen;
        }
        seen = again;
    }
}

/// Looks at what the engine shows of the held container.
pub(super) async fn look_at_containers(scene: &Scene, search: &Search) -> Result<usize> {
    let listed = std::process::Command::new("docker").args(["ps", "--quiet", "--no-trunc"]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let folder = scene.ground.fleet.path("two").display().to_string();
    let mut looked = 0;
    for container in listed.lines() {
        let shown = std::process::Command::new("docker").args(["inspect", container]).output()?.stdout;
        if !String::from_utf8_lossy(&shown).contains(&folder) {
            continue;
        }
        looked += 1;
        let found = search.of_bytes(&shown);
        ensure!(found.is_empty(), "the engine shows {found:?}");
    }
    ensure!(looked > 0, "the held container is not there");
    Ok(looked)
}
