//! Who finds each planted bug: worlds of this simulation, or a test elsewhere, which must exist.

use std::fs;
use std::path::Path;

use ocelot_proto::kit::chaos;

use crate::fleet::{Bug, Named};

/// A test, beside the simulation, that fails when a bug is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// The bug, as the planted bugs of the programs are called.
    pub bug: &'static str,
    /// Below the root of the sources.
    pub file: &'static str,
    pub test: &'static str,
}

/// Bugs of code that the simulation replaces by a model: the sync of a log at its controller, the
/// executor's driver. Where a world finds the model's bug as well, both are named.
pub const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        bug: "log.acknowledges_unsynced",
        file: "controller/src/service/logs/tests/mod.rs",
        test: "after_a_failed_sync_the_disk_is_read_again_and_what_it_lost_is_sent_again",
    },
    Elsewhere {
        bug: "guard.never_ends",
        file: "tests/e2e/src/chaos/bugs.rs",
        test: "chaos::bugs::a_guard_that_never_ends_is_seen",
    },
    Elsewhere {
        bug: "fenced.keeps_container",
        file: "tests/e2e/src/chaos/bugs.rs",
        test: "chaos::bugs::a_fenced_container_that_is_kept_is_seen",
    },
];

/// Compares that no world can miss, and why.
const COVERED: &[(&str, &str, &str)] = &[];

/// Returns why nothing breaks without a compare, if that is known.
pub fn covered(named: &Named) -> Option<&'static str> {
    let known = COVERED.iter().find(|(txn, compare, _)| named.txn == *txn && named.compare == *compare);
    known.map(|(.., why)| *why)
}

/// Returns who else finds a bug.
pub fn elsewhere(bug: &str) -> Option<&'static Elsewhere> {
    ELSEWHERE.iter().find(|elsewhere| elsewhere.bug == bug)
}

/// Returns what this table says and is not so: tests that are not there, bugs that nobody finds.
///
/// # Errors
/// If a file that it names cannot be read.
pub fn untrue() -> std::io::Result<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut untrue = Vec::new();
    for Elsewhere { bug, file, test } in ELSEWHERE {
        let text = fs::read_to_string(root.join(file))?;
        let is_there = [format!("fn {test}("), format!("\"{test}\"")];
        if !is_there.iter().any(|word| text.contains(word.as_str())) {
            untrue.push(format!("{bug} is said to be found by {test}, which is not in {file}"));
        }
        if !chaos::BUGS.contains(bug) {
            untrue.push(format!("{bug} is no bug that can be planted"));
        }
    }
    let here = |bug: &str| Bug::ALL.iter().any(|known| known.name() == bug);
    let nobodys = chaos::BUGS.iter().filter(|bug| !here(bug) && elsewhere(bug).is_none());
    untrue.extend(nobodys.map(|bug| format!("nobody looks for {bug}")));
    let unknown = Bug::ALL.iter().filter(|bug| !chaos::BUGS.contains(&bug.name()));
    untrue.extend(unknown.map(|bug| format!("{} is no bug of the programs", bug.name())));
    Ok(untrue)
}
