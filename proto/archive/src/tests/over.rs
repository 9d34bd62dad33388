//! Archives that come over a tree: what gives way, what stays, and what an error takes back.

use std::io;

use super::*;
use crate::{Expected, Owner, sweep};

#[test]
fn what_is_there_is_replaced_and_never_written_through() {
    let around = Around::new();
    let outside = tree(&around.path("outside"));
    fs::hard_link(around.path("secret"), around.path("root/hard")).unwrap();
    let members = [
        member("out-file", b'0', "new"),
        member("hard", b'0', "new"),
        member("keep/file", b'0', "new"),
        directory("out"),
        member("out/secret", b'0', "new"),
    ];
    around.unpack(&zst(&archive(&members))).unwrap();
    for path in ["out-file", "hard", "keep/file", "out/secret"] {
        assert_eq!(fs::read_to_string(around.path("root").join(path)).unwrap(), "new", "{path}");
    }
    assert!(fs::symlink_metadata(around.path("root/out")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(around.path("secret")).unwrap(), "secret");
    assert_eq!(tree(&around.path("outside")), outside);
}

#[test]
fn a_directory_that_is_there_keeps_its_mode_and_contents() {
    let around = Around::new();
    fs::set_permissions(around.path("root/keep"), fs::Permissions::from_mode(0o711)).unwrap();
    let members = [Block::new("keep", b'5').mode(0o700).done(), file("keep/more")];
    for policy in [Policy::default(), as_it_comes()] {
        unpack(&zst(&archive(&members))[..], &around.root(), &policy).unwrap();
        assert_eq!(fs::metadata(around.path("root/keep")).unwrap().mode() & 0o777, 0o711);
        assert_eq!(fs::read_to_string(around.path("root/keep/file")).unwrap(), "kept");
        assert_eq!(fs::read_to_string(around.path("root/keep/more")).unwrap(), "evil");
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_filled_first() {
    let around = Around::new();
    let members = [Block::new("d", b'5').mode(0o555).done(), file("d/e/f")];
    around.unpack(&zst(&archive(&members))).unwrap();
    assert_eq!(fs::metadata(around.path("root/d")).unwrap().mode() & 0o777, 0o555);
    assert_eq!(fs::metadata(around.path("root/d/e")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn a_move_that_fails_late_is_taken_back() {
    let around = Around::new();
    fs::create_dir_all(around.path("root/z")).unwrap();
    let before = around.tree();
    // Sorted by name, all others are moved in before the last finds a directory in its place.
    let members = [
        member("a", b'0', "new"),
        member("keep/file", b'0', "new"),
        member("keep/more/deep", b'0', "new"),
        Block::new("keep/shut", b'5').mode(0o000).done(),
        member("out", b'0', "new"),
        member("out-file", b'0', "new"),
        member("z", b'0', "new"),
    ];
    let error = around.unpack(&zst(&archive(&members))).unwrap_err();
    assert_eq!(error.to_string(), r#""z" cannot be unpacked: a directory stands there"#);
    assert_eq!(around.tree(), before);
}

#[test]
fn what_is_made_gets_its_owner_or_nothing_is_left() {
    let around = Around::new();
    let before = around.tree();
    // Only root may give files away: as anyone else, this is the test of a failure after the unpacking.
    let members = [directory("d"), file("d/f"), link("l", "d")];
    let policy = Policy { owner: Some(Owner { uid: 4242, gid: 4243 }), ..Policy::default() };
    let unpacked = unpack(&zst(&archive(&members))[..], &around.root(), &policy);
    if before[Path::new("")].contains(" 0:0 ") {
        unpacked.unwrap();
        for path in ["d", "d/f", "l"] {
            let told = fs::symlink_metadata(around.path("root").join(path)).unwrap();
            assert_eq!((told.uid(), told.gid()), (4242, 4243), "{path}");
        }
        let told = fs::symlink_metadata(around.path("root")).unwrap();
        assert_eq!((told.uid(), told.gid()), (0, 0));
    } else {
        unpacked.unwrap_err();
        assert_eq!(around.tree(), before);
    }
}

#[test]
fn a_stream_must_be_the_expected_one() {
    let around = Around::new();
    let before = around.tree();
    let bytes = pack_all(&around.path("outside"));
    let right = Expected { sha256: sha2::Digest::finalize(digest(&bytes)).into(), size: bytes.len() as u64 };
    let unpack = |expected, bytes: &[u8]| {
        let policy = Policy { expected: Some(expected), ..Policy::default() };
        unpack(bytes, &around.root(), &policy)
    };
    let mut sha256 = right.sha256;
    sha256[0] ^= 1;
    for (expected, error) in [
        (Expected { sha256, ..right }, "digest differs"),
        (Expected { size: right.size + 1, ..right }, "length differs"),
    ] {
        let told = unpack(expected, &bytes).unwrap_err().to_string();
        assert!(told.contains(error), "{told}");
        assert_eq!(around.tree(), before);
    }
    let short = Expected { size: right.size - 2, ..right };
    assert!(unpack(short, &bytes).is_err());
    assert_eq!(around.tree(), before);
    let unpacked = unpack(right, &bytes).unwrap();
    assert_eq!((unpacked.sha256, unpacked.size), (right.sha256, right.size));
}

fn digest(bytes: &[u8]) -> sha2::Sha256 {
    sha2::Digest::new_with_prefix(bytes)
}

#[test]
fn a_stream_that_fails_leaves_nothing() {
    struct Fails<'a>(&'a [u8]);
    impl io::Read for Fails<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the line is dead")),
                count => Ok(count),
            }
        }
    }
    let around = Around::new();
    let before = around.tree();
    let bytes = pack_all(&around.path("outside"));
    let told = unpack(Fails(&bytes[..bytes.len() - 1]), &around.root(), &Policy::default()).unwrap_err();
    assert_eq!(told.to_string(), "the archive's stream failed: the line is dead");
    assert_eq!(around.tree(), before);
}

#[test]
fn what_a_dead_program_left_is_swept_and_what_a_living_one_holds_is_not() {
    struct Looks<'a>(&'a [u8], &'a Around);
    impl io::Read for Looks<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert_eq!(sweep(&self.1.root()).unwrap(), 0, "this very unpacking is alive");
            self.0.read(buffer)
        }
    }
    let around = Around::new();
    let bytes = pack_all(&around.path("outside"));
    let before = around.tree();
    fs::create_dir_all(around.path("root/.ocelot-unpack-0/new/deep")).unwrap();
    symlink("../../outside", around.path("root/.ocelot-unpack-0/new/l")).unwrap();
    fs::write(around.path("root/.ocelot-unpack-0/new/deep/f"), "left").unwrap();
    assert_eq!(sweep(&around.root()).unwrap(), 1);
    assert_eq!(around.tree(), before);
    unpack(Looks(&bytes, &around), &around.root(), &Policy::default()).unwrap();
}
