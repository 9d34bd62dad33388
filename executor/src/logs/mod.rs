//! The log of an attempt on its way from the machine to the controller.
//!
//! One thread per attempt reads the capture, hides what is secret and writes the spool ([`AttemptLog`]);
//! one task for all attempts sends what the spools have ([`Pusher`]). What was captured is never dropped
//! in silence: where it cannot go on, it waits, and where it is lost, the loss is recorded.

mod attempt_log;
mod kept;
mod maker;
mod news;
mod place;
mod pump;
mod push;
mod shared;
pub mod spool;
#[cfg(test)]
mod tests;

pub use attempt_log::{AttemptLog, LogError, LogSettings};
pub use news::{LogNews, NewsSender};
pub use push::{Link, Pusher};
