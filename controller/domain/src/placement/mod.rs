//! Placement: which queued task an executor may take, in which order, and why not.
//!
//! Pure: what the records say goes in, offers and explanations come out. A [`Queue`] is one
//! controller's index of the queued tasks; it is derived, may be thrown away and built again, and
//! whatever it offers counts only once a transaction has compared the records.
//!
//! **Order.** Priority first, strictly: a lower one waits while a higher one has work that fits.
//! Within a priority projects take turns, and within a project its owners; within an owner the
//! oldest goes first. Turns are weighted round robin: each project (owner) with work holds a ticket
//! `clock + 1 / weight`, the smallest ticket is next, and being served moves the clock to that ticket
//! and issues a new one. So between two turns of a project each other project of the same weight has
//! at most one, newcomers included; with n projects that have work, m owners in its own and k tasks
//! of its owner up to it, a task goes within n * m * k offers to executors that could take it.
//! A retried task keeps its age.
//!
//! **Several controllers.** Within one priority and a band of 64 x controllers tasks, a controller
//! first goes for those that a rendezvous hash gives it. So the order is promised per band: at most
//! one band of tasks goes before a task whose turn it is, however the controllers' executors differ.
//!
//! **Limits.** Concurrency groups are hard: their records are compared and put in the offer's
//! transaction ([`GroupRecord`]). Limits per project and owner are soft, by at most one task for each
//! further controller. The limit per executor and its slots are this controller's count.

mod demand;
mod explain;
mod group;
mod index;
mod limits;
mod offer;
mod queue;
mod refusal;
mod rendezvous;
mod round;
#[cfg(test)]
mod tests;

pub use demand::{
    Admits, Amounts, Avoid, AvoidWhy, DECLINE_AVOIDED, Demand, EnginePermit, Executor, FAILURE_AVOIDED,
    Fleet, Grant, Kill, Obstacle, QueuedTask, Resource, RuntimeKind, Trust, amounts,
};
pub use explain::{Explanation, Place, Reason, Summary, Unplaceable, Verdict};
pub use group::{GroupFull, GroupName, GroupRecord, Holder, Member, Phase, SlotClaim, claims, superseded};
pub use limits::Limits;
pub use offer::{Offer, View};
pub use queue::{News, Queue};
pub use refusal::{Hold, Refusal};
pub use rendezvous::{BAND, Peers};
