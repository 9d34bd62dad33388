//! The store's two homes under faults.

mod etcd;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    etcd::trials()
}
