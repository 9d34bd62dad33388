//! Archives made to do harm, kept by an executor that lies, and taken in by one that does not.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use ocelot_e2e::fleet::{Build, LightSession};
use ocelot_proto::wire;
use ocelot_proto::wire::push_object_request::{Begin, End, Piece, begin};
use sha2::{Digest as _, Sha256};

use super::{Case, Scene, add_liar, repositories};

/// What is wrong, the packed bytes, and words of the error.
type Bad = (&'static str, Vec<u8>, &'static str);

/// Each is brought as an artifact of its own, and the first few as caches too.
const CACHES: usize = 6;

fn corpus() -> Vec<Bad> {
    let tars: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("climbs", vec![file("../../../../outside/evil")], "climbs"),
        ("is absolute", vec![file("/etc/cron.d/ocelot-evil")], "absolute"),
        ("goes through its own link", vec![link("l", "inner"), file("l/evil")], "no directory"),
        ("links out", vec![link("l", "../../../../outside"), file("l/evil")], "leads to"),
        ("links to the machine", vec![link("l", "/etc")], "leads to"),
        (
            "has a hard link out",
            vec![Block::new("h", b'1').to("../../../../outside/inner/canary").done()],
            "a hard link",
        ),
        ("has a device", vec![Block::new("d", b'4').raw(329, b"0000010\x000000000\0").done()], "a device"),
        ("has a pipe", vec![Block::new("p", b'6').done()], "a named pipe"),
        ("has a hole", vec![Block::new("s", b'S').done()], "a sparse file"),
        ("says five gigabytes", vec![Block::new("x", b'0').size(5 << 30).done()], "bytes of contents"),
        ("says less than nothing", vec![Block::new("x", b'0').raw(124, &[0xff; 12]).done()], "no number"),
        ("hides an entry in a size", vec![pax("size", "0"), member("x", b'0', &file("../evil"))], "climbs"),
        ("has a long name that climbs", vec![member("L", b'L', b"../evil\0"), file("x")], "climbs"),
        ("has two names in one", vec![pax("path", "a\0../b"), file("x")], "NUL"),
        ("takes our own folder", vec![file(".ocelot-unpack-0/new/x")], "kept"),
        ("has a folder and a file of one name", vec![file("a"), file("a/b")], "no directory"),
    ];
    let whole = |members: Vec<Vec<u8>>| frame(&[members.concat(), vec![0; 1024]].concat());
    let mut all: Vec<Bad> =
        tars.into_iter().map(|(name, members, word)| (name, whole(members), word)).collect();
    all.push(("is cut off", frame(&file("x")[..512]), "cut off"));
    all.push(("is no archive", b"#!/bin/sh\ntouch evil\n".to_vec(), "stream failed"));
    all.push(("unfolds", zeros(64 << 20), "for each compressed byte"));
    all.push(("goes on behind its end", [whole(vec![file("x")]), whole(vec![file("y")])].concat(), "follow"));
    all
}

pub(super) async fn cases(scene: &mut Scene) -> Result<Vec<Case>> {
    let liar = add_liar(&scene.ground).await?;
    let session = liar.open().await?;
    #[expect(clippy::disallowed_methods, reason = "it lies for as long as its trial goes on")]
    tokio::spawn(lie(session));
    let mut cases = Vec::new();
    for (number, (name, _, word)) in corpus().into_iter().enumerate() {
        let definition = format!(
            "defaults: {{runtime: process, checkout: false}}\ntasks:\n  \
             make: {{labels: [liar], artifacts: [{{name: hostile-{number:02}, paths: [a]}}], command: [a]}}\n  \
             take: {{needs: [make], stages: [{{name: work, script: 'true'}}]}}\n"
        );
        let ends = ["failed", "setup, artifact hostile-", word];
        cases.push(Case::new(&format!("an artifact that {name}"), &definition, &ends));
        if number >= CACHES {
            continue;
        }
        let definition = format!(
            "defaults: {{runtime: process, checkout: false, cache: [{{name: cached-{number:02}, paths: [a], \
             key: k}}]}}\ntasks:\n  make: {{labels: [liar], command: [a]}}\n  \
             take: {{needs: [make], stages: [{{name: work, script: 'true'}}]}}\n"
        );
        let ends = ["succeeded", "not restored", word];
        cases.push(Case::new(&format!("a cache that {name}"), &definition, &ends));
    }
    for case in &cases {
        repositories::ordinary(scene, case).await?;
    }
    Ok(cases)
}

