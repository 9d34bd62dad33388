//! Entries into blocks, blocks into a compressed stream.

use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use zstd::stream::write::Encoder;

use super::walk::{Found, Visit};
use super::{Filed, Note, Oddity, Options, Packed, Times};
use crate::error::{Error, Shown, failed};
use crate::format::{BLOCK, Header, longname, padding};
use crate::limits::Tally;
use crate::meter::Meter;
use crate::{Result, path};

/// Contents on their way from a file to the compression.
const BUFFER: usize = 128 << 10;

/// A tree of nothing but oddities must not become a list of them.
const NOTES_MAX: usize = 100;

/// An archive in the making.
pub(crate) struct Writer<W: Write> {
    stream: Encoder<'static, Meter<W>>,
    options: Options,
    tally: Tally,
    buffer: Vec<u8>,
    /// Bytes before compression.
    plain: u64,
    packed: Packed,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(stream: W, options: Options) -> Result<Self> {
        let mut stream = Encoder::new(Meter::new(stream), options.level).map_err(Error::Stream)?;
        stream.include_checksum(true).map_err(Error::Stream)?;
        let packed =
            Packed { files: 0, bytes: 0, sha256: [0; 32], size: 0, notes: Vec::new(), notes_dropped: 0 };
        let tally = Tally::new(options.limits);
        Ok(Self { stream, options, tally, buffer: vec![0; BUFFER], plain: 0, packed })
    }

    pub(crate) fn finish(mut self) -> Result<Packed> {
        self.put(&[0; 2 * BLOCK])?;
        let meter = self.stream.finish().map_err(Error::Stream)?;
        let (mut stream, sha256, size) = meter.finish();
        stream.flush().map_err(Error::Stream)?;
        // What could not be unpacked is better not packed.
        self.options.limits.dense(self.plain, size)?;
        Ok(Packed { sha256, size, ..self.packed })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.plain += bytes.len() as u64;
        self.stream.write_all(bytes).map_err(Error::Stream)
    }

    fn header(&mut self, path: &Path, header: Header) -> Result<()> {
        self.tally.entry(path, header.size)?;
        self.put(&longname(b'L', &header.name))?;
        self.put(&longname(b'K', &header.link))?;
        self.put(&header.encode())
    }

    /// What every entry's header says, whatever its kind.
    fn describe(&self, path: &Path, stat: &Stat, kind: u8) -> Header {
        let mtime = match self.options.times {
            Times::Omit => 0,
            Times::Keep => u64::try_from(stat.st_mtime).unwrap_or_default(),
        };
        let name = path.as_os_str().as_bytes().to_vec();
        Header { name, mode: stat.st_mode & 0o777, size: 0, mtime, kind, link: Vec::new() }
    }

    fn link(&mut self, found: &Found<'_>) -> Result<()> {
        let target = match readlinkat(found.at, found.name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::NOENT | Errno::INVAL) => {
                self.odd(found.path, Oddity::Vanished);
                return Ok(());
            }
            Err(error) => return Err(failed("read the link", found.path)(error)),
        };
        if !path::stays_inside(found.path, &target, &self.options.limits) {
            self.odd(found.path, Oddity::LinkLeadsOut);
            return Ok(());
        }
        // A link's own mode means nothing, and systems differ in what they say it is.
        let header = self.describe(found.path, &found.stat, b'2');
        self.header(found.path, Header { mode: 0o777, link: target, ..header })
    }

    fn file(&mut self, found: &Found<'_>) -> Result<()> {
        let Some((mut file, stat)) = open(found)? else {
            self.odd(found.path, Oddity::Vanished);
            return Ok(());
        };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let header = self.describe(found.path, &stat, b'0');
        self.header(found.path, Header { size, ..header })?;
        let mut left = size;
        let mut buffer = std::mem::take(&mut self.buffer);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = file.read(&mut buffer[..most]).map_err(failed("read", found.path))?;
            if count == 0 {
                return Err(Error::Shrank { path: Shown::path(found.path) });
            }
            self.put(&buffer[..count])?;
            left -= count as u64;
        }
        self.buffer = buffer;
        self.put(&[0; BLOCK][..padding(size)])?;
        let after = fstat(&file).map_err(failed("look at", found.path))?;
        if stamp(&after) != stamp(&stat) {
            self.odd(found.path, Oddity::Changed);
        }
        self.packed.files += 1;
        self.packed.bytes += size;
        Ok(())
    }
}

impl<W: Write> Visit for Writer<W> {
    fn directory(&mut self, path: &Path, stat: &Stat) -> Result<()> {
        let mut header = self.describe(path, stat, b'5');
        header.name.push(b'/');
        self.header(path, header)
    }

    fn leaf(&mut self, found: Found<'_>) -> Result<()> {
        let special = match FileType::from_raw_mode(found.stat.st_mode) {
            FileType::RegularFile => return self.file(&found),
            FileType::Symlink => return self.link(&found),
            FileType::CharacterDevice | FileType::BlockDevice => Filed::Device,
            FileType::Fifo => Filed::Pipe,
            FileType::Socket => Filed::Socket,
            FileType::Directory | FileType::Unknown => Filed::Unknown,
        };
        self.odd(found.path, Oddity::Special(special));
        Ok(())
    }

    fn odd(&mut self, path: &Path, oddity: Oddity) {
        if self.packed.notes.len() < NOTES_MAX {
            self.packed.notes.push(Note { path: path.to_owned(), oddity });
        } else {
            self.packed.notes_dropped += 1;
        }
    }

    fn depth(&self) -> usize {
        self.options.limits.depth
    }
}

/// Opens a file, or `None` where it is none any more.
pub(crate) fn open(found: &Found<'_>) -> Result<Option<(File, Stat)>> {
    // Swapped for a pipe, a file must not hold the walk up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match openat(found.at, found.name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(failed("open", found.path)(error)),
    };
    let stat = fstat(&file).map_err(failed("look at", found.path))?;
    let regular = FileType::from_raw_mode(stat.st_mode).is_file();
    Ok(regular.then_some((file, stat)))
}

/// What changes when a file is written to.
fn stamp(stat: &Stat) -> (i64, i64, u64, i64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}
