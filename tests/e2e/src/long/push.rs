//! A push becomes a build in containers and a status at the forge: how soon, again and again.
//!
//! Two controllers on three etcd members, two executors with the container engine, a real git server
//! whose hook posts a signed payload to one controller after the other.

use anyhow::{Context, Result, bail, ensure};
use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::engine::IMAGE;
use ocelot_e2e::fleet::forge::{PROJECT, Site};
use ocelot_e2e::fleet::{Build, Caller, Newcomer, RunId, Settings, reference};
use ocelot_e2e::wait::{wait_until, within};
use ocelot_forge::Forge;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;
use tokio::time::Instant;

use super::percentile;

const CONTEXT: &str = "ocelot/push";
/// The task whose first line is waited for.
const FIRST: &str = "build";

/// What is told while it happens, where it happens once.
struct Story {
    began: Instant,
    is_told: bool,
}

impl Story {
    fn tell(&self, words: &str) {
        if self.is_told {
            eprintln!("{:8.3} s  {words}", self.began.elapsed().as_secs_f64());
        }
    }
}

/// Moments of one push, in seconds from the start of its command.
struct Moments {
    /// The command ended: git had pushed, and the hook had its answer.
    returned: f64,
    accepted: f64,
    pending: f64,
    taken: f64,
    up: f64,
    first_line: f64,
    run_ended: f64,
    told: f64,
}

