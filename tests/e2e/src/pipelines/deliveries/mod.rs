//! What a forge tells two controllers, twice, in any order and while they are killed, makes one run of
//! each push; what is not the forge's makes nothing.

mod found;
mod points;
mod pushes;
mod refused;
mod sending;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::{Build, Caller, Fleet, Ground, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_long;
use ocelot_proto::wire;
use ocelot_proto::wire::project_event::Decision;
use tokio::time::Instant;

use self::found::Found;
use self::pushes::{Delivery, Project, Push};
use self::sending::{patience, send};
use crate::long::Chance;

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
            let told = told(&mut ground, Plan { deliveries: 150, kills: 1, hostile: 60, seed: 1 }).await;
            told.map(drop).with_context(|| ground.fleet.last_words())
        },
    ));
    trials
}

/// What is told, and what happens meanwhile.
#[derive(Debug, Clone, Copy)]
struct Plan {
    deliveries: usize,
    kills: usize,
    /// Of deliveries that are not the forge's.
    hostile: usize,
    seed: u64,
}

/// So many deliveries and three kills; what is refused is a tenth of them.
pub(crate) async fn row(count: u64, seed: u64) -> Result<()> {
    let mut ground = Ground::start(Settings::etcd(Build::Plain, 2, 1)).await?;
    let count = usize::try_from(count)?;
    let plan = Plan { deliveries: count, kills: 3, hostile: count / 10, seed };
    let figures = told(&mut ground, plan).await;
    let figures = figures
        .with_context(|| format!("what the fleet wrote is in {}", ground.fleet.keep_folder().display()))?;
    eprintln!("{figures}");
    Ok(())
}

/// Returns the figures.
async fn told(ground: &mut Ground, plan: Plan) -> Result<String> {
    let Plan { deliveries: count, kills, hostile, seed } = plan;
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
    let figures = format!(
        "{count} deliveries of {} pushes, {duplicates} of them told again, seed {seed}, {} controllers \
         killed ({})\n{found}\nanswered in {}; {} tries repeated; all answered after {:.1} s, all decided \
         after {:.1} s",
        pushes.len(),
        answers.kills.len(),
        answers.kills.join(", "),
        answers.times(),
        answers.repeats,
        sent.as_secs_f64(),
        settled.as_secs_f64()
    );
    found.judge(pushes.len()).with_context(|| figures.clone())?;
    let refused = refused::all(ground, &projects, &deliveries, hostile, &mut chance).await;
    Ok(format!("{figures}\n{}", refused.with_context(|| figures.clone())?))
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

/// The modification of each key that a delivery could touch. Controllers write of themselves and of
/// their looks at repositories, and of nothing else while nothing happens.
async fn sight(fleet: &Fleet) -> Result<BTreeMap<String, i64>> {
    let etcd = fleet.etcd.as_ref().context("etcd")?;
    let options = etcd_client::GetOptions::new().with_prefix().with_keys_only();
    let found = etcd.bare(0).await?.get("/ocelot/v1/", Some(options)).await?;
    let keys = found.kvs().iter().map(|pair| Ok((pair.key_str()?.to_owned(), pair.mod_revision())));
    // Controllers write these whether anything was delivered or not.
    let own = |key: &str| {
        ["controllers/", "looks/", "tokens/"].iter().any(|of| key.starts_with(&format!("/ocelot/v1/{of}")))
    };
    keys.filter(|pair: &Result<(String, i64)>| pair.as_ref().is_ok_and(|(key, _)| !own(key))).collect()
}
