//! What this process uses, as the kernel counts it. What the kernel does not tell is left out.

use std::fs;

/// What one process uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Used {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_files: Option<u64>,
    pub(super) open_files_max: Option<u64>,
}

/// Reads it. A few files in memory: it does not wait.
pub(super) fn used() -> Used {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let statm = fs::read_to_string("/proc/self/statm").ok();
    let files = fs::read_dir("/proc/self/fd").ok();
    Used {
        resident_bytes: statm.and_then(|statm| {
            let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
            Some(pages * rustix::param::page_size() as u64)
        }),
        cpu_seconds: stat
            .as_deref()
            .and_then(ticks)
            .map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
        // The look itself opens one.
        open_files: files.map(|files| (files.count() as u64).saturating_sub(1)),
        open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
    }
}

/// Returns the ticks that a process had of the processors.
fn ticks(stat: &str) -> Option<u64> {
    // The name before it may hold anything, a `)` too.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number)?.parse::<u64>().ok();
    Some(field(11)? + field(12)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_bracket_does_not_move_the_fields() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 4 0 1000 200 30 18446744073709551615";
        assert_eq!(ticks(stat), Some(42));
    }

    #[test]
    fn this_process_uses_something() {
        let used = used();
        assert!(used.resident_bytes > Some(0) && used.open_files > Some(0), "{used:?}");
        assert!(used.cpu_seconds.is_some() && used.open_files_max >= used.open_files, "{used:?}");
    }
}
