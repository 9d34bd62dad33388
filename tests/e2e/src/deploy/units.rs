//! The units start programs that exist, with arguments that they take.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::Build;
use ocelot_e2e::runner::trial;
use tempfile::TempDir;

use super::source;

const PLACE: &str = "/usr/local/bin/";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("deploy::units::each_starts_a_program_with_arguments_that_it_takes", async || arguments()),
        trial("deploy::units::systemd_finds_nothing_wrong_with_them", async || verified()),
    ]
}

/// Each unit: its name, its text, and what it starts.
fn units() -> Result<Vec<(String, String, Vec<String>)>> {
    let mut units = Vec::new();
    for entry in fs::read_dir(source("deploy/systemd"))? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)?;
        let line =
            text.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("it starts nothing")?;
        let words = line.split_whitespace().map(str::to_owned).collect();
        units.push((name, text, words));
    }
    ensure!(units.len() == 2, "there are {} units", units.len());
    Ok(units)
}

fn arguments() -> Result<()> {
    for (name, _, words) in units()? {
        let (path, arguments) = words.split_first().context("it starts nothing")?;
        let program = path.strip_prefix(PLACE).with_context(|| format!("{name} starts {path}"))?;
        // All before the question for help is read, and one that is not known ends it.
        let takes = |more: &[&str]| -> Result<bool> {
            let mut command = Command::new(Build::Plain.program(program)?);
            Ok(command.args(arguments).args(more).arg("--help").output()?.status.success())
        };
        ensure!(takes(&[])?, "{name}: {program} does not take {arguments:?}");
        ensure!(!takes(&["--no-such-flag"])?, "{name}: {program} takes anything");
    }
    Ok(())
}

fn verified() -> Result<()> {
    // Where there is no systemd there is nobody to ask; that they parse is what the other trial shows.
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("not checked: the units by systemd-analyze, which is not here");
        return Ok(());
    }
    let folder = TempDir::new()?;
    for (name, text, words) in units()? {
        let path = words.first().context("it starts nothing")?;
        let program = Build::Plain.program(path.strip_prefix(PLACE).context("ours")?)?;
        let unit = folder.path().join(&name);
        fs::write(&unit, text.replace(path.as_str(), &program.display().to_string()))?;
        let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&unit).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() && !said.contains(&name), "{name}: {said}");
    }
    Ok(())
}
