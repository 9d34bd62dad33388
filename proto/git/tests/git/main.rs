//! The crate as its callers use it, with a real git and real servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod checkout;
mod hostile;
mod http;
mod mirror;
mod process;
mod server;
mod world;
