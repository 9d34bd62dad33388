//! One control group for each attempt, where this executor may make them, of the old or the new kind.
//! Where both are there, the new kind kills and the old kind limits.
//!
//! A group is what makes a kill reach everything, whatever left its session or lost its parent. Its
//! name follows from the control directory, so it is found without being written down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelot_core::plan::Resources;
use sha2::{Digest, Sha256};

use crate::runtime::OutOfMemory;

const MOUNT: &str = "/sys/fs/cgroup";
/// Of the new kind, on a machine with both.
const MOUNT_BESIDE: &str = "/sys/fs/cgroup/unified";
const FOLDER: &str = "ocelot";
/// Of the old kind. The first that is there is the one whose members are killed.
const CONTROLLERS: [&str; 4] = ["freezer", "pids", "memory", "cpu"];
/// Stands where the old kind has a controller's name.
const NEW_KIND: &str = "";
const CPU_PERIOD_US: u64 = 100_000;
/// How long killed members may take to be gone: they may be writing to a slow disk.
const KILL_ROUNDS_MAX: u32 = 2000;
const KILL_WAIT: Duration = Duration::from_millis(1);

/// Where groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Groups {
    Unified(PathBuf),
    /// Each controller that can be had, with its folder; first, without a name, the new kind beside
    /// them if there is one.
    Legacy(Vec<(&'static str, PathBuf)>),
}

/// Which kinds this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    New,
    Both,
    Old,
}

/// The group of one attempt, made or not.
#[derive(Debug)]
pub(super) struct Group {
    /// With the controller's name, which is empty for the new kind.
    folders: Vec<(&'static str, PathBuf)>,
}

impl Groups {
    /// Finds out by making a folder.
    pub(super) fn find() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounted = |folder: &str| Path::new(folder).join("cgroup.controllers").exists();
        let kinds = match (mounted(MOUNT), mounted(MOUNT_BESIDE)) {
            (true, _) => Kinds::New,
            (false, true) => Kinds::Both,
            (false, false) => Kinds::Old,
        };
        let found = candidates(&own, kinds);
        let usable = |folder: &Path| {
            fs::create_dir_all(folder).is_ok()
                && makes_groups(&folder.join(format!("probe-{}", std::process::id())))
        };
        match found? {
            Self::Unified(folder) => {
                let kills = usable(&folder) && folder.join("cgroup.kill").exists();
                kills.then_some(Self::Unified(folder))
            }
            Self::Legacy(mut folders) => {
                folders.retain(|(name, folder)| {
                    usable(folder) && (*name != NEW_KIND || folder.join("cgroup.kill").exists())
                });
                let kills = folders.iter().any(|(name, _)| matches!(*name, NEW_KIND | "freezer" | "pids"));
                kills.then_some(Self::Legacy(folders))
            }
        }
    }

    pub(super) fn of(&self, control: &Path) -> Group {
        let digest = Sha256::digest(control.as_os_str().as_encoded_bytes());
        let name: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        let folders = match self {
            Self::Unified(folder) => vec![(NEW_KIND, folder.join(name))],
            Self::Legacy(folders) => {
                folders.iter().map(|(controller, folder)| (*controller, folder.join(&name))).collect()
            }
        };
        Group { folders }
    }
}

/// Tells whether a folder that is made here is a group: the kernel puts files into it, and no other file
/// system does, such as that below an empty mount point.
fn makes_groups(probe: &Path) -> bool {
    let made = fs::create_dir(probe).is_ok();
    let is_group = probe.join("cgroup.procs").exists();
    made && fs::remove_dir(probe).is_ok() && is_group
}

