//! `ocelot schedule`: what executes jobs by the clock on the wall.

use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use serde::Serialize;

use super::execute::to_its_end;
use super::{Session, field};
use crate::args::{Schedule, ScheduleList, ScheduleName, ScheduleRun};
use crate::client::{Api, Client, Repeat, new_run_id};
use crate::error::Result;
use crate::follow::{PenKind, Show};
use crate::shape;
use crate::show::{Output, Table, Tone, duration, plain};
use crate::words;

const SEE: &str = "see them: ocelot schedule list";

#[derive(Debug, Serialize)]
struct Schedules {
    schedules: Vec<shape::Schedule>,
}

pub(crate) async fn run(schedule: &Schedule, session: &Session) -> Result<()> {
    match schedule {
        Schedule::List(list) => self::list(list, session).await,
        Schedule::Describe(name) => describe(name, session).await,
        Schedule::Pause(name) => pause(name, session).await,
        Schedule::Resume(name) => resume(name, session).await,
        Schedule::Run(run) => run_now(run, session).await,
    }
}

async fn list(list: &ScheduleList, session: &Session) -> Result<()> {
    let client = session.client()?;
    let job = list.job.clone().unwrap_or_default();
    let mut request = wire::ListSchedulesRequest { job, page_size: 500, page_token: String::new() };
    let mut schedules = Vec::new();
    loop {
        let call = async |api: Api, request| api.schedules().list_schedules(request).await;
        let page = client.call("list schedules", Repeat::Safe, request.clone(), call).await?;
        schedules.extend(page.schedules);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let output = &session.output;
    let shapes = Schedules { schedules: schedules.iter().map(shape::Schedule::from).collect() };
    if list.names {
        let names: String = schedules.iter().map(|schedule| format!("{}\n", plain(&schedule.name))).collect();
        return output.result(names, &shapes);
    }
    if schedules.is_empty() && !output.is_json() {
        match &list.job {
            Some(job) => output.note(format_args!("the job {} has no schedule", plain(job))),
            None => output.note("no schedules yet; they are written in job files: schedule: [{cron: ...}]"),
        }
        return Ok(());
    }
    let head = ["SCHEDULE", "STATE", "CRON", "ZONE", "NEXT", "LAST RUN"];
    let mut table = Table::new(head, output.style, output.width);
    for schedule in &schedules {
        table.row([
            (Tone::Strong, schedule.name.clone()),
            state(schedule),
            (Tone::Plain, schedule.cron.clone()),
            (Tone::Dim, schedule.timezone.clone()),
            (Tone::Plain, next(schedule, output)),
            last_run(schedule),
        ]);
    }
    output.result(table, &shapes)
}

fn state(schedule: &wire::Schedule) -> (Tone, String) {
    match (&schedule.paused, schedule.trouble.lines().next(), schedule.waiting.len()) {
        (Some(paused), _, _) => (Tone::Warn, format!("paused by {}", paused.by)),
        (None, Some(trouble), _) => (Tone::Bad, trouble.to_owned()),
        (None, None, 0) => (Tone::Good, "ok".to_owned()),
        (None, None, waiting) => (Tone::Busy, format!("{waiting} waiting")),
    }
}

fn next(schedule: &wire::Schedule, output: &Output) -> String {
    match (&schedule.paused, schedule.next.first()) {
        (None, Some(moment)) => output.times.ago(moment.unix_us),
        (Some(_), _) | (None, None) => "-".to_owned(),
    }
}

fn last_run(schedule: &wire::Schedule) -> (Tone, String) {
    match schedule.runs.first().and_then(|run| run.run.as_ref()) {
        None => (Tone::Dim, "never".to_owned()),
        Some(run) => {
            let (tone, word) = words::run_word(run);
            (tone, format!("{} {word}", words::run_name(run)))
        }
    }
}

async fn describe(name: &ScheduleName, session: &Session) -> Result<()> {
    let client = session.client()?;
    let request = wire::GetScheduleRequest { name: name.schedule.clone() };
    let call = async |api: Api, request| api.schedules().get_schedule(request).await;
    let doing = format!("describe the schedule {}", plain(&name.schedule));
    let answer = client.call(&doing, Repeat::Safe, request, call).await;
    let schedule = answer.map_err(|error| error.with_hint(SEE))?.schedule.unwrap_or_default();
    let output = &session.output;
    output.result(text(&schedule, output), &shape::Schedule::from(&schedule))
}

fn text(schedule: &wire::Schedule, output: &Output) -> String {
    let field = |title, value| field(title, value, output);
    let mut text = field("Schedule", output.style.paint(Tone::Strong, plain(&schedule.name)).to_string());
    text += &field("Job", plain(&schedule.job));
    let (tone, word) = state(schedule);
    let since = schedule.paused.as_ref().map(|paused| format!(", {}", output.times.ago(paused.at_unix_us)));
    text +=
        &field("State", format!("{}{}", output.style.paint(tone, plain(&word)), since.unwrap_or_default()));
    text += &field("Cron", format!("{}, {}", plain(&schedule.cron), plain(&schedule.timezone)));
    let mut arguments: Vec<String> =
        schedule.arguments.iter().map(|(name, value)| format!("{}={}", plain(name), plain(value))).collect();
    arguments.sort();
    if !arguments.is_empty() {
        text += &field("Arguments", arguments.join(" "));
    }
    text += &field("Overlap", overlap(schedule.overlap()).to_owned());
    text += &field("Catch-up", catch_up(schedule.catch_up()).to_owned());
    if schedule.jitter_ms > 0 {
        let jitter = i64::try_from(schedule.jitter_ms).unwrap_or(i64::MAX).saturating_mul(1000);
        text += &field("Jitter", format!("up to {}", duration(jitter)));
    }
    if let Some(passed) = &schedule.passed {
        let moment = passed.moment.clone().unwrap_or_default();
        let (_, why) = words::passed(passed.why());
        text += &field("Made no run", format!("{}: {why}", plain(&moment.local)));
    }
    for moment in &schedule.waiting {
        text += &field("Waits", plain(&moment.local));
    }
    text += &moments(schedule, output);
    text + &runs(schedule, output)
}

fn overlap(overlap: wire::schedule::Overlap) -> &'static str {
    match overlap {
        wire::schedule::Overlap::Unspecified => "unknown",
        wire::schedule::Overlap::Skip => "skip: a moment makes no run while the last run goes on",
        wire::schedule::Overlap::Queue => "queue: a moment waits until the last run has ended",
        wire::schedule::Overlap::Allow => "allow: runs may go on beside each other",
    }
}

