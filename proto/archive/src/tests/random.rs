//! Any tree comes back as it was, and gives the same bytes each time.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Thing {
    File(Vec<u8>, u32),
    Directory(u32),
    Link(Vec<Vec<u8>>),
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![&b"a"[..], b"b", b"B", b"a.b", b"-", b" "]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(prop::sample::select((1..=255_u8).filter(|byte| *byte != b'/').collect::<Vec<_>>()), 3..9),
        1 => (90..255_usize).prop_map(|length| vec![b'n'; length]),
    ]
}

fn path() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(part(), 1..6)
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..2000), 0..0o1000_u32)
            .prop_map(|(contents, mode)| Thing::File(contents, mode | 0o400)),
        1 => (0..0o1000_u32).prop_map(|mode| Thing::Directory(mode | 0o700)),
        1 => path().prop_map(Thing::Link),
    ]
}

/// Makes what can be made; where two paths are in each other's way, the first wins.
fn grow(root: &Path, things: &[(Vec<Vec<u8>>, Thing)]) {
    for (path, thing) in things {
        let at = root.join(name_of(&path.join(&b'/')));
        if fs::create_dir_all(at.parent().unwrap()).is_err() || fs::symlink_metadata(&at).is_ok() {
            continue;
        }
        let mode = |mode| fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        match thing {
            Thing::File(contents, told) => {
                fs::write(&at, contents).unwrap();
                mode(*told);
            }
            Thing::Directory(told) => {
                fs::create_dir(&at).unwrap();
                mode(*told);
            }
            Thing::Link(target) => symlink(name_of(&target.join(&b'/')), &at).unwrap(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_comes_back_and_packs_to_the_same_bytes(
        things in prop::collection::vec((path(), thing()), 0..24),
        walking: bool,
        whole: bool,
    ) {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        grow(&from, &things);
        let archive = pack_all(&from);
        prop_assert_eq!(&pack_all(&from), &archive);
        let root = Root::open(&to).unwrap();
        let root = if walking { root.walking() } else { root };
        let policy = if whole { Policy::default() } else { as_it_comes() };
        unpack(&archive[..], &root, &policy).unwrap();
        prop_assert_eq!(tree(&to), tree(&from));
        prop_assert_eq!(&pack_all(&to), &archive);
        // Over itself it changes nothing.
        unpack(&archive[..], &root, &policy).unwrap();
        prop_assert_eq!(tree(&to), tree(&from));
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused_and_touch_nothing_around(
        name in prop::collection::vec(any::<u8>(), 1..60),
        target in prop::collection::vec(any::<u8>(), 1..60),
        kind in prop::sample::select(b"0125LKxg7\0".to_vec()),
        at in 0..512_usize,
        byte: u8,
    ) {
        let around = Around::new();
        fs::remove_dir_all(around.path("fresh")).unwrap();
        let before = around.tree();
        fs::create_dir(around.path("fresh")).unwrap();
        let mut head = Block::new(&name, kind).to(&target).raw(at, &[byte]).done();
        head.extend_from_slice(&file("after"));
        let root = Root::open(&around.path("fresh")).unwrap();
        let unpacked = unpack(&zst(&archive(&[head]))[..], &root, &as_it_comes());
        prop_assert_eq!(around.tree(), before);
        prop_assert!(unpacked.is_err() || !tree(&around.path("fresh")).is_empty());
    }
}
