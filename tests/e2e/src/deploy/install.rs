//! `deploy/install.sh`: into a bare root and out of it again, and nothing else is touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::runner::trial;
use tempfile::TempDir;

use super::archive::{release, stand_ins};
use super::source;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("deploy::install::into_a_bare_root_and_out_again_nothing_else_is_touched", async || whole()),
        trial("deploy::install::a_damaged_archive_installs_nothing", async || damaged()),
        trial("deploy::install::what_is_not_its_own_is_left", async || foreign()),
    ]
}

/// Runs the installer.
pub(super) fn install(root: &Path, arguments: &[&Path]) -> Result<Output> {
    let mut command = Command::new("sh");
    command.arg(source("deploy/install.sh")).args(arguments).arg("--root").arg(root);
    command.output().context("no shell")
}

pub(super) fn installed(root: &Path, arguments: &[&Path]) -> Result<String> {
    let output = install(root, arguments)?;
    ensure!(output.status.success(), "install.sh: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

pub(super) fn remove(root: &Path) -> Result<String> {
    installed(root, &[Path::new("--remove")])
}

/// What a system looks like before anything of ours is in it.
pub(super) fn bare(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    for path in ["etc", "usr/local/bin", "usr/local/share/doc", "var/lib", "run"] {
        fs::create_dir_all(root.join(path))?;
    }
    for path in ["etc/hosts", "usr/local/bin/other", "usr/local/share/doc/other", "var/lib/kept"] {
        fs::write(root.join(path), path)?;
    }
    Ok(root)
}

/// Everything in a folder: its kind, its rights, its age and its bytes.
type Seen = BTreeMap<PathBuf, (u32, Option<(i64, Vec<u8>)>)>;

fn seen(folder: &Path) -> Result<Seen> {
    let mut found = Seen::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            let bytes = if about.is_file() { Some((about.mtime_nsec(), fs::read(&path)?)) } else { None };
            found.insert(path.strip_prefix(folder)?.to_owned(), (about.mode(), bytes));
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

fn bytes_of(root: &Path, path: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(root.join(path))?).into_owned())
}

fn whole() -> Result<()> {
    let folder = TempDir::new()?;
    let root = bare(folder.path())?;
    let before = seen(&root)?;
    let one = release(&stand_ins(folder.path(), "one")?, &folder.path().join("a"))?;
    let said = installed(&root, &[&one])?;
    ensure!(said.starts_with("installed: "), "{said}");
    let ours = "usr/local/bin/ocelot-executor";
    ensure!(bytes_of(&root, ours)?.ends_with("ocelot-executor one"), "it is not the first one");
    ensure!(fs::metadata(root.join(ours))?.mode() & 0o777 == 0o755, "it cannot be run");
    let unit = bytes_of(&root, "usr/local/lib/systemd/system/ocelot-executor.service")?;
    ensure!(unit.contains("ExecStart=/usr/local/bin/ocelot-executor start"), "{unit}");
    let kept = |now: &Seen| before.iter().all(|(path, was)| now.get(path) == Some(was));
    ensure!(kept(&seen(&root)?), "something else was touched");

    let two = release(&stand_ins(folder.path(), "two")?, &folder.path().join("b"))?;
    let said = installed(&root, &[&two])?;
    ensure!(said.starts_with("upgraded: "), "{said}");
    ensure!(bytes_of(&root, ours)?.ends_with("ocelot-executor two"), "it is not the second one");
    let upgraded = seen(&root)?;
    ensure!(kept(&upgraded), "something else was touched");
    installed(&root, &[&two])?;
    let names = |all: &Seen| all.keys().cloned().collect::<Vec<_>>();
    ensure!(names(&seen(&root)?) == names(&upgraded), "installing it once more leaves something");

    remove(&root)?;
    ensure!(seen(&root)? == before, "it is not as it was before: {:?}", names(&seen(&root)?));
    ensure!(!install(&root, &[Path::new("--remove")])?.status.success(), "it was removed twice");
    Ok(())
}

fn damaged() -> Result<()> {
    let folder = TempDir::new()?;
    let root = bare(folder.path())?;
    let before = seen(&root)?;
    let archive = release(&stand_ins(folder.path(), "one")?, &folder.path().join("a"))?;
    let whole = fs::read(&archive)?;
    let refused = |why: &str| -> Result<()> {
        let output = install(&root, &[&archive])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(why), "it was not refused: {said}");
        ensure!(seen(&root)? == before, "something was installed");
        Ok(())
    };
    let mut other = whole.clone();
    *other.last_mut().context("it has bytes")? ^= 1;
    fs::write(&archive, &other)?;
    refused("is not what")?;
    // Its own checksum is with whoever damaged it, too.
    fs::remove_file(archive.with_extension("gz.sha256"))?;
    fs::write(&archive, &whole[..whole.len() / 2])?;
    refused("cannot be unpacked")?;
    for (change, why) in [("echo more >>bin/ocelot", "is damaged"), ("echo more >added", "holds files")] {
        repack(folder.path(), &whole, change, &archive)?;
        refused(why)?;
    }
    Ok(())
}

/// Packs an archive anew after a change of its files.
fn repack(folder: &Path, whole: &[u8], change: &str, archive: &Path) -> Result<()> {
    fs::write(archive, whole)?;
    let work = tempfile::tempdir_in(folder)?;
    let script =
        format!("tar -xzf {0} && (cd ocelot-* && {change}) && tar -czf {0} ocelot-*", archive.display());
    let done = Command::new("sh").arg("-ec").arg(script).current_dir(work.path()).status()?;
    ensure!(done.success(), "it cannot be packed anew");
    Ok(())
}

fn foreign() -> Result<()> {
    let folder = TempDir::new()?;
    let root = bare(folder.path())?;
    let archive = release(&stand_ins(folder.path(), "one")?, &folder.path().join("a"))?;
    let theirs = root.join("usr/local/bin/ocelot");
    fs::write(&theirs, "somebody else's")?;
    let before = seen(&root)?;
    let output = install(&root, &[&archive])?;
    ensure!(!output.status.success(), "it took another's place");
    ensure!(seen(&root)? == before, "something was installed");
    fs::remove_file(&theirs)?;
    installed(&root, &[&archive])?;
    // A unit that an operator changed in place, and a file that somebody put beside ours.
    let unit = root.join("usr/local/lib/systemd/system/ocelot-executor.service");
    fs::write(&unit, "changed")?;
    let beside = root.join("usr/local/share/fish/theirs");
    fs::write(&beside, "theirs")?;
    let said = remove(&root)?;
    ensure!(said.contains("ocelot-executor.service"), "it does not say what it left: {said}");
    ensure!(fs::read(&unit)? == b"changed" && fs::read(&beside)? == b"theirs", "it is gone");
    ensure!(!theirs.exists(), "its own is left");
    Ok(())
}
