//! The connection to one supervisor: requests go out in order, notices come in, and a break is an end
//! that its owner deals with.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use ocelot_supervisor::protocol::{Notice, Refusal, Request, State, VERSION};
use ocelot_supervisor::wire::{self, Inbox, WireError};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Requests without an answer; a supervisor that has so many does not answer at all.
const UNANSWERED_MAX: usize = 1_024;

/// Why a connection is no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the supervisor cannot be reached")]
    Io(#[from] io::Error),
    #[error("the supervisor speaks otherwise")]
    Wire(#[from] WireError),
    #[error("the supervisor speaks version {0}, which this program does not know")]
    Version(u16),
    #[error("the supervisor began with something else than its state")]
    NoState,
    #[error("the supervisor does not answer")]
    Silent,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Heard {
    Notice(Notice),
    Refused { request: &'static str, refusal: Refusal },
}

#[derive(Debug)]
pub(super) struct Link {
    socket: UnixStream,
    inbox: Inbox,
    out: Vec<u8>,
    /// What was asked, oldest first.
    asked: VecDeque<&'static str>,
}

impl Link {
    /// Connects, and returns what the supervisor says of itself. Whoever calls bounds the time.
    pub(super) async fn connect(control: &Path) -> Result<(Self, State), LinkError> {
        let socket = ocelot_supervisor::control::connect(control)?;
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        let mut link = Self { socket, inbox: Inbox::default(), out: Vec::new(), asked: VecDeque::new() };
        match link.next().await? {
            Heard::Notice(Notice::State(state)) if state.version <= VERSION => Ok((link, *state)),
            Heard::Notice(Notice::State(state)) => Err(LinkError::Version(state.version)),
            Heard::Notice(_) | Heard::Refused { .. } => Err(LinkError::NoState),
        }
    }

    /// Sends a request, as far as the socket takes it; the rest goes out with [`Link::next`].
    pub(super) fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        if self.asked.len() == UNANSWERED_MAX {
            return Err(LinkError::Silent);
        }
        wire::encode(request, &mut self.out)?;
        self.asked.push_back(word(request));
        self.flush()
    }

    /// Waits for what comes in. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Heard, LinkError> {
        loop {
            if let Some(notice) = self.inbox.next_message()? {
                return Ok(self.judge(notice));
            }
            let interest = match self.out.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let ready = self.socket.ready(interest).await?;
            if ready.is_writable() {
                self.flush()?;
            }
            if ready.is_readable() || ready.is_read_closed() {
                self.read()?;
            }
        }
    }

    fn judge(&mut self, notice: Notice) -> Heard {
        match notice {
            Notice::Done => {
                self.asked.pop_front();
                Heard::Notice(Notice::Done)
            }
            Notice::Refused(refusal) => {
                let request = self.asked.pop_front().unwrap_or("something");
                Heard::Refused { request, refusal }
            }
            notice @ (Notice::State(_)
            | Notice::Started { .. }
            | Notice::Ended(_)
            | Notice::Swept
            | Notice::Capture(_)) => Heard::Notice(notice),
        }
    }

    fn read(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; 16 * 1024];
        match self.socket.try_read(&mut buffer) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => {
                self.inbox.push(&buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        while !self.out.is_empty() {
            match self.socket.try_write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn word(request: &Request) -> &'static str {
    match request {
        Request::Assign { .. } => "assign",
        Request::Beat { .. } => "beat",
        Request::RunStage(_) => "run",
        Request::Cancel { .. } => "cancel",
        Request::AddMask { .. } => "mask",
        Request::Taken { .. } => "taken",
        Request::Finish { .. } => "finish",
    }
}
