//! Archives made to do harm: none touches anything outside, and a bad one leaves nothing inside.

use super::*;
use crate::{Limits, Links};

/// What is wrong with an archive, its compressed bytes, and words of the error it must give.
type Bad = (&'static str, Vec<u8>, &'static str);

fn tars(cases: Vec<(&'static str, Vec<Vec<u8>>, &'static str)>) -> Vec<Bad> {
    cases.into_iter().map(|(name, members, error)| (name, zst(&archive(&members)), error)).collect()
}

fn names() -> Vec<Bad> {
    let deep = "d/".repeat(129) + "f";
    let wide = "w".repeat(256);
    let long = format!("{}f", "0123456789/".repeat(400));
    tars(vec![
        ("parent", vec![file("../evil")], "climbs"),
        ("parent further down", vec![directory("a"), file("a/../../evil")], "climbs"),
        ("parent that returns", vec![directory("a"), file("a/../evil")], "climbs"),
        ("bare parent", vec![directory("..")], "climbs"),
        ("parent after a dot", vec![file("./../evil")], "climbs"),
        ("absolute", vec![file("/tmp/ocelot-evil")], "absolute"),
        ("absolute by two slashes", vec![file("//tmp/ocelot-evil")], "absolute"),
        ("empty part", vec![file("a//b")], "empty"),
        ("dot part", vec![file("a/./b")], "dot"),
        ("empty name", vec![file("")], "empty"),
        ("root as a file", vec![file(".")], "root"),
        ("NUL in a name", vec![file("a\0b")], "NUL"),
        ("NUL in an extended name", vec![pax(&[("path", "a\0b")]), file("x")], "NUL"),
        ("NUL in a long name", vec![member("L", b'L', "a\0b\0"), file("x")], "NUL"),
        ("parent in the prefix", vec![Block::new("evil", b'0').raw(345, b"..").done()], "climbs"),
        ("parent in an extended name", vec![pax(&[("path", "../evil")]), file("x")], "climbs"),
        ("absolute extended name", vec![pax(&[("path", "/tmp/ocelot-evil")]), file("x")], "absolute"),
        ("parent in a long name", vec![member("L", b'L', "../evil\0"), file("x")], "climbs"),
        ("too deep", vec![member("L", b'L', deep), file("x")], "too deep"),
        ("too wide", vec![member("L", b'L', wide), file("x")], "too long"),
        ("too long", vec![pax(&[("path", &long)]), file("x")], "too long"),
        ("long name beyond the bound", vec![member("L", b'L', long), file("x")], "too long"),
        ("the stage's name", vec![file(".ocelot-unpack-0/new/x")], "kept"),
    ])
}

fn links() -> Vec<Bad> {
    let through = |target: &str| vec![link("l", target), file("l/evil")];
    tars(vec![
        ("absolute link", vec![link("l", "/etc")], "leads to"),
        ("climbing link", vec![link("l", "../outside")], "leads to"),
        ("link that climbs late", vec![link("a/l", "b/../../../outside")], "leads to"),
        (
            "link that climbs from where another leads",
            vec![directory("a/b"), link("a/b/up", "../.."), link("a/b/l", "up/../outside")],
            "leads to",
        ),
        ("link to nothing", vec![link("l", "")], "leads to"),
        ("extended target", vec![pax(&[("linkpath", "../outside")]), link("l", "x")], "leads to"),
        ("long target", vec![member("K", b'K', "../outside\0"), link("l", "x")], "leads to"),
        ("file through a link", through("keep"), "no directory"),
        ("file through a link to the root", through("."), "no directory"),
        (
            "mode through a link",
            vec![directory("keep"), link("l", "keep"), Block::new("l", b'5').mode(0o777).done()],
            "no directory",
        ),
        ("hard link out", vec![Block::new("h", b'1').to("../secret").done()], "a hard link"),
        ("hard link inside", vec![file("a"), Block::new("h", b'1').to("a").done()], "a hard link"),
        ("hard link to a link out", vec![Block::new("h", b'1').to("out-file").done()], "a hard link"),
    ])
}

fn kinds() -> Vec<Bad> {
    let of = |kind| vec![Block::new("x", kind).raw(329, b"0000001\x000000003\0").done()];
    tars(vec![
        ("character device", of(b'3'), "a device"),
        ("block device", of(b'4'), "a device"),
        ("pipe", of(b'6'), "a named pipe"),
        ("sparse", of(b'S'), "a sparse file"),
        ("extended sparse", vec![pax(&[("GNU.sparse.name", "../evil")]), file("x")], "sparse"),
        ("unknown kind", of(b'Z'), "unknown kind"),
        ("file over a directory", vec![directory("a"), file("a")], "a directory stands there"),
        ("directory over a file", vec![file("a"), directory("a")], "no directory"),
        ("file below a file", vec![file("a"), file("a/b")], "no directory"),
        ("file where the tree has a directory", vec![file("keep")], "a directory stands there"),
    ])
}

