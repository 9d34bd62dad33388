//! What a forge tells two controllers, twice, in any order and while they are killed, makes one run of
//! each push; what is not the forge's makes nothing.

mod points;
mod pushes;
mod refused;
mod sending;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Build, Caller, Fleet, Ground, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_long;
use ocelot_proto::wire;
use ocelot_proto::wire::project_event::Decision;
use ocelot_proto::wire::trigger::Kind;
use tokio::time::Instant;

use self::pushes::{Delivery, Project, Push};
use self::sending::{Answers, patience, send};
use crate::long::{Chance, percentile};

const PROJECTS: usize = 4;
/// Of a hundred deliveries, so many come twice.
const TWICE_OF_100: usize = 5;
const PAGE: u32 = 500;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = points::trials();
    trials.push(trial(
        "pipelines::deliveries::each_push_is_one_run_whatever_is_told_twice_and_who_is_killed",
        || async {
            let mut ground = Ground::start(Settings::etcd(Build::Plain, 2, 1)).await?;
            told(&mut ground, 150, 1, 1, 60).await.with_context(|| ground.fleet.last_words())
        },
    ));
    trials
}

/// So many deliveries and three kills; what is refused is a tenth of them.
pub(crate) async fn row(count: u64, seed: u64) -> Result<()> {
    let mut ground = Ground::start(Settings::etcd(Build::Plain, 2, 1)).await?;
    let count = usize::try_from(count)?;
    let done = told(&mut ground, count, 3, seed, count / 10).await;
    done.with_context(|| format!("what the fleet wrote is in {}", ground.fleet.keep_folder().display()))
}

async fn told(ground: &mut Ground, count: usize, kills: usize, seed: u64, hostile: usize) -> Result<()> {
    let mut chance = Chance(seed);
    let duplicates = count * TWICE_OF_100 / 100;
    let (projects, pushes) = made(ground, count - duplicates).await?;
    let deliveries = shuffled(&projects, &pushes, duplicates, &mut chance)?;
    let began = Instant::now();
    let answers = send(&mut ground.fleet, &deliveries, kills, seed).await?;
    let sent = began.elapsed();
    let caller = ground.fleet.caller(0)?;
    decided(&caller, &projects, deliveries.len()).await?;
    let settled = began.elapsed();
    let found = Found::of(&caller, &projects, &pushes, &answers).await?;
    let mut took = answers.took.clone();
    eprintln!(
        "{count} deliveries of {} pushes, {duplicates} of them twice, seed {seed}, {} controllers killed \
         ({}): {found}; answered in p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms, {} tries repeated; all \
         answered after {:.1} s, all decided after {:.1} s",
        pushes.len(),
        answers.kills.len(),
        answers.kills.join(", "),
        percentile(&mut took, 0.5),
        percentile(&mut took, 0.99),
        percentile(&mut took, 1.0),
        answers.repeats,
        sent.as_secs_f64(),
        settled.as_secs_f64()
    );
    found.judge(pushes.len())?;
    refused::all(ground, &projects, &deliveries, hostile, &mut chance).await
}

/// Makes the projects, and pushes to their repositories.
async fn made(ground: &Ground, count: usize) -> Result<(Vec<Project>, Vec<Push>)> {
    let (mut projects, mut pushes) = (Vec::new(), Vec::new());
    for place in 0..PROJECTS {
        let (project, repository) = Project::add(ground, place, "github").await?;
        let share = count / PROJECTS + usize::from(place < count % PROJECTS);
        pushes.extend(pushes::push(&repository, place, share)?);
        projects.push(project);
    }
    Ok((projects, pushes))
}

