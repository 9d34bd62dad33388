//! The pipes that stages write into.
//!
//! A pipe is read until its last writer is gone, which may be long after its stage has ended: what a
//! server of an earlier stage says is kept under that stage's index. No stage's end waits for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ocelot_core::frame::{Body, DATA_BYTES_MAX, Frame};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::capture::Capture;

/// Two for each stage that left a writer behind; far below the usual limit of open files.
const STREAMS_MAX: usize = 512;
/// Larger than the usual 64 KiB, so that a writer is woken less often; more has to be permitted.
const PIPE_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdout,
    Stderr,
}

#[derive(Debug)]
struct Stream {
    stage: u16,
    kind: Kind,
    pipe: OwnedFd,
    /// Bytes to read before the stage's end may be told; none if nobody waits for them.
    due: Option<u64>,
    has_writer: bool,
}

/// All pipes with a writer.
#[derive(Debug)]
pub(crate) struct Streams {
    open: Vec<Stream>,
    draining: Option<u16>,
    buffer: Vec<u8>,
}

/// The two ends that a stage gets.
#[derive(Debug)]
pub(crate) struct Writers {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self { open: Vec::new(), draining: None, buffer: vec![0; DATA_BYTES_MAX] }
    }

    /// Opens the pipes of a stage.
    pub(crate) fn open(&mut self, stage: u16) -> std::io::Result<Writers> {
        if self.open.len() + 2 > STREAMS_MAX {
            return Err(std::io::Error::other(
                "too many earlier stages left processes that hold their output",
            ));
        }
        let (stdout, stdout_writer) = pipe()?;
        let (stderr, stderr_writer) = pipe()?;
        for (kind, pipe) in [(Kind::Stdout, stdout), (Kind::Stderr, stderr)] {
            self.open.push(Stream { stage, kind, pipe, due: None, has_writer: true });
        }
        Ok(Writers { stdout: stdout_writer, stderr: stderr_writer })
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().map(|stream| stream.pipe.as_fd())
    }

    /// Reads once from the stream at this place; returns the stage that wrote, if it did.
    pub(crate) fn read(&mut self, place: usize, capture: &mut Capture, unix_us: u64) -> Option<u16> {
        let stream = self.open.get_mut(place)?;
        // A stage's end stands right behind its own bytes, not behind what others write meanwhile.
        let most = stream.due.map_or(DATA_BYTES_MAX, |due| usize::try_from(due).unwrap_or(usize::MAX));
        let buffer = &mut self.buffer[..most.min(DATA_BYTES_MAX)];
        let count = match rustix::io::read(&stream.pipe, &mut *buffer) {
            Ok(0) if buffer.is_empty() => return None,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Ok(0) | Err(_) => {
                stream.has_writer = false;
                return None;
            }
            Ok(count) => count,
        };
        stream.due = stream.due.map(|due| due - count as u64);
        let output = &self.buffer[..count];
        let body = match stream.kind {
            Kind::Stdout => Body::Stdout(output),
            Kind::Stderr => Body::Stderr(output),
        };
        capture.append(&Frame { unix_us, stage: Some(stream.stage), body });
        Some(stream.stage)
    }

    /// Forgets the streams whose end was read. Places shift.
    pub(crate) fn close_ended(&mut self) {
        self.open.retain(|stream| stream.has_writer);
    }

    /// Notes what the stage has written until now.
    pub(crate) fn begin_drain(&mut self, stage: u16) {
        self.draining = Some(stage);
        for stream in self.open.iter_mut().filter(|stream| stream.stage == stage) {
            stream.due = Some(rustix::io::ioctl_fionread(&stream.pipe).unwrap_or(0));
        }
    }

    /// Returns true once: when everything noted by `begin_drain` was read.
    pub(crate) fn take_drained(&mut self) -> bool {
        let Some(stage) = self.draining else { return false };
        let own = |stream: &&mut Stream| stream.stage == stage;
        if self.open.iter_mut().filter(own).any(|stream| stream.due.is_some_and(|due| due > 0)) {
            return false;
        }
        self.draining = None;
        self.open.iter_mut().filter(own).for_each(|stream| stream.due = None);
        true
    }
}

fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Only this end: stages expect descriptors that block.
    let flags = rustix::fs::fcntl_getfl(&reader)?;
    rustix::fs::fcntl_setfl(&reader, flags | rustix::fs::OFlags::NONBLOCK)?;
    // Refused when the user's share of pipe memory is used up; the usual size works too.
    let _usual_size = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_BYTES);
    Ok((reader, writer))
}