/// A name of a moment, and where it is.
type Of = (&'static str, fn(&Moments) -> f64);

pub(super) async fn row(times: u64) -> Result<()> {
    ensure!(times > 0, "no push is no measurement");
    let story = Story { began: Instant::now(), is_told: times == 1 };
    let load = load()?;
    let settings = Settings::etcd(Build::Plain, 2, 3);
    let mut site = Site::start(Forge::GitHub, settings).await?;
    story.tell(&format!("a git server serves {}", site.ground.url(PROJECT)));
    story.tell(&format!("a double of GitHub's API answers at {}", site.double.api()));
    let fleet = &site.ground.fleet;
    story.tell(&format!(
        "two controllers on three etcd members answer at {} and {}",
        fleet.url(0),
        fleet.url(1)
    ));
    story.tell(&format!("project {PROJECT} is added, and its webhook is registered at the forge"));
    for name in ["one", "two"] {
        let more = ["--runtime", "docker"];
        site.ground.add_executor(Newcomer { name, slots: 2, more: &more, ..Newcomer::default() }).await?;
    }
    site.ground.fleet.caller(0)?.online(2).await?;
    story.tell("two executors with the container engine are online");
    let done = measure(&site, &story, times).await;
    let all = match done {
        Ok(all) => all,
        Err(error) => {
            let folder = site.ground.fleet.keep_folder().display().to_string();
            return Err(error.context(format!("what the fleet wrote is in {folder}")));
        }
    };
    site.judge()?;
    report(&all, &story, &load);
    Ok(())
}

async fn measure(site: &Site, story: &Story, times: u64) -> Result<Vec<Moments>> {
    let mut all = Vec::new();
    for number in 0..times {
        site.arm(usize::try_from(number % 2)?)?;
        all.push(once(site, story, number).await.with_context(|| format!("push {number}"))?);
    }
    let runs = site.runs().await?;
    // The list shows fifty at a time.
    ensure!(runs.len() as u64 == times.min(50), "{times} pushes made {} runs", runs.len());
    Ok(all)
}

fn definition(number: u64) -> String {
    format!(
        "defaults: {{image: '{IMAGE}', pull: never}}\n\
         tasks:\n  \
           {FIRST}: {{stages: [{{name: make, script: 'echo push {number} builds $OCELOT_COMMIT'}}]}}\n  \
           test: {{needs: [{FIRST}], stages: [{{name: check, script: test -e README}}]}}\n"
    )
}

async fn once(site: &Site, story: &Story, number: u64) -> Result<Moments> {
    let caller = site.ground.fleet.caller(0)?;
    site.repository.write("ocelot.yml", &definition(number))?;
    let commit = site.repository.commit(&format!("Change {number}"))?;
    story.tell(&format!("git push of {}", &commit[..12]));
    let wall = i64::try_from(SystemClock.wall().0)?;
    let pushed = site.push("main")?;
    let run = pushed.run()?;
    let answer = pushed.answers[0].body["url"].as_str().unwrap_or_default().to_owned();
    story.tell(&format!("the hook was answered, and the push returned: {answer}"));
    let line = within("the first line of output", first_line(&caller, run)).await;
    let (at, text) = line?.with_context(|| site.ground.fleet.last_words())?;
    story.tell(&format!("first line of output: {text}"));
    let outcome = caller.outcome(run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}\n{}", site.ground.fleet.last_words());
    let end = site.told(&commit, CONTEXT, "success").await?;
    let summary = caller.run(run).await?.run.context("a run has a summary")?;
    let (taken, up) = phases(site, run).await?;
    story.tell(&format!("run {PROJECT}#{} succeeded", summary.number));
    story.tell(&format!("the forge was told: {} {} ({})", end.context, end.state, end.description));
    let said = site.said(&commit, CONTEXT);
    let since = |at: Instant| at.saturating_duration_since(pushed.began).as_secs_f64();
    let by_wall = |unix_us: i64| if unix_us > 0 { (unix_us - wall) as f64 / 1e6 } else { f64::NAN };
    Ok(Moments {
        returned: since(pushed.ended),
        accepted: by_wall(summary.accepted_unix_us),
        // A run that ends before its beginning was told is told of by its end.
        pending: said.first().map_or(f64::NAN, |first| since(first.at)),
        taken: by_wall(taken),
        up: by_wall(up),
        first_line: since(at),
        run_ended: by_wall(summary.finished_unix_us),
        told: since(end.at),
    })
}

/// Tells when the first task was taken and when its container was up: the controller knows that with
/// which the executor speaks.
async fn phases(site: &Site, run: RunId) -> Result<(i64, i64)> {
    let mut phases = (0, 0);
    for controller in 0..2 {
        let seen = site.ground.fleet.caller(controller)?.run(run).await?;
        let first = seen.tasks.iter().find(|task| task.name == FIRST).and_then(|task| task.attempts.first());
        let first = first.context("the first task has an attempt")?;
        phases = (phases.0.max(first.acknowledged_unix_us), phases.1.max(first.up_unix_us));
    }
    Ok(phases)
}

/// Follows the first task's log as a person does; returns when its first line came, and the line.
async fn first_line(caller: &Caller, run: RunId) -> Result<(Instant, String)> {
    let named = Some(reference(run));
    let watch = wire::WatchRunRequest { run: named.clone() };
    // The answer names a run that is decided a moment later.
    let mut changes =
        wait_until("the run", || async { caller.runs().watch_run(watch.clone()).await }).await?.into_inner();
    let mut task = None;
    while let Some(change) = changes.message().await? {
        for changed in change.changed.iter().filter(|changed| changed.name == FIRST) {
            task = changed.id.as_ref().map(|id| id.index);
        }
        let Some(task) = task else { continue };
        let request = wire::ReadLogRequest { run: named.clone(), task, follow: true, ..Default::default() };
        // There is no log before there is an attempt, which is a change.
        let Ok(log) = caller.runs().read_log(request).await else { continue };
        let mut log = log.into_inner();
        let mut decoder = Decoder::at(Offset(0));
        while let Some(piece) = log.message().await? {
            let at = Instant::now();
            decoder.push(&piece.frames);
            while let Some(frame) = decoder.next_frame()? {
                if let Body::Stdout(bytes) = frame.body {
                    return Ok((at, String::from_utf8_lossy(bytes).trim_end().to_owned()));
                }
            }
        }
    }
    let rejected = caller.run(run).await?.run.unwrap_or_default().rejected;
    bail!("{} ended without a line {rejected}", Id::from_bytes(run))
}

fn load() -> Result<String> {
    let all = std::fs::read_to_string("/proc/loadavg")?;
    Ok(all.split(' ').take(1).collect())
}

fn report(all: &[Moments], story: &Story, load_before: &str) {
    let of: [Of; 8] = [
        ("the push returns, its hook answered", |moments| moments.returned),
        ("the run is accepted", |moments| moments.accepted),
        ("the forge has its first status", |moments| moments.pending),
        ("an executor has taken its first task", |moments| moments.taken),
        ("its container is up", |moments| moments.up),
        ("a reader has its first line of output", |moments| moments.first_line),
        ("the run has ended", |moments| moments.run_ended),
        ("the forge has its last status", |moments| moments.told),
    ];
    eprintln!("{:40} {:>26}   {:>26}", "", "from the push's start", "from the push's end");
    eprintln!("{:40} {}   {}", "seconds", HEAD, HEAD);
    for (name, value) in of {
        let from_start: Vec<f64> = all.iter().map(value).collect();
        let from_end: Vec<f64> = all.iter().map(|moments| value(moments) - moments.returned).collect();
        eprintln!("{name:40} {}   {}", spread(from_start), spread(from_end));
    }
    eprintln!(
        "{} pushes to two controllers on three etcd members, two tasks each, on two executors with the container \
         engine, in {:.0} s; load {load_before} before, {} after",
        all.len(),
        story.began.elapsed().as_secs_f64(),
        load().unwrap_or_default(),
    );
}

const HEAD: &str = "     p50      p99      max";

fn spread(mut values: Vec<f64>) -> String {
    values.retain(|value| !value.is_nan());
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:8.3} {:8.3} {most:8.3}", percentile(&mut values, 0.5), percentile(&mut values, 0.99))
}
