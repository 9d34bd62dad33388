//! Digest and length of a stream, taken while it passes.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// A reader or writer that knows what went through it.
pub(crate) struct Meter<S> {
    stream: S,
    digest: Sha256,
    count: u64,
}

impl<S> Meter<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, digest: Sha256::new(), count: 0 }
    }

    /// Bytes that went through so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Ends the measure; the digest is of everything that went through.
    pub(crate) fn finish(self) -> (S, [u8; 32], u64) {
        (self.stream, self.digest.finalize().into(), self.count)
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.count += bytes.len() as u64;
    }
}

impl<S: Read> Read for Meter<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.passed(&buffer[..count]);
        Ok(count)
    }
}

impl<S: Write> Write for Meter<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        self.passed(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
