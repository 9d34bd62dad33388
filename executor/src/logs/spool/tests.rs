use std::fs;
use std::path::Path;
use std::sync::Arc;

use ocelot_core::frame::{Body, Frame, encode};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;
use crate::disk::faulty::{Call, FaultyDisk};
use crate::disk::{DiskError, MachineDisk};
use crate::mask::{Checkpoint, MaskSet, Masker, Short, added_values};

const SMALL: Limits = Limits { segment_bytes: 100, quota_bytes: 1_000 };

fn place() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("spool");
    (root, directory)
}

fn machine() -> Arc<dyn Disk> {
    Arc::new(MachineDisk)
}

fn reopened(directory: &Path, disk: &Arc<dyn Disk>) -> Recovered {
    Spool::open(directory, SMALL, Arc::clone(disk), Tail::Cut).unwrap()
}

fn whole(spool: &Spool) -> Vec<u8> {
    let mut bytes = Vec::new();
    while spool.first().advance(bytes.len()) < spool.log_end().length {
        let chunk = spool.read(spool.first().advance(bytes.len()), 37).unwrap();
        assert_eq!(chunk.crc32c, crc32c::crc32c(&chunk.bytes));
        bytes.extend_from_slice(&chunk.bytes);
    }
    bytes
}

#[test]
fn a_log_is_read_back_in_bounded_pieces_from_any_offset() {
    let (_root, directory) = place();
    let mut spool = Spool::create(&directory, SMALL, machine()).unwrap();
    let bytes: Vec<u8> = (0..=250).collect();
    for piece in bytes.chunks(30) {
        spool.append(piece).unwrap();
    }
    assert_eq!(whole(&spool), bytes);
    assert_eq!(spool.read(Offset(130), 5).unwrap().bytes, &bytes[130..135]);
    assert_eq!(spool.read(Offset(251), 5).unwrap().bytes, b"");
    assert!(matches!(spool.read(Offset(252), 5), Err(SpoolError::Beyond { end: Offset(251) })));
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    assert_eq!(spool.log_end(), LogEnd { length: Offset(251), sha256 });
}

#[test]
fn whole_segments_are_freed_up_to_what_is_durable_and_checkpointed() {
    let (_root, directory) = place();
    let disk = machine();
    let mut spool = Spool::create(&directory, SMALL, Arc::clone(&disk)).unwrap();
    for _ in 0..5 {
        spool.append(&[7; 60]).unwrap();
    }
    spool.free(Offset(300)).unwrap();
    assert_eq!(spool.first(), Offset(0), "nothing is checkpointed");
    spool.checkpoint("x", Offset(0)).unwrap();
    spool.free(Offset(239)).unwrap();
    assert_eq!(spool.first(), Offset(120));
    assert!(matches!(spool.read(Offset(0), 1), Err(SpoolError::Freed { first: Offset(120) })));
    spool.free(Offset(300)).unwrap();
    assert_eq!(spool.first(), Offset(240));
    let end = spool.log_end();
    drop(spool);
    let recovered = reopened(&directory, &disk);
    assert_eq!((recovered.spool.first(), recovered.spool.log_end()), (Offset(240), end));
    assert_eq!(recovered.maker.as_deref(), Some("x"));
}

#[test]
fn a_full_spool_takes_the_same_bytes_once_some_are_durable() {
    let (_root, directory) = place();
    let mut spool = Spool::create(&directory, SMALL, machine()).unwrap();
    for _ in 0..10 {
        spool.append(&[1; 100]).unwrap();
    }
    let refused = spool.append(&[2; 100]).unwrap_err();
    insta::assert_snapshot!(refused, @"the spool holds its 1000 bytes; the log waits until some of it is safe elsewhere");
    spool.checkpoint("", Offset(0)).unwrap();
    spool.free(Offset(100)).unwrap();
    spool.append(&[2; 100]).unwrap();
    assert_eq!(spool.log_end().length, Offset(1_100));
}

