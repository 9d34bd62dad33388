//! The list of rows. A new file adds its rows to [`all`].

mod cell;
mod engine;
mod executor_log;
mod fleet;
mod fleet_log;
mod runs;
mod store_embedded;
mod store_etcd;

use std::future::Future;
use std::pin::Pin;

use crate::measure::{Effort, Figure};

pub(crate) type Measuring = Pin<Box<dyn Future<Output = anyhow::Result<Figure>>>>;

/// One figure: what it is called, what it says, how it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) measure: fn(Effort) -> Measuring,
}

/// Returns every row, in the order in which they are measured.
pub(crate) fn all() -> Vec<Row> {
    let rows = [
        cell::ROWS,
        executor_log::ROWS,
        fleet::ROWS,
        fleet_log::ROWS,
        runs::ROWS,
        store_embedded::ROWS,
        store_etcd::ROWS,
    ];
    rows.concat()
}
