//! The executor's own files: their owner, their rights, and the disk under them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ocelot_proto::kit::doctor::judge::{self, Rights};
use ocelot_proto::kit::doctor::{Finding, Report};
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::kit::words::bytes;

use super::REGISTER;
use crate::app::{Registration, Settings};
use crate::disk::size_of;
use crate::identity::{KEY_FILE, Key, KeyError};

/// Others may pass through the folder, as git's account does, and see nothing of it.
const READ_OR_WRITE: u32 = 0o066;
const MEMORY: &str = "/dev/shm";

pub(super) fn look(report: &mut Report, settings: &Settings) {
    let data = &settings.data;
    let shown = data.display().to_string();
    match fs::metadata(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report.add(Finding::fail(
                "data",
                format!("{shown} is not there: this machine is not registered"),
                REGISTER,
            ));
            return;
        }
        Err(error) => {
            report.add(Finding::fail(
                "data",
                format!("{shown} cannot be used: {error}"),
                format!("ls -ld {shown}"),
            ));
            return;
        }
        Ok(found) => {
            let rights = Rights { mode: found.mode(), owner: found.uid() };
            let user = rustix::process::geteuid().as_raw();
            report.add(judge::private("data", &shown, rights, user, READ_OR_WRITE));
        }
    }
    report.add(registration(data));
    report.add(match crate::identity::disk(data) {
        Ok(disk) => judge::disk("disk", &shown, disk.free, settings.disk_floor),
        Err(error) => Finding::fail("disk", format!("{shown}: {error}"), format!("df -h {shown}")),
    });
    report.add(ours(data, settings));
    report.add(memory());
}

/// What is kept here beside the journal. Images are the engine's, and are counted by it.
fn ours(data: &Path, settings: &Settings) -> Finding {
    let check = "ours";
    let (mirrors, attempts) = (size_of(&data.join("mirrors")), size_of(&data.join("attempts")));
    let takes = format!("mirrors take {}, attempts {}", bytes(mirrors), bytes(attempts));
    let begins =
        crate::identity::disk(data).map(|disk| settings.limits.marks(disk.size, settings.disk_floor));
    let begins = begins.map_or_else(
        |_| String::new(),
        |marks| format!("; below {} free, what was not used for long goes", bytes(marks.below)),
    );
    match settings.limits.budget {
        Some(budget) if mirrors.saturating_add(attempts) > budget => Finding::warn(
            check,
            format!("{takes}, which is over the budget of {}{begins}", bytes(budget)),
            "ocelot-executor collect  # with the executor stopped; one that runs does it by itself",
        ),
        Some(budget) => Finding::ok(check, format!("{takes} of a budget of {}{begins}", bytes(budget))),
        None => Finding::ok(check, format!("{takes}{begins}")),
    }
}

fn registration(data: &Path) -> Finding {
    let check = "key";
    let registration = match Registration::read(data) {
        Ok(Some(registration)) => registration,
        Ok(None) => return Finding::fail(check, "this machine is not registered", REGISTER),
        Err(error) => return Finding::fail(check, chain(&error).to_string(), REGISTER),
    };
    let path = data.join(KEY_FILE);
    match Key::open(&path) {
        Ok(_key) => Finding::ok(check, format!("registered as {}, with a key of its own", registration.name)),
        Err(error @ KeyError::Readable { .. }) => {
            let says = error.to_string();
            let says = says.split(": run").next().unwrap_or(&says).to_owned();
            Finding::fail(check, says, format!("chmod 600 {}", path.display()))
        }
        Err(error) => Finding::fail(check, chain(&error).to_string(), REGISTER),
    }
}

/// Secrets in files lie in memory.
fn memory() -> Finding {
    const TMPFS: u64 = 0x0102_1994;
    let mend = format!("mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs {MEMORY}");
    match rustix::fs::statfs(MEMORY) {
        Ok(found) if u64::try_from(found.f_type) == Ok(TMPFS) => {
            Finding::ok("memory", format!("{MEMORY} is in memory: secrets in files touch no disk"))
        }
        Ok(_) => Finding::warn(
            "memory",
            format!("{MEMORY} is not in memory: secrets in files touch the disk"),
            mend,
        ),
        Err(error) => Finding::fail("memory", format!("{MEMORY} cannot be used: {error}"), mend),
    }
}