#[test]
fn a_full_disk_loses_nothing_and_the_same_bytes_go_on_later() {
    let (_root, directory) = place();
    let faulty = Arc::new(FaultyDisk::default());
    let mut spool = Spool::create(&directory, SMALL, faulty.clone()).unwrap();
    spool.append(b"before ").unwrap();
    faulty.space(Some(3));
    for _ in 0..3 {
        assert!(matches!(spool.append(b"while full "), Err(SpoolError::Disk(DiskError::NoSpace { .. }))));
        assert!(matches!(spool.checkpoint("x", Offset(0)), Err(SpoolError::Disk(DiskError::NoSpace { .. }))));
    }
    assert_eq!(spool.log_end().length, Offset(7));
    faulty.space(None);
    spool.append(b"while full ").unwrap();
    spool.checkpoint("y", Offset(0)).unwrap();
    assert_eq!(whole(&spool), b"before while full ");
    let disk: Arc<dyn Disk> = faulty;
    assert_eq!(whole(&reopened(&directory, &disk).spool), b"before while full ");
}

#[test]
fn a_failed_sync_ends_the_spool_and_is_never_tried_again() {
    let (_root, directory) = place();
    let faulty = Arc::new(FaultyDisk::default());
    let mut spool = Spool::create(&directory, SMALL, faulty.clone()).unwrap();
    spool.append(b"bytes").unwrap();
    faulty.fail_syncs(true);
    assert!(matches!(
        spool.checkpoint("x", Offset(0)),
        Err(SpoolError::Disk(DiskError::Io { doing: "sync", .. }))
    ));
    faulty.fail_syncs(false);
    faulty.take_calls();
    assert!(matches!(spool.checkpoint("x", Offset(0)), Err(SpoolError::Bad)));
    assert!(matches!(spool.sync(), Err(SpoolError::Bad)));
    assert!(matches!(spool.append(b"more"), Err(SpoolError::Bad)));
    assert_eq!(faulty.take_calls(), []);
    assert_eq!(spool.read(Offset(0), 5).unwrap().bytes, b"bytes");
}

#[test]
fn a_checkpoint_is_written_only_after_its_bytes_are_synced() {
    let (_root, directory) = place();
    let faulty = Arc::new(FaultyDisk::default());
    let mut spool = Spool::create(&directory, SMALL, faulty.clone()).unwrap();
    spool.append(b"bytes").unwrap();
    faulty.take_calls();
    spool.checkpoint("x", Offset(0)).unwrap();
    let segment = "00000000000000000000.log".to_owned();
    let parent = directory.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
    assert_eq!(
        faulty.take_calls(),
        [
            Call::Sync(segment.clone()),
            Call::Sync("spool".into()),
            Call::Sync(parent),
            Call::Write("checkpoint.1".into()),
            Call::Sync("checkpoint.1".into()),
        ]
    );
    spool.append(b"bytes").unwrap();
    spool.checkpoint("x", Offset(0)).unwrap();
    let calls = faulty.take_calls();
    assert_eq!(
        calls[1..],
        [Call::Sync(segment), Call::Write("checkpoint.0".into()), Call::Sync("checkpoint.0".into())]
    );
}

#[test]
fn a_spool_that_was_made_ready_waits_for_no_directory_and_is_taken_once() {
    let (_root, directory) = place();
    let faulty = Arc::new(FaultyDisk::default());
    let disk: Arc<dyn Disk> = faulty.clone();
    assert!(Spool::take_ready(&directory, SMALL, Arc::clone(&disk)).unwrap().is_none());
    Spool::make_ready(&directory, disk.as_ref()).unwrap();
    faulty.take_calls();
    let mut spool = Spool::take_ready(&directory, SMALL, Arc::clone(&disk)).unwrap().unwrap();
    spool.checkpoint("empty", Offset(0)).unwrap();
    let slot =
        |number| [Call::Write(format!("checkpoint.{number}")), Call::Sync(format!("checkpoint.{number}"))];
    assert_eq!(faulty.take_calls(), slot(1));
    spool.append(&[1; 60]).unwrap();
    faulty.take_calls();
    spool.checkpoint("x", Offset(0)).unwrap();
    let calls = faulty.take_calls();
    assert_eq!((&calls[0], &calls[1..]), (&Call::Sync("00000000000000000000.log".to_owned()), &slot(0)[..]));
    drop(spool);
    faulty.cut_power(|_| 0);
    assert!(Spool::take_ready(&directory, SMALL, Arc::clone(&disk)).unwrap().is_none());
    let recovered = reopened(&directory, &disk);
    assert_eq!((recovered.maker.as_deref(), whole(&recovered.spool)), (Some("x"), vec![1; 60]));
}

