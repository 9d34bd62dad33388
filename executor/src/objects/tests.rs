//! What patterns mean, and what is packed and brought back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelot_archive::{Expected, Select};
use ocelot_core::plan::Cache;
use tokio::sync::mpsc;

use super::*;
use crate::attempt::Failure;

fn chosen(patterns: &[&str]) -> Chosen {
    Chosen::new(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
}

/// The files of a tree that are chosen, found as an archive finds them.
fn files(patterns: &[&str], tree: &[&str]) -> Vec<String> {
    let chosen = chosen(patterns);
    let is_met = |file: &&&str| {
        let path = Path::new(file);
        let above: Vec<&Path> = path.ancestors().skip(1).filter(|above| *above != Path::new("")).collect();
        for directory in above.iter().rev() {
            match chosen.select(directory, true) {
                Select::Take => return true,
                Select::Descend => {}
                Select::Skip => return false,
            }
        }
        chosen.select(path, false) == Select::Take
    };
    tree.iter().filter(is_met).map(ToString::to_string).collect()
}

const TREE: [&str; 7] = [
    "a.txt",
    "dist/app.js",
    "dist/app.js.map",
    "dist/css/x.css",
    "web/dist/y.js",
    "web/src/z.js",
    "distant/n",
];

#[test]
fn patterns_mean_files_and_all_that_is_in_a_directory_they_name() {
    let all = |patterns: &[&str]| files(patterns, &TREE).join(" ");
    insta::assert_snapshot!(all(&["dist"]), @"dist/app.js dist/app.js.map dist/css/x.css");
    insta::assert_snapshot!(all(&["./dist/"]), @"dist/app.js dist/app.js.map dist/css/x.css");
    insta::assert_snapshot!(all(&["dist/**", "!**/*.map"]), @"dist/app.js dist/css/x.css");
    insta::assert_snapshot!(all(&["dist/*"]), @"dist/app.js dist/app.js.map dist/css/x.css");
    insta::assert_snapshot!(all(&["**/dist"]), @"dist/app.js dist/app.js.map dist/css/x.css web/dist/y.js");
    insta::assert_snapshot!(all(&["**/*.js"]), @"dist/app.js web/dist/y.js web/src/z.js");
    insta::assert_snapshot!(all(&["*.txt", "web/{dist,src}/*.js"]), @"a.txt web/dist/y.js web/src/z.js");
    insta::assert_snapshot!(all(&["dist", "!dist/css"]), @"dist/app.js dist/app.js.map");
    insta::assert_snapshot!(all(&["."]), @"a.txt dist/app.js dist/app.js.map dist/css/x.css web/dist/y.js web/src/z.js distant/n");
    insta::assert_snapshot!(all(&["none/**"]), @"");
}

#[test]
fn a_directory_in_which_nothing_can_match_is_not_walked() {
    assert_eq!(chosen(&["dist/**"]).select(Path::new("node_modules"), true), Select::Skip);
    assert_eq!(chosen(&["web/dist/**"]).select(Path::new("web"), true), Select::Descend);
    assert_eq!(chosen(&["**/x"]).select(Path::new("node_modules"), true), Select::Descend);
    assert!(Chosen::new(&["a{".to_owned()]).is_err());
}

#[test]
fn sizes_and_times_are_told_as_people_read_them() {
    let sizes = [0, 1023, 1024, 3_565_158, 120 << 20, (1 << 20) - 1, 5 << 30].map(bytes);
    insta::assert_snapshot!(sizes.join(", "), @"0 B, 1023 B, 1.0 KiB, 3.4 MiB, 120 MiB, 1.0 MiB, 5.0 GiB");
    assert_eq!(seconds(Duration::from_millis(640)), "0.6 s");
}

fn cache(key: &str, key_files: &[&str]) -> Cache {
    Cache {
        name: "npm".into(),
        paths: vec![".npm".into()],
        key_files: key_files.iter().map(ToString::to_string).collect(),
        key: key.into(),
        fallback: true,
    }
}

#[test]
fn the_key_of_a_cache_follows_its_files_and_nothing_else() {
    let workspace = tempfile::tempdir().unwrap();
    let at = |name: &str| workspace.path().join(name);
    fs::create_dir(at("web")).unwrap();
    fs::write(at("web/lock"), "1").unwrap();
    let key = |cache: &Cache| cache_key(workspace.path(), cache).unwrap();
    let with_files = cache("node", &["**/lock"]);
    let first = key(&with_files);
    assert!(first.starts_with("node-") && first.len() == 5 + 64, "{first}");
    fs::write(at("other"), "x").unwrap();
    assert_eq!(key(&with_files), first);
    fs::write(at("web/lock"), "2").unwrap();
    assert_ne!(key(&with_files), first);
    assert_eq!(key(&cache("node", &[])), "node");
    assert_eq!(key(&cache("", &["**/lock"])).len(), 64);
}

#[tokio::test]
async fn what_was_packed_comes_back_as_it_was_and_no_link_leads_out() {
    let (from, to, kept) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(from.path().join("out/deep")).unwrap();
    fs::write(from.path().join("out/deep/a"), "hello").unwrap();
    fs::write(from.path().join("secret"), "s").unwrap();
    symlink("/etc/passwd", from.path().join("out/link")).unwrap();
    let file: PathBuf = kept.path().join("kept/artifact-0");
    let packed = pack(from.path(), &Packing::Artifact(chosen(&["out"])), &file).unwrap();
    assert_eq!((packed.files, packed.bytes, packed.notes.len()), (1, 5, 1));
    let again = pack(from.path(), &Packing::Artifact(chosen(&["out"])), &file).unwrap();
    assert_eq!(again.sha256, packed.sha256, "the same files make the same bytes");

    let (sender, receiver) = mpsc::channel(1);
    let expected = Expected { sha256: packed.sha256, size: packed.size };
    let unpacking = unpack(to.path().to_owned(), expected, receiver);
    let bytes = fs::read(&file).unwrap();
    let sending = async move {
        for piece in bytes.chunks(7) {
            sender.send(piece.to_vec().into()).await.unwrap();
        }
    };
    let (unpacked, ()) = tokio::join!(unpacking, sending);
    assert_eq!(unpacked.unwrap().files, 1);
    assert_eq!(fs::read_to_string(to.path().join("out/deep/a")).unwrap(), "hello");
    assert!(!to.path().join("secret").exists() && !to.path().join("out/link").exists());
}

#[tokio::test]
async fn a_stream_that_is_cut_leaves_nothing() {
    let (from, to, kept) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("a"), "hello").unwrap();
    let file = kept.path().join("kept");
    let packed = pack(from.path(), &Packing::Cache(vec!["a".into()]), &file).unwrap();
    let (sender, receiver) = mpsc::channel(8);
    let bytes = fs::read(&file).unwrap();
    sender.send(bytes[..bytes.len() - 1].to_vec().into()).await.unwrap();
    drop(sender);
    let expected = Expected { sha256: packed.sha256, size: packed.size };
    assert!(unpack(to.path().to_owned(), expected, receiver).await.is_err());
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn a_workspace_that_is_gone_is_a_matter_of_the_disk() {
    let kept = tempfile::tempdir().unwrap();
    let packed = pack(Path::new("/nowhere"), &Packing::Cache(vec!["a".into()]), &kept.path().join("k"));
    assert!(matches!(packed, Err(Failure::Disk { .. })), "{packed:?}");
}
