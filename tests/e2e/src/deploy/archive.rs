//! `deploy/release`: one archive of programs that are built, the same each time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::Build;
use ocelot_e2e::runner::trial;
use tempfile::TempDir;

use super::source;

pub(super) const PROGRAMS: [&str; 3] = ["ocelot", "ocelot-controller", "ocelot-executor"];
/// A moment in 2026.
const WHEN: &str = "1795285357";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("deploy::archive::the_same_programs_make_the_same_archive", async || same()),
        trial("deploy::archive::of_no_known_kind_of_machine_it_is_not_made", async || unknown()),
    ]
}

/// Makes programs that only have the head of one: enough for an archive, and quick to pack.
pub(super) fn stand_ins(folder: &Path, mark: &str) -> Result<PathBuf> {
    let programs = folder.join(format!("programs-{mark}"));
    fs::create_dir(&programs)?;
    for name in PROGRAMS {
        let mut bytes = fs::read(Build::Plain.program(name)?)?;
        bytes.truncate(64);
        bytes.extend(format!("{name} {mark}").bytes());
        fs::write(programs.join(name), bytes)?;
    }
    Ok(programs)
}

/// Copies the real programs without what only a debugger reads; `mark` makes them others than before.
pub(super) fn stripped(folder: &Path, mark: &str) -> Result<PathBuf> {
    let programs = folder.join(format!("programs-{mark}"));
    fs::create_dir(&programs)?;
    for name in PROGRAMS {
        let to = programs.join(name);
        let from = Build::Plain.program(name)?;
        let done = Command::new("strip").arg("-o").arg(&to).arg(from).status();
        ensure!(done.context("no strip command; Debian: binutils")?.success(), "strip {name}");
        let bytes = [fs::read(&to)?, mark.as_bytes().to_vec()].concat();
        fs::write(&to, bytes)?;
    }
    Ok(programs)
}

/// Makes the archive of these programs, and returns its path.
pub(super) fn release(programs: &Path, into: &Path) -> Result<PathBuf> {
    let output = command(programs, into)?.output()?;
    ensure!(output.status.success(), "deploy/release: {}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn command(programs: &Path, into: &Path) -> Result<Command> {
    let mut command = Command::new(source("deploy/release"));
    command
        .arg(programs)
        .arg(into)
        .env("SOURCE_DATE_EPOCH", WHEN)
        .env("OCELOT", Build::Plain.program("ocelot")?);
    Ok(command)
}

fn same() -> Result<()> {
    let folder = TempDir::new()?;
    let programs = stand_ins(folder.path(), "one")?;
    let first = release(&programs, &folder.path().join("first"))?;
    // The same bytes, by another name, of another age, and with other rights.
    let moved = folder.path().join("elsewhere");
    fs::create_dir(&moved)?;
    for name in PROGRAMS {
        fs::write(moved.join(name), fs::read(programs.join(name))?)?;
        fs::set_permissions(moved.join(name), fs::Permissions::from_mode(0o700))?;
    }
    let again = release(&moved, &folder.path().join("again"))?;
    ensure!(fs::read(&first)? == fs::read(&again)?, "two archives of the same programs differ");
    let other = release(&stand_ins(folder.path(), "two")?, &folder.path().join("other"))?;
    ensure!(fs::read(&first)? != fs::read(&other)?, "archives of other programs are the same");

    let mut list = Command::new("tar");
    list.args(["--list", "--verbose", "--numeric-owner", "--file"]).arg(&first).env("TZ", "UTC");
    let listed = String::from_utf8(own(&mut list)?)?;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    ensure!(names.is_sorted(), "not sorted: {names:?}");
    for line in listed.lines() {
        ensure!(line.contains(" 0/0 "), "it names an owner: {line}");
        ensure!(line.contains(" 2026-11-21 "), "it has a date of its own: {line}");
    }
    let held = |end: &str| names.iter().any(|name| name.ends_with(end));
    for end in [
        "/bin/ocelot",
        "/bin/ocelot-controller",
        "/bin/ocelot-executor",
        "/systemd/ocelot-controller.service",
        "/systemd/ocelot-executor.service",
        "/completions/ocelot.bash",
        "/completions/_ocelot",
        "/completions/ocelot.fish",
        "/LICENSE",
        "/INSTALL.md",
        "/SHA256SUMS",
        "/install.sh",
        "/Dockerfile",
        "/compose.yaml",
    ] {
        ensure!(held(end), "it holds no {end}: {names:?}");
    }
    Ok(())
}

fn own(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn unknown() -> Result<()> {
    let folder = TempDir::new()?;
    let programs = folder.path().join("programs");
    fs::create_dir(&programs)?;
    for name in PROGRAMS {
        fs::write(programs.join(name), "#!/bin/sh\n")?;
    }
    let into = folder.path().join("into");
    let output = command(&programs, &into)?.output()?;
    ensure!(!output.status.success() && fs::read_dir(&into)?.next().is_none(), "it was made");
    Ok(())
}
