//! The tar format, as strictly as it can be read.
//!
//! Every known trick with tar lives in a reading that two programs disagree about: which of two
//! sizes, which of two names. So nothing is read that could be read twice: no extension is given
//! twice or in two dialects, no size belongs to an entry that has no contents, no byte follows the end.

mod header;
mod members;
mod pax;

pub(crate) use header::{BLOCK, Header, longname, padding};
pub(crate) use members::{Kind, Member, Members};