/// Returns where groups would be, from the text of `/proc/self/cgroup`.
fn candidates(own: &str, kinds: Kinds) -> Option<Groups> {
    let mut legacy = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        match kinds {
            Kinds::New if names.is_empty() => {
                return Some(Groups::Unified(Path::new(MOUNT).join(path).join(FOLDER)));
            }
            Kinds::Both if names.is_empty() => {
                legacy.push((NEW_KIND, Path::new(MOUNT_BESIDE).join(path).join(FOLDER)));
            }
            Kinds::New | Kinds::Both | Kinds::Old => {}
        }
        let known = names.split(',').filter_map(|name| CONTROLLERS.into_iter().find(|known| *known == name));
        legacy.extend(known.map(|name| (name, Path::new(MOUNT).join(names).join(path).join(FOLDER))));
    }
    legacy.sort_by_key(|(name, _)| CONTROLLERS.iter().position(|known| known == name));
    (!legacy.is_empty()).then_some(Groups::Legacy(legacy))
}

impl Group {
    /// Makes it, with what limits can be set here. A controller that limits nothing is left out:
    /// joining one costs milliseconds.
    pub(super) fn make(&mut self, limits: &Resources) -> io::Result<()> {
        let kills = self.folders.first().map(|(controller, _)| *controller);
        self.folders
            .retain(|(controller, _)| Some(*controller) == kills || !settings(controller, limits).is_empty());
        for (controller, folder) in &self.folders {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for (file, value) in settings(controller, limits) {
                // Of the new kind, only what the parent delegates has a file.
                let path = folder.join(file);
                if path.exists() {
                    fs::write(path, value)?;
                }
            }
        }
        Ok(())
    }

    /// Returns where a process can be born into it.
    pub(super) fn cradle(&self) -> Option<&Path> {
        let mut folders = self.folders.iter();
        folders.find(|(controller, _)| *controller == NEW_KIND).map(|(_, folder)| folder.as_path())
    }

    /// Moves a process in, except where it was born. This costs milliseconds.
    pub(super) fn take(&self, number: u32, born: bool) -> io::Result<()> {
        let folders = self.folders.iter();
        folders
            .filter(|(controller, _)| !born || *controller != NEW_KIND)
            .try_for_each(|(_, folder)| fs::write(folder.join("cgroup.procs"), number.to_string()))
    }

    pub(super) fn exists(&self) -> bool {
        self.folders.iter().any(|(_, folder)| folder.exists())
    }

    /// Returns what the kernel did, if it did.
    pub(super) fn out_of_memory(&self) -> Option<OutOfMemory> {
        let read = |file: &str| {
            let mut texts = self.folders.iter();
            texts.find_map(|(_, folder)| fs::read_to_string(folder.join(file)).ok())
        };
        let events = read("memory.events").or_else(|| read("memory.oom_control"))?;
        let kills =
            events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
        let limit = read("memory.max").or_else(|| read("memory.limit_in_bytes"));
        // No limit is the word `max` or, of the old kind, a number beyond all memory.
        let limit = limit.and_then(|text| text.trim().parse().ok()).filter(|limit| *limit < 1 << 60);
        (kills? > 0).then_some(OutOfMemory { limit_bytes: limit })
    }

    /// Kills every member and waits until none is left. Blocks.
    pub(super) fn kill(&self) -> io::Result<()> {
        for (_, folder) in &self.folders {
            // The new kind ends all of them in one step.
            let _old_kind = fs::write(folder.join("cgroup.kill"), "1");
            self.freeze(folder, "FROZEN");
            let killed = kill_members(folder);
            self.freeze(folder, "THAWED");
            killed?;
        }
        for _ in 0..KILL_ROUNDS_MAX {
            let mut left = 0;
            for (_, folder) in &self.folders {
                left += kill_members(folder)?;
            }
            if left == 0 {
                return Ok(());
            }
            std::thread::park_timeout(KILL_WAIT);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "killed processes do not go away"))
    }

    /// Holds the members while they are killed, so that none forks meanwhile; where that can be had.
    fn freeze(&self, folder: &Path, state: &str) {
        let file = folder.join("freezer.state");
        if file.exists() {
            let _hint = fs::write(file, state);
        }
    }

    /// Takes it away. Blocks.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.folders.iter().try_for_each(|(_, folder)| remove_folder(folder))
    }
}

/// A member that is dead for everybody else may still be on its way out of the group.
fn remove_folder(folder: &Path) -> io::Result<()> {
    let mut rounds = 0;
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::ResourceBusy || rounds == KILL_ROUNDS_MAX => {
                return Err(error);
            }
            Err(_) => rounds += 1,
        }
        std::thread::park_timeout(KILL_WAIT);
    }
}

