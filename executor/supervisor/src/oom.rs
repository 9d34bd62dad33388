//! How often the kernel killed something here for want of memory.
//!
//! Read from the control group that the supervisor is in, old or new kind, as it is seen inside or
//! outside a container. Where the kernel does not tell, nothing is claimed.

use std::path::PathBuf;

const ROOT: &str = "/sys/fs/cgroup";

/// Returns the count of kills since the group was made.
pub(crate) fn kills() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let text = candidates(&groups).into_iter().find_map(|path| std::fs::read_to_string(path).ok())?;
    count(&text)
}

/// Returns where the count may be. Inside a container the group's path is that of the host, while
/// what is mounted is the group itself; so the path is tried first and the mount's top last.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => (ROOT.to_owned(), "memory.events"),
            list if list.split(',').any(|name| name == "memory") => {
                (format!("{ROOT}/memory"), "memory.oom_control")
            }
            _ => continue,
        };
        paths.push(PathBuf::from(format!("{mount}{path}/{file}")));
        paths.push(PathBuf::from(format!("{mount}/{file}")));
    }
    paths
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_groups_are_looked_for() {
        let shown = |groups| {
            let paths = candidates(groups);
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            shown("0::/system.slice/x\n"),
            ["/sys/fs/cgroup/system.slice/x/memory.events", "/sys/fs/cgroup/memory.events"]
        );
        assert_eq!(
            shown("8:pids:/\n4:cpu,memory:/docker/1\nnonsense\n"),
            ["/sys/fs/cgroup/memory/docker/1/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        );
    }

    #[test]
    fn the_count_is_that_of_kills_not_of_events() {
        assert_eq!(count("low 0\noom 7\noom_kill 3\noom_group_kill 1\n"), Some(3));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 12\n"), Some(12));
        assert_eq!(count("oom_kill_disable 0\n"), None);
    }
}
