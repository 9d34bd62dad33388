//! The controller's folders and keys: whether they can be used, by whom, and how much room they have.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ocelot_proto::kit::doctor::judge::{self, Rights};
use ocelot_proto::kit::doctor::moment::UnixSeconds;
use ocelot_proto::kit::doctor::{Finding, Report};
use rustix::fs::{Access, access};

use super::super::settings::{Settings, StoreSettings};
use crate::bytes::Space;
use crate::seal::SealSource;

/// Nobody else may do anything with a key.
const ALL: u32 = 0o077;

pub(super) fn look(report: &mut Report, settings: &Settings, now: UnixSeconds) {
    let shared = match (&settings.store, &settings.logs) {
        (StoreSettings::Etcd(_), Some(logs)) => Some(logs.clone()),
        (StoreSettings::Etcd(_), None) | (StoreSettings::Embedded, _) => None,
    };
    report.add(folder("data", &settings.data));
    if let Some(logs) = &settings.logs {
        report.add(folder("logs", logs));
    }
    let mut disks: Vec<PathBuf> = vec![settings.data.clone()];
    disks.extend(settings.logs.clone());
    // One line for each disk, not for each folder.
    let mut seen = Vec::new();
    for path in disks.iter().filter_map(|path| existing(path)) {
        let device = fs::metadata(&path).map(|found| found.dev()).ok();
        if !seen.contains(&device) {
            seen.push(device);
            report.add(room(&path));
        }
    }
    let home = shared.unwrap_or_else(|| settings.data.join("bytes"));
    report.add(seal(settings, &home));
    report.add(clock(&settings.data, now));
}

fn folder(check: &'static str, path: &Path) -> Finding {
    let shown = path.display();
    let Some(there) = existing(path) else {
        return Finding::fail(check, format!("{shown} is nowhere"), format!("mkdir -p {shown}"));
    };
    if access(&there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let user = rustix::process::geteuid().as_raw();
        let says = format!("{} cannot be written to by user {user}", there.display());
        return Finding::fail(check, says, format!("chown {user} {}", there.display()));
    }
    match there == path {
        true => Finding::ok(check, format!("{shown} can be used")),
        false => Finding::ok(check, format!("{shown} is made at the first start")),
    }
}

/// Returns the path, or what there is of it.
fn existing(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

fn room(path: &Path) -> Finding {
    let shown = path.display().to_string();
    match Space::under(path) {
        Ok(space) => {
            let floor = Space::NEW_RUNS_BYTES.max(space.total_bytes / 20);
            judge::disk("disk", &shown, space.free_bytes, floor)
        }
        Err(error) => Finding::fail("disk", format!("{shown}: {error}"), format!("df -h {shown}")),
    }
}

fn seal(settings: &Settings, home: &Path) -> Finding {
    let check = "seal key";
    let (path, own) = match &settings.seal {
        None => (home.join("seal-key"), true),
        Some(SealSource::Own(path)) => (path.clone(), true),
        Some(SealSource::File(path)) => (path.clone(), false),
        Some(SealSource::Command(argv)) => {
            let program = argv.first().map(String::as_str).unwrap_or_default();
            return Finding::ok(check, format!("what {program} writes at each start"));
        }
    };
    let shown = path.display().to_string();
    match fs::metadata(&path) {
        Ok(found) => {
            let rights = Rights { mode: found.mode(), owner: found.uid() };
            judge::private(check, &shown, rights, rustix::process::geteuid().as_raw(), ALL)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && own => {
            Finding::ok(check, format!("{shown} is made at the first start"))
        }
        Err(error) => {
            let make =
                format!("(umask 077 && head -c 32 /dev/urandom > {shown})  # or copy that of the fleet");
            Finding::fail(check, format!("{shown}: {error}"), make)
        }
    }
}

/// A clock that was set back is behind what was written under it.
fn clock(data: &Path, now: UnixSeconds) -> Finding {
    let written = fs::read_dir(data.join("store")).into_iter().flatten().flatten();
    let newest = written.filter_map(|entry| entry.metadata().ok()).map(|found| found.mtime()).max();
    match newest {
        Some(newest) if newest > now => judge::clock("the last write of its own store", now, newest, 0),
        Some(_) | None => Finding::ok("clock", "it is not behind anything that was written here"),
    }
}