#[test]
fn what_is_durable_elsewhere_is_not_synced_and_not_missed_after_a_power_cut() {
    let (_root, directory) = place();
    let faulty = Arc::new(FaultyDisk::default());
    let mut spool = Spool::create(&directory, SMALL, faulty.clone()).unwrap();
    for _ in 0..4 {
        spool.append(&[1; 60]).unwrap();
    }
    spool.append(&[2; 30]).unwrap();
    faulty.take_calls();
    spool.checkpoint("x", Offset(260)).unwrap();
    let last = "00000000000000000240.log".to_owned();
    let calls = faulty.take_calls();
    let segment = |call: &&Call| matches!(call, Call::Sync(name) if name.ends_with(".log"));
    assert_eq!(calls.iter().filter(segment).collect::<Vec<_>>(), [&Call::Sync(last)]);
    let end = spool.log_end();
    drop(spool);
    faulty.cut_power(|_| 0);
    let disk: Arc<dyn Disk> = faulty;
    let mut recovered = reopened(&directory, &disk).spool;
    assert_eq!((recovered.first(), recovered.log_end()), (Offset(240), end));
    assert_eq!(whole(&recovered), [2; 30]);
    // What was spared once is gone for good.
    recovered.checkpoint("y", Offset(0)).unwrap();
    assert_eq!(reopened(&directory, &disk).spool.first(), Offset(240));
}

#[test]
fn a_checkpoint_speaks_of_what_was_there_when_it_began_whatever_comes_meanwhile() {
    let (_root, directory) = place();
    let faulty = Arc::new(FaultyDisk::default());
    let mut spool = Spool::create(&directory, SMALL, faulty.clone()).unwrap();
    spool.append(&[1; 60]).unwrap();
    let saving = spool.begin_checkpoint("x", Offset(0)).unwrap();
    spool.append(&[2; 60]).unwrap();
    spool.append(&[3; 60]).unwrap();
    let saved = saving.run();
    spool.end_checkpoint(&saving, saved).unwrap();
    spool.free(Offset(180)).unwrap();
    assert_eq!(spool.first(), Offset(0), "nothing behind the checkpoint is freed");
    faulty.take_calls();
    spool.checkpoint("y", Offset(0)).unwrap();
    let synced = faulty
        .take_calls()
        .iter()
        .filter(|call| matches!(call, Call::Sync(name) if name.ends_with(".log")))
        .count();
    assert_eq!(synced, 2, "what came meanwhile is not taken for synced");
    drop(spool);
    let disk: Arc<dyn Disk> = faulty;
    assert_eq!(whole(&reopened(&directory, &disk).spool), [vec![1; 60], vec![2; 60], vec![3; 60]].concat());
}

#[test]
fn lost_synced_bytes_are_said_and_not_papered_over() {
    let (_root, directory) = place();
    let disk = machine();
    let mut spool = Spool::create(&directory, SMALL, Arc::clone(&disk)).unwrap();
    spool.append(&[1; 50]).unwrap();
    spool.checkpoint("x", Offset(0)).unwrap();
    drop(spool);
    fs::write(directory.join("00000000000000000000.log"), [1; 49]).unwrap();
    let error = Spool::open(&directory, SMALL, disk, Tail::Cut).unwrap_err().to_string();
    assert!(error.ends_with("is damaged: 50 bytes were synced, but it holds 0..49"), "{error}");
}

#[test]
fn a_checkpoint_of_an_unknown_version_is_refused() {
    let (_root, directory) = place();
    let disk = machine();
    drop(Spool::create(&directory, SMALL, Arc::clone(&disk)).unwrap());
    let json = br#"{"version":2,"new":true}"#;
    let slot = [&crc32c::crc32c(json).to_le_bytes()[..], &(json.len() as u32).to_le_bytes(), json].concat();
    fs::write(directory.join("checkpoint.1"), slot).unwrap();
    let error = Spool::open(&directory, SMALL, disk, Tail::Cut).unwrap_err();
    assert!(matches!(error, SpoolError::Version { version: 2, .. }), "{error}");
}