fn sizes() -> Vec<Bad> {
    let negative = [0xff; 12];
    let huge = [0x80, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0];
    let beyond = [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let hidden = file("../evil");
    tars(vec![
        ("negative size", vec![Block::new("x", b'0').raw(124, &negative).done()], "no number"),
        ("huge binary size", vec![Block::new("x", b'0').raw(124, &huge).done()], "bytes of contents"),
        ("binary size beyond its type", vec![Block::new("x", b'0').raw(124, &beyond).done()], "no number"),
        ("size that is no octal", vec![Block::new("x", b'0').raw(124, b"00000000099\0").done()], "no number"),
        ("size with a tail", vec![Block::new("x", b'0').raw(124, b"0000 000010\0").done()], "no number"),
        ("directory with contents", vec![member("d", b'5', &hidden)], "without contents"),
        ("link with contents", vec![member("l", b'2', &hidden)], "without contents"),
        ("slash with contents", vec![member("d/", b'0', &hidden)], "without contents"),
        (
            "extended size of a directory",
            vec![pax(&[("size", "1024")]), directory("d"), hidden.clone()],
            "without contents",
        ),
        (
            "extended size that uncovers an entry",
            vec![pax(&[("size", "0")]), member("x", b'0', &hidden)],
            "climbs",
        ),
        ("negative extended size", vec![pax(&[("size", "-1")]), file("x")], "no number"),
        ("five gigabytes told", vec![Block::new("x", b'0').size(5 << 30).done()], "bytes of contents"),
    ])
}

fn extensions() -> Vec<Bad> {
    let records = |text: &str| vec![member("pax", b'x', text), file("x")];
    tars(vec![
        ("name twice in one header", vec![pax(&[("path", "a"), ("path", "b")]), file("x")], "twice"),
        ("two extended headers", vec![pax(&[("path", "a")]), pax(&[("path", "b")]), file("x")], "twice"),
        ("two long names", vec![member("L", b'L', "a"), member("L", b'L', "b"), file("x")], "twice"),
        ("two dialects", vec![pax(&[("size", "4")]), member("L", b'L', "a"), file("x")], "two dialects"),
        (
            "dialects the other way",
            vec![member("L", b'L', "a"), pax(&[("size", "4")]), file("x")],
            "dialects",
        ),
        ("record longer than its header", records("99 path=a\n"), "well formed"),
        ("record of no length", records("0 path=a\n"), "well formed"),
        ("record without an end", records("9 path=ab"), "well formed"),
        ("record without a value", records("7 path\n"), "well formed"),
        ("empty extended name", vec![pax(&[("path", "")]), file("x")], "takes a name away"),
        ("name of no entry", vec![member("L", b'L', "a\0")], "no entry"),
        ("name for all entries", vec![member("g", b'g', "10 path=a\n"), file("x")], "for all entries"),
        (
            "many headers for all",
            vec![member("g", b'g', "9 foo=ab\n").repeat(9), file("x")],
            "for all entries",
        ),
    ])
}

fn streams() -> Vec<Bad> {
    let good = archive(&[file("x")]);
    let headless = { Block::new("x", b'0').raw(257, &[0; 8]).done() };
    let mut wrong = good.clone();
    wrong[0] = b'y';
    let mut flipped = zst(&good);
    *flipped.last_mut().unwrap() ^= 1;
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 19).unwrap();
    wide.window_log(27).unwrap();
    std::io::Write::write_all(&mut wide, &good).unwrap();
    let mut checked = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    checked.include_checksum(true).unwrap();
    std::io::Write::write_all(&mut checked, &good).unwrap();
    let mut spoiled = checked.finish().unwrap();
    *spoiled.last_mut().unwrap() ^= 1;
    vec![
        ("checksum", zst(&wrong), "checksum"),
        ("dialect", zst(&archive(&[headless])), "dialect"),
        ("lone block of zeros", zst(&[vec![0; 512], good.clone()].concat()), "lone"),
        ("garbage after the end", zst(&[good.clone(), b"garbage".to_vec()].concat()), "follow the end"),
        ("archive after the end", zst(&[good.clone(), archive(&[file("y")])].concat()), "follow the end"),
        ("bytes after the frame", [zst(&good), b"x".to_vec()].concat(), "follow the compressed"),
        ("two frames", [zst(&good), zst(&good)].concat(), "follow the compressed"),
        ("one archive in two frames", [zst(&good[..512]), zst(&good[512..])].concat(), "cut off"),
        ("nested", zst(&zst(&good)), "cut off"),
        ("empty stream", Vec::new(), "cut off"),
        ("empty frame", zst(b""), "cut off"),
        ("no zstd", good.clone(), "stream failed"),
        ("spoiled content", spoiled, "stream failed"),
        ("wide window", wide.finish().unwrap(), "stream failed"),
        ("ratio", zst(&archive(&[member("x", b'0', vec![0; 17 << 20])])), "for each compressed byte"),
    ]
}

