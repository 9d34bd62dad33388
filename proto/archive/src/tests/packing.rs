//! What is taken of a tree, and what is told about the rest.

use super::*;
use crate::{Error, Filed, Limits, Note, Oddity, Packed, Select, Times, digest_files};

fn pack_of(root: &Path, selection: Selection<'_>) -> (Vec<String>, Packed) {
    let mut archive = Vec::new();
    let packed = pack(&Root::open(root).unwrap(), selection, &mut archive, Options::default()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let unpacked = unpack(&archive[..], &Root::open(place.path()).unwrap(), &Policy::default()).unwrap();
    assert_eq!((unpacked.files, unpacked.bytes), (packed.files, packed.bytes));
    assert_eq!((unpacked.sha256, unpacked.size), (packed.sha256, packed.size));
    let names = tree(place.path()).into_keys().map(|path| path.display().to_string());
    (names.filter(|name| !name.is_empty()).collect(), packed)
}

fn monorepo() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for path in
        ["packages/web/dist/a.js", "packages/web/dist/sub/b.js", "packages/web/src/a.ts", "packages/api/x"]
    {
        fs::create_dir_all(place.path().join(path).parent().unwrap()).unwrap();
        fs::write(place.path().join(path), path).unwrap();
    }
    fs::create_dir(place.path().join("node_modules")).unwrap();
    place
}

#[test]
fn a_choice_prunes_and_keeps_the_parents_of_what_it_takes() {
    let place = monorepo();
    let asked = std::cell::RefCell::new(Vec::new());
    let choose = |path: &Path, directory: bool| {
        asked.borrow_mut().push(path.display().to_string());
        match path.to_str().unwrap() {
            "packages" | "packages/web" | "packages/api" if directory => Select::Descend,
            "packages/web/dist" => Select::Take,
            _ => Select::Skip,
        }
    };
    let (names, packed) = pack_of(place.path(), Selection::Choose(&choose));
    assert_eq!(
        names,
        [
            "packages",
            "packages/web",
            "packages/web/dist",
            "packages/web/dist/a.js",
            "packages/web/dist/sub",
            "packages/web/dist/sub/b.js"
        ]
    );
    assert_eq!(packed.files, 2);
    let asked = asked.into_inner();
    assert!(!asked.contains(&"packages/web/dist/sub".to_owned()), "what is taken is not asked about");
    assert!(!asked.contains(&"packages/web/src/a.ts".to_owned()), "what is skipped is not gone into");
}

#[test]
fn plain_paths_take_whole_subtrees_and_may_be_absent() {
    let place = monorepo();
    let paths: Vec<PathBuf> = ["./packages/web/dist/", "packages/web/dist/sub", ".npm", "packages/api/x"]
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let (names, packed) = pack_of(place.path(), Selection::Paths(&paths));
    assert_eq!(packed.files, 3);
    assert!(names.contains(&"packages/api/x".to_owned()));
    assert!(!names.iter().any(|name| name.contains("src") || name.contains("node_modules")));
}

#[test]
fn nothing_selected_is_an_empty_archive() {
    let (names, packed) = pack_of(monorepo().path(), Selection::Paths(&[PathBuf::from(".npm")]));
    assert_eq!((names.len(), packed.files), (0, 0));
}

#[test]
fn a_selected_path_that_climbs_is_refused() {
    for path in ["../x", "/etc", "a/../..", ""] {
        let paths = [PathBuf::from(path)];
        let root = Root::open(monorepo().path()).unwrap();
        let error = pack(&root, Selection::Paths(&paths), Vec::new(), Options::default()).unwrap_err();
        assert!(matches!(error, Error::Selection { .. }), "{path}: {error}");
    }
}

#[test]
fn what_cannot_be_packed_is_noted() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for (name, target) in [("away", "/etc"), ("climbs", "../x"), ("fine", "plain"), ("sly", "d/../../x")] {
        symlink(target, at(name)).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at(".ocelot-unpack-7")).unwrap();
    let (names, packed) = pack_of(place.path(), Selection::Paths(&[PathBuf::from(".")]));
    assert_eq!(names, ["fine"]);
    let note = |path: &str, oddity| Note { path: path.into(), oddity };
    assert_eq!(
        packed.notes,
        [
            note("away", Oddity::LinkLeadsOut),
            note("climbs", Oddity::LinkLeadsOut),
            note("pipe", Oddity::Special(Filed::Pipe)),
            note("sly", Oddity::LinkLeadsOut),
            note("socket", Oddity::Special(Filed::Socket)),
        ]
    );
}

