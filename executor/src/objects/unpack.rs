//! From a stream into the workspace: all of it, compared, or nothing.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ocelot_archive::{Error, Expected, Policy, Root, Unpacked};
use ocelot_git::Owner;
use tokio::sync::mpsc;

use super::pipe::Pipe;

/// Unpacks what is sent. The thread ends when the sender is gone.
pub(crate) async fn unpack(
    workspace: PathBuf,
    owner: Option<Owner>,
    expected: Expected,
    pieces: mpsc::Receiver<Bytes>,
) -> Result<Unpacked, Error> {
    let unpacking = tokio::task::spawn_blocking(move || {
        let root = Root::open(&workspace).map_err(Error::Stream)?;
        let owner = owner.map(|Owner { uid, gid }| ocelot_archive::Owner { uid, gid });
        let policy = Policy { expected: Some(expected), owner, ..Policy::default() };
        ocelot_archive::unpack(Pipe::new(pieces), &root, &policy)
    });
    unpacking.await.unwrap_or_else(|died| Err(Error::Stream(std::io::Error::other(died))))
}

/// Takes away what a process before this one left half unpacked. Blocks.
pub(crate) fn clean(workspace: &Path) -> Result<(), String> {
    let root = Root::open(workspace).map_err(|error| error.to_string())?;
    ocelot_archive::sweep(&root).map(drop).map_err(|error| error.to_string())
}
