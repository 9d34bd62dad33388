//! Waiting for a supervisor to listen, without sleeping.
//!
//! The watch begins before anything is started, so the socket's arrival cannot be missed. The socket
//! gets its name when somebody listens behind it, so the name's arrival is the answer. Where a file system
//! gives no sign (one of a virtual machine), looking again does.

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
    /// None once it is being let go.
    watch: Option<AsyncFd<OwnedFd>>,
}

impl Arrival {
    pub(super) fn watch(control: &Path) -> io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, control, WatchFlags::MOVED_TO)?;
        Ok(Self { control: control.to_owned(), watch: Some(watched(watch)?) })
    }

    /// Returns when somebody listens there. Cancel-safe.
    pub(super) async fn listening(&self) {
        while !self.has_come().await && control::connect(&self.control).is_err() {}
    }

    /// Waits for a sign, but not for long; true if it says that the socket has its name.
    async fn has_come(&self) -> bool {
        let Some(watch) = &self.watch else { return false };
        let Ok(Ok(mut sign)) = tokio::time::timeout(LOOK_AGAIN, watch.readable()).await else { return false };
        let mut names = [std::mem::MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(watch.get_ref(), &mut names);
        let mut has_come = false;
        while let Ok(event) = reader.next() {
            has_come |= event.file_name().is_some_and(|name| name.to_bytes() == control::SOCKET.as_bytes());
        }
        sign.clear_ready();
        has_come
    }
}

impl Drop for Arrival {
    /// The kernel lets a watch go only after a grace period of its own, ten milliseconds and more. Nobody
    /// who starts a task waits for that.
    fn drop(&mut self) {
        let watch = self.watch.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(watch)));
        }
    }
}

/// Returns the descriptor as something to wait for.
#[expect(deprecated, reason = "what owns its descriptor keeps the promise that the newer call asks for")]
pub(super) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
