//! The capture: everything that stages write, as frames, in files that are only appended to.
//!
//! Nothing is dropped. While a write fails, or the executor is too far behind, [`Capture::held`] says
//! so and output stays in the pipes. What could not be written yet is at most the frames of one
//! reading and the few of beginnings and ends.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ocelot_core::frame::{Frame, Offset, encode};

use crate::control;
use crate::protocol::{CaptureState, Held};

/// How much disk a capture may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// A new segment begins when one has this many bytes; whole ones that were taken are deleted.
    pub segment_bytes: u64,
    /// Output waits when this much was not taken yet.
    pub ahead_bytes: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, ahead_bytes: 256 << 20 }
    }
}

#[derive(Debug)]
pub(crate) struct Capture {
    directory: PathBuf,
    room: Room,
    file: File,
    /// Where the segments that still exist begin; the last one is being written.
    segments: VecDeque<u64>,
    written: u64,
    taken: u64,
    pending: Vec<u8>,
    pending_from: usize,
    unwritable: Option<i32>,
}

impl Capture {
    /// Begins the capture of a directory that has none.
    pub(crate) fn begin(directory: &Path, room: Room) -> io::Result<Self> {
        if !control::segments(directory)?.is_empty() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Self {
            directory: directory.to_owned(),
            room,
            file: create(directory, 0)?,
            segments: VecDeque::from([0]),
            written: 0,
            taken: 0,
            pending: Vec::new(),
            pending_from: 0,
            unwritable: None,
        })
    }

    pub(crate) fn append(&mut self, frame: &Frame<'_>) {
        encode(frame, &mut self.pending);
        self.flush();
    }

    /// Writes what waits, as far as it goes.
    pub(crate) fn flush(&mut self) {
        self.unwritable = None;
        while self.pending_from < self.pending.len() {
            match self.file.write(&self.pending[self.pending_from..]) {
                Ok(count) => {
                    self.pending_from += count;
                    self.written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.unwritable = Some(error.raw_os_error().unwrap_or_default());
                    return;
                }
            }
        }
        self.pending.clear();
        self.pending_from = 0;
        self.roll();
    }

    /// Notes what is safe elsewhere and deletes the segments that are wholly before it.
    pub(crate) fn take(&mut self, offset: Offset) -> Result<(), ()> {
        if offset.0 > self.written {
            return Err(());
        }
        self.taken = self.taken.max(offset.0);
        while self.segments.get(1).is_some_and(|next| *next <= self.taken) {
            if let Some(begin) = self.segments.pop_front() {
                // Taken or not, it is wiped with the directory at the latest.
                let _kept = std::fs::remove_file(segment_path(&self.directory, begin));
            }
        }
        Ok(())
    }

    pub(crate) fn held(&self) -> Option<Held> {
        match self.unwritable {
            Some(errno) => Some(Held::Unwritable(errno)),
            None if self.written - self.taken >= self.room.ahead_bytes => Some(Held::Ahead),
            None => None,
        }
    }

    /// Returns how many bytes wait to be written.
    pub(crate) fn behind(&self) -> usize {
        self.pending.len() - self.pending_from
    }

    pub(crate) fn state(&self) -> CaptureState {
        CaptureState { end: Offset(self.written), taken: Offset(self.taken), held: self.held() }
    }

    /// Begins a new segment once the present one is full. If none can be made, the present one grows.
    fn roll(&mut self) {
        let begin = self.segments.back().copied().unwrap_or_default();
        if self.written - begin >= self.room.segment_bytes
            && let Ok(file) = create(&self.directory, self.written)
        {
            self.file = file;
            self.segments.push_back(self.written);
        }
    }
}

fn segment_path(directory: &Path, begin: u64) -> PathBuf {
    directory.join(control::segment_name(Offset(begin)))
}

fn create(directory: &Path, begin: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(segment_path(directory, begin))
}

#[cfg(test)]
mod tests {
    use ocelot_core::frame::{Body, Decoder};

    use super::*;
    use crate::tail::Tail;

    const ROOM: Room = Room { segment_bytes: 100, ahead_bytes: 300 };

    fn line(text: &str) -> Frame<'_> {
        Frame { unix_us: 1, stage: Some(0), body: Body::Stdout(text.as_bytes()) }
    }

    fn read_all(tail: &mut Tail) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 7];
        loop {
            match tail.read(&mut buffer).unwrap() {
                0 => return bytes,
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn a_reader_goes_through_the_segments_as_through_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut capture = Capture::begin(directory.path(), ROOM).unwrap();
        let mut tail = Tail::at(directory.path(), Offset(0));
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for round in 0..20 {
            capture.append(&line(&format!("line {round}")));
            if round % 3 == 0 {
                decoder.push(&read_all(&mut tail));
            }
            while let Some(frame) = decoder.next_frame().unwrap() {
                seen.push(format!("{:?}", frame.body));
            }
            capture.take(decoder.offset()).unwrap();
        }
        decoder.push(&read_all(&mut tail));
        while let Some(frame) = decoder.next_frame().unwrap() {
            seen.push(format!("{:?}", frame.body));
        }
        let expected: Vec<_> =
            (0..20).map(|round| format!("{:?}", line(&format!("line {round}")).body)).collect();
        assert_eq!(seen, expected);
        assert!(control::segments(directory.path()).unwrap().len() <= 3);
    }

    #[test]
    fn a_reader_begins_in_the_middle() {
        let directory = tempfile::tempdir().unwrap();
        let mut capture = Capture::begin(directory.path(), ROOM).unwrap();
        for _ in 0..12 {
            capture.append(&line("0123456789"));
        }
        let whole = read_all(&mut Tail::at(directory.path(), Offset(0)));
        assert_eq!(whole.len() as u64, capture.state().end.0);
        for offset in [0, 29, 119, 120, 121, whole.len()] {
            let mut tail = Tail::at(directory.path(), Offset(offset as u64));
            assert_eq!(read_all(&mut tail), whole[offset..], "from {offset}");
        }
    }

    #[test]
    fn output_waits_until_enough_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let mut capture = Capture::begin(directory.path(), ROOM).unwrap();
        capture.append(&line(&"x".repeat(280)));
        assert_eq!(capture.held(), Some(Held::Ahead));
        assert_eq!(capture.take(Offset(301)), Err(()), "nobody has read what was not written");
        capture.take(Offset(300)).unwrap();
        assert_eq!(capture.held(), None);
        assert_eq!(control::segments(directory.path()).unwrap(), [Offset(300)], "the whole one is deleted");
        let before = Tail::at(directory.path(), Offset(299)).read(&mut [0]).unwrap_err();
        assert_eq!(before.kind(), io::ErrorKind::NotFound, "never taken for an end");
    }

    #[test]
    fn a_used_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        drop(Capture::begin(directory.path(), ROOM).unwrap());
        let error = Capture::begin(directory.path(), ROOM).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn what_a_full_disk_refused_is_written_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut capture = Capture::begin(directory.path(), Room::default()).unwrap();
        let real =
            std::mem::replace(&mut capture.file, File::options().append(true).open("/dev/full").unwrap());
        capture.append(&line("one"));
        capture.append(&line("two"));
        assert_eq!(capture.held(), Some(Held::Unwritable(libc::ENOSPC)));
        assert_eq!(capture.state().end, Offset(0));
        capture.file = real;
        capture.flush();
        assert_eq!((capture.held(), capture.behind()), (None, 0));
        let mut expected = Vec::new();
        encode(&line("one"), &mut expected);
        encode(&line("two"), &mut expected);
        assert_eq!(read_all(&mut Tail::at(directory.path(), Offset(0))), expected);
    }
}
