//! The crate as its callers use it, with a real git and real servers.

mod checkout;
mod hostile;
mod http;
mod mirror;
mod process;
mod server;
mod world;
