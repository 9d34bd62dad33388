//! Another program swaps a directory for a link out of the tree, again and again, meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Limits, Oddity, Select, digest_files};

/// How often each side has its go.
const ROUNDS: usize = 150;

/// Runs `act` while `root/d` is now a directory, now a link to what must not be touched.
fn while_swapped(around: &Around, mut act: impl FnMut()) {
    let at = |name: &str| around.path("root").join(name);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // The act itself may be in between: then there is nothing to move, which is as good.
                fs::rename(at("d"), at("aside")).ok();
                symlink("../outside/keep", at("d")).ok();
                std::thread::yield_now();
                fs::remove_file(at("d")).ok();
                fs::rename(at("aside"), at("d")).ok();
            }
        });
        for _ in 0..ROUNDS {
            act();
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_packed_meanwhile_is_never_from_outside() {
    let around = Around::new();
    fs::create_dir(around.path("root/d")).unwrap();
    fs::write(around.path("root/d/secret"), "own").unwrap();
    let before = (tree(&around.path("outside")), around.touched());
    let root = around.root();
    let all = [PathBuf::from("d"), PathBuf::from("aside")];
    while_swapped(&around, || {
        let mut archive = Vec::new();
        pack(&root, Selection::Paths(&all), &mut archive, Options::default()).unwrap();
        let place = tempfile::tempdir().unwrap();
        unpack(&archive[..], &Root::open(place.path()).unwrap(), &as_it_comes()).unwrap();
        for below in ["d/secret", "aside/secret"] {
            let taken = fs::read_to_string(place.path().join(below)).unwrap_or_else(|_| "own".to_owned());
            assert_eq!(taken, "own");
        }
    });
    assert_eq!((tree(&around.path("outside")), around.touched()), before);
}

#[test]
fn what_is_unpacked_meanwhile_never_lands_outside() {
    for walking in [false, true] {
        for policy in [Policy::default(), as_it_comes()] {
            let around = Around::new();
            fs::create_dir(around.path("root/d")).unwrap();
            let before = (tree(&around.path("outside")), around.touched());
            let members = [
                directory("d"),
                file("d/secret"),
                Block::new("d/sub", b'5').mode(0o777).done(),
                file("d/sub/f"),
                link("d/l", "secret"),
            ];
            let bytes = zst(&archive(&members));
            let root = if walking { around.root().walking() } else { around.root() };
            while_swapped(&around, || {
                // Whether it comes through is a matter of who is faster; where it lands is not.
                unpack(&bytes[..], &root, &policy).ok();
            });
            assert_eq!((tree(&around.path("outside")), around.touched()), before);
            assert_eq!(fs::read_to_string(around.path("secret")).unwrap(), "secret");
        }
    }
}

#[test]
fn what_is_swapped_between_the_look_and_the_opening_is_left_out() {
    let around = Around::new();
    let at = |name: &str| around.path("root").join(name);
    let lay = || {
        fs::remove_dir_all(around.path("root")).unwrap();
        fs::create_dir_all(at("d")).unwrap();
        for name in ["d/secret", "f", "p"] {
            fs::write(at(name), "own").unwrap();
        }
    };
    // A choice is asked for just then.
    let swap = |path: &Path, _: bool| {
        let name = path.to_str().unwrap();
        fs::rename(at(name), around.path("fresh").join(name)).unwrap();
        match name {
            "d" => symlink("../outside/keep", at("d")).unwrap(),
            "f" => symlink("../secret", at("f")).unwrap(),
            _ => rustix::fs::mknodat(rustix::fs::CWD, at(name), rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap(),
        }
        Select::Take
    };
    lay();
    let mut archive = Vec::new();
    let choice = Selection::Choose(&swap);
    let packed = pack(&around.root(), choice, &mut archive, Options::default()).unwrap();
    assert_eq!(packed.files, 0);
    assert!(packed.notes.iter().all(|note| note.oddity == Oddity::Vanished));
    assert_eq!(packed.notes.len(), 3);
    let plain = zstd::decode_all(&archive[..]).unwrap();
    assert_eq!(plain.len(), 512 + 1024, "the directory's own entry and the end");
    fs::remove_dir_all(around.path("fresh")).unwrap();
    fs::create_dir(around.path("fresh")).unwrap();
    lay();
    let empty = tempfile::tempdir().unwrap();
    let nothing = Root::open(empty.path()).unwrap();
    let key = |root: &Root| digest_files(root, choice, Limits::default()).unwrap();
    assert_eq!(key(&around.root()), key(&nothing));
}
