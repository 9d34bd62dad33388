//! Reading a capture while it grows.
//!
//! A capture is one sequence of bytes in several files, each named by the place of its first byte.
//! The end may be torn while the supervisor writes or after it was killed: read frames with
//! `ocelot_core::frame::Decoder`, which waits for the rest.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ocelot_core::frame::Offset;

use crate::control;

const DELETED: &str = "this part of the capture was taken and deleted";

/// A reader at a place of a capture.
#[derive(Debug)]
pub struct Tail {
    directory: PathBuf,
    offset: Offset,
    segment: Option<File>,
}

impl Tail {
    pub fn at(directory: &Path, offset: Offset) -> Self {
        Self { directory: directory.to_owned(), offset, segment: None }
    }

    /// Returns the place of the byte that is read next.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Reads what is there; nothing is the present end, not the last.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(segment) = &mut self.segment {
                let count = segment.read(buffer)?;
                self.offset = self.offset.advance(count);
                if count > 0 {
                    return Ok(count);
                }
            }
            if !self.open_next()? {
                return Ok(0);
            }
        }
    }

    /// Opens the segment that begins here, or at the start the one that holds this place.
    fn open_next(&mut self) -> io::Result<bool> {
        let begin = match &self.segment {
            Some(_) => self.offset,
            None => {
                let begins = control::segments(&self.directory)?;
                match begins.iter().rfind(|begin| **begin <= self.offset) {
                    Some(begin) => *begin,
                    None if begins.is_empty() => return Ok(false),
                    None => return Err(io::Error::new(io::ErrorKind::NotFound, DELETED)),
                }
            }
        };
        let mut file = match File::open(self.directory.join(control::segment_name(begin))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // At a segment's very end its successor would be empty and be opened again and again.
        if self.segment.is_some() && file.metadata()?.len() == 0 {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(self.offset.0 - begin.0))?;
        self.segment = Some(file);
        Ok(true)
    }
}
