//! The embedded store is killed, again and again, at any moment; what it answered must be there.
//!
//! A child process writes and tells each answer on a pipe. The parent reads as many bytes as the
//! seed says, kills it (SIGKILL), opens the directory itself and checks. Killing a process loses
//! nothing that the kernel has, so this proves the order of answers and writes and the recovery,
//! not what a power cut leaves of unsynced pages.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use libtest_mimic::Trial;
use ocelot_controller::store::embedded::{EmbeddedStore, Settings};
use ocelot_controller::store::{
    Change, Error, Expected, KeyValue, RangeRequest, Revision, Store, Txn, Verdict,
};
use ocelot_e2e::runner::trial;
use tokio::task::JoinSet;

const WRITERS: u64 = 8;
/// Keys beside its two main ones that each writer goes round.
const RING: u64 = 20;
const PREFIX: &str = "/crash/";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("store::crash::killed_100_times_it_keeps_what_it_answered", || kill_again_and_again(100, 1)),
        trial("store::crash::a_disk_that_stops_growing_is_no_success_and_loses_no_answer", disk_that_stops),
    ]
}

/// Runs the loop as often as asked for.
pub(crate) fn long(count: &str, seed: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(kill_again_and_again(count.parse()?, seed.parse()?))
}

/// A sequence of numbers that the seed determines (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// The child: writes until it is killed, or until the store no longer takes anything.
pub(crate) fn write(directory: &str, seed: &str) -> anyhow::Result<()> {
    let seed: u64 = seed.parse()?;
    tell("opening")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let store = Arc::new(EmbeddedStore::open(Settings::new(directory))?);
        tell("open")?;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_on(Arc::clone(&store), writer, Chance(seed ^ (writer << 32))));
        }
        while let Some(ended) = writers.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn write_on(store: Arc<EmbeddedStore>, writer: u64, mut chance: Chance) -> anyhow::Result<()> {
    let a = format!("{PREFIX}{writer}/a");
    let found = store.range(RangeRequest::key(&a)).await?.items.pop();
    let mut last = found.as_ref().map(|item| item.mod_revision);
    let mut number = found.map_or(Ok(0), |item| number_of(&item))?;
    loop {
        number += 1;
        let value = format!("{number} {}", "x".repeat(usize::try_from(chance.below(700))?));
        let txn = Txn::new()
            .when(&a, last.map_or(Expected::Absent, Expected::At))
            .put(&a, value.clone())
            .delete(ring_key(writer, number + RING / 2))
            .put(ring_key(writer, number), value.clone())
            .put(format!("{PREFIX}{writer}/z"), value);
        match store.commit(txn).await {
            Ok(Verdict::Committed(revision)) => {
                tell(&format!("{writer} {number} {revision}"))?;
                last = Some(revision);
            }
            Ok(Verdict::Refused { found }) => bail!("writer {writer} is alone, yet was refused: {found:?}"),
            Err(error) => {
                tell(&format!("failed {}", kind(&error)))?;
                let after = store.commit(Txn::new().put("/after", "x")).await;
                return tell(&format!("after {}", after.as_ref().map_or_else(kind, |_| "committed")));
            }
        }
    }
}

fn ring_key(writer: u64, number: u64) -> String {
    format!("{PREFIX}{writer}/ring/{}", number % RING)
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Unknown(_) => "unknown",
        Error::Unavailable(_) => "unavailable",
        Error::Unusable(_) => "unusable",
        Error::Full(_) => "full",
        Error::Corrupt(_) => "corrupt",
        Error::Invalid(_) | Error::Compacted { .. } | Error::LeaseGone => "other",
    }
}

/// One line, in one write, so that a line on the pipe is whole or the last.
fn tell(line: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(format!("{line}\n").as_bytes())?)
}

fn number_of(item: &KeyValue) -> anyhow::Result<u64> {
    let text = std::str::from_utf8(&item.value)?;
    Ok(text.split(' ').next().context("no number")?.parse()?)
}

