//! What artifacts and caches are packed into and unpacked from: one zstd frame around a tar stream.
//!
//! Both ends handle trees that a job wrote, so both ends are hostile ground: a link may lead out of
//! the workspace, a directory may become a link while it is walked, an archive may be made by hand.
//!
//! The invariant: nothing outside the root that the caller opened is read, written, or changed in
//! mode or owner. It holds because every path is walked from that root's handle without following a
//! link, and because whatever is odd is refused and not interpreted.
//!
//! The crate blocks: callers of an async program give it a thread. It must not log, read clocks, or
//! know what a glob is; what to take is the caller's word (`Selection`).

pub mod error;
mod format;
mod limits;
mod meter;
mod pack;
mod path;
mod root;
#[cfg(test)]
mod tests;
mod unpack;

pub use error::Error;
pub use limits::{Limit, Limits};
pub use pack::{Filed, Note, Oddity, Options, Packed, Select, Selection, Times, digest_files, pack};
pub use root::Root;
pub use unpack::{Expected, Links, Owner, Policy, Unpacked, Whole, sweep, unpack};

/// The result of every function here that may fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;
