//! A plain, blocking connection to a supervisor.
//!
//! For programs without an event loop, and for tests. Others use [`crate::wire`] over a socket of
//! their own. A connection is cheap; several may be open at once and hear the same notices.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::control;
use crate::protocol::{Notice, Refusal, Request, State, VERSION};
use crate::wire::{self, Inbox, WireError};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the supervisor cannot be reached")]
    Io(#[from] io::Error),
    #[error("the supervisor speaks otherwise")]
    Wire(#[from] WireError),
    #[error("the supervisor speaks version {0}")]
    Version(u16),
    #[error("the supervisor refused")]
    Refused(#[source] Refusal),
}

/// An open connection, after its first notice.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    inbox: Inbox,
    /// What came while an answer was awaited.
    early: VecDeque<Notice>,
}

impl Client {
    /// Connects and returns what the supervisor says of itself. No read of this connection waits
    /// longer than `patience`.
    pub fn connect(directory: &Path, patience: Duration) -> Result<(Self, State), ClientError> {
        let socket = control::connect(directory)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        let mut client = Self { socket, inbox: Inbox::default(), early: VecDeque::new() };
        match client.read_notice()? {
            Notice::State(state) if state.version <= VERSION => Ok((client, *state)),
            Notice::State(state) => Err(ClientError::Version(state.version)),
            other => Err(io::Error::other(format!("it began with {other:?}")).into()),
        }
    }

    /// Sends without waiting for the answer, which then comes as a notice.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        wire::encode(request, &mut bytes)?;
        Ok(self.socket.write_all(&bytes)?)
    }

    /// Sends and waits for the answer. Other notices that come first are kept for `next_notice`.
    pub fn ask(&mut self, request: &Request) -> Result<(), ClientError> {
        self.send(request)?;
        loop {
            match self.read_notice()? {
                Notice::Done => return Ok(()),
                Notice::Refused(refusal) => return Err(ClientError::Refused(refusal)),
                Notice::Capture(state) => {
                    // Only the newest counts, so this one does not pile up.
                    self.early.retain(|notice| !matches!(notice, Notice::Capture(_)));
                    self.early.push_back(Notice::Capture(state));
                }
                other => self.early.push_back(other),
            }
        }
    }

    /// Waits for the next notice.
    pub fn next_notice(&mut self) -> Result<Notice, ClientError> {
        match self.early.pop_front() {
            Some(notice) => Ok(notice),
            None => self.read_notice(),
        }
    }

    fn read_notice(&mut self) -> Result<Notice, ClientError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(notice) = self.inbox.next_message()? {
                return Ok(notice);
            }
            match self.socket.read(&mut buffer)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => self.inbox.push(&buffer[..count]),
            }
        }
    }
}
