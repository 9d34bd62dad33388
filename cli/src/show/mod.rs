//! What people see: where it is written, how wide, in which colours, in whose words.

mod output;
mod progress;
mod style;
mod table;
mod times;

pub(crate) use ocelot_core::escape::{Neutral, Sgr, plain};
pub(crate) use output::{Output, Surroundings};
pub(crate) use progress::StatusLine;
pub(crate) use style::{Style, Tone};
pub(crate) use table::Table;
pub(crate) use times::{Times, duration, parse_duration, precise};
