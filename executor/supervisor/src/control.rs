//! The control directory: the names in it, and how its socket is reached.
//!
//! It belongs to the supervisor's user alone (mode 0700); no stage may look into it. One directory
//! serves one supervisor once.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use ocelot_core::frame::Offset;

/// What the supervisor belongs to, written and synced by the executor before it assigns. Spaces may
/// follow it.
pub const IDENTITY: &str = "identity";
/// Requests and beats come in here.
pub const SOCKET: &str = "supervisor.sock";
/// An identity is a few ids; more is not read.
pub const IDENTITY_BYTES_MAX: u64 = 4096;

/// What the socket is called until somebody listens behind it; not longer than its last name.
const SOCKET_NEW: &str = "supervisor.new";
const CAPTURE: &str = "capture.";
/// What fits into a socket's address, with the zero at its end.
const ADDRESS_BYTES_MAX: usize = 107;

/// Returns the name of the capture's segment that begins at `offset`; names sort by offset.
pub fn segment_name(offset: Offset) -> String {
    format!("{CAPTURE}{:020}", offset.0)
}

/// Returns where the segments in `directory` begin, in order.
pub fn segments(directory: &Path) -> io::Result<Vec<Offset>> {
    let mut offsets = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(CAPTURE));
        offsets.extend(digits.and_then(|digits| digits.parse().ok()).map(Offset));
    }
    offsets.sort_unstable();
    Ok(offsets)
}

/// Connects to the supervisor of the directory. Its queue is short: this does not wait for an answer.
pub fn connect(directory: &Path) -> io::Result<UnixStream> {
    at_address(directory, SOCKET, |address| UnixStream::connect(address))
}

/// Listens. The socket gets its name last: whoever sees the name can connect.
pub(crate) fn bind(directory: &Path) -> io::Result<UnixListener> {
    let new = directory.join(SOCKET_NEW);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = at_address(directory, SOCKET_NEW, |address| UnixListener::bind(address))?;
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&new, directory.join(SOCKET))?;
    Ok(listener)
}

/// Calls with the socket's path, or with a short way to it where the path is longer than a
/// socket's address may be.
fn at_address<T>(directory: &Path, name: &str, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = directory.join(name);
    if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return call(&path);
    }
    let folder = File::open(directory)?;
    call(&PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())))
}
