//! Ports for programs that are told where to listen.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, ensure};

/// Below those that the system gives to connections.
const FIRST: u32 = 20_000;
const COUNT: u32 = 10_000;
/// Lays programs with neighbouring ids far apart.
const STRIDE: u32 = 619;

/// How many this process has tried.
static TRIED: AtomicU16 = AtomicU16::new(0);

/// Returns a port that nobody has, and that was never returned before.
pub(crate) fn free_port() -> Result<u16> {
    let begin = std::process::id().wrapping_mul(STRIDE) % COUNT;
    loop {
        let tried = u32::from(TRIED.fetch_add(1, Ordering::SeqCst));
        ensure!(tried < COUNT, "every port was tried");
        let port = u16::try_from(FIRST + (begin + tried) % COUNT)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}
