//! The store's two homes under faults.

pub(crate) mod crash;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    crash::trials()
}