#[test]
fn a_log_whose_front_was_freed_survives_one_crash_after_another() {
    let (_root, directory) = place();
    let disk = machine();
    let mut spool = Spool::create(&directory, SMALL, Arc::clone(&disk)).unwrap();
    spool.append(&[1; 100]).unwrap();
    spool.checkpoint("x", Offset(0)).unwrap();
    spool.append(&[2; 50]).unwrap();
    spool.free(Offset(100)).unwrap();
    drop(spool);
    for _ in 0..3 {
        let spool = reopened(&directory, &disk).spool;
        assert_eq!((spool.first(), spool.log_end().length), (Offset(100), Offset(100)));
    }
}

#[test]
fn what_a_full_disk_took_in_part_is_no_part_of_the_log() {
    let (_root, directory) = place();
    let faulty = Arc::new(FaultyDisk::default());
    let mut spool = Spool::create(&directory, SMALL, faulty.clone()).unwrap();
    spool.append(&[1; 60]).unwrap();
    faulty.space(Some(41));
    assert!(spool.append(&[2; 42]).is_err());
    faulty.space(None);
    spool.append(&[3; 40]).unwrap();
    spool.append(&[4; 10]).unwrap();
    spool.checkpoint("x", Offset(0)).unwrap();
    drop(spool);
    let disk: Arc<dyn Disk> = faulty;
    assert_eq!(whole(&reopened(&directory, &disk).spool), [vec![1; 60], vec![3; 40], vec![4; 10]].concat());
}

