//! Who is connected, and what each was told.
//!
//! Stages must not reach this socket. Its directory is closed to other users, and a stage that runs
//! as root is known by its process: seen from a container's init, an executor has no process number;
//! on a host, an executor is no descendant, and one that is gone is not let in.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::control;
use crate::processes;
use crate::protocol::{CaptureState, Notice, Refusal, Request};
use crate::sys;
use crate::wire::{self, Inbox};

/// An executor needs one for orders and one for beats.
const CONNECTIONS_MAX: usize = 8;
/// One that does not read this much is cut off; it is told everything when it comes again.
const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Connections {
    listener: UnixListener,
    open: Vec<Connection>,
    buffer: Vec<u8>,
    next_id: u64,
}

/// Stays the same while other connections come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId(u64);

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    socket: UnixStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    capture: CaptureState,
    /// It has not read all that it was told before.
    is_slow: bool,
    broken: bool,
}

impl Connections {
    pub(crate) fn bind(directory: &Path) -> io::Result<Self> {
        let listener = control::bind(directory)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, open: Vec::new(), buffer: vec![0; READ_BYTES], next_id: 0 })
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let listener = (self.listener.as_fd(), false);
        let open = self.open.iter().map(|open| (open.socket.as_fd(), !open.outbox.is_empty()));
        std::iter::once(listener).chain(open)
    }

    /// Lets everyone in who waits at the door and may. Returns the newcomers.
    pub(crate) fn accept(&mut self) -> Vec<ConnectionId> {
        let mut newcomers = Vec::new();
        while let Ok((socket, _)) = self.listener.accept() {
            if !is_welcome(&socket) || socket.set_nonblocking(true).is_err() {
                continue;
            }
            if self.open.len() >= CONNECTIONS_MAX {
                self.open.remove(0);
            }
            let id = ConnectionId(self.next_id);
            self.next_id += 1;
            self.open.push(Connection {
                id,
                socket,
                inbox: Inbox::default(),
                outbox: Vec::new(),
                capture: CaptureState::default(),
                is_slow: false,
                broken: false,
            });
            newcomers.push(id);
        }
        newcomers
    }

    /// Reads once from each connection and returns what was asked, in the order of each.
    pub(crate) fn read(&mut self) -> Vec<(ConnectionId, Request)> {
        let mut requests = Vec::new();
        for open in &mut self.open {
            match open.socket.read(&mut self.buffer) {
                Ok(0) => open.broken = true,
                Ok(count) => open.inbox.push(&self.buffer[..count]),
                Err(error) => {
                    open.broken = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
                    continue;
                }
            }
            loop {
                match open.inbox.next_message() {
                    Ok(Some(request)) => requests.push((open.id, request)),
                    Ok(None) => break,
                    // What follows an unknown message has no place in the order of answers.
                    Err(_) => {
                        open.tell(&Notice::Refused(Refusal::NotUnderstood));
                        open.flush();
                        open.broken = true;
                        break;
                    }
                }
            }
        }
        self.open.retain(|open| !open.broken);
        requests
    }

    pub(crate) fn tell(&mut self, to: ConnectionId, notice: &Notice) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == to) {
            open.tell(notice);
        }
    }

    pub(crate) fn tell_all(&mut self, notice: &Notice) {
        self.open.iter_mut().for_each(|open| open.tell(notice));
    }

    /// Tells of the capture's growth whoever has read what came before: a slow reader gets fewer
    /// notices, not more bytes.
    pub(crate) fn tell_capture(&mut self, capture: CaptureState) {
        for open in &mut self.open {
            if open.capture == capture {
                continue;
            }
            if open.is_slow {
                open.flush();
            }
            // What it is told in this very round is no reason to wait: there may be no other for long.
            if !open.is_slow {
                open.capture = capture;
                open.tell(&Notice::Capture(capture));
            }
        }
    }

    /// Writes as much as the sockets take.
    pub(crate) fn flush(&mut self) {
        self.open.iter_mut().for_each(Connection::flush);
        self.open.retain(|open| !open.broken);
    }
}

impl Connection {
    fn tell(&mut self, notice: &Notice) {
        if let Notice::State(state) = notice {
            self.capture = state.capture;
        }
        let encoded = wire::encode(notice, &mut self.outbox);
        self.broken |= encoded.is_err() || self.outbox.len() > OUTBOX_BYTES_MAX;
    }

    fn flush(&mut self) {
        self.is_slow = false;
        while !self.outbox.is_empty() && !self.broken {
            match self.socket.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.is_slow = true,
                Err(_) => self.broken = true,
            }
        }
    }
}

fn is_welcome(socket: &UnixStream) -> bool {
    let Ok(peer) = sys::peer(socket.as_fd()) else { return false };
    if processes::is_init() {
        // Its user is not asked: seen from another user namespace, an executor is nobody.
        return peer.pid == 0;
    }
    let own = rustix::process::geteuid().as_raw();
    (peer.uid == 0 || peer.uid == own) && processes::is_outside(peer.pid)
}
