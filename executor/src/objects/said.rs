//! Sizes and times, as the lines of a log tell them.

use std::time::Duration;

/// Returns a size as people read it: `3.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1024.0;
    let mut unit = 0;
    // Rounded to its last digit it must not read as a whole one of the next unit.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if size >= 99.95 { format!("{size:.0} {}", UNITS[unit]) } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// Returns a time as people read it: `0.6 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Returns a count as people read it: `12 files`.
pub(crate) fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Returns a key for people: of its digest only the beginning.
pub(crate) fn shown(key: &str) -> &str {
    const DIGITS: usize = 12;
    let digest = key.len().checked_sub(64).and_then(|at| key.get(at..));
    match digest.filter(|digest| digest.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(_) => &key[..key.len() - 64 + DIGITS],
        None => key,
    }
}
