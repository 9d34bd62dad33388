//! A capture as a supervisor writes it, with what is taken deleted at once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use ocelot_core::frame::{Body, Exit, Frame, Offset, encode};
use ocelot_supervisor::control;

/// Much smaller than a supervisor's, so that places between two of them are common.
const SEGMENT_BYTES: u64 = 500;

pub(super) struct Capture {
    pub(super) directory: PathBuf,
    segments: Vec<u64>,
    /// Everything that was ever written.
    pub(super) raw: Vec<u8>,
    unix_us: u64,
}

impl Capture {
    pub(super) fn begin(directory: &Path) -> Self {
        fs::create_dir(directory).unwrap();
        Self { directory: directory.to_owned(), segments: Vec::new(), raw: Vec::new(), unix_us: 1_000 }
    }

    pub(super) fn out(&mut self, text: &str) -> Offset {
        self.frame(Some(0), Body::Stdout(text.as_bytes()))
    }

    pub(super) fn end(&mut self) -> Offset {
        self.frame(Some(0), Body::End(Exit::Code(0)))
    }

    pub(super) fn frame(&mut self, stage: Option<u16>, body: Body<'_>) -> Offset {
        self.unix_us += 1;
        let mut bytes = Vec::new();
        encode(&Frame { unix_us: self.unix_us, stage, body }, &mut bytes);
        self.write(&bytes)
    }

    /// Writes bytes that need not be a frame.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Offset {
        let full = |begin: &u64| self.raw.len() as u64 - begin >= SEGMENT_BYTES;
        if self.segments.last().is_none_or(full) {
            self.segments.push(self.raw.len() as u64);
        }
        let name = control::segment_name(Offset(*self.segments.last().unwrap()));
        let file = OpenOptions::new().append(true).create(true).open(self.directory.join(name));
        file.unwrap().write_all(bytes).unwrap();
        self.raw.extend_from_slice(bytes);
        Offset(self.raw.len() as u64)
    }

    /// Deletes what is taken, as soon as it may be.
    pub(super) fn taken(&mut self, offset: Offset) {
        assert!(offset.0 <= self.raw.len() as u64);
        while self.segments.get(1).is_some_and(|next| *next <= offset.0) {
            let begin = self.segments.remove(0);
            fs::remove_file(self.directory.join(control::segment_name(Offset(begin)))).unwrap();
        }
    }
}