/// Returns how many there were that are not zombies.
fn kill_members(folder: &Path) -> io::Result<usize> {
    let members = match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(members) => members,
        Err(error) if matches!(error.raw_os_error(), Some(NOT_FOUND | NO_DEVICE)) => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut count = 0;
    for number in members.lines().filter_map(|line| line.parse().ok()) {
        let Some(pid) = rustix::process::Pid::from_raw(number) else { continue };
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        count += usize::from(!super::table::is_dead(number));
    }
    Ok(count)
}

/// The numbers by which the kernel says that the group is gone.
const NOT_FOUND: i32 = 2;
const NO_DEVICE: i32 = 19;

fn settings(controller: &str, limits: &Resources) -> Vec<(&'static str, String)> {
    let quota = limits.cpu_millis.map(|millis| u64::from(millis) * CPU_PERIOD_US / 1000);
    let memory = limits.memory_bytes.map(|bytes| bytes.to_string());
    let mut found = Vec::new();
    match controller {
        "" => {
            found.extend(limits.pids.map(|pids| ("pids.max", pids.to_string())));
            found.extend(memory.map(|bytes| ("memory.max", bytes)));
            found.extend(limits.memory_bytes.map(|_| ("memory.swap.max", "0".to_owned())));
            found.extend(quota.map(|quota| ("cpu.max", format!("{quota} {CPU_PERIOD_US}"))));
        }
        "pids" => found.extend(limits.pids.map(|pids| ("pids.max", pids.to_string()))),
        "memory" => {
            found.extend(memory.clone().map(|bytes| ("memory.limit_in_bytes", bytes)));
            found.extend(memory.map(|bytes| ("memory.memsw.limit_in_bytes", bytes)));
        }
        "cpu" => {
            found.extend(quota.map(|_| ("cpu.cfs_period_us", CPU_PERIOD_US.to_string())));
            found.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_file_system_is_no_group() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!makes_groups(&folder.path().join("probe")));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn groups_of_both_kinds_are_found_where_this_process_is() {
        let unified = candidates("0::/system.slice/x.service\n", Kinds::New);
        let expected = PathBuf::from("/sys/fs/cgroup/system.slice/x.service/ocelot");
        assert_eq!(unified, Some(Groups::Unified(expected)));
        let Some(Groups::Legacy(found)) =
            candidates("9:memory:/\n3:cpu,cpuacct:/a\n2:freezer:/\n0::/\n", Kinds::Old)
        else {
            panic!("the old kind");
        };
        let shown = |found: &[(&str, PathBuf)]| -> Vec<_> {
            found.iter().map(|(name, folder)| format!("{name} {}", folder.display())).collect()
        };
        let shown_both = candidates("2:freezer:/\n0::/b\n", Kinds::Both);
        let Some(Groups::Legacy(both)) = shown_both else { panic!("the new kind beside the old") };
        assert_eq!(
            shown(&both),
            [" /sys/fs/cgroup/unified/b/ocelot", "freezer /sys/fs/cgroup/freezer/ocelot"]
        );
        assert_eq!(
            shown(&found),
            [
                "freezer /sys/fs/cgroup/freezer/ocelot",
                "memory /sys/fs/cgroup/memory/ocelot",
                "cpu /sys/fs/cgroup/cpu,cpuacct/a/ocelot"
            ]
        );
    }

    #[test]
    fn no_swap_is_added_to_a_memory_limit() {
        let limits =
            Resources { memory_bytes: Some(1 << 20), cpu_millis: Some(1500), ..Resources::default() };
        let shown = |controller| {
            let settings = settings(controller, &limits).into_iter();
            settings.map(|(file, value)| format!("{file}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(shown(""), ["memory.max=1048576", "memory.swap.max=0", "cpu.max=150000 100000"]);
        assert_eq!(shown("memory"), ["memory.limit_in_bytes=1048576", "memory.memsw.limit_in_bytes=1048576"]);
    }
}
