//! From the workspace into one file beside it, and the digest that a cache's key is made of. Blocks.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ocelot_archive::{Limits, Options, Packed, Root, Selection, Times, digest_files};
use ocelot_core::plan::Cache;

use super::Chosen;
use crate::attempt::Failure;

/// What is packed.
#[derive(Debug)]
pub(crate) enum Packing {
    /// What the patterns mean.
    Artifact(Chosen),
    /// Whole subtrees, with their times: build tools go by them.
    Cache(Vec<PathBuf>),
}

impl Packing {
    pub(crate) fn cache(cache: &Cache) -> Self {
        Self::Cache(cache.paths.iter().map(PathBuf::from).collect())
    }
}

/// Packs into a file, in place of one that an earlier try left there.
pub(crate) fn pack(workspace: &Path, packing: &Packing, file: &Path) -> Result<Packed, Failure> {
    let disk = |error: io::Error| Failure::Disk { why: error.to_string() };
    if let Some(directory) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(disk)?;
    }
    let out = File::create(file).map_err(disk)?;
    let root = Root::open(workspace).map_err(disk)?;
    let options = Options::default();
    let packed = match packing {
        Packing::Artifact(chosen) => {
            let select = |path: &Path, is_directory: bool| chosen.select(path, is_directory);
            ocelot_archive::pack(&root, Selection::Choose(&select), out, options)
        }
        Packing::Cache(paths) => {
            let options = Options { times: Times::Keep, ..options };
            ocelot_archive::pack(&root, Selection::Paths(paths), out, options)
        }
    };
    packed.map_err(|error| match error {
        // The stream is our own file.
        error @ ocelot_archive::Error::Stream(_) => Failure::Disk { why: error.to_string() },
        error => Failure::Policy { why: error.to_string() },
    })
}

/// Returns the key of a cache for the files as they are now.
pub(crate) fn cache_key(workspace: &Path, cache: &Cache) -> Result<String, String> {
    if cache.key_files.is_empty() {
        return Ok(cache.key.clone());
    }
    let chosen = Chosen::new(&cache.key_files)?;
    let root = Root::open(workspace).map_err(|error| error.to_string())?;
    let select = |path: &Path, is_directory: bool| chosen.select(path, is_directory);
    let digest = digest_files(&root, Selection::Choose(&select), Limits::default());
    let digest = digest.map_err(|error| error.to_string())?;
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}{digest}", cache_prefix(cache)))
}

/// Returns what all keys of a cache begin with.
pub(super) fn cache_prefix(cache: &Cache) -> String {
    if cache.key.is_empty() { String::new() } else { format!("{}-", cache.key) }
}
