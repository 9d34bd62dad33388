//! A clean install, an upgrade under a running build, and a removal, with the real programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::{Build, Fleet};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::archive::{release, stripped};
use super::install::{bare, installed, remove};

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("deploy::upgrade::a_build_runs_on_while_its_executor_is_upgraded", upgraded)]
}

/// An installed program that runs; it ends with its value.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(program: &Path, data: &Path, log: PathBuf) -> Result<Self> {
        let out = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(program);
        command.args(["start", "--runtime", "process", "--data"]).arg(data).env_clear();
        command.env("HOME", data).env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
        let child = command.stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Self { child, log })
    }

    /// Returns the file that it runs, as the system names it.
    fn file(&self) -> Result<String> {
        Ok(fs::read_link(format!("/proc/{}/exe", self.child.id()))?.display().to_string())
    }

    async fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        wait_until("the executor to end", || {
            let ended = self.child.try_wait();
            async move { ended?.context("it runs") }
        })
        .await
        .map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn said(output: &Output) -> Result<String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{out}{err}");
    Ok(out.trim().to_owned())
}

async fn upgraded() -> Result<()> {
    let folder = TempDir::new()?;
    let root = bare(folder.path())?;
    let place = |name: &str| folder.path().join(name);
    let first = release(&stripped(folder.path(), "first")?, &place("a"))?;
    let second = release(&stripped(folder.path(), "second")?, &place("b"))?;
    installed(&root, &[&first])?;
    let program = root.join("usr/local/bin/ocelot-executor");

    let fleet = Fleet::embedded(Build::Plain).await?;
    let data = place("executor");
    let token = place("invitation");
    fs::write(&token, fleet.registration(&[]).await?)?;
    let registered = Command::new(&program)
        .args(["register", "--install", "--token-file"])
        .args([&token, Path::new("--data"), &data, Path::new("--root"), &root])
        .output()?;
    let told = said(&registered)?;
    ensure!(told.contains("systemctl enable --now ocelot-executor"), "{told}");
    let settings = fs::read_to_string(root.join("etc/ocelot/executor.env"))?;
    ensure!(settings == format!("OCELOT_EXECUTOR_DATA={}\n", data.display()), "{settings}");

    let old = Running::start(&program, &data, place("executor.log"))?;
    let (begun, go) = (place("begun"), place("go"));
    let wait =
        format!("touch {}; until [ -e {} ]; do sleep 0.1; done; echo done", begun.display(), go.display());
    let job = place("hold.job.yml");
    fs::write(
        &job,
        format!("name: hold\nruntime: process\nstages:\n  - name: hold\n    script: [\"{wait}\"]\n"),
    )?;
    said(&fleet.run("ocelot", &["create", "-f", &job.display().to_string()])?)?;
    let run = said(&fleet.run("ocelot", &["execute", "hold"])?)?;
    let run = run.split_whitespace().next().context("it names no run")?.to_owned();
    wait_until("the build to begin", || async {
        ensure!(begun.exists(), "{}", fs::read_to_string(&old.log)?);
        Ok(())
    })
    .await?;

    installed(&root, &[&second])?;
    ensure!(old.file()?.ends_with("(deleted)"), "the one that runs was changed: {}", old.file()?);
    // The new one takes the build over where the old one leaves it.
    kill_process(Pid::from_child(&old.child), Signal::KILL)?;
    drop(old);
    let new = Running::start(&program, &data, place("executor.log"))?;
    ensure!(new.file()? == program.canonicalize()?.display().to_string(), "it is {}", new.file()?);
    fs::write(&go, "")?;
    let log = said(&fleet.run("ocelot", &["getlogs", "--follow", &run])?)?;
    ensure!(log.lines().filter(|line| line.ends_with("done")).count() == 1, "{log}");
    let status = said(&fleet.run("ocelot", &["status", &run])?)?;
    ensure!(status.contains("succeeded"), "{status}");

    let removed = remove(&root)?;
    ensure!(removed.starts_with("removed"), "{removed}");
    ensure!(
        root.join("etc/ocelot/executor.env").exists() && data.join("journal").exists(),
        "too much is gone"
    );
    ensure!(!program.exists(), "it is left");
    new.stop().await
}
