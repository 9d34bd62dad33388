//! What a run kept: listed, fetched, unpacked.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::fs;
use std::path::Path;

use ocelot_archive::{Options, Root, Selection, pack};
use ocelot_proto::wire;
use sha2::{Digest, Sha256};

use crate::fleet::{Fleet, MINUTE, Seen, ago, seen};
use crate::verbs::fleet;

/// An archive of two files.
fn packed() -> Vec<u8> {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("css")).unwrap();
    fs::write(tree.path().join("index.html"), "<h1>hello</h1>\n".repeat(20)).unwrap();
    fs::write(tree.path().join("css/x.css"), "h1 {}\n").unwrap();
    let mut bytes = Vec::new();
    let paths = ["index.html".into(), "css".into()];
    pack(&Root::open(tree.path()).unwrap(), Selection::Paths(&paths), &mut bytes, Options::default())
        .unwrap();
    bytes
}

fn artifact(task: &str, name: &str, bytes: &[u8]) -> wire::Artifact {
    wire::Artifact {
        task: task.into(),
        name: name.into(),
        size_bytes: bytes.len() as u64,
        sha256: Sha256::digest(bytes).to_vec().into(),
        files: 2,
        created_unix_us: ago(MINUTE * 12 + MINUTE / 2),
        expires_unix_us: ago(MINUTE) + 30 * 24 * 3_600_000_000,
    }
}

pub(crate) fn kept() -> Vec<(wire::Artifact, Vec<u8>)> {
    let bytes = packed();
    let forever = wire::Artifact { expires_unix_us: 0, ..artifact("build", "report\x1b[2J", &bytes) };
    vec![
        (forever, bytes.clone()),
        (artifact("web", "site", &bytes), bytes.clone()),
        (artifact("build", "log", &bytes), bytes.clone()),
        (artifact("web", "log", &bytes), bytes),
    ]
}

/// What lists show: of no more bytes than its name.
pub(crate) fn listed() -> Vec<(wire::Artifact, Vec<u8>)> {
    let one = |task: &str, name: &str, bytes: &[u8]| (artifact(task, name, bytes), bytes.to_vec());
    let (forever, bytes) = one("build", "report\x1b[2J", b"report");
    let forever = wire::Artifact { expires_unix_us: 0, ..forever };
    vec![(forever, bytes), one("web", "site", b"site")]
}

fn keeping() -> (Fleet, tempfile::TempDir) {
    let fleet = fleet();
    fleet.script().artifacts = kept();
    (fleet, tempfile::tempdir().unwrap())
}

fn in_folder(fleet: &Fleet, folder: &Path, arguments: &[&str]) -> Seen {
    seen(fleet.command(arguments).current_dir(folder).output().unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_list_shows_what_each_task_kept_and_for_how_long() {
    let (fleet, _folder) = keeping();
    fleet.script().artifacts = listed();
    insta::assert_snapshot!(fleet.transcript(&["artifacts", "list", "hello#3"]), @r"
    [stdout]
    TASK   ARTIFACT     FILES  SIZE  KEPT     EXPIRES
    build  report^[[2J  2      6 B   12m ago  never
    web    site         2      4 B   12m ago  in 29d
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["artifacts", "list", "hello#3", "--task", "none"]), @r"
    [stderr]
    hello#3 has no artifacts
    exit 0
    ");
}

#[test]
fn an_artifact_is_unpacked_into_a_folder_of_its_own_and_nothing_is_written_over() {
    let (fleet, folder) = keeping();
    let get = ["artifacts", "get", "hello#3", "site"];
    insta::assert_snapshot!(in_folder(&fleet, folder.path(), &get).transcript(), @r"
    [stdout]
    site: 2 files in site
    exit 0
    ");
    assert_eq!(names(folder.path()), ["site"]);
    assert_eq!(names(&folder.path().join("site")), ["css", "index.html"]);
    fs::write(folder.path().join("site/index.html"), "mine").unwrap();
    insta::assert_snapshot!(in_folder(&fleet, folder.path(), &get).transcript(), @r"
    [stderr]
    error: site is not empty
    hint: say --force to write over what is there, or another place with --into or --raw
    exit 2
    ");
    assert_eq!(fs::read_to_string(folder.path().join("site/index.html")).unwrap(), "mine");
    in_folder(&fleet, folder.path(), &[&get[..], &["--force"]].concat());
    assert_ne!(fs::read_to_string(folder.path().join("site/index.html")).unwrap(), "mine");
}

#[test]
fn a_fetch_that_breaks_off_goes_on_where_it_was_also_with_the_next_command() {
    let (fleet, folder) = keeping();
    fleet.script().cuts = [100, 50].into();
    let raw = ["artifacts", "get", "hello#3", "site", "--raw", "out/site.tar.zst"];
    assert_eq!(in_folder(&fleet, folder.path(), &raw).code, Some(0));
    assert_eq!(fleet.script().artifact_offsets, [0, 100, 150]);
    let written = fs::read(folder.path().join("out/site.tar.zst")).unwrap();
    assert_eq!(written, packed());
    assert_eq!(names(&folder.path().join("out")), ["site.tar.zst"]);
    let again = in_folder(&fleet, folder.path(), &raw);
    assert_eq!(again.code, Some(2), "{}", again.stderr);

    // Another command has left a part.
    let digest: String = Sha256::digest(&written)[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let part = folder.path().join(format!(".ocelot-{digest}.part"));
    fs::write(&part, &written[..70]).unwrap();
    fleet.script().artifact_offsets.clear();
    let get = ["artifacts", "get", "hello#3", "site", "--into", "here"];
    assert_eq!(in_folder(&fleet, folder.path(), &get).code, Some(0));
    assert_eq!(fleet.script().artifact_offsets, [70]);
    assert!(!part.exists());
}

#[test]
fn what_came_otherwise_than_it_was_kept_is_thrown_away() {
    let (fleet, folder) = keeping();
    if let Some((_, bytes)) = fleet.script().artifacts.get_mut(1) {
        bytes[60] ^= 1;
    }
    insta::assert_snapshot!(in_folder(&fleet, folder.path(), &["artifacts", "get", "hello#3", "site"]).transcript(), @r"
    [stderr]
    error: what came of site is not what was kept: its digest differs
    hint: it was thrown away; try once more
    exit 1
    ");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_name_that_is_not_there_or_not_enough_is_told_with_those_that_are() {
    let (fleet, folder) = keeping();
    let get = |arguments: &[&str]| {
        let arguments = [&["artifacts", "get", "hello#3"][..], arguments].concat();
        in_folder(&fleet, folder.path(), &arguments).transcript()
    };
    insta::assert_snapshot!(get(&["nothing"]), @r"
    [stderr]
    error: hello#3 has no artifact nothing
    hint: its artifacts: report^[[2J, site, log
    exit 1
    ");
    insta::assert_snapshot!(get(&["log"]), @r"
    [stderr]
    error: several tasks kept an artifact log
    hint: say which with --task: build, web
    exit 2
    ");
    insta::assert_snapshot!(get(&["log", "--task", "web"]), @r"
    [stdout]
    log: 2 files in log
    exit 0
    ");
    insta::assert_snapshot!(get(&["../up"]), @r"
    [stderr]
    error: ../up is no name for a folder
    hint: say where: --into DIR
    exit 2
    ");
}
