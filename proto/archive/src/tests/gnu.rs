//! What GNU tar makes of the same archives.

use std::process::Command;

use super::*;

fn tar(arguments: &[&str], at: &Path) -> String {
    let out = Command::new("tar").args(arguments).current_dir(at).env("LC_ALL", "C").output().unwrap();
    assert!(out.status.success(), "tar {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A tree with names and modes that a format may stumble over.
fn odd_tree(at: &Path) {
    let long = format!("{}/{}", "directory-of-a-long-name".repeat(4), "file-of-a-long-name".repeat(8));
    for (name, contents, mode) in [
        ("plain", "text".to_owned(), 0o644),
        ("empty", String::new(), 0o600),
        ("run", "#!".to_owned(), 0o755),
        ("a/b/c/deep", "x".repeat(1025), 0o640),
        (long.as_str(), "long".to_owned(), 0o644),
    ] {
        let path = at.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(at.join("hollow")).unwrap();
    fs::set_permissions(at.join("hollow"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(at.join(name_of(b"not-\xff-text")), "bytes").unwrap();
    symlink("b/c", at.join("a/link")).unwrap();
    symlink(format!("../{long}"), at.join("a/long-link")).unwrap();
}

/// A tree without who owns it, for each program gives what it makes to itself.
fn bare(root: &Path) -> Tree {
    let mut tree = tree(root);
    tree.remove(Path::new(""));
    tree
}

#[test]
fn gnu_tar_unpacks_what_we_pack() {
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    odd_tree(&from);
    fs::write(place.path().join("a.tar"), zstd::decode_all(&pack_all(&from)[..]).unwrap()).unwrap();
    tar(&["-xpf", "../a.tar", "--no-same-owner"], &to);
    assert_eq!(bare(&to), bare(&from));
    let listed = tar(&["-tf", "a.tar", "--quoting-style=escape"], place.path());
    assert_eq!(listed.lines().count(), bare(&from).len());
}

#[test]
fn we_unpack_what_gnu_tar_packs_in_each_of_its_formats() {
    for format in ["gnu", "pax", "ustar"] {
        let place = tempfile::tempdir().unwrap();
        let (from, ours) = (place.path().join("from"), place.path().join("ours"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&ours).unwrap();
        odd_tree(&from);
        if format == "ustar" {
            fs::remove_file(from.join("a/long-link")).unwrap();
            fs::remove_dir_all(from.join("directory-of-a-long-name".repeat(4))).unwrap();
        }
        tar(&["-cf", "../a.tar", &format!("--format={format}"), "."], &from);
        let archive = zst(&fs::read(place.path().join("a.tar")).unwrap());
        unpack(&archive[..], &Root::open(&ours).unwrap(), &Policy::default()).unwrap();
        assert_eq!(bare(&ours), bare(&from), "{format}");
    }
}

#[test]
fn what_is_odd_and_harmless_comes_out_as_from_gnu_tar() {
    let hidden = member("hidden", b'0', "../evil");
    let cases = [
        ("nothing", vec![]),
        ("duplicate", vec![member("a", b'0', "first"), member("a", b'0', "second")]),
        ("file over a link", vec![file("t"), link("a", "t"), member("a", b'0', "own")]),
        ("case pair", vec![file("Name"), member("name", b'0', "other")]),
        ("old kind of file", vec![member("a", 0, "old")]),
        ("old kind of directory", vec![Block::new("d/", b'0').mode(0o755).done(), file("d/f")]),
        ("contents that look like an entry", vec![member("a", b'0', &hidden)]),
        ("size told apart", vec![[pax(&[("size", "1024")]), Block::new("a", b'0').done()].concat(), hidden]),
        ("name told apart", vec![pax(&[("path", "b/c")]), file("a")]),
        ("comment for all", vec![member("g", b'g', "16 comment=some\n"), file("a")]),
        ("prefix", vec![Block::new("c", b'0').raw(345, b"a/b").done()]),
        ("leading dots", vec![file("./././a")]),
        ("link that dangles inside", vec![link("d/l", "../nothing")]),
    ];
    for (name, members) in cases {
        let place = tempfile::tempdir().unwrap();
        let (ours, theirs) = (place.path().join("ours"), place.path().join("theirs"));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        let bytes = archive(&members);
        fs::write(place.path().join("a.tar"), &bytes).unwrap();
        tar(&["-xpf", "../a.tar", "--no-same-owner"], &theirs);
        unpack(&zst(&bytes)[..], &Root::open(&ours).unwrap(), &Policy::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let modes = |root: &Path| -> Tree {
            // Where no entry tells a directory's mode, GNU tar asks the umask.
            let told = bare(root).into_iter();
            told.filter(|(path, _)| !(path == Path::new("b") || path == Path::new("a/b"))).collect()
        };
        assert_eq!(modes(&ours), modes(&theirs), "{name}");
    }
}

#[test]
fn special_bits_are_not_heard() {
    let around = Around::new();
    let set = Block::new("s", b'0').mode(0o6755).done();
    let sticky = Block::new("d", b'5').mode(0o1777).done();
    around.unpack(&zst(&archive(&[set, sticky]))).unwrap();
    let mode = |name| fs::metadata(around.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("root/s"), mode("root/d")), (0o755, 0o777));
}
