use std::sync::Arc;

use super::*;

const OURS: Identity = Identity([7; 16]);

fn home() -> (LocalHome, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (LocalHome::open(directory.path(), OURS).unwrap(), directory)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[tokio::test]
async fn what_was_put_under_a_name_never_changes() {
    let (home, _directory) = home();
    let chunk = name("logs/a/0000");
    assert_eq!(home.put(&chunk, Bytes::from_static(b"one")).await.unwrap(), Put::Stored);
    assert_eq!(home.put(&chunk, Bytes::from_static(b"one")).await.unwrap(), Put::AlreadyThere);
    assert_eq!(home.put(&chunk, Bytes::from_static(b"two")).await.unwrap(), Put::Different);
    assert_eq!(home.read(&chunk, 0..100).await.unwrap(), "one");
    assert_eq!(home.read(&chunk, 1..2).await.unwrap(), "n");
    assert_eq!(home.read(&chunk, 3..9).await.unwrap(), "");
    assert_eq!(home.size_bytes(&chunk).await.unwrap(), 3);
}

#[tokio::test]
async fn of_two_that_put_other_bytes_at_once_one_wins() {
    let (home, _directory) = home();
    let home = Arc::new(home);
    for round in 0..50 {
        let chunk = name(&format!("race/{round}"));
        let (one, other) = tokio::join!(
            home.put(&chunk, Bytes::from_static(b"one")),
            home.put(&chunk, Bytes::from_static(b"other")),
        );
        let kept = home.read(&chunk, 0..9).await.unwrap();
        match (one.unwrap(), other.unwrap()) {
            (Put::Stored, Put::Different) => assert_eq!(kept, "one"),
            (Put::Different, Put::Stored) => assert_eq!(kept, "other"),
            both => panic!("{both:?}"),
        }
    }
}

#[tokio::test]
async fn a_list_holds_what_begins_alike_in_order() {
    let (home, directory) = home();
    for text in ["logs/a/2", "logs/a/1", "logs/ab/1", "logs/b/1", "other"] {
        home.put(&name(text), Bytes::from_static(b"x")).await.unwrap();
    }
    std::fs::write(directory.path().join("objects/logs/a/.new-1-1"), "half").unwrap();
    let list = async |prefix| {
        let entries = home.list(&name(prefix)).await.unwrap();
        entries.into_iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list("logs/a").await, ["logs/a/1", "logs/a/2", "logs/ab/1"]);
    assert_eq!(list("logs/b").await, ["logs/b/1"]);
    assert_eq!(list("logs/c").await, Vec::<String>::new());
    assert_eq!(list("none/at/all").await, Vec::<String>::new());
    assert_eq!(list("o").await, ["other"]);
}

#[tokio::test]
async fn a_deleted_name_is_gone_and_may_be_deleted_again() {
    let (home, _directory) = home();
    let chunk = name("a");
    home.put(&chunk, Bytes::from_static(b"x")).await.unwrap();
    home.delete(&chunk).await.unwrap();
    home.delete(&chunk).await.unwrap();
    assert!(matches!(home.read(&chunk, 0..1).await, Err(Error::NotFound(_))));
    assert!(matches!(home.size_bytes(&chunk).await, Err(Error::NotFound(_))));
}

#[test]
fn a_home_keeps_its_identity_and_another_fleet_is_refused() {
    let (_, directory) = home();
    let again = LocalHome::open(directory.path(), Identity([9; 16])).unwrap();
    assert_eq!(again.identity(), OURS);
    assert!(matches!(again.expect(Identity([9; 16])), Err(Error::NotOurs { .. })));
}

#[test]
fn a_name_never_leaves_the_home() {
    for wrong in ["", "/a", "a/", "a//b", "..", "a/../b", ".new-1", "A", "a b", "a\0", "ä"] {
        assert!(Name::new(wrong).is_err(), "{wrong:?} was accepted");
    }
    assert!(Name::new("a".repeat(513)).is_err());
}

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

async fn part(home: &LocalHome, pieces: &[&'static str]) -> Box<dyn Part> {
    let mut part = home.begin().await.unwrap();
    for piece in pieces {
        part.write(Bytes::from_static(piece.as_bytes())).await.unwrap();
    }
    part
}

fn files_in(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn what_comes_in_pieces_is_there_whole_or_not_at_all() {
    let (home, directory) = home();
    let object = name("kept/ab/abcd");
    let begun = part(&home, &["one", "two"]).await;
    assert!(matches!(home.look(&object).await, Err(Error::NotFound(_))), "it is not finished");
    assert_eq!(begun.finish(&object, NOW).await.unwrap(), Put::Stored);
    assert_eq!(home.read(&object, 0..100).await.unwrap(), "onetwo");
    assert_eq!(
        home.look(&object).await.unwrap(),
        Entry { name: object.clone(), size_bytes: 6, changed: NOW }
    );
    let again = part(&home, &["onetwo"]).await;
    assert_eq!(again.finish(&object, NOW).await.unwrap(), Put::AlreadyThere);
    drop(part(&home, &["half"]).await);
    assert_eq!(files_in(&directory.path().join("parts")), 0, "a part stayed behind");
}

#[tokio::test]
async fn a_whole_part_takes_the_place_of_one_that_a_disk_has_cut() {
    let (home, directory) = home();
    let object = name("kept/ab/abcd");
    part(&home, &["whole"]).await.finish(&object, NOW).await.unwrap();
    std::fs::write(directory.path().join("objects/kept/ab/abcd"), "wh").unwrap();
    assert_eq!(part(&home, &["whole"]).await.finish(&object, NOW).await.unwrap(), Put::Stored);
    assert_eq!(home.read(&object, 0..100).await.unwrap(), "whole");
}

#[tokio::test]
async fn a_name_that_is_renewed_or_moved_keeps_its_bytes() {
    let (home, _directory) = home();
    let (here, there) = (name("kept/a"), name("leaving/a"));
    part(&home, &["x"]).await.finish(&here, NOW).await.unwrap();
    let later = UnixMicros(NOW.0 + 1);
    home.renew(&here, later).await.unwrap();
    home.rename(&here, &there).await.unwrap();
    assert!(matches!(home.rename(&here, &there).await, Err(Error::NotFound(_))));
    assert!(matches!(home.renew(&here, later).await, Err(Error::NotFound(_))));
    let moved = home.look(&there).await.unwrap();
    assert_eq!((moved.size_bytes, moved.changed), (1, later));
}

#[tokio::test]
async fn parts_that_nobody_writes_any_more_are_swept_and_others_are_not() {
    let (home, directory) = home();
    let parts = directory.path().join("parts");
    let old = std::fs::File::create(parts.join("left")).unwrap();
    old.set_modified(local::moment(UnixMicros(1_000_000))).unwrap();
    let begun = part(&home, &["new"]).await;
    assert_eq!(home.sweep_parts(UnixMicros(2_000_000)).await.unwrap(), 1);
    assert_eq!(files_in(&parts), 1);
    assert_eq!(begun.finish(&name("a"), NOW).await.unwrap(), Put::Stored);
}
