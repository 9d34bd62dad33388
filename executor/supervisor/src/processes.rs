//! The processes below this one, and how all of them are reached.
//!
//! The init of a PID namespace reaches everything in it with one call. Elsewhere the supervisor is
//! the reaper of its descendants, so whatever a stage starts, in whatever session or group, has a
//! chain of parents that leads here.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use rustix::process::{Pid, getpid, kill_process, kill_process_group, test_kill_process_group};

use crate::machine::{Signal, Target};
use crate::sys;

/// Rounds of killing what was forked while the last round ran.
const KILL_ROUNDS_MAX: usize = 64;
/// What a line of 52 fields can have at most.
const STAT_BYTES_MAX: usize = 2048;
/// Rounds of following a line of parents that changes.
const LINE_ROUNDS_MAX: usize = 64;

/// Returns whether this is the init of a PID namespace.
pub(crate) fn is_init() -> bool {
    getpid().is_init()
}

/// Sends a signal to all that the target names. What is not there any more needs none.
pub(crate) fn signal(target: Target, signal: Signal) {
    let number = match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    match target {
        Target::Group(group) => {
            let _gone = Pid::from_raw(group).map(|group| kill_process_group(group, number));
        }
        Target::All if is_init() => {
            let _any = sys::kill_namespace(number.as_raw());
        }
        Target::All => {
            let rounds = if signal == Signal::Kill { KILL_ROUNDS_MAX } else { 1 };
            for _ in 0..rounds {
                let alive = descendants();
                if alive.is_empty() {
                    return;
                }
                for pid in alive {
                    let _gone = kill_process(pid, number);
                }
            }
        }
    }
}

/// Returns whether nothing alive is left of the target.
pub(crate) fn are_gone(target: Target) -> bool {
    match target {
        Target::Group(group) => Pid::from_raw(group)
            .is_none_or(|group| test_kill_process_group(group) == Err(rustix::io::Errno::SRCH)),
        Target::All if is_init() => !sys::kill_namespace(0),
        Target::All => descendants().is_empty(),
    }
}

/// Returns whether the process is there and was not started by a stage. Only its own line of parents
/// is read: the whole table costs milliseconds on a busy machine, and every start waits for this.
pub(crate) fn is_outside(pid: i32) -> bool {
    let own = getpid().as_raw_pid();
    // A parent that ends meanwhile breaks the line; its children have got another by then.
    for _ in 0..LINE_ROUNDS_MAX {
        let mut above = pid;
        while above != 0 && above != own {
            match parent_of(above) {
                Some(parent) => above = parent,
                None if above == pid => return false,
                None => break,
            }
        }
        match above {
            0 => return true,
            above if above == own => return false,
            _ => {}
        }
    }
    // Still unreadable: it is hidden from this user, which no stage's process is.
    true
}

fn parent_of(pid: i32) -> Option<i32> {
    parent(&stat(pid)?).map(|(parent, _)| parent)
}

/// Returns the line of `/proc/PID/stat`, read at once: the kernel writes it anew for each reading.
fn stat(pid: i32) -> Option<String> {
    let mut line = [0; STAT_BYTES_MAX];
    let read = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    Some(String::from_utf8_lossy(&line[..read]).into_owned())
}

/// Returns every process below this one that is not a zombie. Only while this one has a child can there
/// be any, since orphans come to it; reading the whole table costs milliseconds.
fn descendants() -> Vec<Pid> {
    if sys::has_no_child() {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some((parent, dead)) = stat(pid).as_deref().and_then(parent) {
            children.entry(parent).or_default().push((pid, dead));
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![getpid().as_raw_pid()];
    while let Some(pid) = parents.pop() {
        for (child, dead) in children.remove(&pid).unwrap_or_default() {
            parents.push(child);
            found.extend(Pid::from_raw(child).filter(|_| !dead));
        }
    }
    found
}

/// Returns the parent and whether it is a zombie, of a line of `/proc/PID/stat`. The name in it is
/// chosen by the process and may hold anything, so the fields count from its last bracket.
fn parent(stat: &str) -> Option<(i32, bool)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, matches!(state, "Z" | "X")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_cannot_lie_about_its_parent_with_its_name() {
        assert_eq!(parent("12 (sh) S 7 12 12 0"), Some((7, false)));
        assert_eq!(parent("12 (a) S 1 1) Z 7 12 12 0"), Some((7, true)));
        assert_eq!(parent("12 (cut"), None);
    }

    #[test]
    fn only_who_is_there_and_came_from_elsewhere_is_outside() {
        assert!(is_outside(rustix::process::getppid().unwrap().as_raw_pid()));
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id() as i32;
        assert!(!is_outside(pid));
        assert!(descendants().iter().any(|own| own.as_raw_pid() == pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_outside(pid));
        assert!(descendants().iter().all(|own| own.as_raw_pid() != pid));
    }
}