#[test]
fn times_count_only_where_they_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("f");
    let packed = |seconds: u64, times| {
        fs::write(&path, "same").unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::open(&path).unwrap().set_modified(then).unwrap();
        let root = Root::open(place.path()).unwrap();
        let mut archive = Vec::new();
        let paths = [PathBuf::from("f")];
        pack(&root, Selection::Paths(&paths), &mut archive, Options { times, ..Options::default() }).unwrap();
        archive
    };
    assert_eq!(packed(1000, Times::Omit), packed(2000, Times::Omit));
    assert_ne!(packed(1000, Times::Keep), packed(2000, Times::Keep));
    let to = tempfile::tempdir().unwrap();
    let root = Root::open(to.path()).unwrap();
    unpack(&packed(1000, Times::Keep)[..], &root, &Policy::default()).unwrap();
    assert_eq!(fs::metadata(to.path().join("f")).unwrap().mtime(), 1000);
    unpack(&packed(1000, Times::Omit)[..], &root, &Policy::default()).unwrap();
    assert!(fs::metadata(to.path().join("f")).unwrap().mtime() > 1000);
}

#[test]
fn a_tree_beyond_the_limits_is_not_packed() {
    let place = monorepo();
    let root = Root::open(place.path()).unwrap();
    let all = [PathBuf::from(".")];
    let with = |limits| Options { limits, ..Options::default() };
    let limits = Limits::default();
    for (limits, error) in [
        (Limits { entries: 3, ..limits }, "more than 3 entries"),
        (Limits { bytes: 30, ..limits }, "more than 30 bytes of contents"),
        (Limits { depth: 2, ..limits }, "too deep"),
        (Limits { ratio: 1, ratio_from: 100, ..limits }, "for each compressed byte"),
    ] {
        let told = pack(&root, Selection::Paths(&all), Vec::new(), with(limits)).unwrap_err().to_string();
        assert!(told.contains(error), "{told}");
    }
    for level in [0, 20] {
        let told = pack(&root, Selection::Paths(&all), Vec::new(), Options { level, ..Options::default() });
        assert!(matches!(told, Err(Error::Level(_))));
    }
}

#[test]
fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_noted() {
    /// Changes the tree once the packing is under way.
    struct Once<F: FnMut()>(F, bool);
    impl<F: FnMut()> std::io::Write for Once<F> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !std::mem::replace(&mut self.1, true) {
                (self.0)();
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("f");
    // No pattern, so that the compression must give bytes before all is read.
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(4 << 20)
    .collect();
    let packed = |length: u64| {
        fs::write(&path, &noise).unwrap();
        let change = || fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let root = Root::open(place.path()).unwrap();
        let all = [PathBuf::from(".")];
        pack(&root, Selection::Paths(&all), Once(change, false), Options::default())
    };
    assert!(matches!(packed(0), Err(Error::Shrank { .. })));
    let grown = packed(5 << 20).unwrap();
    assert_eq!(grown.bytes, 4 << 20);
    assert_eq!(grown.notes, [Note { path: "f".into(), oddity: Oddity::Changed }]);
}

#[test]
fn a_key_depends_on_names_and_contents_alone() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let locks = |path: &Path, directory: bool| match path.extension() {
        _ if directory => Select::Descend,
        Some(ending) if ending == "lock" => Select::Take,
        Some(_) | None => Select::Skip,
    };
    let key = || {
        let root = Root::open(place.path()).unwrap();
        digest_files(&root, Selection::Choose(&locks), Limits::default()).unwrap()
    };
    let none = key();
    fs::write(at("Cargo.lock"), "one").unwrap();
    let one = key();
    assert_ne!(none, one);
    fs::write(at("other"), "not asked for").unwrap();
    fs::set_permissions(at("Cargo.lock"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(key(), one);
    fs::write(at("Cargo.lock"), "two").unwrap();
    let two = key();
    assert_ne!(two, one);
    fs::rename(at("Cargo.lock"), at("Cargp.lock")).unwrap();
    assert_ne!(key(), two);
    fs::rename(at("Cargp.lock"), at("Cargo.lock")).unwrap();
    fs::create_dir(at("sub")).unwrap();
    assert_eq!(key(), two);
    symlink("../../elsewhere", at("sub/x.lock")).unwrap();
    assert_ne!(key(), two);
}
