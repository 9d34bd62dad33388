//! Another program swaps a directory for a link out of the tree, again and again, meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

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
