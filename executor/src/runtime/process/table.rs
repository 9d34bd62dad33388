//! The kernel's table of processes: who is who, and who came from whom.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Rounds of killing what was forked while the last round ran.
const KILL_ROUNDS_MAX: usize = 64;

/// What a line of 52 fields can have at most.
const STAT_BYTES_MAX: usize = 2048;

/// A process that no later one is taken for: numbers come again, also after a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ProcessId {
    number: i32,
    /// In the kernel's ticks since the boot.
    started: u64,
    boot: u128,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:032x}", self.number, self.started, self.boot)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no process")]
pub(super) struct NotAProcess(String);

impl FromStr for ProcessId {
    type Err = NotAProcess;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = |text: &str| {
            let (number, rest) = text.split_once('-')?;
            let (started, boot) = rest.split_once('-')?;
            let boot = u128::from_str_radix(boot, 16).ok()?;
            Some(Self { number: number.parse().ok()?, started: started.parse().ok()?, boot })
        };
        read(text).ok_or_else(|| NotAProcess(text.to_owned()))
    }
}

/// One line of `/proc/NUMBER/stat`.
struct Stat {
    parent: i32,
    started: u64,
    /// It has ended, and only its parent has not looked yet.
    dead: bool,
}

impl ProcessId {
    /// Returns who has this number now.
    pub(super) fn of(number: u32) -> io::Result<Self> {
        let number = i32::try_from(number).map_err(io::Error::other)?;
        let stat = stat(number).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { number, started: stat.started, boot: boot()? })
    }

    pub(super) fn is_alive(&self) -> bool {
        let here = boot().is_ok_and(|boot| boot == self.boot);
        here && stat(self.number).is_some_and(|stat| stat.started == self.started && !stat.dead)
    }

    /// Returns a descriptor of it that is readable once it has ended; none if it has.
    pub(super) fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.number) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // Looked at afterwards, so that the descriptor is of the process that was meant.
            Ok(descriptor) => Ok(self.is_alive().then_some(descriptor)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(descriptor) = self.open()? else { return Ok(()) };
        match pidfd_send_signal(descriptor, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills it and all that it started, as far as they are still its descendants. It is held while
    /// they die, so that those whose parents die are passed on to it and stay within reach.
    pub(super) fn kill_tree(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        for _ in 0..KILL_ROUNDS_MAX {
            // What it had started belongs to another one now; the group has reached it.
            if !self.is_alive() {
                return Ok(());
            }
            let alive = self.descendants()?;
            if alive.is_empty() {
                break;
            }
            for id in alive {
                id.signal(Signal::KILL)?;
            }
        }
        self.signal(Signal::KILL)
    }

    fn descendants(&self) -> io::Result<Vec<Self>> {
        let mut children: HashMap<i32, Vec<(Self, bool)>> = HashMap::new();
        for number in numbers()? {
            if let Some(stat) = stat(number) {
                let id = Self { number, started: stat.started, boot: self.boot };
                children.entry(stat.parent).or_default().push((id, stat.dead));
            }
        }
        let mut found = Vec::new();
        let mut parents = vec![self.number];
        while let Some(parent) = parents.pop() {
            for (id, dead) in children.remove(&parent).unwrap_or_default() {
                parents.push(id.number);
                found.extend((!dead).then_some(id));
            }
        }
        Ok(found)
    }
}

/// Returns the running supervisors whose program lies in `folder`, with their control directories.
pub(super) fn supervisors(folder: &Path) -> io::Result<Vec<(ProcessId, PathBuf)>> {
    let boot = boot()?;
    let mut found = Vec::new();
    for number in numbers()? {
        let Some(before) = stat(number) else { continue };
        let Ok(words) = fs::read(format!("/proc/{number}/cmdline")) else { continue };
        let mut words = words.split(|byte| *byte == 0);
        let program = words.next().map(|word| Path::new(std::ffi::OsStr::from_bytes(word)));
        let ours = program.and_then(Path::parent) == Some(folder);
        if let (true, Some(control), false) = (ours, words.next(), before.dead) {
            let id = ProcessId { number, started: before.started, boot };
            let control = PathBuf::from(std::ffi::OsStr::from_bytes(control));
            found.extend(id.is_alive().then_some((id, control)));
        }
    }
    Ok(found)
}

fn numbers() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Returns whether nothing runs under this number.
pub(super) fn is_dead(number: i32) -> bool {
    stat(number).is_none_or(|stat| stat.dead)
}

fn stat(number: i32) -> Option<Stat> {
    let mut line = [0; STAT_BYTES_MAX];
    // The kernel writes the line anew for each reading, so it is read at once.
    let read = File::open(format!("/proc/{number}/stat")).ok()?.read(&mut line).ok()?;
    parse_stat(&String::from_utf8_lossy(&line[..read]))
}

/// The name in it is chosen by the process and may hold anything, so fields count from its last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    Some(Stat {
        dead: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn boot() -> io::Result<u128> {
    static BOOT: OnceLock<u128> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(*boot);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let boot = u128::from_str_radix(&text.trim().replace('-', ""), 16).map_err(io::Error::other)?;
    Ok(*BOOT.get_or_init(|| boot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_not_taken_for_another_with_its_number() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessId { started: own.started + 1, ..own }.is_alive());
        assert!(!ProcessId { boot: own.boot ^ 1, ..own }.is_alive());
        assert_eq!(own.to_string().parse::<ProcessId>().unwrap(), own);
        assert!("12".parse::<ProcessId>().is_err());
    }

    #[test]
    fn a_process_cannot_lie_with_its_name() {
        let line = "12 (a) Z 1 1) S 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.started, stat.dead), (7, 4711, false));
    }
}
