//! Waiting for a supervisor to listen, without sleeping.
//!
//! The watch begins before anything is started, so the socket's arrival cannot be missed. The socket
//! gets its name when somebody listens behind it. Where a file system gives no sign (one of a virtual
//! machine), looking again does.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelot_supervisor::control;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A watch on a control directory.
#[derive(Debug)]
pub(super) struct Arrival {
    control: PathBuf,
    watch: AsyncFd<OwnedFd>,
}

impl Arrival {
    pub(super) fn watch(control: &Path) -> io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, control, WatchFlags::MOVED_TO)?;
        Ok(Self { control: control.to_owned(), watch: watched(watch)? })
    }

    /// Returns when somebody listens there. Cancel-safe.
    pub(super) async fn listening(&self) {
        while control::connect(&self.control).is_err() {
            let sign = tokio::time::timeout(LOOK_AGAIN, self.watch.readable());
            if let Ok(Ok(mut sign)) = sign.await {
                let mut names = [std::mem::MaybeUninit::uninit(); 1024];
                let mut reader = inotify::Reader::new(self.watch.get_ref(), &mut names);
                while reader.next().is_ok() {}
                sign.clear_ready();
            }
        }
    }
}

/// Returns the descriptor as something to wait for.
#[expect(deprecated, reason = "what owns its descriptor keeps the promise that the newer call asks for")]
pub(super) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