fn corpus() -> Vec<Bad> {
    [names(), links(), kinds(), sizes(), extensions(), streams()].concat()
}

#[test]
fn a_bad_archive_changes_nothing_at_all() {
    let around = Around::new();
    let (before, touched) = (around.tree(), around.touched());
    for (name, bytes, error) in corpus() {
        for root in [around.root(), around.root().walking()] {
            let told = unpack(&bytes[..], &root, &Policy::default()).unwrap_err().to_string();
            assert!(told.contains(error), "{name}: {told}");
            assert_eq!((around.tree(), around.touched()), (before.clone(), touched.clone()), "{name}");
        }
    }
}

#[test]
fn a_bad_archive_that_comes_as_it_is_changes_nothing_outside() {
    let around = Around::new();
    let (before, touched) = (around.tree(), around.touched());
    for (name, bytes, error) in corpus() {
        if name == "file where the tree has a directory" {
            continue;
        }
        for walking in [false, true] {
            fs::remove_dir_all(around.path("fresh")).unwrap();
            fs::create_dir(around.path("fresh")).unwrap();
            symlink("../outside/keep", around.path("fresh/out")).unwrap();
            let root = Root::open(&around.path("fresh")).unwrap();
            let root = if walking { root.walking() } else { root };
            let told = unpack(&bytes[..], &root, &as_it_comes()).unwrap_err().to_string();
            assert!(told.contains(error), "{name}: {told}");
            assert_eq!((around.tree(), around.touched()), (before.clone(), touched.clone()), "{name}");
        }
    }
}

#[test]
fn the_corpus_has_no_case_twice() {
    let corpus = corpus();
    let names: std::collections::BTreeSet<_> = corpus.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), corpus.len());
    assert!(names.len() >= 40);
}

#[test]
fn an_archive_cut_at_any_block_is_an_error_and_leaves_nothing() {
    let around = Around::new();
    let before = around.tree();
    let long = "n".repeat(150);
    let whole = archive(&[
        directory("d"),
        file("d/f"),
        member("L", b'L', long),
        member("big", b'0', vec![7; 5000]),
        link("d/l", "f"),
    ]);
    for cut in (0..whole.len()).step_by(512) {
        let error = around.unpack(&zst(&whole[..cut])).unwrap_err();
        assert!(matches!(error, crate::Error::Truncated), "at {cut}: {error}");
        assert_eq!(around.tree(), before, "at {cut}");
    }
    around.unpack(&zst(&whole)).unwrap();
}

#[test]
fn a_stream_cut_at_any_byte_is_an_error_and_leaves_nothing() {
    let around = Around::new();
    let before = around.tree();
    let whole = zst(&archive(&[directory("d"), file("d/f"), link("d/l", "f")]));
    for cut in 0..whole.len() {
        let error = around.unpack(&whole[..cut]).unwrap_err();
        assert!(matches!(error, crate::Error::Truncated), "at {cut}: {error}");
        assert_eq!(around.tree(), before, "at {cut}");
    }
}

#[test]
fn entries_bytes_and_names_are_bounded() {
    let around = Around::new();
    let before = around.tree();
    let many = zst(&archive(&(0..11).map(|number| file(format!("f{number}"))).collect::<Vec<_>>()));
    let with = |limits| Policy { limits, ..Policy::default() };
    let limits = Limits::default();
    for (policy, error) in [
        (with(Limits { entries: 10, ..limits }), "more than 10 entries"),
        (with(Limits { bytes: 43, ..limits }), "more than 43 bytes of contents"),
        (with(Limits { names: 22, ..limits }), "more than 22 bytes of names"),
    ] {
        let told = unpack(&many[..], &around.root(), &policy).unwrap_err().to_string();
        assert!(told.contains(error), "{told}");
        assert_eq!(around.tree(), before);
    }
    let just = with(Limits { entries: 11, bytes: 44, names: 23, ..limits });
    assert_eq!(unpack(&many[..], &around.root(), &just).unwrap().files, 11);
}

#[test]
fn links_may_be_refused_altogether() {
    let around = Around::new();
    let policy = Policy { links: Links::Refuse, ..Policy::default() };
    let bytes = zst(&archive(&[link("l", "keep")]));
    let told = unpack(&bytes[..], &around.root(), &policy).unwrap_err().to_string();
    assert!(told.contains("links are not unpacked"), "{told}");
}

#[test]
fn an_error_shows_a_name_so_that_a_terminal_does_not_obey_it() {
    let around = Around::new();
    let bytes = zst(&archive(&[file("../\x1b[31mred\n")]));
    let told = around.unpack(&bytes).unwrap_err().to_string();
    assert_eq!(told, r#"the archive names "../\u{1b}[31mred\n": the path climbs"#);
}