#[test]
fn without_its_maker_a_spool_keeps_the_whole_frames_behind_the_checkpoint() {
    let (_root, directory) = place();
    let disk = machine();
    let mut log = Vec::new();
    for number in 0..9 {
        encode(&Frame { unix_us: number, stage: None, body: Body::Stdout(b"a line\n") }, &mut log);
    }
    let frame = log.len() / 9;
    let mut spool = Spool::create(&directory, SMALL, Arc::clone(&disk)).unwrap();
    spool.append(&log[..frame]).unwrap();
    spool.checkpoint("x", Offset(0)).unwrap();
    spool.append(&log[frame..5 * frame]).unwrap();
    spool.append(&log[5 * frame..6 * frame + 3]).unwrap();
    drop(spool);
    let spool = Spool::open(&directory, SMALL, disk, Tail::KeepFrames).unwrap().spool;
    assert_eq!(whole(&spool), &log[..6 * frame]);
    assert_eq!(spool.log_end().sha256, <[u8; 32]>::from(Sha256::digest(&log[..6 * frame])));
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<u8>),
    /// With so much durable elsewhere.
    Checkpoint(prop::sample::Index),
    Free(prop::sample::Index),
    /// The process is killed, after so many calls of a checkpoint.
    Kill(usize),
    /// The machine loses its power, and each file a part of what was not synced.
    PowerCut(prop::sample::Index),
    FullDisk(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => proptest::collection::vec(any::<u8>(), 0..80).prop_map(Step::Append),
        3 => any::<prop::sample::Index>().prop_map(Step::Checkpoint),
        1 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => (0usize..7).prop_map(Step::Kill),
        1 => any::<prop::sample::Index>().prop_map(Step::PowerCut),
        1 => (0usize..60).prop_map(Step::FullDisk),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_checkpointed_byte_is_lost_in_any_crash(steps in steps()) {
        let (_root, directory) = place();
        let faulty = Arc::new(FaultyDisk::default());
        let disk: Arc<dyn Disk> = faulty.clone();
        let limits = Limits { segment_bytes: 100, quota_bytes: 1 << 20 };
        let mut spool = Spool::create(&directory, limits, Arc::clone(&disk)).unwrap();
        let (mut log, mut safe) = (Vec::new(), 0);
        // A checkpoint that was cut off may count, and may not.
        let mut tried = None;
        for step in steps {
            let crashed = matches!(step, Step::Kill(_) | Step::PowerCut(_));
            match step {
                Step::Append(bytes) => match spool.append(&bytes) {
                    Ok(()) => log.extend_from_slice(&bytes),
                    Err(error) => prop_assert!(matches!(error, SpoolError::Disk(DiskError::NoSpace { .. })), "{error}"),
                },
                Step::Checkpoint(place) => match spool.checkpoint(&log.len().to_string(), Offset(place.index(log.len() + 1) as u64)) {
                    Ok(()) => safe = log.len(),
                    Err(error) => prop_assert!(matches!(error, SpoolError::Disk(DiskError::NoSpace { .. })), "{error}"),
                },
                Step::Free(place) => spool.free(Offset(place.index(log.len() + 1) as u64)).unwrap(),
                Step::FullDisk(space) => faulty.space((space > 20).then_some(space)),
                Step::Kill(calls) => {
                    faulty.die_after(Some(calls));
                    tried = spool.checkpoint(&log.len().to_string(), Offset(0)).is_err().then_some(log.len());
                    safe = tried.map_or(log.len(), |_| safe);
                }
                Step::PowerCut(keep) => faulty.cut_power(|most| keep.index(most)),
            }
            if crashed {
                drop(spool);
                faulty.space(None);
                faulty.die_after(None);
                let recovered = Spool::open(&directory, limits, Arc::clone(&disk), Tail::Cut).unwrap();
                spool = recovered.spool;
                let length: usize = recovered.maker.map_or(0, |maker| maker.parse().unwrap());
                prop_assert!(length == safe || tried == Some(length), "{length} of {safe} bytes");
                log.truncate(length);
                (safe, tried) = (length, None);
            }
            let end = spool.log_end();
            prop_assert_eq!(end.length, Offset(log.len() as u64));
            prop_assert_eq!(end.sha256, <[u8; 32]>::from(Sha256::digest(&log)));
            prop_assert_eq!(&whole(&spool)[..], &log[spool.first().0 as usize..]);
        }
    }

    #[test]
    fn a_killed_executor_continues_the_same_log_from_the_capture(
        outputs in proptest::collection::vec("(hunter2|2 |a|zz-added|-1|\n){1,6}", 1..30),
        deaths in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut capture = Vec::new();
        for (number, output) in outputs.iter().enumerate() {
            let body = match number % 9 {
                8 => Body::AddMask(b"zz-added-1"),
                0..=5 => Body::Stdout(output.as_bytes()),
                _ => Body::Stderr(output.as_bytes()),
            };
            encode(&Frame { unix_us: number as u64, stage: Some(0), body }, &mut capture);
        }
        let set = || {
            let mut set = MaskSet::new([3; 16]);
            set.add(b"hunter22", Short::Refuse).unwrap();
            set
        };
        let (mut masker, mut expected) = (Masker::new(set()).unwrap(), Vec::new());
        masker.push(&capture, &mut expected).unwrap();
        masker.finish(&mut expected);

        let (_root, directory) = place();
        let disk = machine();
        let mut spool = Spool::create(&directory, SMALL, Arc::clone(&disk)).unwrap();
        let (mut masker, mut from) = (Masker::new(set()).unwrap(), 0);
        for death in deaths {
            // Some of the capture is masked and checkpointed, some more is only masked.
            for checkpointed in [true, false] {
                let to = from + death.index(capture.len() - from + 1);
                let mut log = Vec::new();
                masker.push(&capture[from..to], &mut log).unwrap();
                spool.append(&log).unwrap();
                from = to;
                if checkpointed {
                    spool.checkpoint(&serde_json::to_string(&masker.checkpoint()).unwrap(), Offset(0)).unwrap();
                }
            }
            drop(spool);
            let recovered = reopened(&directory, &disk);
            spool = recovered.spool;
            let checkpoint: Checkpoint = serde_json::from_str(&recovered.maker.unwrap()).unwrap();
            prop_assert_eq!(checkpoint.masked, spool.log_end().length);
            let added = added_values(&mut io::Cursor::new(&capture), &checkpoint.added).unwrap();
            masker = Masker::restore(set(), &added, &checkpoint).unwrap();
            from = checkpoint.raw.0 as usize;
        }
        let mut log = Vec::new();
        masker.push(&capture[from..], &mut log).unwrap();
        masker.finish(&mut log);
        spool.append(&log).unwrap();
        prop_assert_eq!(whole(&spool), expected);
    }
}
