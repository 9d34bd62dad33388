//! What the tests share: trees with something to lose around them, and archives made by hand.

mod gnu;
mod hostile;
mod over;
mod packing;
mod race;
mod random;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::{Options, Policy, Result, Root, Selection, Unpacked, Whole, pack, unpack};

/// Everything about what stands at a path that an unpacking could spoil.
type Tree = BTreeMap<PathBuf, String>;

/// A tree as it is, links not followed, without the directories' times.
fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(path) = ahead.pop() {
        let told = fs::symlink_metadata(&path).unwrap();
        let what = if told.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|found| found.unwrap().path()));
            "directory".to_owned()
        } else if told.is_symlink() {
            format!("to {:?}", fs::read_link(&path).unwrap())
        } else {
            format!("{:?}", fs::read(&path).unwrap())
        };
        let below = path.strip_prefix(root).unwrap().to_owned();
        found.insert(below, format!("{:o} {}:{} {what}", told.mode(), told.uid(), told.gid()));
    }
    found
}

/// A place with a root in it and things around it that must stay as they are.
struct Around {
    place: tempfile::TempDir,
}

impl Around {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("outside/keep")).unwrap();
        fs::write(at("outside/keep/secret"), "secret").unwrap();
        fs::write(at("secret"), "secret").unwrap();
        fs::set_permissions(at("outside/keep"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::create_dir_all(at("root/keep")).unwrap();
        fs::create_dir(at("fresh")).unwrap();
        fs::write(at("root/keep/file"), "kept").unwrap();
        symlink("../outside/keep", at("root/out")).unwrap();
        symlink("../secret", at("root/out-file")).unwrap();
        Self { place }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.place.path().join(below)
    }

    fn root(&self) -> Root {
        Root::open(&self.path("root")).unwrap()
    }

    /// All but what is below the directory that may be spoiled.
    fn tree(&self) -> Tree {
        let mut tree = tree(self.place.path());
        tree.retain(|path, _| !path.starts_with("fresh"));
        tree
    }

    /// When each thing outside was last touched: a change that was taken back shows too.
    fn touched(&self) -> Vec<(i64, i64)> {
        let outside = ["outside", "outside/keep", "outside/keep/secret", "secret"];
        let told = outside.map(|path| fs::symlink_metadata(self.path(path)).unwrap());
        told.iter().map(|told| (told.ctime(), told.ctime_nsec())).collect()
    }

    fn unpack(&self, archive: &[u8]) -> Result<Unpacked> {
        unpack(archive, &self.root(), &Policy::default())
    }
}

/// Policy of a directory that is thrown away after an error.
fn as_it_comes() -> Policy {
    Policy { whole: Whole::AsItComes, ..Policy::default() }
}

fn pack_all(root: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    let all = [PathBuf::from(".")];
    pack(&Root::open(root).unwrap(), Selection::Paths(&all), &mut archive, Options::default()).unwrap();
    archive
}

fn zst(tar: &[u8]) -> Vec<u8> {
    zstd::encode_all(tar, 3).unwrap()
}

/// A header made by hand, its sum set when it is done.
struct Block([u8; 512]);

impl Block {
    fn new(name: impl AsRef<[u8]>, kind: u8) -> Self {
        let name = name.as_ref();
        let block =
            Self([0; 512]).raw(100, b"0000644\0").raw(124, b"00000000000\0").raw(136, b"00000000000\0");
        block.raw(0, name).raw(156, &[kind]).raw(257, b"ustar\x0000")
    }

    fn raw(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn size(self, size: u64) -> Self {
        self.raw(124, format!("{size:011o}\0").as_bytes())
    }

    fn mode(self, mode: u32) -> Self {
        self.raw(100, format!("{mode:07o}\0").as_bytes())
    }

    fn to(self, target: impl AsRef<[u8]>) -> Self {
        self.raw(157, target.as_ref())
    }

    fn done(mut self) -> Vec<u8> {
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.raw(148, format!("{sum:06o}\0 ").as_bytes()).0.to_vec()
    }
}

fn filled(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn member(name: impl AsRef<[u8]>, kind: u8, contents: impl AsRef<[u8]>) -> Vec<u8> {
    let contents = contents.as_ref().to_vec();
    let head = Block::new(name, kind).size(contents.len() as u64).done();
    [head, filled(contents)].concat()
}

fn file(name: impl AsRef<[u8]>) -> Vec<u8> {
    member(name, b'0', "evil")
}

fn directory(name: &str) -> Vec<u8> {
    Block::new(name, b'5').mode(0o755).done()
}

fn link(name: &str, target: &str) -> Vec<u8> {
    Block::new(name, b'2').to(target).done()
}

/// An extended header of these keys and values.
fn pax(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut records = Vec::new();
    for (key, value) in pairs {
        let bare = key.len() + value.len() + 3;
        let mut length = bare + 1;
        while length != bare + length.to_string().len() {
            length = bare + length.to_string().len();
        }
        records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    member("pax", b'x', records)
}

/// An archive of these members, with its end.
fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn name_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