fn catch_up(catch_up: wire::schedule::CatchUp) -> &'static str {
    match catch_up {
        wire::schedule::CatchUp::Unspecified => "unknown",
        wire::schedule::CatchUp::None => "none: what was missed is not made up for",
        wire::schedule::CatchUp::One => "one: whatever was missed is made up for once",
        wire::schedule::CatchUp::All => "all: every missed moment is made up for",
    }
}

/// The next moments, by the clock of the schedule's zone and by that of everybody.
fn moments(schedule: &wire::Schedule, output: &Output) -> String {
    if schedule.next.is_empty() {
        return "\nit never comes again\n".to_owned();
    }
    let zone = if schedule.paused.is_some() { "NEXT, IF IT IS RESUMED" } else { "NEXT" };
    let mut table = Table::new([zone, "IN UTC", ""], output.style, output.width);
    for moment in &schedule.next {
        table.row([
            (Tone::Plain, moment.local.clone()),
            (Tone::Dim, output.times.utc(moment.unix_us)),
            (Tone::Dim, output.times.ago(moment.unix_us)),
        ]);
    }
    format!("\n{table}")
}

fn runs(schedule: &wire::Schedule, output: &Output) -> String {
    if schedule.runs.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["LAST RUNS", "STATE", "OF"], output.style, output.width);
    for scheduled in &schedule.runs {
        let run = scheduled.run.clone().unwrap_or_default();
        let (tone, word) = words::run_word(&run);
        let of = match &scheduled.moment {
            Some(moment) => moment.local.clone(),
            None => {
                format!("asked for by {}", run.trigger.as_ref().map_or("somebody", |trigger| &trigger.by))
            }
        };
        table.row([(Tone::Strong, words::run_name(&run)), (tone, word.to_owned()), (Tone::Plain, of)]);
    }
    format!("\n{table}")
}

async fn pause(name: &ScheduleName, session: &Session) -> Result<()> {
    let request = wire::PauseScheduleRequest { name: name.schedule.clone() };
    let call = async |api: Api, request| api.schedules().pause_schedule(request).await;
    let doing = format!("pause the schedule {}", plain(&name.schedule));
    let answer = session.client()?.call(&doing, Repeat::Safe, request, call).await;
    let schedule = answer.map_err(|error| error.with_hint(SEE))?.schedule.unwrap_or_default();
    let name = plain(&schedule.name);
    let output = &session.output;
    output.result(format_args!("{name} is paused\n"), &shape::Schedule::from(&schedule))?;
    if !output.is_json() {
        output.note(format_args!("let it go on: ocelot schedule resume {name}"));
    }
    Ok(())
}

async fn resume(name: &ScheduleName, session: &Session) -> Result<()> {
    let request = wire::ResumeScheduleRequest { name: name.schedule.clone() };
    let call = async |api: Api, request| api.schedules().resume_schedule(request).await;
    let doing = format!("resume the schedule {}", plain(&name.schedule));
    let answer = session.client()?.call(&doing, Repeat::Safe, request, call).await;
    let schedule = answer.map_err(|error| error.with_hint(SEE))?.schedule.unwrap_or_default();
    let name = plain(&schedule.name);
    let text = match schedule.next.first() {
        Some(moment) => format!("{name} goes on, next at {}\n", plain(&moment.local)),
        None => format!("{name} goes on, and never comes again\n"),
    };
    session.output.result(text, &shape::Schedule::from(&schedule))
}

async fn run_now(run: &ScheduleRun, session: &Session) -> Result<()> {
    let client = session.client()?;
    let made = send(&client, &run.name.schedule).await?;
    session.remember(&client, &made);
    let output = &session.output;
    if run.follow {
        let pen = if output.is_json() { PenKind::Json } else { PenKind::Lines { timestamps: false } };
        return to_its_end(session, &client, made, Show::Log(pen)).await;
    }
    let name = plain(&words::run_name(&made));
    if !output.is_json() {
        output.note(format_args!("follow it: ocelot getlogs -f {name}"));
    }
    output.result(format_args!("{name}\n"), &shape::Run::from(&made))
}

/// Asks for the run; it keeps one id for all tries.
async fn send(client: &Client, name: &str) -> Result<wire::RunSummary> {
    let id = new_run_id(SystemClock.wall())?;
    let request = wire::RunScheduleRequest { id: id.as_bytes().to_vec().into(), name: name.to_owned() };
    let call = async |api: Api, request| api.schedules().run_schedule(request).await;
    let doing = format!("run the schedule {}", plain(name));
    let answer = client.call(&doing, Repeat::Safe, request, call).await.map_err(|error| {
        error
            .maybe("accepted", format_args!("look before you do it again: ocelot status {id}"))
            .with_hint(SEE)
    })?;
    Ok(answer.run.unwrap_or_default())
}
