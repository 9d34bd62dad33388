//! An archive's entries, one after the other, out of a compressed stream.

use std::io::{BufRead as _, BufReader, Read};

use zstd::stream::read::Decoder;

use super::header::{BLOCK, Header, padding};
use super::pax::Pax;
use crate::Result;
use crate::error::{Error, Shown};
use crate::limits::Limits;
use crate::meter::Meter;

/// What is read ahead, on either side of the decompression.
const BUFFER: usize = 128 << 10;

/// Records about one entry longer than this are no description of it.
const RECORDS_MAX: u64 = 64 << 10;

/// Some programs put one header for all entries first; more are a game.
const GLOBALS_MAX: usize = 8;

/// Zeros after the end that other programs fill their last record with.
const FILL_MAX: u64 = 1 << 20;

/// What level 19 needs to be read; an archive that asks for more is a bomb for memory.
const WINDOW_LOG_MAX: u32 = 23;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File { size: u64 },
    Link { target: Vec<u8> },
}

/// One entry, its contents still to be read.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Seconds since 1970; 0 is not told.
    pub(crate) mtime: u64,
}

/// What was told about the next entry before its header.
#[derive(Default)]
struct Told {
    pax: Option<Pax>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// The entries of a stream.
pub(crate) struct Members<R: Read> {
    plain: BufReader<Decoder<'static, BufReader<Meter<R>>>>,
    limits: Limits,
    /// Length of the compressed stream, where it is known.
    told: Option<u64>,
    /// Bytes of the archive read so far.
    at: u64,
    /// Contents of the present entry not yet read, and the filling after them.
    left: u64,
    fill: usize,
}

impl<R: Read> Members<R> {
    pub(crate) fn new(stream: R, limits: Limits, told: Option<u64>) -> Result<Self> {
        let compressed = BufReader::with_capacity(BUFFER, Meter::new(stream));
        let mut decoder = Decoder::with_buffer(compressed).map_err(Error::Stream)?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(Error::Stream)?;
        let plain = BufReader::with_capacity(BUFFER, decoder);
        Ok(Self { plain, limits, told, at: 0, left: 0, fill: 0 })
    }

    /// The next entry; what is left of the present one is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        self.pass_over()?;
        let mut told = Told::default();
        let mut globals = 0;
        loop {
            let Some(header) = self.header()? else {
                let whole = told.pax.is_none() && told.path.is_none() && told.link.is_none();
                return if whole { Ok(None) } else { Err(self.corrupt("a name is told of no entry")) };
            };
            match header.kind {
                b'x' => {
                    let pax = Pax::parse(&self.body(&header, RECORDS_MAX)?);
                    let twice = told.pax.replace(pax.map_err(|what| self.corrupt(what))?).is_some();
                    self.once(twice)?;
                }
                b'g' => {
                    let pax = Pax::parse(&self.body(&header, RECORDS_MAX)?);
                    globals += 1;
                    if pax.map_err(|what| self.corrupt(what))?.steers() || globals > GLOBALS_MAX {
                        return Err(self.corrupt("a header for all entries names or sizes them"));
                    }
                }
                b'L' => {
                    let twice = told.path.replace(self.name(&header)?).is_some();
                    self.once(twice)?;
                }
                b'K' => {
                    let twice = told.link.replace(self.name(&header)?).is_some();
                    self.once(twice)?;
                }
                _ => return self.member(header, told).map(Some),
            }
            if told.pax.is_some() && (told.path.is_some() || told.link.is_some()) {
                return Err(self.corrupt("an entry is described in two dialects"));
            }
        }
    }

