//! The store's two homes under faults.

pub(crate) mod crash;
mod etcd;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    crash::trials().into_iter().chain(etcd::trials()).collect()
}
