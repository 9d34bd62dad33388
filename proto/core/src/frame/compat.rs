//! Logs as each version kept them: spools and stored logs outlive the programs that wrote them.

#[path = "../../../../tests/compat/versions.rs"]
mod versions;

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;
use versions::Kept;

const KIND: &str = "log";

/// One frame of each kind.
fn frames() -> Vec<u8> {
    let bodies = [
        (None, Body::Platform(b"pulling the image")),
        (Some(0), Body::Begin("build")),
        (Some(0), Body::Stdout(b"one\n")),
        (Some(0), Body::Stderr(b"two\xff\n")),
        (Some(0), Body::AddMask(b"hunter22")),
        (Some(0), Body::End(Exit::Code(3))),
        (service_stage(1), Body::Begin("db")),
        (service_stage(1), Body::End(Exit::Signal(9))),
        (None, Body::Mark(Mark::Loss, "a disk")),
        (None, Body::Mark(Mark::Cut, "a limit")),
        (None, Body::Mark(Mark::Lost, "an executor")),
    ];
    let mut log = Vec::new();
    for (number, (stage, body)) in (1..).zip(bodies) {
        encode(&Frame { unix_us: (1 << 50) + number, stage, body }, &mut log);
    }
    log
}

/// What a log says, a line for each frame.
fn meaning(log: &[u8]) -> Result<String, Corrupt> {
    let mut decoder = Decoder::default();
    decoder.push(log);
    let mut meant = String::new();
    while let Some(frame) = decoder.next_frame()? {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let body = match frame.body {
            Body::Stdout(bytes) => format!("stdout {}", text(bytes)),
            Body::Stderr(bytes) => format!("stderr {}", text(bytes)),
            Body::Platform(bytes) => format!("platform {}", text(bytes)),
            Body::Begin(name) => format!("begin {name}"),
            Body::End(Exit::Code(code)) => format!("end with code {code}"),
            Body::End(Exit::Signal(signal)) => format!("end by signal {signal}"),
            Body::AddMask(bytes) => format!("mask {}", text(bytes)),
            Body::Mark(Mark::Loss, why) => format!("loss: {why}"),
            Body::Mark(Mark::Cut, why) => format!("cut: {why}"),
            Body::Mark(Mark::Lost, why) => format!("lost: {why}"),
        };
        let stage = frame.stage.map_or_else(|| "-".to_owned(), |stage| stage.to_string());
        writeln!(meant, "{} {stage} {body}", frame.unix_us).unwrap();
    }
    Ok(meant)
}

#[test]
fn a_log_is_kept_for_this_version() {
    let frames = frames();
    let meant = meaning(&frames).unwrap().into_bytes();
    versions::assert_kept(KIND, &Kept::from([("frames.bin".into(), frames), ("frames.txt".into(), meant)]));
}

#[test]
fn a_log_of_any_version_says_what_it_said() {
    for (version, kept) in versions::all(KIND) {
        let meant = String::from_utf8_lossy(&kept["frames.txt"]);
        assert_eq!(meaning(&kept["frames.bin"]).as_deref(), Ok(&*meant), "of version {version}");
    }
}

#[test]
fn the_log_that_is_kept_has_a_frame_of_each_kind() {
    let (frames, mut at, mut found) = (frames(), 0, BTreeSet::new());
    while let Some(header) = frames.get(at..at + HEADER_BYTES) {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        found.insert(header[8]);
        at += HEADER_BYTES + length as usize;
    }
    assert_eq!(found, Tag::ALL.map(|tag| tag as u8).into());
}
