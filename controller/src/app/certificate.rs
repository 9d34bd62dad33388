//! A certificate for all controllers of a fleet, made before the first of them starts.

use std::path::Path;

use super::StartError;
use crate::bytes::files::ensure_directory;
use crate::server::{Certificate, Names};

/// Opens the certificate in `folder`, or makes one for these hosts and addresses. Blocks.
pub fn certificate(folder: &Path, names: &[String]) -> Result<Certificate, StartError> {
    let directory = |source| StartError::Directory { path: folder.to_owned(), source };
    ensure_directory(folder).map_err(directory)?;
    let mut wanted = Names::default();
    for name in names {
        match name.parse() {
            Ok(address) => wanted.addresses.push(address),
            Err(_) => wanted.hosts.push(name.clone()),
        }
    }
    Ok(Certificate::ensure(folder, &wanted)?)
}