/// Tells of every push, and of some again: half of these under the same id, half under another.
fn shuffled(
    projects: &[Project],
    pushes: &[Push],
    duplicates: usize,
    chance: &mut Chance,
) -> Result<Vec<Delivery>> {
    let tell = |place: usize, id: String| projects[pushes[place].project].delivery(place, &pushes[place], id);
    let first = |place: usize| tell(place, format!("delivery-{place}"));
    let mut deliveries: Vec<Delivery> = (0..pushes.len()).map(first).collect::<Result<_>>()?;
    for number in 0..duplicates {
        let place = chance.below(pushes.len());
        deliveries.push(match number % 2 {
            0 => first(place)?,
            _ => tell(place, format!("again-{number}"))?,
        });
    }
    for place in (1..deliveries.len()).rev() {
        deliveries.swap(place, chance.below(place + 1));
    }
    Ok(deliveries)
}

/// Waits until nothing is pending.
async fn decided(caller: &Caller, projects: &[Project], deliveries: usize) -> Result<()> {
    wait_long("every event to be decided", patience(deliveries), || async {
        for project in projects {
            // The newest first: they are decided last.
            let newest = page(caller, project, String::new(), 1).await?;
            let pending = |event: &&wire::ProjectEvent| matches!(event.decision, Some(Decision::Pending(_)));
            if newest.events.iter().any(|event| pending(&event)) {
                anyhow::bail!("{}: the newest is pending", project.name);
            }
            let events = events(caller, project).await?;
            let waiting: Vec<_> = events.iter().filter(pending).collect();
            ensure!(waiting.is_empty(), "{}: {} wait: {:?}", project.name, waiting.len(), waiting[0]);
        }
        Ok(())
    })
    .await
}

/// Has every repository looked at, and waits until what that found is decided.
async fn looked(fleet: &Fleet, projects: &[Project]) -> Result<()> {
    let caller = fleet.caller(0)?;
    for project in projects {
        let request = wire::PollProjectRequest { name: project.name.clone() };
        caller.projects().poll_project(request).await?;
    }
    decided(&caller, projects, projects.len()).await
}

async fn page(
    caller: &Caller,
    project: &Project,
    page_token: String,
    page_size: u32,
) -> Result<wire::ListEventsResponse> {
    let request = wire::ListEventsRequest { project: project.name.clone(), page_size, page_token };
    Ok(caller.projects().list_events(request).await?.into_inner())
}

async fn events(caller: &Caller, project: &Project) -> Result<Vec<wire::ProjectEvent>> {
    let mut events = Vec::new();
    let mut token = String::new();
    loop {
        let page = page(caller, project, token, PAGE).await?;
        events.extend(page.events);
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(events);
        }
    }
}

async fn runs(caller: &Caller) -> Result<Vec<wire::RunSummary>> {
    let mut runs = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListRunsRequest {
            project: "acme/*".to_owned(),
            page_size: PAGE,
            page_token,
            ..wire::ListRunsRequest::default()
        };
        let page = caller.runs().list_runs(request).await?.into_inner();
        runs.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(runs);
        }
    }
}

fn shown(id: &[u8]) -> Result<String> {
    Ok(Id::from_bytes(id.try_into()?).to_string())
}

/// What the controllers have, beside what it should be.
#[derive(Debug, Default)]
struct Found {
    one_run: usize,
    missing: Vec<Push>,
    several: Vec<Push>,
    /// Runs of no push. The first look at a repository builds its default branch.
    uncalled: Vec<String>,
    first_looks: usize,
    /// A look found the push before the webhook told of it.
    by_looks: usize,
    /// Answers that name another run than the push has, or two.
    misnamed: Vec<String>,
    /// Pushes that were news more than once.
    news_twice: usize,
    /// Projects whose runs are not numbered from 1 on.
    misnumbered: Vec<String>,
}

