//! `ocelot init`: an `ocelot.yml` to begin with, from what lies in the repository.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{DEFINITION, read_up_to};
use crate::args::Init;
use crate::checkout::{Checkout, Git};
use crate::error::{Error, Result};
use crate::init::{Proposal, Repository, is_read, propose};
use crate::show::{Output, plain};

/// More files than this are not looked at.
const FILES_MAX: usize = 50_000;
/// Of one file so much is read.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Without git, folders are looked into down to this depth.
const DEPTH_MAX: usize = 4;

#[derive(Debug, Serialize)]
struct Proposed<'a> {
    /// Where it was written; null where it was not.
    file: Option<String>,
    found: &'a [String],
    text: &'a str,
}

pub(crate) fn run(init: &Init, output: &Output) -> Result<()> {
    let root = Checkout::top().unwrap_or_else(|| PathBuf::from("."));
    let file = root.join(DEFINITION);
    if !init.stdout && !init.force && file.exists() {
        return Err(there_already(&file));
    }
    let Proposal { text, found } = propose(&repository(&root));
    if init.stdout {
        return output.result(&text, &Proposed { file: None, found: &found, text: &text });
    }
    write(&file, &text, init.force)?;
    let name = file.display().to_string();
    output.result(
        format_args!("{name}\n"),
        &Proposed { file: Some(name.clone()), found: &found, text: &text },
    )?;
    if !output.is_json() {
        let found = match &found[..] {
            [] => "nothing that says how this is built; say it in the file".to_owned(),
            found => found.join(", "),
        };
        output.note(format_args!(
            "found: {}\nread what it says, then:\n  ocelot validate   is it right?\n  ocelot local      run it here",
            plain(&found)
        ));
    }
    Ok(())
}

fn there_already(file: &Path) -> Error {
    Error::usage(
        format!("{} is there already", file.display()),
        "see what would be proposed: ocelot init --stdout; to write over it: ocelot init --force",
    )
}

fn write(file: &Path, text: &str, force: bool) -> Result<()> {
    let unwritable = |source| Error::Unwritable { file: file.to_owned(), source };
    if force {
        return fs::write(file, text).map_err(unwritable);
    }
    match fs::OpenOptions::new().write(true).create_new(true).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(there_already(file)),
        opened => opened.and_then(|mut open| open.write_all(text.as_bytes())).map_err(unwritable),
    }
}

fn repository(root: &Path) -> Repository {
    let paths = listed(root).unwrap_or_else(|| walked(root));
    let wanted = paths.iter().filter(|path| is_read(path));
    let texts = wanted.filter_map(|path| {
        let bytes = read_up_to(&root.join(path), FILE_BYTES_MAX).ok()?;
        Some((path.clone(), String::from_utf8(bytes).ok()?))
    });
    let texts = texts.collect();
    Repository { paths, texts }
}

/// What git knows, and new files that it does not ignore.
fn listed(root: &Path) -> Option<BTreeSet<String>> {
    let names = Git::at(root).bytes(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).take(FILES_MAX);
    Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// What lies there, without folders whose name begins with a dot.
fn walked(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < DEPTH_MAX && (!name.starts_with('.') || name == ".github") {
                open.push((entry.path(), format!("{path}/"), depth + 1));
            } else if !is_folder && found.len() < FILES_MAX {
                found.insert(path);
            }
        }
    }
    found
}