/// What the parent knows to have been answered.
#[derive(Debug, Default)]
struct Answered {
    /// By writer: its last number and that transaction's revision.
    last: BTreeMap<u64, (u64, Revision)>,
    count: u64,
    /// What the child said of failures.
    failures: Vec<String>,
}

impl Answered {
    /// Takes in whole lines; the last one is cut off if the child died in it.
    fn read(&mut self, text: &str) -> anyhow::Result<()> {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["opening" | "open"] => {}
                ["failed" | "after", _] => self.failures.push(line.to_owned()),
                [writer, number, revision] => {
                    let told = (number.parse()?, Revision(revision.parse()?));
                    self.last.insert(writer.parse()?, told);
                    self.count += 1;
                }
                _ => bail!("the child said {line:?}"),
            }
        }
        Ok(())
    }
}

/// What the parent saw in the store before the child wrote.
#[derive(Debug)]
struct Seen {
    revision: Revision,
    items: BTreeMap<String, KeyValue>,
}

impl Seen {
    /// A store that was never written.
    const NOTHING: Self = Self { revision: Revision(1), items: BTreeMap::new() };
}

async fn kill_again_and_again(rounds: u64, seed: u64) -> anyhow::Result<()> {
    let mut chance = Chance(seed);
    let directory = tempfile::tempdir()?;
    let mut seen = Seen::NOTHING;
    let (mut answered, mut survived) = (Answered::default(), 0);
    for round in 0..rounds {
        let before = answered.count;
        let bytes = match chance.below(8) {
            // In the middle of opening: what it says before it is open are 13 bytes.
            0 => chance.below(14),
            _ => chance.below(4_000),
        };
        let child = Writer::start(directory.path(), chance.below(u64::MAX))?;
        answered.read(&child.kill_after(bytes)?)?;
        seen = check(directory.path(), seen, &answered)
            .await
            .with_context(|| format!("round {round} of seed {seed}, killed after {bytes} bytes"))?;
        survived += u64::from(answered.count > before);
    }
    ensure!(survived * 2 > rounds, "in only {survived} of {rounds} rounds anything was answered");
    Ok(())
}

/// The child process and its voice.
struct Writer {
    process: Child,
    voice: BufReader<ChildStdout>,
}

impl Writer {
    fn start(directory: &Path, seed: u64) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["child", "crash-writer"]).arg(directory).arg(seed.to_string());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let voice = process.stdout.take().context("the pipe was asked for")?;
        Ok(Self { process, voice: BufReader::with_capacity(1, voice) })
    }

    /// Returns all that it said, before it was killed and on its way out.
    fn kill_after(mut self, bytes: u64) -> anyhow::Result<String> {
        let mut said = Vec::new();
        (&mut self.voice).take(bytes).read_to_end(&mut said)?;
        self.process.kill()?;
        self.process.wait()?;
        self.voice.read_to_end(&mut said)?;
        Ok(String::from_utf8(said)?)
    }

    fn hear_out(mut self) -> anyhow::Result<String> {
        let mut said = String::new();
        while self.voice.read_line(&mut said)? > 0 {}
        let status = self.process.wait()?;
        ensure!(status.success(), "the child ended with {status}, after:\n{said}");
        Ok(said)
    }
}

async fn look(store: &EmbeddedStore) -> anyhow::Result<Seen> {
    let (mut items, mut next) = (BTreeMap::new(), Some(RangeRequest::prefix(PREFIX)));
    let mut revision = Revision(0);
    while let Some(request) = next {
        let page = store.range(request.clone()).await?;
        next = request.after(&page);
        revision = page.revision;
        items.extend(page.items.into_iter().map(|item| (item.key.clone(), item)));
    }
    Ok(Seen { revision, items })
}