impl Found {
    async fn of(caller: &Caller, projects: &[Project], pushes: &[Push], answers: &Answers) -> Result<Self> {
        let mut found = Self::default();
        let mut of_push: BTreeMap<(String, String, String), Vec<wire::RunSummary>> = BTreeMap::new();
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for run in runs(caller).await? {
            let Some(wire::run_summary::Of::Project(project)) = run.of.clone() else { continue };
            numbers.entry(project.clone()).or_default().push(run.number);
            let commit = run.commit.clone().context("a run of a project has a commit")?;
            of_push.entry((project, commit.branch, commit.id)).or_default().push(run);
        }
        let mut decisions = BTreeMap::new();
        for project in projects {
            for event in events(caller, project).await? {
                decisions.insert(shown(&event.id)?, event.decision);
            }
        }
        for (place, push) in pushes.iter().enumerate() {
            let key = (projects[push.project].name.clone(), push.branch.clone(), push.after.clone());
            let runs = of_push.remove(&key).unwrap_or_default();
            match runs.as_slice() {
                [] => found.missing.push(push.clone()),
                [run] => {
                    found.one_run += 1;
                    found.names(place, run, answers, &decisions)?;
                }
                [_, _, ..] => found.several.push(push.clone()),
            }
        }
        for ((project, branch, commit), runs) in of_push {
            match (branch.as_str(), runs.len()) {
                ("main", 1) => found.first_looks += 1,
                _ => found.uncalled.push(format!("{project} {branch} {commit}")),
            }
        }
        for (project, mut numbers) in numbers {
            numbers.sort_unstable();
            if !numbers.iter().copied().eq(1..=numbers.len() as u64) {
                found.misnumbered.push(project);
            }
        }
        found.news_twice = answers.news.values().filter(|news| **news > 1).count();
        Ok(found)
    }

    /// Compares the run of a push with what the answers said of it.
    fn names(
        &mut self,
        place: usize,
        run: &wire::RunSummary,
        answers: &Answers,
        decisions: &BTreeMap<String, Option<Decision>>,
    ) -> Result<()> {
        let own = shown(&run.id)?;
        let named = answers.runs.get(&place).context("every push was told of")?;
        if *named == BTreeSet::from([own.clone()]) {
            return Ok(());
        }
        // Another event has made the run: the one that was answered says so.
        let says_so = |named: &String| match decisions.get(named) {
            Some(Some(Decision::Ignored(why))) => why.contains(&own),
            _ => false,
        };
        let trigger = run.trigger.as_ref().map(|trigger| trigger.kind());
        if named.len() == 1 && named.iter().all(says_so) && trigger == Some(Kind::Poller) {
            self.by_looks += 1;
        } else {
            self.misnamed.push(format!("{own} is named {named:?}"));
        }
        Ok(())
    }

    fn judge(&self, pushes: usize) -> Result<()> {
        let wrong = self.missing.len()
            + self.several.len()
            + self.uncalled.len()
            + self.misnamed.len()
            + self.misnumbered.len()
            + self.news_twice;
        ensure!(wrong == 0 && self.one_run == pushes && self.first_looks <= PROJECTS, "{self:#?}");
        Ok(())
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} pushes have one run, {} none, {} several, {} runs are of no push; {} were found by a look \
             first, {} answers name another run, {} were news twice",
            self.one_run,
            self.missing.len(),
            self.several.len(),
            self.uncalled.len(),
            self.by_looks,
            self.misnamed.len(),
            self.news_twice
        )
    }
}

/// The modification of each key that a delivery could touch. Controllers write of themselves and of
/// their looks at repositories, and of nothing else while nothing happens.
async fn sight(fleet: &Fleet) -> Result<BTreeMap<String, i64>> {
    let etcd = fleet.etcd.as_ref().context("etcd")?;
    let options = etcd_client::GetOptions::new().with_prefix().with_keys_only();
    let found = etcd.bare(0).await?.get("/ocelot/v1/", Some(options)).await?;
    let keys = found.kvs().iter().map(|pair| Ok((pair.key_str()?.to_owned(), pair.mod_revision())));
    let own =
        |key: &str| ["controllers/", "looks/"].iter().any(|of| key.starts_with(&format!("/ocelot/v1/{of}")));
    keys.filter(|pair: &Result<(String, i64)>| pair.as_ref().is_ok_and(|(key, _)| !own(key))).collect()
}