/// Takes work, and keeps for it what nobody packed, for as long as the session is open.
async fn lie(session: LightSession) -> Result<()> {
    let corpus = corpus();
    let beats = session.clone();
    let every = std::time::Duration::from_millis(session.timing.heartbeat_ms.max(1));
    let beating = async move {
        for sequence in 1.. {
            tokio::time::sleep(every).await;
            beats.heartbeat(sequence, Vec::new()).await?;
        }
        anyhow::Ok(())
    };
    let working = async move {
        for poll in 1.. {
            for offer in session.poll(poll, Vec::new()).await?.offers {
                let attempt = offer.attempt.context("an attempt")?;
                session.acknowledge(attempt.clone(), poll + 1).await?;
                let plan = String::from_utf8(offer.plan.to_vec())?;
                let mut completion = session.completion(attempt.clone(), poll + 1);
                for (number, (_, bytes, _)) in corpus.iter().enumerate() {
                    let (artifact, cache) = (format!("hostile-{number:02}"), format!("cached-{number:02}"));
                    if plan.contains(&artifact) {
                        push(&session, &attempt, begin::Object::Artifact(artifact.clone()), bytes).await?;
                        completion.artifacts.push(wire::ArtifactDigest {
                            name: artifact,
                            sha256: Sha256::digest(bytes).to_vec().into(),
                            size_bytes: bytes.len() as u64,
                            files: 1,
                        });
                    }
                    if plan.contains(&cache) {
                        let key = wire::CacheKey { name: cache, key: "k".to_owned() };
                        push(&session, &attempt, begin::Object::Cache(key), bytes).await?;
                    }
                }
                session.client().complete(session.with_token(completion)).await?;
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = working => done,
        dead = beating => dead,
    }
}

async fn push(
    session: &LightSession,
    attempt: &wire::AttemptId,
    object: begin::Object,
    bytes: &[u8],
) -> Result<()> {
    let begin = Begin { attempt: Some(attempt.clone()), object: Some(object), files: 1 };
    let end = End { length: bytes.len() as u64, sha256: Sha256::digest(bytes).to_vec().into() };
    let middle = bytes.chunks(1 << 20).map(|piece| Piece::Bytes(Bytes::copy_from_slice(piece)));
    let pieces: Vec<_> = std::iter::once(Piece::Begin(begin))
        .chain(middle)
        .chain(std::iter::once(Piece::End(end)))
        .map(|piece| wire::PushObjectRequest { piece: Some(piece) })
        .collect();
    let pieces = session.with_token(futures_util::stream::iter(pieces));
    session.objects().push_object(pieces).await?;
    Ok(())
}

/// People fetch what the liar kept, too. Returns how many archives were refused.
pub(super) async fn fetched_by_people(scene: &Scene) -> Result<usize> {
    let fleet = &scene.ground.fleet;
    // Their home and folders are watched with all else outside of workspaces.
    let folder = scene.outside.with_file_name("person");
    std::fs::create_dir_all(&folder)?;
    let corpus = corpus();
    for (number, (name, _, word)) in corpus.iter().enumerate() {
        let case = Case::new(&format!("an artifact that {name}"), "", &[]);
        let run = format!("{}#1", case.project());
        let into = folder.join(number.to_string());
        let output = Command::new(Build::Plain.program("ocelot")?)
            .args(["artifacts", "get", &run, &format!("hostile-{number:02}"), "--into"])
            .arg(&into)
            .current_dir(&folder)
            .env_clear()
            .env("HOME", &folder)
            .env("OCELOT_SERVER", fleet.url(0))
            .env("OCELOT_TOKEN", fleet.token())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains(word), "{name}: {} {said}", output.status);
        let left = std::fs::read_dir(&into).into_iter().flatten().count();
        ensure!(left == 0, "{name}: {left} things were unpacked");
    }
    Ok(corpus.len())
}

/// A zstd frame that holds the bytes as they are.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = head(bytes.len());
    let blocks = bytes.chunks(BLOCK_MAX);
    let last = blocks.len().saturating_sub(1);
    for (number, block) in blocks.enumerate() {
        frame.extend(block_head(number == last, RAW, block.len()));
        frame.extend_from_slice(block);
    }
    frame
}

/// A zstd frame of a file of so many zeros, four bytes for each block.
fn zeros(count: usize) -> Vec<u8> {
    let tar = Block::new("x", b'0').size(count as u64).done();
    let mut frame = head(tar.len() + count);
    frame.extend(block_head(false, RAW, tar.len()));
    frame.extend(tar);
    let blocks = count / BLOCK_MAX;
    for number in 0..blocks {
        frame.extend(block_head(number + 1 == blocks, REPEATED, BLOCK_MAX));
        frame.push(0);
    }
    frame
}

const BLOCK_MAX: usize = 128 << 10;
const RAW: usize = 0;
const REPEATED: usize = 1;

/// The window is the least, as the bytes refer to none before them; their count takes eight bytes.
fn head(length: usize) -> Vec<u8> {
    let mut head = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1100_0000, 0b0101_0000];
    head.extend((length as u64).to_le_bytes());
    head
}

fn block_head(is_last: bool, kind: usize, size: usize) -> Vec<u8> {
    let head = usize::from(is_last) | (kind << 1) | (size << 3);
    (head as u32).to_le_bytes()[..3].to_vec()
}

/// A header of a tar archive, its sum set when it is done.
struct Block([u8; 512]);

impl Block {
    fn new(name: impl AsRef<[u8]>, kind: u8) -> Self {
        let block =
            Self([0; 512]).raw(100, b"0000644\0").raw(124, b"00000000000\0").raw(136, b"00000000000\0");
        block.raw(0, name.as_ref()).raw(156, &[kind]).raw(257, b"ustar\x0000")
    }

    fn raw(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn size(self, size: u64) -> Self {
        self.raw(124, format!("{size:011o}\0").as_bytes())
    }

    fn to(self, target: &str) -> Self {
        self.raw(157, target.as_bytes())
    }

    fn done(mut self) -> Vec<u8> {
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.raw(148, format!("{sum:06o}\0 ").as_bytes()).0.to_vec()
    }
}

fn member(name: &str, kind: u8, contents: &[u8]) -> Vec<u8> {
    let mut member = Block::new(name, kind).size(contents.len() as u64).done();
    member.extend_from_slice(contents);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

fn file(name: &str) -> Vec<u8> {
    member(name, b'0', b"evil")
}

fn link(name: &str, target: &str) -> Vec<u8> {
    Block::new(name, b'2').to(target).done()
}

/// An extended header of one value.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let bare = key.len() + value.len() + 3;
    let length = (bare + 1..).find(|length| bare + length.to_string().len() == *length).unwrap_or(bare);
    member("pax", b'x', format!("{length} {key}={value}\n").as_bytes())
}
