//! The model check: everything that can happen to one task between two executors and two
//! controllers, over the `step` that ships.
//!
//! Messages are lost, doubled and delayed, transactions apply late, executors crash, reboot, pause
//! and lose their disk, the store drops leases. A transition of the record is only ever what `step`
//! says; what the store compares is what `step` requires.
//!
//! A transaction of which the outcome is unknown needs no state of its own: the record that it
//! compares has changed or not, and `step` decides on nothing else. So it is its message, arriving
//! later. Only what a controller noted before it (an epoch's revision, a wait) travels with it.

mod controllers;
mod executors;
mod guard;
mod law;
mod moves;
mod search;
mod settle;
mod world;

pub use self::guard::Guard;
pub use self::law::{Model, Violation};
pub use self::search::{Finding, Found};
