//! The life of one task: every decision about it, as data.
//!
//! [`step()`] is the only place where a task changes. It names the next record, what the same store
//! transaction must compare and write ([`Require`], [`Write`]) and what to do afterwards
//! ([`Effect`]). Nothing here reads a clock or does I/O, and nobody outside decides a transition.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod event;
mod holding;
pub mod retry;
pub mod state;
mod step;
pub mod timing;

pub use self::event::{Claim, Event};
pub use self::holding::{Holding, holding};
pub use self::state::{Session, Task, TaskState};
pub use self::step::{Effect, Rejected, Require, Step, Write, step};
pub use self::timing::{Served, Timing, Wait};
