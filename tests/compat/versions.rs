//! The folders of golden files, one for each version, as the tests of every crate find them.
//!
//! What a version kept is never written over: its own tests made it, and later ones only read it. What
//! today's version keeps is written beside the build each time, so that renewing it is a copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The version whose files the tests make.
pub(crate) const CURRENT: &str = env!("CARGO_PKG_VERSION");

/// What is kept of one kind, by file name.
pub(crate) type Kept = BTreeMap<String, Vec<u8>>;

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.ancestors().find(|folder| folder.join("tests/compat").is_dir());
    root.expect("this crate lies below the folder of golden files").to_owned()
}

/// Returns what each version kept of this kind, the current one included.
pub(crate) fn all(kind: &str) -> BTreeMap<String, Kept> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/compat")).unwrap() {
        let entry = entry.unwrap();
        let folder = entry.path().join(kind);
        if folder.is_dir() {
            all.insert(entry.file_name().into_string().unwrap(), read(&folder));
        }
    }
    assert!(all.contains_key(CURRENT), "nothing of version {CURRENT} is kept as {kind}");
    all
}

fn read(folder: &Path) -> Kept {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let file =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    entries.map(file).collect()
}

/// Checks that the current version's folder holds these files as they are made.
pub(crate) fn assert_kept(kind: &str, made: &Kept) {
    let beside = root().join("target/compat").join(CURRENT).join(kind);
    fs::create_dir_all(&beside).unwrap();
    for (name, bytes) in made {
        fs::write(beside.join(name), bytes).unwrap();
    }
    let folder = root().join("tests/compat").join(CURRENT).join(kind);
    let is_kept =
        |(name, bytes): &(&String, &Vec<u8>)| fs::read(folder.join(name)).is_ok_and(|kept| kept == **bytes);
    let differ: Vec<_> = made.iter().filter(|file| !is_kept(file)).map(|(name, _)| name).collect();
    assert!(
        differ.is_empty(),
        "tests/compat/{CURRENT}/{kind} does not hold what is made now: {differ:?}. What a release kept is \
         read for ever; before one, it is renewed by: cp -r target/compat/{CURRENT} tests/compat/"
    );
}
