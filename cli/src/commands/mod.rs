//! One file per verb.

pub(crate) mod explain;
pub(crate) mod validate;
pub(crate) mod version;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ocelot_spec::FILE_BYTES_MAX;

use crate::error::Error;

/// Reads a definition, and no more of it than is enough to refuse it for its length.
fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    File::open(file).and_then(|open| open.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok(bytes)
}