    /// Reads contents of the present entry; 0 is their end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.some(&mut buffer[..most])?;
        self.left -= count as u64;
        Ok(count)
    }

    /// Compressed bytes taken from the stream so far.
    fn taken(&self) -> u64 {
        self.plain.get_ref().get_ref().get_ref().count()
    }

    /// Makes sure that nothing follows the end; gives digest and length of the compressed stream.
    pub(crate) fn finish(mut self) -> Result<([u8; 32], u64)> {
        let mut fill = 0;
        loop {
            let rest = self.plain.fill_buf().map_err(stream)?;
            let count = rest.len();
            if count == 0 {
                break;
            }
            fill += count as u64;
            if fill > FILL_MAX || rest.iter().any(|byte| *byte != 0) {
                return Err(self.corrupt("bytes follow the end"));
            }
            self.plain.consume(count);
        }
        let at = self.at + fill;
        let mut compressed = self.plain.into_inner().finish();
        if !compressed.fill_buf().map_err(stream)?.is_empty() {
            return Err(Error::Corrupt { what: "bytes follow the compressed archive", at });
        }
        let (_, sha256, size) = compressed.into_inner().finish();
        Ok((sha256, size))
    }

    fn member(&mut self, header: Header, told: Told) -> Result<Member> {
        let pax = told.pax.unwrap_or_default();
        let path = pax.path.or(told.path).unwrap_or(header.name);
        let target = pax.link.or(told.link).unwrap_or(header.link);
        let size = pax.size.unwrap_or(header.size);
        let other = |kind| Err(Error::Kind { path: Shown::bytes(&path), kind });
        let kind = match header.kind {
            // Before there were directories in the format, a slash made one.
            b'0' | 0 | b'7' if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File { size },
            b'5' => Kind::Directory,
            b'2' => Kind::Link { target },
            b'1' => return other("a hard link"),
            b'3' | b'4' => return other("a device"),
            b'6' => return other("a named pipe"),
            b'S' => return other("a sparse file"),
            _ => return other("of an unknown kind"),
        };
        // Programs differ in whether such contents are there: the place to hide a header in.
        if !matches!(kind, Kind::File { .. }) && (size != 0 || header.size != 0) {
            return Err(self.corrupt("an entry without contents has a size"));
        }
        self.left = size;
        self.fill = padding(size);
        Ok(Member { path, kind, mode: header.mode & 0o777, mtime: pax.mtime.unwrap_or(header.mtime) })
    }

    /// The next header, or `None` at the two blocks of zeros that end an archive.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        self.exact(&mut block)?;
        if block == [0; BLOCK] {
            self.exact(&mut block)?;
            return if block == [0; BLOCK] { Ok(None) } else { Err(self.corrupt("a lone block of zeros")) };
        }
        Header::decode(&block).map(Some).map_err(|what| self.corrupt(what))
    }

    /// The whole contents of a header that describes another.
    fn body(&mut self, header: &Header, most: u64) -> Result<Vec<u8>> {
        if header.size > most {
            return Err(self.corrupt("the description of an entry is too long"));
        }
        // Below `most`, which fits.
        let mut body = vec![0; header.size as usize];
        self.exact(&mut body)?;
        self.fill = padding(header.size);
        self.pass_over()?;
        Ok(body)
    }

    fn name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.body(header, self.limits.path as u64 + 1)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        if name.is_empty() || name.contains(&0) {
            return Err(self.corrupt("a long name has a NUL"));
        }
        Ok(name)
    }

    fn once(&self, twice: bool) -> Result<()> {
        if twice { Err(self.corrupt("an entry is described twice")) } else { Ok(()) }
    }

    fn pass_over(&mut self) -> Result<()> {
        let mut scratch = [0; 4096];
        while self.read(&mut scratch)? > 0 {}
        let fill = std::mem::take(&mut self.fill);
        self.exact(&mut scratch[..fill])
    }

    fn exact(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            let count = self.some(buffer)?;
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Reads at least one byte.
    fn some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.plain.read(buffer).map_err(stream)?;
        if count == 0 {
            return Err(Error::Truncated);
        }
        self.at += count as u64;
        self.limits.dense(self.at, self.told.unwrap_or_else(|| self.taken()))?;
        Ok(count)
    }

    fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { what, at: self.at }
    }
}

fn stream(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::Truncated,
        _ => Error::Stream(error),
    }
}