/// Opens the store after a crash and proves that nothing answered is gone and nothing is torn.
async fn check(directory: &Path, before: Seen, answered: &Answered) -> anyhow::Result<Seen> {
    let store = EmbeddedStore::open(Settings::new(directory))?;
    let now = look(&store).await?;
    ensure!(now.revision >= before.revision, "the revision went back to {}", now.revision);
    for writer in 0..WRITERS {
        check_writer(writer, &now, answered).with_context(|| format!("writer {writer}"))?;
    }
    let replayed = replay(&store, &before, now.revision).await?;
    ensure!(replayed == now.items, "the watch tells another story than the list");
    Ok(now)
}

fn check_writer(writer: u64, now: &Seen, answered: &Answered) -> anyhow::Result<()> {
    let item = |name: &str| now.items.get(&format!("{PREFIX}{writer}/{name}"));
    let (a, z) = (item("a"), item("z"));
    let Some((a, z)) = a.zip(z) else {
        ensure!(a.is_none() && z.is_none(), "torn: a {a:?}, z {z:?}");
        let lost = answered.last.get(&writer);
        ensure!(lost.is_none(), "lost all, at least {lost:?}");
        return Ok(());
    };
    let number = number_of(a)?;
    ensure!((&a.value, a.mod_revision) == (&z.value, z.mod_revision), "torn between a and z");
    let ring = now.items.get(&ring_key(writer, number)).context("torn: no key of the ring")?;
    ensure!((&ring.value, ring.mod_revision) == (&a.value, a.mod_revision), "torn between a and the ring");
    ensure!(!now.items.contains_key(&ring_key(writer, number + RING / 2)), "torn: a delete is missing");
    if let Some((last, revision)) = answered.last.get(&writer) {
        ensure!(number >= *last, "{last} was answered, {number} is there");
        ensure!(a.mod_revision >= *revision, "answered at {revision}, found at {}", a.mod_revision);
        ensure!(number > *last || a.mod_revision == *revision, "{last} has another revision now");
    }
    Ok(())
}

/// Follows the history from what was seen before, checks that it is whole, and returns its outcome.
async fn replay(
    store: &EmbeddedStore,
    before: &Seen,
    last: Revision,
) -> anyhow::Result<BTreeMap<String, KeyValue>> {
    let mut watch = store.watch(PREFIX, before.revision.next()).await?;
    let (mut items, mut seen) = (before.items.clone(), before.revision);
    while seen < last {
        let batch = watch.next().await.context("the watch ended")??;
        for events in batch.events.chunk_by(|one, two| one.mod_revision == two.mod_revision) {
            let revision = events[0].mod_revision;
            ensure!(revision == seen.next(), "the history goes from {seen} to {revision}");
            let puts = events.iter().filter(|event| matches!(event.change, Change::Put(_))).count();
            ensure!(puts == 3, "{puts} puts at {revision}: torn");
            seen = revision;
        }
        for event in batch.events {
            match event.change {
                Change::Put(item) => {
                    if item.key.ends_with("/a") {
                        let older = items.get(&item.key).map_or(Ok(0), number_of)?;
                        ensure!(number_of(&item)? == older + 1, "{} jumps from {older}", item.key);
                    }
                    items.insert(item.key.clone(), item);
                }
                Change::Delete { key } => drop(items.remove(&key)),
            }
        }
    }
    Ok(items)
}

/// The file may not grow beyond a limit: writes fail with EFBIG, an I/O error like any other.
async fn disk_that_stops() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new("sh");
    // Ignored, or the signal of the limit would end the child before it could tell of an error.
    command.args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" child crash-writer \"$1\" 7"]);
    command.arg(std::env::current_exe()?).arg(directory.path());
    let mut answered = Answered::default();
    answered.read(&Writer::spawn(command)?.hear_out()?)?;
    ensure!(answered.count > 0, "nothing was answered before the disk stopped");
    let failures = &answered.failures;
    ensure!(failures.iter().any(|line| line == "failed unknown"), "no outcome was unknown: {failures:?}");
    let after = failures.iter().filter(|line| line.starts_with("after"));
    ensure!(after.clone().count() > 0 && after.clone().all(|line| line == "after unusable"), "{failures:?}");
    check(directory.path(), Seen::NOTHING, &answered).await.map(drop)
}
